package storetest

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// First use is once (docs/rules.md, rule 10): whoever knows a user's password races the user for the first passkey, and only
// one of any number may get it. The losers leave nothing behind.
func testFirstPasskeyOnce(t *testing.T, s ceremony.Store) {
	nobody := read(t, s, "ada").User
	var (
		passkeys [racers]passkey.Passkey
		users    [racers]passkey.User
		won      = make(chan int, racers)
	)
	for i := range racers {
		passkeys[i] = newPasskey(fmt.Sprint("racer ", i))
		users[i] = adding(t, nobody, passkeys[i])
	}
	got := race(racers, func(i int) error {
		err := s.Register(context.Background(), users[i], passkeys[i])
		if err == nil {
			won <- i
		}
		return err
	})
	want := map[string]int{"accepted": 1, string(passkey.Conflict): racers - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("concurrent first registrations (-want +got):\n%s", diff)
	}
	winner := <-won
	stored(t, s, passkey.Account{User: users[winner], Passkeys: []passkey.Passkey{passkeys[winner]}})

	loser := (winner + 1) % racers
	stored(t, s, enroll(t, s, "bob", passkeys[loser])) // its credential id is nobody's
}

// "Nobody, under any user, holds the credential id"; "the credential id may be registered again" after Remove.
func testCredentialIDUnique(t *testing.T, s ceremony.Store) {
	p := newPasskey("laptop")
	ada := enroll(t, s, "ada", p)
	bob := enroll(t, s, "bob", newPasskey("phone"))

	again := p
	again.LastCeremony, again.Name = passkey.ChallengeID([]byte("another ceremony")), "again"
	for _, u := range []passkey.User{bob.User, {Name: "eve"}} {
		refused(t, "registering somebody else's credential id", s.Register(t.Context(), adding(t, u, again), again), passkey.PasskeyExists)
	}
	// Even in the ceremony that the owner's record names: a lost answer is recognised for its own user only.
	refused(t, "registering somebody else's passkey", s.Register(t.Context(), adding(t, bob.User, p), p), passkey.PasskeyExists)
	stored(t, s, ada)
	stored(t, s, bob)
	stored(t, s, passkey.Account{User: passkey.User{Name: "eve"}})

	removed, err := ada.User.Removing(p.ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), removed, p.ID))
	stored(t, s, enroll(t, s, "bob", again))
	stored(t, s, passkey.Account{User: removed})
}

// Two users registering one credential id at once: an authenticator that lies, or a stolen attestation.
func testCredentialIDRace(t *testing.T, s ceremony.Store) {
	p := newPasskey("shared")
	var users [racers]passkey.User
	for i := range racers {
		users[i] = adding(t, passkey.User{Name: fmt.Sprint("user ", i)}, p)
	}
	got := race(racers, func(i int) error { return s.Register(context.Background(), users[i], p) })
	want := map[string]int{"accepted": 1, string(passkey.PasskeyExists): racers - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("concurrent registrations of one credential id (-want +got):\n%s", diff)
	}
	holders := 0
	for _, u := range users {
		account := read(t, s, u.Name)
		if len(account.Passkeys) != int(account.User.Version) {
			t.Errorf("%s has version %d and %d passkeys", u.Name, account.User.Version, len(account.Passkeys))
		}
		holders += len(account.Passkeys)
	}
	if holders != 1 {
		t.Errorf("%d users hold the credential id, want 1", holders)
	}
}

// Credential ids of the greatest length, equal up to the last byte.
func testLongCredentialID(t *testing.T, s ceremony.Store) {
	long := func(last byte) passkey.Passkey {
		p := newPasskey(fmt.Sprint("long ", last))
		p.ID = append(bytes.Repeat([]byte{0xff}, passkey.MaxIDLength-1), last)
		return p
	}
	account := enroll(t, s, "ada", long(0), long(1))
	stored(t, s, account)
	accepted(t, "Use", s.Use(t.Context(), "ada", newUse(long(1), "use", 11)))
	refused(t, "Use of another one", s.Use(t.Context(), "ada", newUse(long(2), "use", 11)), passkey.PasskeyUnknown)

	removed, err := account.User.Removing(long(0).ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), removed, long(0).ID))
	used := long(1)
	used.SignCount, used.LastUsedAt, used.LastCeremony = 11, now, passkey.ChallengeID([]byte("use"))
	stored(t, s, passkey.Account{User: removed, Passkeys: []passkey.Passkey{used}})
}

// "A record that already holds this registration (same LastCeremony) is success": the answer was lost and the caller,
// or the store's client library, asks again.
func testRegisterLostAnswer(t *testing.T, s ceremony.Store) {
	p := newPasskey("laptop")
	account := enroll(t, s, "ada", p)
	for range 2 {
		accepted(t, "Register again", s.Register(t.Context(), account.User, p))
		stored(t, s, account)
	}
	later := enroll(t, s, "ada", newPasskey("phone"))
	accepted(t, "Register again after another one", s.Register(t.Context(), account.User, p))
	later.Passkeys = []passkey.Passkey{p, newPasskey("phone")}
	stored(t, s, later)

	// Another ceremony is not the same registration.
	other := p
	other.LastCeremony = passkey.ChallengeID([]byte("another ceremony"))
	next := later.User
	next.Version++
	refused(t, "registering one's own passkey again", s.Register(t.Context(), next, other), passkey.PasskeyExists)
	stored(t, s, later)
}

// "Only if the stored user record has version next.Version-1 (no record for 1)."
func testRegisterConflict(t *testing.T, s ceremony.Store) {
	p := newPasskey("phone")
	for _, version := range []uint64{0, 2, 1<<64 - 1} {
		u := adding(t, passkey.User{Name: "ada"}, p)
		u.Version = version
		refused(t, fmt.Sprintf("version %d for a user never seen", version), s.Register(t.Context(), u, p), passkey.Conflict)
	}
	account := enroll(t, s, "ada", newPasskey("laptop"))
	for _, version := range []uint64{0, 1, 3, 1<<64 - 1} {
		u := adding(t, account.User, p)
		u.Version = version
		refused(t, fmt.Sprintf("version %d after 1", version), s.Register(t.Context(), u, p), passkey.Conflict)
	}
	stored(t, s, account)

	// The record outlives the passkeys: version 1 can't be written a second time.
	removed, err := account.User.Removing(account.Passkeys[0].ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), removed, account.Passkeys[0].ID))
	first := adding(t, passkey.User{Name: "ada"}, p)
	refused(t, "a first passkey after the last was removed", s.Register(t.Context(), first, p), passkey.Conflict)
	stored(t, s, passkey.Account{User: removed})
}
