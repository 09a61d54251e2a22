package boltstore_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// adas are what the keys of ada's records begin with.
var adas = map[string]string{
	"u": "u\x00\x00\x00\x0bexample.com\x00\x00\x00\x03ada",
	"p": "p\x00\x00\x00\x0bexample.com\x00\x00\x00\x03ada",
	"c": "c\x00\x00\x00\x0bexample.com\x00\x00\x00\x03ada",
	"o": "o\x00\x00\x00\x0bexample.com" + func() string {
		sum := sha256.Sum256(newPasskey("laptop").ID)
		return string(sum[:])
	}(),
}

// records returns everything in a file that is not open.
func records(t *testing.T, path string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	edit(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("records")).ForEach(func(k, v []byte) error {
			found[string(k)] = string(v)
			return nil
		})
	})
	return found
}

// An unreadable record makes everything that needs it unavailable, and stays as it is, byte for byte.
func TestUnreadableRecord(t *testing.T) {
	replace := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	for _, damage := range []struct {
		name string
		edit func(string) string
	}{
		{"future version", replace(`"v":1`, `"v":2`)},
		{"no version", replace(`"v":1,`, ``)},
		{"version twice", replace(`"v":1`, `"v":1,"v":1`)},
		{"version in capitals", replace(`"v":1`, `"V":1`)},
		{"unknown member", replace(`"v":1`, `"v":1,"w":1`)},
		{"space", replace(`"v":1`, `"v": 1`)},
		{"trailing bytes", func(s string) string { return s + " " }},
		{"cut short", func(s string) string { return s[:len(s)-1] }},
		{"empty", func(string) string { return "" }},
		{"null", func(string) string { return "null" }},
		{"another user's", replace(`"user":"YWRh"`, `"user":"Ym9i"`)},
		{"no user", replace(`"user":"YWRh",`, ``)},
		{"another relying party's", replace(`"rp_id":"example.com"`, `"rp_id":"example.net"`)},
		{"null member", replace(`"rp_id":"example.com"`, `"rp_id":null`)},
		{"not JSON", func(string) string { return "\x00\xff" }},
	} {
		for _, tag := range []string{"u", "p", "c", "o"} {
			if tag == "o" && strings.Contains(damage.name, "another user's") {
				continue // whose it is makes no difference to who may not have it
			}
			t.Run(tag+"/"+damage.name, func(t *testing.T) { testUnreadable(t, tag, damage.edit) })
		}
	}
	t.Run("p/no public key", func(t *testing.T) {
		testUnreadable(t, "p", replace(`"public_key":"cHVibGljIGtleQ=="`, `"public_key":""`))
	})
	t.Run("p/short AAGUID", func(t *testing.T) { testUnreadable(t, "p", replace(`"AAAAAAAAAAAAAAAAAAAAAA=="`, `"AAAA"`)) })
	t.Run("p/negative sign count", func(t *testing.T) { testUnreadable(t, "p", replace(`"sign_count":0`, `"sign_count":-1`)) })
	t.Run("u/version 0", func(t *testing.T) { testUnreadable(t, "u", replace(`"version":1`, `"version":0`)) })
	t.Run("c/unknown action", func(t *testing.T) { testUnreadable(t, "c", replace(`"first_use"`, `"last_use"`)) })
	t.Run("c/unknown level", func(t *testing.T) { testUnreadable(t, "c", replace(`"level":""`, `"level":"most"`)) })
}

func testUnreadable(t *testing.T, tag string, damage func(string) string) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	db := open(t, path, boltstore.Options{NoSync: true})
	ada, c := newPasskey("laptop"), newChallenge("ada", "one")
	user := register(t, db.For(rpID), "ada", ada)
	register(t, db.For(rpID), "bob", newPasskey("phone"))
	if _, err := db.For(rpID).Begin(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	db.Close()
	edit(t, path, func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte("records"))
		key, value := b.Cursor().Seek([]byte(adas[tag]))
		after := damage(string(value))
		if after == string(value) {
			t.Fatalf("the damage changed nothing in %s", after)
		}
		return b.Put(bytes.Clone(key), []byte(after))
	})
	before := records(t, path)

	db = open(t, path, boltstore.Options{NoSync: true})
	s, ctx := db.For(rpID), t.Context()
	added, _ := user.Adding(newPasskey("another"))
	renamed, _ := user.Renaming(ada.ID, "renamed")
	removed, _ := user.Removing(ada.ID)
	thief, _ := passkey.User{Name: "eve"}.Adding(ada)
	calls := map[string]map[string]func() error{
		"u": {
			"Begin":      func() error { _, err := s.Begin(ctx, newChallenge("ada", "two")); return err },
			"Account":    func() error { _, err := s.Account(ctx, "ada"); return err },
			"Register":   func() error { return s.Register(ctx, added, newPasskey("another")) },
			"Rename":     func() error { return s.Rename(ctx, renamed, ada.ID, "renamed") },
			"Remove":     func() error { return s.Remove(ctx, removed, ada.ID) },
			"ChangeUser": func() error { return s.ChangeUser(ctx, user.InEpoch(passkey.Epoch{1})) },
		},
		"p": {
			"Begin":   func() error { _, err := s.Begin(ctx, newChallenge("ada", "two")); return err },
			"Account": func() error { _, err := s.Account(ctx, "ada"); return err },
			"Rename":  func() error { return s.Rename(ctx, renamed, ada.ID, "renamed") },
			"Remove":  func() error { return s.Remove(ctx, removed, ada.ID) },
			"Use":     func() error { return s.Use(ctx, "ada", passkey.Use{ID: ada.ID, Ceremony: "use", At: now}) },
		},
		"c": {"Consume": func() error { _, _, err := s.Consume(ctx, claimOf(c), now); return err }},
		"o": {
			"Register": func() error { return s.Register(ctx, thief, ada) },
			"Remove":   func() error { return s.Remove(ctx, removed, ada.ID) },
		},
	}
	for name, call := range calls[tag] {
		var refusal passkey.Refusal
		if err := call(); !errors.As(err, &refusal) || refusal != passkey.StoreUnavailable {
			t.Errorf("%s: %v, want %s", name, err, passkey.StoreUnavailable)
		} else if strings.Contains(err.Error(), "YWRh") || strings.Contains(err.Error(), "laptop") {
			t.Errorf("%s: %q names a user or a passkey", name, err)
		}
	}
	if account, err := s.Account(ctx, "bob"); err != nil || len(account.Passkeys) != 1 {
		t.Errorf("another user's account: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, records(t, path)); diff != "" {
		t.Errorf("records were changed (-before +after):\n%s", diff)
	}
}

// The user's list is what limits are decided on, the records are what authenticates: neither is believed alone.
func TestListAndRecordsDisagree(t *testing.T) {
	for name, damage := range map[string]func(b *bolt.Bucket) error{
		"no user record": func(b *bolt.Bucket) error { return b.Delete([]byte(adas["u"])) },
		"no passkey record": func(b *bolt.Bucket) error {
			key, _ := b.Cursor().Seek([]byte(adas["p"]))
			return b.Delete(bytes.Clone(key))
		},
		"not in the list": func(b *bolt.Bucket) error {
			list, _, _ := strings.Cut(string(b.Get([]byte(adas["u"]))), `"passkeys":`)
			return b.Put([]byte(adas["u"]), []byte(list+`"passkeys":[]}`))
		},
		"under another key": func(b *bolt.Bucket) error {
			key, value := b.Cursor().Seek([]byte(adas["p"]))
			key, value = bytes.Clone(key), bytes.Clone(value)
			if err := b.Delete(key); err != nil {
				return err
			}
			key[len(key)-1] ^= 1
			return b.Put(key, value)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stepgate.db")
			db := open(t, path, boltstore.Options{NoSync: true})
			register(t, db.For(rpID), "ada", newPasskey("laptop"))
			db.Close()
			edit(t, path, func(tx *bolt.Tx) error { return damage(tx.Bucket([]byte("records"))) })

			s := open(t, path, boltstore.Options{NoSync: true}).For(rpID)
			_, err := s.Account(t.Context(), "ada")
			unavailable(t, "Account", err)
			_, err = s.Begin(t.Context(), newChallenge("ada", "one"))
			unavailable(t, "Begin", err)
		})
	}
}

// When the account can't be read, the challenge stays consumed: it was tried, and must not be tried again.
func TestConsumedThoughAccountIsUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	db := open(t, path, boltstore.Options{})
	register(t, db.For(rpID), "ada", newPasskey("laptop"))
	c := newChallenge("ada", "one")
	if _, err := db.For(rpID).Begin(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	db.Close()
	edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("records")).Put([]byte(adas["u"]), []byte("?")) })

	s := open(t, path, boltstore.Options{}).For(rpID)
	got, _, err := s.Consume(t.Context(), claimOf(c), now)
	unavailable(t, "Consume", err)
	if got.ID != "" {
		t.Error("the challenge was returned with an error")
	}
	_, _, err = s.Consume(t.Context(), claimOf(c), now)
	refused(t, "consuming again", err, passkey.ChallengeUsed)
}

func unavailable(t *testing.T, what string, err error) {
	t.Helper()
	refused(t, what, err, passkey.StoreUnavailable)
}

func refused(t *testing.T, what string, err error, want passkey.Refusal) {
	t.Helper()
	var refusal passkey.Refusal
	if !errors.As(err, &refusal) || refusal != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}
