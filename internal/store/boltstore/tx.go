package boltstore

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/passkey"
)

var (
	errClosed  = errors.New("the store is closed")
	errDamaged = errors.New("the store's file is damaged")

	// errNoChange, returned by the function of an update, ends the transaction without a write and without an error:
	// nothing to store costs no fsync.
	errNoChange = errors.New("nothing to write")
)

// tx is a transaction on one relying party's records.
type tx struct {
	bucket *bolt.Bucket
	rpID   string
}

// view runs fn in a reading transaction: a consistent, latest state of the file.
func (s *Store) view(ctx context.Context, doing string, fn func(tx) error) error {
	err := s.db.view(ctx, func(b *bolt.Bucket) error { return fn(tx{b, s.rpID}) })
	return describe(doing, err)
}

// update runs fn in the one writing transaction there is at a time. An error of fn, or a context that is done when fn
// returns, undoes everything. A nil error means that it is on disk.
func (s *Store) update(ctx context.Context, doing string, fn func(tx) error) error {
	err := s.db.update(ctx, func(b *bolt.Bucket) error { return fn(tx{b, s.rpID}) })
	return describe(doing, err)
}

// describe adds context. What is not a refusal already is a failure of the store.
func describe(doing string, err error) error {
	var refusal passkey.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s: %w: %w", doing, passkey.StoreUnavailable, err)
}

func (db *DB) view(ctx context.Context, fn func(*bolt.Bucket) error) error {
	if err := db.ready(ctx); err != nil {
		return err
	}
	return db.guard(func() error {
		return db.bolt.View(func(tx *bolt.Tx) error { return fn(tx.Bucket(recordsBucket)) })
	})
}

func (db *DB) update(ctx context.Context, fn func(*bolt.Bucket) error) error {
	select {
	case db.writer <- struct{}{}:
		defer func() { <-db.writer }()
	case <-ctx.Done():
	case <-db.closing:
	}
	if err := db.ready(ctx); err != nil {
		return err
	}
	err := db.guard(func() error {
		return db.bolt.Update(func(tx *bolt.Tx) error {
			if err := fn(tx.Bucket(recordsBucket)); err != nil {
				return err
			}
			return ctx.Err() // whoever asked has given up, and takes it for not written
		})
	})
	if errors.Is(err, errNoChange) {
		return nil
	}
	return err
}

func (db *DB) ready(ctx context.Context) error {
	select {
	case <-db.closing:
		return errClosed
	default:
	}
	if db.damaged.Load() {
		return errDamaged
	}
	return ctx.Err()
}

// guard turns a panic into an error. bbolt panics when a page is not what it must be, and a file shorter than its own
// account of itself faults when the missing part is touched; without this one bad sector would end the process, open
// routes included. Nobody may go on with such a file, least of all write to it: the store stays unavailable until a
// person has looked at it.
func (db *DB) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			db.damaged.Store(true)
			db.logger.Error("store file is damaged: stop Stepgate and restore the file from a copy",
				zap.String("file", db.path), zap.Any("cause", cause), zap.Stack("stack"))
			err = fmt.Errorf("%w: %v", errDamaged, cause)
		}
	}()
	return fn()
}
