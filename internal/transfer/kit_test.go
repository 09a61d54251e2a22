package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
	"github.com/stepgate/stepgate/internal/transfer"
)

const rpID = "example.com"

var now = time.Date(2026, time.March, 14, 15, 9, 26, 535897932, time.UTC)

// opts never sleeps and knows what time it is.
var opts = transfer.Options{
	Now:  func() time.Time { return now },
	Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
}

func newPasskey(seed string) passkey.Passkey {
	return passkey.Passkey{
		ID:                []byte("credential id of " + seed),
		PublicKey:         []byte("public key"),
		SignCount:         7,
		Transports:        []string{"hybrid", "internal"},
		BackupEligible:    true,
		AAGUID:            [16]byte{0xad, 0xce, 15: 0x01},
		AttestationFormat: "none",
		Name:              seed,
		CreatedAt:         now.Add(-time.Hour),
		LastUsedAt:        now,
		LastCeremony:      passkey.ChallengeID([]byte(seed)),
	}
}

func newAccount(user string, passkeys ...passkey.Passkey) passkey.Account {
	handle := passkey.DigestOf("handle of " + user)
	epoch := passkey.DigestOf("epoch of " + user)
	account := passkey.Account{
		User:     passkey.User{Name: user, Version: 3, Handle: handle[:], Epoch: passkey.Epoch(epoch[:16])},
		Passkeys: passkeys,
	}
	for _, p := range passkeys {
		account.User.Passkeys = append(account.User.Passkeys, passkey.Ref{ID: p.ID, Folded: passkey.FoldName(p.Name)})
	}
	return account
}

// open returns a store with these accounts in it.
func open(t testing.TB, accounts ...passkey.Account) *boltstore.Store {
	t.Helper()
	db, err := boltstore.Open(filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true, SweepEvery: time.Hour})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	s := db.For(rpID)
	for _, account := range accounts {
		must(t, s.Import(t.Context(), account))
	}
	return s
}

// several returns accounts in the order in which the store lists them.
func several(n int) (list []passkey.Account) {
	for i := range n {
		account := newAccount(fmt.Sprintf("user %03d", i))
		for j := range i % 3 {
			account = newAccount(account.User.Name, append(account.Passkeys, newPasskey(fmt.Sprint(i, " ", j)))...)
		}
		list = append(list, account)
	}
	return list
}

// exported returns the export of a store with these accounts.
func exported(t testing.TB, accounts ...passkey.Account) []byte {
	t.Helper()
	var out bytes.Buffer
	_, err := transfer.Export(t.Context(), open(t, accounts...), rpID, &out, opts)
	must(t, err)
	return out.Bytes()
}

func all(t testing.TB, s transfer.Store) (list []passkey.Account) {
	t.Helper()
	must(t, s.Users(t.Context(), "", func(a passkey.Account) error {
		list = append(list, a)
		return nil
	}))
	return list
}

// sameButEpochs fails unless the accounts are the same, each in a new epoch.
func sameButEpochs(t testing.TB, got, want []passkey.Account) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(passkey.User{}, "Epoch")); diff != "" {
		t.Errorf("accounts (-want +got):\n%s", diff)
	}
	seen := map[passkey.Epoch]bool{{}: true}
	for _, account := range want {
		seen[account.User.Epoch] = true
	}
	for _, account := range got {
		if seen[account.User.Epoch] {
			t.Errorf("%s is in an old epoch, or in another one's: %x", account.User.Name, account.User.Epoch)
		}
		seen[account.User.Epoch] = true
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unruly is a store that fails as it is told to. A nil field lets the call through.
type unruly struct {
	transfer.Store
	account  func() error
	users    func(n int) error           // before the nth user, from 1, of one call
	imported func(passkey.Account) error // instead of importing
	answered func(passkey.Account) error // after importing
}

func (s *unruly) Account(ctx context.Context, user string) (passkey.Account, error) {
	if s.account != nil {
		if err := s.account(); err != nil {
			return passkey.Account{}, err
		}
	}
	return s.Store.Account(ctx, user)
}

func (s *unruly) Users(ctx context.Context, after string, yield func(passkey.Account) error) error {
	n := 0
	return s.Store.Users(ctx, after, func(a passkey.Account) error {
		if n++; s.users != nil {
			if err := s.users(n); err != nil {
				return err
			}
		}
		return yield(a)
	})
}

func (s *unruly) Import(ctx context.Context, account passkey.Account) error {
	if s.imported != nil {
		if err := s.imported(account); err != nil {
			return err
		}
	}
	err := s.Store.Import(ctx, account)
	if err == nil && s.answered != nil {
		err = s.answered(account)
	}
	return err
}

type run func(context.Context, transfer.Store, transfer.Source, transfer.Options) (transfer.Report, error)

// load reads an export from its header on, and imports it or rehearses that.
func load(ctx context.Context, what run, s transfer.Store, in io.Reader, opts transfer.Options) (transfer.Report, error) {
	reader, err := transfer.NewReader(in, rpID)
	if err != nil {
		return transfer.Report{}, err
	}
	return what(ctx, s, reader, opts)
}
