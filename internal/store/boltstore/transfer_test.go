package boltstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
	"github.com/stepgate/stepgate/internal/transfer"
)

func newAccount(user string, passkeys ...passkey.Passkey) passkey.Account {
	account := passkey.Account{User: passkey.User{Name: user, Version: 2, Handle: []byte("handle of " + user)}, Passkeys: passkeys}
	for _, p := range passkeys {
		account.User.Passkeys = append(account.User.Passkeys, passkey.Ref{ID: p.ID, Folded: passkey.FoldName(p.Name)})
	}
	return account
}

func countUsers(t *testing.T, s *boltstore.Store) (n int) {
	t.Helper()
	if err := s.Users(t.Context(), "", func(passkey.Account) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// An account that no reader would accept is the caller's mistake, and is not written.
func TestImportMistakes(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{}).For(rpID)
	laptop, phone := newPasskey("laptop"), newPasskey("phone")
	with := func(edit func(*passkey.Account)) passkey.Account {
		a := newAccount("ada", laptop, phone)
		edit(&a)
		return a
	}
	for name, account := range map[string]passkey.Account{
		"version 0":                      with(func(a *passkey.Account) { a.User.Version = 0 }),
		"a passkey that is not listed":   with(func(a *passkey.Account) { a.User.Passkeys = a.User.Passkeys[:1] }),
		"a listed one that is missing":   with(func(a *passkey.Account) { a.Passkeys = a.Passkeys[:1] }),
		"another one listed":             with(func(a *passkey.Account) { a.User.Passkeys[1].ID = []byte("other") }),
		"one listed twice":               with(func(a *passkey.Account) { a.User.Passkeys[1] = a.User.Passkeys[0] }),
		"a passkey without a public key": with(func(a *passkey.Account) { a.Passkeys[1].PublicKey = nil }),
	} {
		refused(t, name, s.Import(t.Context(), account), passkey.Internal)
	}
	refused(t, "a passkey twice", s.Import(t.Context(), newAccount("ada", laptop, laptop)), passkey.PasskeyExists)
	if n := countUsers(t, s); n != 0 {
		t.Errorf("%d users after mistakes", n)
	}
	if err := s.Import(t.Context(), newAccount("ada", laptop, phone)); err != nil {
		t.Errorf("importing after mistakes: %v", err)
	}
}

// Shorter names first, then by bytes; the empty name, which the gate refuses, is there too and is not taken for the start.
func TestUsersOrder(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true})
	s := db.For(rpID)
	var want []string
	for i := range 65 { // two batches and one
		want = append(want, fmt.Sprintf("%03d", i))
	}
	want = append([]string{"", "z", "\xff", "aa"}, append(want, "0000", strings.Repeat("\xff", 256))...)
	for i := len(want) - 1; i >= 0; i-- {
		if err := s.Import(t.Context(), newAccount(want[i])); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []string{rpID + "x", rpID[1:], ""} {
		if err := db.For(other).Import(t.Context(), newAccount("elsewhere")); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	if err := s.Users(t.Context(), "", func(a passkey.Account) error { got = append(got, a.User.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("order\n%q, want\n%q", got, want)
	}
}

// The reader is not inside a transaction while the caller has a user: a writer does not wait, and pages are freed.
func TestUsersHoldsNoTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	db := open(t, path, boltstore.Options{NoSync: true})
	s := db.For(rpID)
	if err := s.Import(t.Context(), newAccount("ada")); err != nil {
		t.Fatal(err)
	}
	err := s.Users(t.Context(), "", func(passkey.Account) error { return db.Close() }) // waits for readers
	if err != nil {
		t.Error(err)
	}
}

// A record that can't be read ends the listing: an export may not leave somebody out.
func TestUsersOfDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	db := open(t, path, boltstore.Options{NoSync: true})
	for _, user := range []string{"ada", "bob", "eve"} {
		register(t, db.For(rpID), user, newPasskey(user))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	text := contents(t, path)
	write(t, path, bytes.ReplaceAll(text, []byte(`"version":1`), []byte(`"version":0`)))
	s := open(t, path, boltstore.Options{}).For(rpID)
	err := s.Users(t.Context(), "", func(passkey.Account) error { return nil })
	unavailable(t, "Users of a damaged file", err)
	unavailable(t, "Import over a damaged record", s.Import(t.Context(), newAccount("ada")))
}

// A second process is told apart from other failures: a command says what to do.
func TestInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	open(t, path, boltstore.Options{})
	if _, err := boltstore.Open(path, boltstore.Options{Timeout: 1}); !errors.Is(err, boltstore.ErrInUse) {
		t.Errorf("got %v", err)
	}
}

// From file to file, with each user made durable.
func BenchmarkTransfer(b *testing.B) {
	for _, noSync := range []bool{true, false} {
		b.Run(fmt.Sprintf("NoSync=%t", noSync), func(b *testing.B) {
			from := open(b, filepath.Join(b.TempDir(), "from.db"), boltstore.Options{NoSync: true}).For(rpID)
			const users = 1000
			for i := range users {
				account := newAccount(fmt.Sprint("user ", i), newPasskey(fmt.Sprint(i, " laptop")), newPasskey(fmt.Sprint(i, " phone")))
				if err := from.Import(b.Context(), account); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				to := open(b, filepath.Join(b.TempDir(), "to.db"), boltstore.Options{NoSync: noSync}).For(rpID)
				var file bytes.Buffer
				if _, err := transfer.Export(b.Context(), from, rpID, &file, transfer.Options{}); err != nil {
					b.Fatal(err)
				}
				reader, err := transfer.NewReader(&file, rpID)
				if err != nil {
					b.Fatal(err)
				}
				if report, err := transfer.Import(b.Context(), to, reader, transfer.Options{}); err != nil || report.Imported.Users != users {
					b.Fatal(report, err)
				}
			}
			b.ReportMetric(float64(users*b.N)/b.Elapsed().Seconds(), "users/s")
		})
	}
}
