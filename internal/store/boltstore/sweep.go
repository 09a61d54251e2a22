package boltstore

import (
	"bytes"
	"context"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// sweepBatch bounds what one transaction of a sweep removes, so that requests get their turn in between.
const sweepBatch = 500

// Sweep removes the challenges of all relying parties that have expired by now, and tells how many it removed, also
// when it fails half-way. It is rubbish collection: whether a challenge has expired is always decided when it is used.
func (db *DB) Sweep(now time.Time) (removed int, err error) {
	for {
		n := 0
		err := db.update(context.Background(), func(b *bolt.Bucket) (err error) {
			if n, err = sweepSome(b, now); err == nil && n == 0 {
				err = errNoChange
			}
			return err
		})
		if err != nil {
			return removed, describe("sweeping expired challenges", err)
		}
		if removed += n; n < sweepBatch {
			return removed, nil
		}
	}
}

func sweepSome(b *bolt.Bucket, now time.Time) (int, error) {
	// Collected first: deleting under a bbolt cursor may make it skip.
	var expired [][]byte
	cursor := b.Cursor()
	for key, _ := cursor.Seek([]byte{expiryTag}); bytes.HasPrefix(key, []byte{expiryTag}); key, _ = cursor.Next() {
		if len(key) <= expiryPrefixLength || key[expiryPrefixLength] != challengeTag {
			return 0, errMisplaced // never delete anything else on the word of an index
		}
		if len(expired) == sweepBatch || !expiredBy(key, now) {
			break // keys are in the order of time
		}
		expired = append(expired, key)
	}
	for _, key := range expired {
		if err := b.Delete(key[expiryPrefixLength:]); err != nil {
			return 0, err
		}
		if err := b.Delete(key); err != nil {
			return 0, err
		}
	}
	return len(expired), nil
}

func (db *DB) sweepEvery(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-db.closing:
			return
		case <-ticker.C:
		}
		switch n, err := db.Sweep(db.now()); {
		case err != nil && db.ready(context.Background()) == nil:
			db.logger.Warn("removing expired challenges; trying again later", zap.Error(err))
		case n > 0:
			db.logger.Debug("removed expired challenges", zap.Int("count", n))
		}
	}
}
