package dynamostore_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/ceremonytest"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// atATime is how many ceremonies are under way: as many as a core could do would all wait for DynamoDB most of the time.
const atATime = 16

// onStores runs a benchmark on DynamoDB Local and on its stand-in.
func onStores(b *testing.B, recall bool, bench func(b *testing.B, service *ceremony.Service)) {
	on := func(b *testing.B, db *dynamostore.DB) {
		service, err := ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{ceremonytest.Origin}, Store: db.For(rpID), Recall: recall})
		must(b, err)
		bench(b, service)
	}
	b.Run("local", func(b *testing.B) { on(b, newTables(b).open(dynamostore.Options{})) })
	b.Run("stand-in", func(b *testing.B) {
		db, err := dynamostore.Open(b.Context(), dynamostore.Options{Endpoint: launchStandIn(b)})
		must(b, err)
		on(b, db)
		must(b, db.Close())
	})
}

// BenchmarkAuthentication is a whole authentication: start, consume, verify, record. The usual one reads who the user is at the
// start and is recorded at the end, which makes five calls; the other follows another one within a minute, and makes three.
func BenchmarkAuthentication(b *testing.B) {
	for _, kind := range []struct {
		name   string
		config authtest.Config
	}{{"again", authtest.Config{}}, {"usual", authtest.Config{Counts: true}}} {
		b.Run(kind.name, func(b *testing.B) {
			onStores(b, !kind.config.Counts, func(b *testing.B, service *ceremony.Service) {
				ceremonytest.Authentications(b, service, kind.config, atATime)
			})
		})
	}
}

// BenchmarkRegistration is a first registration, recovery codes included.
func BenchmarkRegistration(b *testing.B) {
	onStores(b, true, func(b *testing.B, service *ceremony.Service) { ceremonytest.Registrations(b, service, atATime) })
}
