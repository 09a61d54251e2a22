package boltstore

import (
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
)

// The two buckets of a file: what it is, and everything in it.
var (
	metaBucket    = []byte("stepgate")
	recordsBucket = []byte("records")
	schemaKey     = []byte("schema")
)

// schema names the layout of keys and the meaning of buckets. A change of one kind of record changes the record's own
// version instead, see recordVersion.
const schema = "1"

// checkSchema marks an empty file as ours, and refuses one that isn't, without writing to it.
func (db *DB) checkSchema() error {
	empty := false
	err := db.guard(func() error {
		return db.bolt.View(func(tx *bolt.Tx) error {
			if info, err := os.Stat(db.path); err != nil {
				return err
			} else if info.Size() < tx.Size() {
				return fmt.Errorf("it is cut short, %d of at least %d bytes; restore it from a copy", info.Size(), tx.Size())
			}
			if name, _ := tx.Cursor().First(); name == nil {
				empty = true
				return nil
			}
			meta := tx.Bucket(metaBucket)
			if meta == nil || meta.Get(schemaKey) == nil {
				return errors.New("not a Stepgate database but another program's, left as it is; name another file")
			}
			if found := meta.Get(schemaKey); string(found) != schema {
				return fmt.Errorf("its schema is version %.20q and this Stepgate knows version %q only, so it is left as it is; "+
					"run the Stepgate that wrote it", found, schema)
			}
			if tx.Bucket(recordsBucket) == nil {
				return errors.New("it has no records bucket, so it is damaged; restore it from a copy")
			}
			return nil
		})
	})
	if err != nil || !empty {
		return err
	}
	return db.bolt.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucket(recordsBucket); err != nil {
			return err
		}
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		return meta.Put(schemaKey, []byte(schema))
	})
}
