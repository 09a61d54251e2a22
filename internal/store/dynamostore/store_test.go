package dynamostore_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
	"github.com/stepgate/stepgate/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.RunDatabase(t, func(t *testing.T) storetest.Database {
		tables := newTables(t)
		db := tables.open(dynamostore.Options{})
		return storetest.Database{
			For:   func(rpID string) ceremony.Store { return db.For(rpID) },
			Close: db.Close,
			Reopen: func(t *testing.T) ceremony.Store {
				must(t, db.Close())
				return tables.open(dynamostore.Options{}).For(storetest.RPID)
			},
		}
	})
}
