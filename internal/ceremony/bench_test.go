package ceremony_test

import (
	"path/filepath"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// BenchmarkAuthentication is a whole authentication: start, sign, consume, verify, record; with the store's file but
// without waiting for the disk.
func BenchmarkAuthentication(b *testing.B) {
	for _, algorithm := range []struct {
		name string
		authtest.Algorithm
	}{{"ES256", authtest.ES256}, {"EdDSA", authtest.EdDSA}, {"RS256", authtest.RS256}} {
		b.Run(algorithm.name, func(b *testing.B) {
			db := must(boltstore.Open(filepath.Join(b.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true}))(b)
			b.Cleanup(func() { _ = db.Close() })
			s := must(ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{origin}, Store: db.For(rpID)}))(b)
			w := &world{Service: s, t: b}
			a := seeded(authtest.Config{Algorithm: algorithm.Algorithm}, "bench")
			w.enrol(ada, a)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.authenticate(ada, stepUp, a); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("verify only", func(b *testing.B) {
		w, a := newWorld(b), key()
		w.enrol(ada, a)
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			reply := w.reply(ada, stepUp, a)
			b.StartTimer()
			if _, err := w.finish(ada, stepUp, reply); err != nil {
				b.Fatal(err)
			}
		}
	})
}
