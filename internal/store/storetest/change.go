package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// wrongVersions are what next.Version must not be after version 2.
var wrongVersions = []uint64{0, 1, 2, 4, 1<<64 - 1}

// "Rename writes the user record and the passkey's name in one transaction."
func testRename(t *testing.T, s ceremony.Store) {
	laptop, phone := newPasskey("laptop"), newPasskey("phone")
	account := enroll(t, s, "ada", laptop, phone)
	next, err := account.User.Renaming(phone.ID, "Büro ☂")
	accepted(t, "Renaming", err)
	for _, version := range wrongVersions {
		stale := next
		stale.Version = version
		refused(t, fmt.Sprintf("Rename to version %d after 2", version), s.Rename(t.Context(), stale, phone.ID, "Büro ☂"), passkey.Conflict)
	}
	stored(t, s, account)

	accepted(t, "Rename", s.Rename(t.Context(), next, phone.ID, "Büro ☂"))
	phone.Name = "Büro ☂"
	account = passkey.Account{User: next, Passkeys: []passkey.Passkey{laptop, phone}}
	stored(t, s, account)

	next = account.User
	next.Version++
	refused(t, "Rename of a passkey never registered", s.Rename(t.Context(), next, newPasskey("other").ID, "x"), passkey.PasskeyUnknown)
	refused(t, "Rename for a user never seen", s.Rename(t.Context(), passkey.User{Name: "bob", Version: 1}, phone.ID, "x"), passkey.PasskeyUnknown)
	stored(t, s, account)
	stored(t, s, passkey.Account{User: passkey.User{Name: "bob"}})
}

// "Remove writes the user record and deletes the passkey and its owner record in one transaction."
func testRemove(t *testing.T, s ceremony.Store) {
	laptop, phone := newPasskey("laptop"), newPasskey("phone")
	account := enroll(t, s, "ada", laptop, phone)
	bob := enroll(t, s, "bob", newPasskey("key"))
	next, err := account.User.Removing(laptop.ID)
	accepted(t, "Removing", err)
	for _, version := range wrongVersions {
		stale := next
		stale.Version = version
		refused(t, fmt.Sprintf("Remove to version %d after 2", version), s.Remove(t.Context(), stale, laptop.ID), passkey.Conflict)
	}
	stolen := account.User
	stolen.Version++
	refused(t, "Remove of somebody else's passkey", s.Remove(t.Context(), stolen, bob.Passkeys[0].ID), passkey.PasskeyUnknown)
	stored(t, s, account)
	stored(t, s, bob)

	accepted(t, "Remove", s.Remove(t.Context(), next, laptop.ID))
	account = passkey.Account{User: next, Passkeys: []passkey.Passkey{phone}}
	stored(t, s, account)

	gone := next
	gone.Version++
	refused(t, "Remove of what is gone", s.Remove(t.Context(), gone, laptop.ID), passkey.PasskeyUnknown)
	refused(t, "Rename of what is gone", s.Rename(t.Context(), gone, laptop.ID, "x"), passkey.PasskeyUnknown)
	stored(t, s, account)

	// The last one goes too, and the record of the user stays.
	last, err := account.User.Removing(phone.ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), last, phone.ID))
	stored(t, s, passkey.Account{User: last})
	laptop.LastCeremony = passkey.ChallengeID([]byte("registered again"))
	stored(t, s, enroll(t, s, "ada", laptop))
}

// "ChangeUser writes the user record alone, conditioned as Register is."
func testChangeUser(t *testing.T, s ceremony.Store) {
	account := enroll(t, s, "ada", newPasskey("laptop"), newPasskey("phone"))
	epoch := passkey.Epoch(sixteen("another epoch"))
	next := account.User.InEpoch(epoch)
	for _, version := range wrongVersions {
		stale := next
		stale.Version = version
		refused(t, fmt.Sprintf("ChangeUser to version %d after 2", version), s.ChangeUser(t.Context(), stale), passkey.Conflict)
	}
	stored(t, s, account)
	accepted(t, "ChangeUser", s.ChangeUser(t.Context(), next))
	account.User = next
	stored(t, s, account)

	// No record for version 1: it is made, and from then on nobody registers on the first factor alone.
	first := passkey.User{Name: "bob"}.InEpoch(epoch)
	accepted(t, "ChangeUser for a user never seen", s.ChangeUser(t.Context(), first))
	stored(t, s, passkey.Account{User: first})
}

// Of changes made from one version exactly one is written, whatever they are.
func testChangeRace(t *testing.T, s ceremony.Store) {
	laptop := newPasskey("laptop")
	account := enroll(t, s, "ada", laptop)
	got := race(racers, func(i int) error {
		u, ctx := account.User, context.Background()
		switch i % 3 {
		case 0:
			p := newPasskey(fmt.Sprint("racer ", i))
			next, err := u.Adding(p)
			if err != nil {
				return err
			}
			return s.Register(ctx, next, p)
		case 1:
			next, err := u.Renaming(laptop.ID, fmt.Sprint("name ", i))
			if err != nil {
				return err
			}
			return s.Rename(ctx, next, laptop.ID, fmt.Sprint("name ", i))
		default:
			return s.ChangeUser(ctx, u.InEpoch(passkey.Epoch{byte(i)}))
		}
	})
	want := map[string]int{"accepted": 1, string(passkey.Conflict): racers - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("concurrent changes of one version (-want +got):\n%s", diff)
	}
	if now := read(t, s, "ada").User; now.Version != account.User.Version+1 {
		t.Errorf("version is %d, want %d", now.Version, account.User.Version+1)
	}
}
