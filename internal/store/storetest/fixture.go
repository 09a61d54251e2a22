package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// now is when the suite takes place.
var now = time.Date(2026, time.March, 14, 15, 9, 26, 535897932, time.UTC)

// testChallengeTTL is long against nothing: only its end is looked at.
const testChallengeTTL = 5 * time.Minute

// newChallenge returns a challenge with every attribute set. Its expiry is a whole second: a store may keep it as one.
func newChallenge(user, seed string, action passkey.Action) passkey.Challenge {
	return passkey.Challenge{
		ID:      passkey.ChallengeID([]byte(seed)),
		RPID:    RPID,
		User:    user,
		Action:  action,
		Target:  passkey.ShortID([]byte("target of " + seed)),
		Level:   passkey.DeviceBound,
		Origin:  "https://console.example.com",
		Browser: passkey.DigestOf("browser of " + seed),
		Session: passkey.DigestOf("session of " + seed),
		Handle:  []byte("handle \x00\xff of " + seed),
		Name:    "Schlüssel ☂ 𝔸 <" + seed + ">",
		Expires: now.Add(testChallengeTTL).Truncate(time.Second),
	}
}

// claimOf returns the claim that fits a challenge.
func claimOf(c passkey.Challenge) passkey.Claim {
	return passkey.Claim{ID: c.ID, User: c.User, Kind: c.Action.Kind(), Browser: c.Browser}
}

// newPasskey returns a passkey with every attribute set, as it is after it was used.
func newPasskey(seed string) passkey.Passkey {
	return passkey.Passkey{
		ID:                []byte("credential id \x00\xff of " + seed),
		PublicKey:         []byte("public key \x00\xff of " + seed),
		SignCount:         10,
		Transports:        []string{"hybrid", "internal"},
		BackupEligible:    true,
		BackedUp:          true,
		AAGUID:            sixteen("model of " + seed),
		AttestationFormat: "packed",
		Name:              "Schlüssel ☂ 𝔸 <" + seed + ">",
		CreatedAt:         now.Add(-time.Hour),
		LastUsedAt:        now.Add(-time.Minute),
		LastUsedOn:        "https://console.example.com",
		LastCeremony:      passkey.ChallengeID([]byte("ceremony of " + seed)),
	}
}

// sixteen returns bytes that look random, for an AAGUID or an epoch.
func sixteen(seed string) [16]byte {
	digest := passkey.DigestOf(seed)
	return [16]byte(digest[:16])
}

// newUse returns a use of p in a ceremony of its own.
func newUse(p passkey.Passkey, seed string, signCount uint32) passkey.Use {
	return passkey.Use{
		ID:        p.ID,
		Ceremony:  passkey.ChallengeID([]byte(seed)),
		SignCount: signCount,
		BackedUp:  true,
		At:        now,
		On:        "https://console.example.com",
	}
}

// enroll registers passkeys one after the other, as the ceremonies do, and returns the account that must be stored.
func enroll(t *testing.T, s ceremony.Store, user string, passkeys ...passkey.Passkey) passkey.Account {
	t.Helper()
	account := read(t, s, user)
	for _, p := range passkeys {
		next := adding(t, account.User, p)
		accepted(t, "Register", s.Register(t.Context(), next, p))
		account.User = next
		account.Passkeys = append(account.Passkeys, p)
	}
	return account
}

// adding is [passkey.User.Adding], with a handle and an epoch for a user's first passkey.
func adding(t *testing.T, u passkey.User, p passkey.Passkey) passkey.User {
	t.Helper()
	next, err := u.Adding(p)
	if err != nil {
		t.Fatalf("adding a passkey to the user: %v", err)
	}
	if next.Version == 1 {
		first, second := passkey.DigestOf("handle of "+u.Name), passkey.DigestOf("more handle of "+u.Name)
		next.Handle = append(first[:], second[:]...)
		next.Epoch = passkey.Epoch(sixteen("epoch of " + u.Name))
	}
	return next
}

func read(t *testing.T, s ceremony.Store, user string) passkey.Account {
	t.Helper()
	account, err := s.Account(t.Context(), user)
	accepted(t, "Account", err)
	return account
}

// stored fails unless the store's account of the user is want, in every attribute.
func stored(t *testing.T, s ceremony.Store, want passkey.Account) {
	t.Helper()
	same(t, "stored account", read(t, s, want.User.Name), want)
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	// A store may not tell nil from empty. Users may hold bytes that cmp would not print as they are.
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

func accepted(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// refused fails unless err is the refusal want: not merely an error, nor another refusal.
func refused(t *testing.T, what string, err error, want passkey.Refusal) {
	t.Helper()
	if got := reason(err); got != string(want) {
		t.Errorf("%s: got %s (%v), want %s", what, got, err, want)
	}
}

// reason names what an error says, for counting.
func reason(err error) string {
	var refusal passkey.Refusal
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &refusal):
		return string(refusal)
	}
	return fmt.Sprintf("unknown error %q", err)
}

// race calls do n times at once and counts the reasons.
func race(n int, do func(i int) error) map[string]int {
	var (
		wait    sync.WaitGroup
		start   = make(chan struct{})
		reasons = make([]string, n)
		count   = make(map[string]int)
	)
	for i := range n {
		wait.Go(func() {
			<-start
			reasons[i] = reason(do(i))
		})
	}
	close(start)
	wait.Wait()
	for _, r := range reasons {
		count[r]++
	}
	return count
}

// methods calls each method of the interface once, all with arguments that would be accepted after enroll(p).
func methods(s ceremony.Store, account passkey.Account, unused passkey.Challenge, issued passkey.Challenge) map[string]func(context.Context) error {
	user, p := account.User, account.Passkeys[0]
	next, fresh := user, newPasskey("not registered")
	next.Version++
	added, _ := user.Adding(fresh)
	removed, _ := user.Removing(p.ID)
	renamed, _ := user.Renaming(p.ID, "renamed")
	return map[string]func(context.Context) error{
		"Invite": func(ctx context.Context) error { return s.Invite(ctx, user.Name, newInvitation("never")) },
		"RegisterInvited": func(ctx context.Context) error {
			return s.RegisterInvited(ctx, added, fresh, newInvitation("never").ID)
		},
		"Begin":      func(ctx context.Context) error { _, err := s.Begin(ctx, unused); return err },
		"Issue":      func(ctx context.Context) error { return s.Issue(ctx, unused) },
		"Consume":    func(ctx context.Context) error { _, _, err := s.Consume(ctx, claimOf(issued), now); return err },
		"Account":    func(ctx context.Context) error { _, err := s.Account(ctx, user.Name); return err },
		"Use":        func(ctx context.Context) error { return s.Use(ctx, user.Name, newUse(p, "never", p.SignCount+1)) },
		"Register":   func(ctx context.Context) error { return s.Register(ctx, added, fresh) },
		"Rename":     func(ctx context.Context) error { return s.Rename(ctx, renamed, p.ID, "renamed") },
		"Remove":     func(ctx context.Context) error { return s.Remove(ctx, removed, p.ID) },
		"ChangeUser": func(ctx context.Context) error { return s.ChangeUser(ctx, next) },
		"Erase":      func(ctx context.Context) error { return s.Erase(ctx, passkey.User{Name: "erased", Version: 1}, "") },
	}
}
