package ceremony_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"path/filepath"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/ceremonytest"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// onFile returns a service on a new file, which does not wait for the disk: that is the disk's cost.
func onFile(b *testing.B, recall bool) *ceremony.Service {
	b.Helper()
	db := must(boltstore.Open(filepath.Join(b.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true}))(b)
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return must(ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{ceremonytest.Origin}, Store: db.For(rpID), Recall: recall}))(b)
}

// BenchmarkAuthentication is a whole authentication on a file: start, consume, verify, record. The usual one reads who the user
// is at the start and is recorded at the end; the others follow each other within a minute.
func BenchmarkAuthentication(b *testing.B) {
	for _, kind := range []struct {
		name   string
		config authtest.Config
	}{
		{"again", authtest.Config{}},
		{"usual", authtest.Config{Counts: true}},
		{"EdDSA", authtest.Config{Algorithm: authtest.EdDSA}},
		{"RS256", authtest.Config{Algorithm: authtest.RS256, Seed: "bench"}},
	} {
		b.Run(kind.name, func(b *testing.B) { ceremonytest.Authentications(b, onFile(b, !kind.config.Counts), kind.config, 1) })
	}
}

// BenchmarkRegistration is a first registration on a file, recovery codes included.
func BenchmarkRegistration(b *testing.B) { ceremonytest.Registrations(b, onFile(b, true), 1) }

// BenchmarkVerifyP256 is what no authentication with ES256 can do without.
func BenchmarkVerifyP256(b *testing.B) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(b)
	digest := sha256.Sum256([]byte("signed"))
	signature := must(ecdsa.SignASN1(rand.Reader, key, digest[:]))(b)
	ceremonytest.Repeatedly(b, func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("not verified")
		}
	})
}
