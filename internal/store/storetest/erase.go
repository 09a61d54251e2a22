package storetest

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// "Erase deletes the record of a user without passkeys and their invitation, only if the stored record has this very
// version and the stored invitation this id. From then on the user was never seen."
func testErase(t *testing.T, s ceremony.Store) {
	laptop := newPasskey("laptop")
	account := enroll(t, s, "ada", laptop)
	bob := enroll(t, s, "bob", newPasskey("key"))
	refused(t, "Erase of a user with a passkey", s.Erase(t.Context(), account.User, ""), passkey.Internal)
	stored(t, s, account)

	empty, err := account.User.Removing(laptop.ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), empty, laptop.ID))
	accepted(t, "Invite", s.Invite(t.Context(), "ada", newInvitation("ada's")))
	for _, version := range wrongVersions {
		if version == empty.Version {
			continue
		}
		refused(t, "Erase at another version", s.Erase(t.Context(), passkey.User{Name: "ada", Version: version}, newInvitation("ada's").ID), passkey.Conflict)
	}
	stored(t, s, passkey.Account{User: empty, Invitation: newInvitation("ada's")})
	for what, id := range map[string]string{"without their invitation": "", "with another invitation": newInvitation("another").ID} {
		refused(t, "Erase "+what, s.Erase(t.Context(), empty, id), passkey.Conflict)
	}
	stored(t, s, passkey.Account{User: empty, Invitation: newInvitation("ada's")})
	accepted(t, "Erase", s.Erase(t.Context(), empty, newInvitation("ada's").ID))
	stored(t, s, passkey.Account{User: passkey.User{Name: "ada"}})
	refused(t, "Erase again", s.Erase(t.Context(), empty, ""), passkey.Conflict)

	// Somebody who was only invited has no record; their invitation goes.
	accepted(t, "Invite", s.Invite(t.Context(), "eve", newInvitation("eve's")))
	refused(t, "Erase of somebody who was invited since", s.Erase(t.Context(), passkey.User{Name: "eve"}, ""), passkey.Conflict)
	stored(t, s, passkey.Account{User: passkey.User{Name: "eve"}, Invitation: newInvitation("eve's")})
	accepted(t, "Erase of somebody invited", s.Erase(t.Context(), passkey.User{Name: "eve"}, newInvitation("eve's").ID))
	refused(t, "Erase of an invitation that is gone", s.Erase(t.Context(), passkey.User{Name: "eve"}, newInvitation("eve's").ID), passkey.Conflict)
	stored(t, s, passkey.Account{User: passkey.User{Name: "eve"}})
	refused(t, "Erase as of before the first passkey", s.Erase(t.Context(), passkey.User{Name: "bob"}, ""), passkey.Conflict)
	stored(t, s, bob)

	// First use is open again, and the credential id is free.
	laptop.LastCeremony = passkey.ChallengeID([]byte("registered again"))
	stored(t, s, enroll(t, s, "ada", laptop))
}

// Of an erasure and changes made from the same version exactly one is written: nobody registers into a record that is gone.
func testEraseRace(t *testing.T, s ceremony.Store) {
	laptop := newPasskey("laptop")
	account := enroll(t, s, "ada", laptop)
	empty, err := account.User.Removing(laptop.ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), empty, laptop.ID))
	got := race(racers, func(i int) error {
		ctx := context.Background()
		if i%2 == 0 {
			return s.Erase(ctx, empty, "")
		}
		p := newPasskey("racer " + string(rune('a'+i)))
		next, err := empty.Adding(p)
		if err != nil {
			return err
		}
		return s.Register(ctx, next, p)
	})
	want := map[string]int{"accepted": 1, string(passkey.Conflict): racers - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("erasing while registering (-want +got):\n%s", diff)
	}
	if after := read(t, s, "ada"); after.User.Version != 0 && len(after.Passkeys) != 1 {
		t.Errorf("after the race: %+v", after)
	}
}

// Recovery codes are a part of the user record: changed alone, kept by other changes, and spent by what they registered.
func testRecoveryCodes(t *testing.T, s ceremony.Store) {
	laptop, phone := newPasskey("laptop"), newPasskey("phone")
	account := enroll(t, s, "ada", laptop)
	codes := []passkey.Digest{passkey.CodeDigest("one"), passkey.CodeDigest("two")}
	next := account.User.WithRecovery(passkey.Recovery{Codes: codes, MadeAt: now})
	accepted(t, "ChangeUser", s.ChangeUser(t.Context(), next))
	account.User = next
	stored(t, s, account)

	next, err := account.User.Renaming(laptop.ID, "renamed")
	accepted(t, "Renaming", err)
	accepted(t, "Rename", s.Rename(t.Context(), next, laptop.ID, "renamed"))
	account.User, account.Passkeys[0].Name = next, "renamed"
	stored(t, s, account)

	spent, err := account.User.Spending(passkey.CodeID("ONE"))
	accepted(t, "Spending", err)
	phone.MaxLevel, phone.Trusted = passkey.Verified, true
	next, err = spent.Adding(phone)
	accepted(t, "Adding", err)
	accepted(t, "Register", s.Register(t.Context(), next, phone))
	account = passkey.Account{User: next, Passkeys: append(account.Passkeys, phone)}
	stored(t, s, account)
	if left := read(t, s, "ada").User.Recovery.Codes; len(left) != 1 || left[0] != codes[1] {
		t.Errorf("left: %v", left)
	}
	next = account.User.WithRecovery(passkey.Recovery{})
	accepted(t, "ChangeUser", s.ChangeUser(t.Context(), next))
	account.User = next
	stored(t, s, account)
}

// "With LearnBackup the record's backup eligibility must be unknown, or what is learned."
func testLearnBackup(t *testing.T, s ceremony.Store) {
	for name, eligible := range map[string]bool{"synced": true, "bound": false} {
		p := newPasskey(name)
		p.BackupUnknown, p.BackupEligible, p.BackedUp, p.SignCount = true, false, false, 0
		account := enroll(t, s, name, p)
		learn := func(seed string, eligible bool) passkey.Use {
			use := newUse(p, seed, 0)
			use.BackedUp, use.LearnBackup, use.BackupEligible, use.On = eligible, true, eligible, "https://aws.example.com"
			return use
		}
		use := learn(name+" first", eligible)
		accepted(t, "Use", s.Use(t.Context(), name, use))
		p.BackupUnknown, p.BackupEligible, p.BackedUp = false, eligible, eligible
		p.LastUsedAt, p.LastUsedOn, p.LastCeremony = use.At, use.On, use.Ceremony
		account.Passkeys[0] = p
		stored(t, s, account)
		refused(t, "learning otherwise", s.Use(t.Context(), name, learn(name+" other", !eligible)), passkey.BackupFlagsInconsistent)
		stored(t, s, account)
		use = learn(name+" second", eligible) // one that came at the same time
		accepted(t, "Use", s.Use(t.Context(), name, use))
		p.LastCeremony = use.Ceremony
		account.Passkeys[0] = p
		stored(t, s, account)
	}
}
