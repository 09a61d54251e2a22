package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// racers is how many goroutines try what only one may do.
const racers = 64

// issue stores a challenge that is expected to be stored.
func issue(t *testing.T, s ceremony.Store, c passkey.Challenge) passkey.Account {
	t.Helper()
	account, err := s.Begin(t.Context(), c)
	accepted(t, "Begin", err)
	return account
}

// "Begin reads the account and stores the challenge"; "Consume deletes the challenge and reads the account".
func testChallenge(t *testing.T, s ceremony.Store) {
	account := enroll(t, s, "ada", newPasskey("laptop"), newPasskey("key"))
	for _, action := range []passkey.Action{passkey.StepUp, passkey.Add, passkey.Remove, passkey.FirstUse, passkey.Another} {
		full := newChallenge("ada", string(action), action)
		bare := passkey.Challenge{ID: passkey.ChallengeID([]byte("bare " + action)), RPID: RPID, User: "ada", Action: action, Expires: full.Expires}
		for _, want := range []passkey.Challenge{full, bare} {
			same(t, "account read by Begin", issue(t, s, want), account)
			got, read, err := s.Consume(t.Context(), claimOf(want), now)
			accepted(t, "Consume", err)
			same(t, "consumed challenge", got, want)
			same(t, "account read by Consume", read, account)

			_, _, err = s.Consume(t.Context(), claimOf(want), now)
			refused(t, "consuming again", err, passkey.ChallengeUsed)
		}
	}
	stored(t, s, account)

	_, _, err := s.Consume(t.Context(), claimOf(newChallenge("ada", "never issued", passkey.StepUp)), now)
	refused(t, "consuming what was never issued", err, passkey.ChallengeUsed)

	// Tabs do not disturb each other.
	first, second := newChallenge("ada", "first tab", passkey.StepUp), newChallenge("ada", "second tab", passkey.StepUp)
	issue(t, s, first)
	issue(t, s, second)
	for _, c := range []passkey.Challenge{first, second} {
		_, _, err = s.Consume(t.Context(), claimOf(c), now)
		accepted(t, "Consume in one of two tabs", err)
	}
}

// "A challenge expires at its Expires, not after it; a record not yet swept is as dead as one that is."
func testExpiry(t *testing.T, s ceremony.Store) {
	enroll(t, s, "ada", newPasskey("laptop"))
	for _, test := range []struct {
		name string
		late time.Duration // against Expires
		want string
	}{
		{"the last instant", -time.Nanosecond, "accepted"},
		{"the instant it expires", 0, string(passkey.ChallengeExpired)},
		{"an instant later", time.Nanosecond, string(passkey.ChallengeExpired)},
		{"a year later", 365 * 24 * time.Hour, string(passkey.ChallengeExpired)},
	} {
		c := newChallenge("ada", test.name, passkey.StepUp)
		issue(t, s, c)
		_, _, err := s.Consume(t.Context(), claimOf(c), c.Expires.Add(test.late))
		if got := reason(err); got != test.want {
			t.Errorf("consuming at %s: got %s (%v), want %s", test.name, got, err, test.want)
		}
	}
}

// "When the check fails, the record stays and the check's error is returned."
func testFailedCheckKeepsChallenge(t *testing.T, s ceremony.Store) {
	enroll(t, s, "ada", newPasskey("laptop"))
	enroll(t, s, "bob", newPasskey("phone"))
	c := newChallenge("ada", "one", passkey.StepUp)
	issue(t, s, c)
	for _, test := range []struct {
		name string
		edit func(*passkey.Claim)
		late bool
		want passkey.Refusal
	}{
		{name: "another browser", edit: func(c *passkey.Claim) { c.Browser[31] ^= 1 }, want: passkey.BrowserMismatch},
		{name: "no browser", edit: func(c *passkey.Claim) { c.Browser = passkey.Digest{} }, want: passkey.BrowserMismatch},
		{name: "another kind", edit: func(c *passkey.Claim) { c.Kind = passkey.Registration }, want: passkey.CeremonyMismatch},
		{name: "no kind", edit: func(c *passkey.Claim) { c.Kind = 0 }, want: passkey.CeremonyMismatch},
		{name: "another user", edit: func(c *passkey.Claim) { c.User = "bob" }, want: passkey.ChallengeUsed},
		{name: "no user", edit: func(c *passkey.Claim) { c.User = "" }, want: passkey.ChallengeUsed},
		{name: "another case of the user", edit: func(c *passkey.Claim) { c.User = "Ada" }, want: passkey.ChallengeUsed},
		{name: "another id", edit: func(c *passkey.Claim) { c.ID = passkey.ChallengeID([]byte("two")) }, want: passkey.ChallengeUsed},
		{name: "no id", edit: func(c *passkey.Claim) { c.ID = "" }, want: passkey.ChallengeUsed},
		{name: "a clock ahead", edit: func(*passkey.Claim) {}, late: true, want: passkey.ChallengeExpired},
	} {
		claim, at := claimOf(c), now
		test.edit(&claim)
		if test.late {
			at = c.Expires
		}
		got, account, err := s.Consume(t.Context(), claim, at)
		refused(t, test.name, err, test.want)
		same(t, test.name+": challenge returned with a refusal", got, passkey.Challenge{})
		same(t, test.name+": account returned with a refusal", account, passkey.Account{})
	}
	_, _, err := s.Consume(t.Context(), claimOf(c), now)
	accepted(t, "the right claim after all the wrong ones", err)
}

// "Of any number of concurrent calls with one claim exactly one succeeds."
func testConsumeOnce(t *testing.T, s ceremony.Store) {
	enroll(t, s, "ada", newPasskey("laptop"))
	for _, action := range []passkey.Action{passkey.StepUp, passkey.Another} {
		c := newChallenge("ada", string(action), action)
		issue(t, s, c)
		got := race(racers, func(int) error {
			_, _, err := s.Consume(context.Background(), claimOf(c), now)
			return err
		})
		want := map[string]int{"accepted": 1, string(passkey.ChallengeUsed): racers - 1}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: concurrent consumers (-want +got):\n%s", action, diff)
		}
	}
}

// "Issue stores the challenge as Begin does, with the same errors."
func testIssue(t *testing.T, s ceremony.Store) {
	account := enroll(t, s, "ada", newPasskey("laptop"))
	c := newChallenge("ada", "issued", passkey.StepUp)
	accepted(t, "Issue", s.Issue(t.Context(), c))
	again := c
	again.Origin, again.Expires = "https://evil.example", c.Expires.Add(time.Hour)
	refused(t, "Issue with an id that is stored", s.Issue(t.Context(), again), passkey.StoreUnavailable)
	_, err := s.Begin(t.Context(), again)
	refused(t, "Begin with an id that is stored", err, passkey.StoreUnavailable)
	got, read, err := s.Consume(t.Context(), claimOf(c), now)
	accepted(t, "Consume", err)
	same(t, "consumed challenge", got, c)
	same(t, "account read by Consume", read, account)
	_, _, err = s.Consume(t.Context(), claimOf(c), now)
	refused(t, "consuming again", err, passkey.ChallengeUsed)
	stored(t, s, account)

	c.RPID = OtherRPID
	refused(t, "Issue for another relying party", s.Issue(t.Context(), c), passkey.Internal)
}

// "Every passkey in the account was there after Consume was called: one whose removal was acknowledged before is not in it",
// however many are consumed while it is removed.
func testConsumeAfterRemoval(t *testing.T, s ceremony.Store) {
	const n = 32
	p := newPasskey("laptop")
	account := enroll(t, s, "ada", p)
	next, err := account.User.Removing(p.ID)
	accepted(t, "Removing", err)
	for i := range n {
		issue(t, s, newChallenge("ada", fmt.Sprint("race ", i), passkey.StepUp))
	}
	acknowledged, removed := new(atomic.Bool), make(chan struct{})
	got := race(n+1, func(i int) error {
		if i == n {
			defer close(removed)
			err := s.Remove(context.Background(), next, p.ID)
			acknowledged.Store(err == nil)
			return err
		}
		if i%4 == 0 {
			<-removed
		}
		gone := acknowledged.Load()
		_, account, err := s.Consume(context.Background(), claimOf(newChallenge("ada", fmt.Sprint("race ", i), passkey.StepUp)), now)
		if _, there := account.Passkey(p.ID); there && gone {
			return errors.New("read a passkey whose removal was acknowledged before")
		}
		return err
	})
	if diff := cmp.Diff(map[string]int{"accepted": n + 1}, got); diff != "" {
		t.Errorf("consuming while removing (-want +got):\n%s", diff)
	}
}

// "It may do both at once, so a challenge may be left behind when the account has no use for it": whether an
// authentication's challenge of a user without passkeys can be consumed is open; a registration's can.
func testBeginWithoutPasskeys(t *testing.T, s ceremony.Store) {
	nobody := passkey.Account{User: passkey.User{Name: "ada"}}
	same(t, "account of a user never seen", issue(t, s, newChallenge("ada", "step up", passkey.StepUp)), nobody)

	c := newChallenge("ada", "first use", passkey.FirstUse)
	same(t, "account of a user never seen", issue(t, s, c), nobody)
	_, account, err := s.Consume(t.Context(), claimOf(c), now)
	accepted(t, "Consume for a first passkey", err)
	same(t, "account read by Consume", account, nobody)
	stored(t, s, nobody)
}
