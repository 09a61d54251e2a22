package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// "Every method returns an error wrapping StoreUnavailable when it could not find out or could not write: out of time,
// context cancelled", and then nothing was written.
func testContext(t *testing.T, s ceremony.Store) {
	account := enroll(t, s, "ada", newPasskey("laptop"))
	issued, unused := newChallenge("ada", "issued", passkey.StepUp), newChallenge("ada", "unused", passkey.StepUp)
	issue(t, s, issued)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for name, call := range methods(s, account, unused, issued) {
		err := call(cancelled)
		refused(t, name+" with a cancelled context", err, passkey.StoreUnavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v does not wrap context.Canceled", name, err)
		}
		err = call(late)
		refused(t, name+" past its deadline", err, passkey.StoreUnavailable)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v does not wrap context.DeadlineExceeded", name, err)
		}
	}
	stored(t, s, account)
	_, _, err := s.Consume(t.Context(), claimOf(unused), now)
	refused(t, "consuming a challenge whose Begin was cancelled", err, passkey.ChallengeUsed)
	_, _, err = s.Consume(t.Context(), claimOf(issued), now)
	accepted(t, "Consume after a cancelled Consume", err)
}

// Closed: every method says so, again and again.
func testClosed(t *testing.T, db Database) {
	s := db.For(RPID)
	account := enroll(t, s, "ada", newPasskey("laptop"))
	issued, unused := newChallenge("ada", "issued", passkey.StepUp), newChallenge("ada", "unused", passkey.StepUp)
	issue(t, s, issued)
	accepted(t, "Close", db.Close())
	for _, s := range []ceremony.Store{s, db.For(RPID)} {
		for name, call := range methods(s, account, unused, issued) {
			refused(t, name+" after closing", call(t.Context()), passkey.StoreUnavailable)
		}
	}
	accepted(t, "Close again", db.Close())
}

// What was acknowledged is there after closing and opening again, and what was consumed is not.
func testReopened(t *testing.T, db Database) {
	s := db.For(RPID)
	account := enroll(t, s, "ada", newPasskey("laptop"), newPasskey("phone"))
	issued, used := newChallenge("ada", "issued", passkey.StepUp), newChallenge("ada", "used", passkey.StepUp)
	issue(t, s, issued)
	issue(t, s, used)
	_, _, err := s.Consume(t.Context(), claimOf(used), now)
	accepted(t, "Consume", err)

	s = db.Reopen(t)
	stored(t, s, account)
	_, _, err = s.Consume(t.Context(), claimOf(used), now)
	refused(t, "consuming again after opening again", err, passkey.ChallengeUsed)
	got, _, err := s.Consume(t.Context(), claimOf(issued), now)
	accepted(t, "Consume after opening again", err)
	same(t, "consumed challenge", got, issued)
}

// Two relying parties of one database share nothing: neither users nor challenges nor credential ids.
func testRelyingParties(t *testing.T, db Database) {
	here, there := db.For(RPID), db.For(OtherRPID)
	p, q := newPasskey("laptop"), newPasskey("laptop")
	q.LastCeremony, q.Name = passkey.ChallengeID([]byte("there")), "there"
	ours := enroll(t, here, "ada", p)
	stored(t, there, passkey.Account{User: passkey.User{Name: "ada"}})
	theirs := enroll(t, there, "ada", q) // the same credential id, which is unique within one relying party

	c := newChallenge("ada", "here", passkey.StepUp)
	issue(t, here, c)
	_, _, err := there.Consume(t.Context(), claimOf(c), now)
	refused(t, "consuming another relying party's challenge", err, passkey.ChallengeUsed)
	_, _, err = here.Consume(t.Context(), claimOf(c), now)
	accepted(t, "Consume", err)

	next, err := ours.User.Removing(p.ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", here.Remove(t.Context(), next, p.ID))
	refused(t, "Use of a removed passkey", here.Use(t.Context(), "ada", newUse(p, "use", 11)), passkey.PasskeyUnknown)
	stored(t, here, passkey.Account{User: next})
	stored(t, there, theirs)
	accepted(t, "Use there", there.Use(t.Context(), "ada", newUse(q, "use", 11)))
}
