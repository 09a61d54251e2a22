package caddymodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// probeUser is whom health checks read. Whether somebody has that name makes no difference: it is a read.
const probeUser = "stepgate health check"

// answers tells whether a store can be read, by reading it: whatever else could be asked might be well while reads fail.
func answers(ctx context.Context, store ceremony.Store) error {
	_, err := store.Account(ctx, probeUser)
	return err
}

// How often a gateway that is asked for its health looks at what its tables are. Where they vanish, reads fail at once; this
// is for what a read of one table does not show.
const (
	lookWell   = time.Minute
	lookWrong  = 15 * time.Second
	lookDenied = 24 * time.Hour // each would show as a denied call in the account's log
)

// tablesLook remembers what the tables of DynamoDB were when they were looked at last.
type tablesLook struct {
	check func(context.Context) (dynamostore.Report, error)
	now   func() time.Time

	mu    sync.Mutex
	busy  bool
	next  time.Time
	wrong error
}

// look returns an error that wraps [ErrTablesWrong] if the tables can't be used as they are. What could not be found out
// is no such error, and leaves what was known.
func (l *tablesLook) look(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy || l.now().Before(l.next) {
		return l.wrong
	}
	l.busy = true
	l.mu.Unlock()
	report, err := l.check(ctx)
	l.mu.Lock()
	l.busy = false
	pause := lookWrong
	switch {
	case errors.Is(err, dynamostore.ErrTables):
		l.wrong = marked{err, ErrTablesWrong}
	case err == nil:
		l.wrong, pause = nil, lookWell
		for _, table := range report.Tables {
			if table.Status == string(dynamostore.Denied) || table.TTL == dynamostore.Denied {
				pause = lookDenied
			}
		}
	}
	l.next = l.now().Add(pause)
	return l.wrong
}

// ready tells whether DynamoDB can be read and whether the tables are right, both at the same time.
func (o *openDB) ready(ctx context.Context, rpID string) error {
	looked := make(chan error, 1)
	go func() { looked <- o.tables.look(ctx) }()
	err := answers(ctx, o.db.For(rpID))
	return errors.Join(err, <-looked)
}
