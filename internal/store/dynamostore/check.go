package dynamostore

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// Check finds out whether the tables can be used, with two questions for each: DescribeTable and DescribeTimeToLive. It
// ends within 5 s. An error that wraps [ErrTables] is definite: waiting won't mend it. Any other error, which wraps
// [passkey.StoreUnavailable] or the context's, says what kept it from finding out: unreachable, throttled, no credentials,
// a table that is still being created. Being denied the questions is no error, but a warning: a gateway may work without.
func (db *DB) Check(ctx context.Context) (Report, error) { return db.report(db.look(ctx, false)) }

// Inspect is [DB.Check] for people: it also asks whether the passkeys can be recovered, which a gateway need not know.
func (db *DB) Inspect(ctx context.Context) (Report, error) { return db.report(db.look(ctx, true)) }

// How [DB.Watch] goes on.
const (
	firstLook   = 5 * time.Second // after the first check; doubled each time
	slowestLook = time.Minute
	sayAgain    = 10 * time.Minute // the same trouble is logged this often

	// deniedLooks bounds how often it asks what it may not ask. A permission that was just given takes seconds to reach
	// every part of AWS; one that was left out on purpose would show as a denied call in the account's log for ever.
	deniedLooks = 10
)

// Watch is [DB.Check] for a gateway that starts. It returns an error only where the gateway should not start, one that
// wraps [ErrTables]; what else it finds out it logs. Where it could not find out, it goes on checking in the background,
// every 5 s at first, then less often, up to once a minute, until the tables are well or the DB is closed, and logs each
// change once.
func (db *DB) Watch(ctx context.Context) error {
	return db.watch(ctx, time.Now, time.After)
}

func (db *DB) watch(ctx context.Context, now func() time.Time, after func(time.Duration) <-chan time.Time) error {
	w := watch{db: db, now: now, after: after}
	report, err := db.Check(ctx)
	if errors.Is(err, ErrTables) {
		return err
	}
	w.log(report, err)
	if err == nil && !report.denied {
		return nil
	}
	db.watcher.Go(w.run)
	return nil
}

// watch goes on checking the tables until they are well.
type watch struct {
	db    *DB
	now   func() time.Time
	after func(time.Duration) <-chan time.Time

	state string    // what was logged last
	said  time.Time // when
}

func (w *watch) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-w.db.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	denied := 0
	for pause := firstLook; ; pause = min(2*pause, slowestLook) {
		select {
		case <-w.db.closing:
			return
		case <-w.after(pause):
		}
		report, err := w.db.Check(ctx)
		if ctx.Err() != nil {
			return
		}
		w.log(report, err)
		switch {
		case err != nil:
			denied = 0
		case !report.denied:
			return
		default:
			if denied++; denied == deniedLooks {
				return
			}
		}
	}
}

// Words that the log has for the states of the tables. What they mean for people in front of the gateway is said with
// them: somebody reads this at night.
const (
	sayBroken  = "the tables can't be used as they are: protected requests are refused until they are mended"
	sayUnknown = "can't find out whether the tables are right; where they can't be reached, protected requests are refused"
	sayWell    = "the tables are well again"
	sayWarning = "the tables are not as they should be"
)

// log tells of a change, and at long intervals of what has not changed.
func (w *watch) log(report Report, err error) {
	state := "well"
	switch {
	case err != nil:
		state = kindOf(err)
	case report.denied:
		state = kindDenied
	}
	before := w.state
	if state == before && w.now().Sub(w.said) < sayAgain {
		return
	}
	w.state, w.said = state, w.now()

	logger := w.db.logger.With(zap.String("place", report.Place), zap.String("passkeys_table", w.db.passkeys), zap.String("challenges_table", w.db.challenges))
	switch {
	case errors.Is(err, ErrTables):
		logger.Error(sayBroken, zap.Error(err))
		return
	case err != nil:
		logger.Error(sayUnknown, zap.Error(err))
		return
	case before != "" && !report.denied:
		logger.Info(sayWell)
	}
	for _, warning := range report.Warnings {
		logger.Warn(sayWarning, zap.String("warning", warning))
	}
}
