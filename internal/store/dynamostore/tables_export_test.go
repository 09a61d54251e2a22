package dynamostore

import (
	"context"
	"time"
)

// Explain is what a failed call is explained with.
func (db *DB) Explain(operation, table string, err error) error {
	return db.explain(operation, table, err)
}

// WatchBy is [DB.Watch] by another clock.
func (db *DB) WatchBy(ctx context.Context, now func() time.Time, after func(time.Duration) <-chan time.Time) error {
	return db.watch(ctx, now, after)
}
