package boltstore_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// sweep fails unless a sweep removes exactly want challenges.
func sweep(t *testing.T, db *boltstore.DB, at time.Time, want int) {
	t.Helper()
	if n, err := db.Sweep(at); n != want || err != nil {
		t.Errorf("Sweep removed %d (%v), want %d", n, err, want)
	}
}

func begin(t *testing.T, s *boltstore.Store, c passkey.Challenge) {
	t.Helper()
	if _, err := s.Begin(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// A sweep removes what has expired, of every relying party, at the very instant that Check calls it expired.
func TestSweep(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true})
	here, there := db.For(rpID), db.For("other.example")
	user := register(t, here, "ada", newPasskey("laptop"))

	c := newChallenge("ada", "here")
	other := newChallenge("bob", "there")
	other.RPID, other.Expires = "other.example", c.Expires.Add(time.Nanosecond)
	early, late := newChallenge("ada", "early"), newChallenge("ada", "late")
	early.Expires = time.Date(1905, 1, 1, 0, 0, 0, 1, time.UTC) // clocks may be odd: the index keeps the order
	late.Expires = time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)
	begin(t, here, late)
	begin(t, here, c)
	begin(t, there, other)
	begin(t, here, early)

	sweep(t, db, early.Expires.Add(-time.Nanosecond), 0)
	sweep(t, db, c.Expires.Add(-time.Nanosecond), 1)
	sweep(t, db, c.Expires, 1)
	_, _, err := here.Consume(t.Context(), claimOf(c), now)
	refused(t, "consuming a swept challenge", err, passkey.ChallengeUsed)
	if _, _, err := there.Consume(t.Context(), claimOf(other), c.Expires); err != nil {
		t.Errorf("consuming a challenge with a nanosecond left: %v", err)
	}
	sweep(t, db, other.Expires, 0) // consumed, so out of the index too
	if _, _, err := here.Consume(t.Context(), claimOf(late), now); err != nil {
		t.Errorf("consuming a challenge with centuries left: %v", err)
	}
	if account, err := here.Account(t.Context(), "ada"); err != nil || account.User.Version != user.Version || len(account.Passkeys) != 1 {
		t.Errorf("account after sweeping: %+v, %v", account, err)
	}
}

// Many at once, in several transactions.
func TestSweepMany(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true})
	for i := range 1200 {
		begin(t, db.For(rpID), newChallenge(fmt.Sprint("user ", i%7), fmt.Sprint(i)))
	}
	live := newChallenge("ada", "live")
	live.Expires = now.Add(time.Hour)
	begin(t, db.For(rpID), live)
	sweep(t, db, now, 0)
	sweep(t, db, now.Add(time.Minute), 1200)
	sweep(t, db, now.Add(time.Minute), 0)
	if _, _, err := db.For(rpID).Consume(t.Context(), claimOf(live), now); err != nil {
		t.Errorf("consuming the one that is left: %v", err)
	}
	db.Close()
	_, err := db.Sweep(now)
	unavailable(t, "Sweep after closing", err)
}

// The sweeper sweeps on its own and ends with Close: the bubble's clock is not the machine's, and a goroutine left in the
// bubble would fail the test.
func TestSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := boltstore.Open(filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{SweepEvery: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		first, second := newChallenge("ada", "first"), newChallenge("ada", "second")
		first.Expires, second.Expires = started.Add(30*time.Second), started.Add(90*time.Second)
		begin(t, db.For(rpID), first)
		begin(t, db.For(rpID), second)

		time.Sleep(61 * time.Second)
		synctest.Wait()
		_, _, err = db.For(rpID).Consume(t.Context(), claimOf(first), started)
		refused(t, "consuming what the sweeper removed", err, passkey.ChallengeUsed)
		if _, _, err := db.For(rpID).Consume(t.Context(), claimOf(second), started); err != nil {
			t.Errorf("consuming what the sweeper had to leave: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}
