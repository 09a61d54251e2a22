package boltstore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
	"github.com/stepgate/stepgate/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.RunDatabase(t, func(t *testing.T) storetest.Database {
		path := filepath.Join(t.TempDir(), "stepgate.db")
		db := open(t, path, boltstore.Options{})
		return storetest.Database{
			For:   func(rpID string) ceremony.Store { return db.For(rpID) },
			Close: db.Close,
			Reopen: func(t *testing.T) ceremony.Store {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				return open(t, path, boltstore.Options{}).For(storetest.RPID)
			},
		}
	})
}

// open opens a database whose sweeper stays away, and closes it after the test.
func open(t testing.TB, path string, opts boltstore.Options) *boltstore.DB {
	t.Helper()
	if opts.SweepEvery == 0 {
		opts.SweepEvery = 24 * time.Hour
	}
	db, err := boltstore.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

const rpID = storetest.RPID

var now = time.Date(2026, time.March, 14, 15, 9, 26, 535897932, time.UTC)

func newPasskey(seed string) passkey.Passkey {
	return passkey.Passkey{
		ID:           []byte("credential id of " + seed),
		PublicKey:    []byte("public key"),
		Name:         seed,
		CreatedAt:    now,
		LastCeremony: passkey.ChallengeID([]byte("registration of " + seed)),
	}
}

func newChallenge(user, seed string) passkey.Challenge {
	return passkey.Challenge{
		ID:      passkey.ChallengeID([]byte(seed)),
		RPID:    rpID,
		User:    user,
		Action:  passkey.FirstUse,
		Origin:  "https://example.com",
		Expires: now.Add(time.Minute),
	}
}

func claimOf(c passkey.Challenge) passkey.Claim {
	return passkey.Claim{ID: c.ID, User: c.User, Kind: c.Action.Kind(), Browser: c.Browser}
}

// register registers a user's next passkey.
func register(t testing.TB, s *boltstore.Store, user string, p passkey.Passkey) passkey.User {
	t.Helper()
	account, err := s.Account(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	next, err := account.User.Adding(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Register(t.Context(), next, p); err != nil {
		t.Fatal(err)
	}
	return next
}

func TestMain(m *testing.M) {
	if do := os.Getenv(childVariable); do != "" {
		os.Exit(child(do, os.Args[len(os.Args)-1]))
	}
	os.Exit(m.Run())
}
