package ceremony_test

import (
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

func TestCheckSignIn(t *testing.T) {
	now := time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name   string
		at     time.Time
		within time.Duration
		want   error
	}{
		{"not asked for", time.Time{}, 0, nil},
		{"not asked for, old", now.Add(-time.Hour), 0, nil},
		{"just now", now, 10 * time.Minute, nil},
		{"at the limit", now.Add(-10 * time.Minute), 10 * time.Minute, nil},
		{"past the limit", now.Add(-10*time.Minute - 1), 10 * time.Minute, passkey.SignInTooOld},
		{"ages ago", time.Unix(0, 0), 10 * time.Minute, passkey.SignInTooOld},
		{"before anything can be counted", time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), 24 * time.Hour, passkey.SignInTooOld},
		{"unknown", time.Time{}, 10 * time.Minute, passkey.SignInTimeMissing},
		{"ahead within the skew", now.Add(10 * time.Second), 10 * time.Minute, nil},
		{"ahead beyond the skew", now.Add(10*time.Second + 1), 10 * time.Minute, passkey.SignInTimeMissing},
		{"far ahead", time.Unix(9999999999, 0), 24 * time.Hour, passkey.SignInTimeMissing},
	} {
		if got := ceremony.CheckSignIn(c.at, now, c.within); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func signedIn(p ceremony.Party, at time.Time) ceremony.Party {
	p.SignedIn = at
	return p
}

// A first passkey is registered soon after the sign-in or not at all. What began in time may be finished while its
// challenge lives.
func TestSignInTime(t *testing.T) {
	const within = 10 * time.Minute
	narrow := func(c *ceremony.Config) { c.SignInWithin = within }
	begin := func(w *world, p ceremony.Party) error {
		_, err := w.StartRegistration(t.Context(), p, "", nil)
		return err
	}

	t.Run("at the start", func(t *testing.T) {
		w := newWorld(t, narrow)
		now := w.clock.Now()
		refused(t, begin(w, ada), passkey.SignInTimeMissing)
		refused(t, begin(w, signedIn(ada, now.Add(-within-time.Second))), passkey.SignInTooOld)
		refused(t, begin(w, signedIn(ada, now.Add(11*time.Second))), passkey.SignInTimeMissing)
		same(t, w.account(ada.User).User.Version, uint64(0))
		w.enrol(signedIn(ada, now.Add(-within)), key())
	})

	t.Run("at the finish", func(t *testing.T) {
		for _, c := range []struct {
			name   string
			finish func(at time.Time) ceremony.Party
			want   passkey.Refusal
		}{
			{"stretched by the challenge's life", func(at time.Time) ceremony.Party { return signedIn(ada, at) }, ""},
			{"signed in again meanwhile", func(at time.Time) ceremony.Party { return signedIn(ada, at.Add(within)) }, ""},
			{"older than at the start", func(at time.Time) ceremony.Party { return signedIn(ada, at.Add(-time.Second)) }, passkey.SignInTooOld},
			{"no longer known", func(time.Time) ceremony.Party { return ada }, passkey.SignInTimeMissing},
			{"in the future", func(at time.Time) ceremony.Party { return signedIn(ada, at.Add(time.Hour)) }, passkey.SignInTimeMissing},
		} {
			t.Run(c.name, func(t *testing.T) {
				w := newWorld(t, narrow)
				at := w.clock.Now().Add(-within) // the last moment
				reply := must(key().Register(w.startRegistration(signedIn(ada, at), "", nil), origin))(t)
				w.clock.Advance(ceremony.DefaultTTL - time.Nanosecond) // the last moment of the challenge
				_, err := w.finishRegistration(c.finish(at), "", reply)
				if c.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				refused(t, err, c.want)
				same(t, w.account(ada.User).User.Version, uint64(0))
				_, err = w.finishRegistration(signedIn(ada, w.clock.Now()), "", reply) // it was used up
				refused(t, err, passkey.ChallengeUsed)
			})
		}
	})

	t.Run("the others do not ask", func(t *testing.T) {
		w := newWorld(t, narrow)
		first, second := key(), key()
		must(w.accept(bob, w.invite(bob.User), first))(t) // by invitation
		w.enrolAnother(bob, first, second)
		if _, err := w.authenticate(bob, stepUp, second); err != nil {
			t.Error(err)
		}
		// Nor does it open what is closed: the refusals of somebody who had passkeys are the same.
		refused(t, begin(w, signedIn(bob, w.clock.Now())), passkey.AuthorizationNeeded)
		refused(t, begin(w, bob), passkey.AuthorizationNeeded)
	})

	t.Run("of another person or browser", func(t *testing.T) {
		w := newWorld(t, narrow)
		reply := must(key().Register(w.startRegistration(signedIn(ada, w.clock.Now()), "", nil), origin))(t)
		_, err := w.finishRegistration(signedIn(bob, w.clock.Now()), "", reply)
		refused(t, err, passkey.ChallengeUsed)
		must(w.finishRegistration(signedIn(ada, w.clock.Now()), "", reply))(t)
	})

	t.Run("configuration", func(t *testing.T) {
		w := newWorld(t)
		for _, config := range []ceremony.Config{{SignInWithin: -1}, {SignInWithin: time.Hour, InviteOnly: true}} {
			config.RPID, config.Origins, config.Store = rpID, []string{origin}, w.store
			if _, err := ceremony.New(config); err == nil {
				t.Errorf("accepted %+v", config)
			}
		}
	})
}
