package ceremony_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// TestAuthenticationProof is the positive control of everything below: what an honest reply proves.
func TestAuthenticationProof(t *testing.T) {
	for _, test := range []struct {
		name    string
		config  authtest.Config
		purpose ceremony.Purpose
		level   passkey.Level
	}{
		{"ES256", authtest.Config{}, stepUp, passkey.DeviceBound},
		{"EdDSA", authtest.Config{Algorithm: authtest.EdDSA}, stepUp, passkey.DeviceBound},
		{"RS256", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, stepUp, passkey.DeviceBound},
		{"device bound", authtest.Config{}, deviceBound, passkey.DeviceBound},
		{"synced", authtest.Config{Synced: true}, stepUp, passkey.Verified},
		{"eligible, not yet backed up", authtest.Config{Synced: true, NotBackedUp: true}, stepUp, passkey.Verified},
		{"presence only", authtest.Config{}, present, passkey.Present},
		{"presence asked for, verified all the same", authtest.Config{AlwaysUV: true}, present, passkey.DeviceBound},
		{"counting", authtest.Config{Counts: true}, stepUp, passkey.DeviceBound},
		{"A26 never counting", authtest.Config{}, stepUp, passkey.DeviceBound},
		{"shortest id", authtest.Config{IDLength: 16}, stepUp, passkey.DeviceBound},
		{"longest id", authtest.Config{IDLength: 1023}, stepUp, passkey.DeviceBound},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			a := authtest.New(test.config)
			enrolled := w.enrol(ada, a)
			for range 2 {
				w.clock.Advance(ceremony.Lately) // else the second use would not be written
				options := w.start(ada, test.purpose)
				proof, err := w.finish(ada, test.purpose, must(a.Authenticate(options, origin))(t))
				if err != nil {
					t.Fatal(err)
				}
				account := w.account(ada.User)
				want := enrolled
				want.SignCount = a.Credentials()[0].SignCount
				want.LastUsedAt, want.LastUsedOn = w.clock.Now(), origin
				want.LastCeremony = passkey.ChallengeID(challengeOf(t, options))
				same(t, proof, ceremony.Proof{Passkey: want, Level: test.level, At: w.clock.Now(), Epoch: account.User.Epoch})
				same(t, account.Passkeys, []passkey.Passkey{want})
			}
		})
	}
}

// TestAuthenticationRefusals tells one lie at a time. Each must be refused for its own reason, use up the challenge, and
// leave the account as it was.
func TestAuthenticationRefusals(t *testing.T) {
	for _, test := range authtest.RefusedAssertions(place) {
		t.Run(test.Name, func(t *testing.T) {
			w, a := newWorld(t), key()
			w.enrol(ada, a)
			if _, err := w.authenticate(ada, stepUp, a, authtest.SignCount(10)); err != nil {
				t.Fatalf("positive control: %v", err)
			}
			before := w.account(ada.User)
			options := w.start(ada, stepUp)
			_, err := w.finish(ada, stepUp, must(a.Authenticate(options, origin, test.Lie))(t))
			refused(t, err, passkey.Refusal(test.Refusal))
			same(t, w.account(ada.User), before)

			_, err = w.finish(ada, stepUp, must(a.Authenticate(options, origin, authtest.SignCount(21)))(t))
			refused(t, err, passkey.ChallengeUsed) // A49: the first try used it up
			if _, err := w.authenticate(ada, stepUp, a, authtest.SignCount(22)); err != nil {
				t.Fatalf("positive control afterwards: %v", err)
			}
		})
	}
}

// TestAuthenticationTolerates has replies that are odd and right.
func TestAuthenticationTolerates(t *testing.T) {
	for _, test := range authtest.ToleratedAssertions() {
		t.Run(test.Name, func(t *testing.T) {
			w, a := newWorld(t), key()
			w.enrol(ada, a)
			proof, err := w.authenticate(ada, stepUp, a, test.Lie)
			if err != nil {
				t.Fatal(err)
			}
			if proof.Level != passkey.DeviceBound {
				t.Errorf("level %v", proof.Level)
			}
		})
	}
}

// TestBackupState: a passkey that may be synced reports whether it is, and may change its mind.
func TestBackupState(t *testing.T) {
	w, a := newWorld(t), authtest.New(authtest.Config{Synced: true, NotBackedUp: true})
	w.enrol(ada, a)
	for _, step := range []struct {
		lie  authtest.Lie
		want bool
	}{{authtest.Set(authtest.BS), true}, {authtest.Clear(authtest.BS), false}} {
		proof, err := w.authenticate(ada, stepUp, a, step.lie)
		if err != nil || proof.Passkey.BackedUp != step.want || w.account(ada.User).Passkeys[0].BackedUp != step.want {
			t.Errorf("backed up %v, %v, want %v", proof.Passkey.BackedUp, err, step.want)
		}
	}
	_, err := w.authenticate(ada, stepUp, a, authtest.Clear(authtest.BE|authtest.BS))
	refused(t, err, passkey.BackupFlagsInconsistent)
}

// TestLevels has what each kind of passkey is good for.
func TestLevels(t *testing.T) {
	w, usb, phone := newWorld(t), key(), synced()
	w.enrol(ada, phone)
	_, err := w.Start(t.Context(), ada, deviceBound)
	refused(t, err, passkey.LevelUnreachable)
	_, err = w.Start(t.Context(), ada, ceremony.Purpose{Action: passkey.StepUp, Level: passkey.Attested})
	refused(t, err, passkey.LevelUnreachable)

	w.enrolAnother(ada, phone, usb)
	if _, err := w.authenticate(ada, deviceBound, usb); err != nil {
		t.Fatal(err)
	}
	// The phone's passkey is not among those offered. It signs all the same.
	_, err = w.authenticate(ada, deviceBound, phone, authtest.Obstinate())
	refused(t, err, passkey.LevelUnreachable)
	// Nor does it reach what adding needs, now that a stronger passkey is there.
	_, err = w.authenticate(ada, add, phone, authtest.Obstinate())
	refused(t, err, passkey.LevelUnreachable)
	_, err = w.authenticate(ada, deviceBound, usb, authtest.Clear(authtest.UV))
	refused(t, err, passkey.UserVerificationMissing)
	_, err = w.authenticate(ada, add, usb, authtest.Clear(authtest.UV))
	refused(t, err, passkey.UserVerificationMissing)
}

// TestAddStrengthens: the highest level counts as it is at the finish. A passkey added meanwhile raises it.
func TestAddStrengthens(t *testing.T) {
	w, usb, phone := newWorld(t), key(), synced()
	w.enrol(ada, phone)
	early := w.reply(ada, add, phone)
	w.enrolAnother(ada, phone, usb)
	_, err := w.finish(ada, add, early)
	refused(t, err, passkey.LevelUnreachable)
}

// TestCounterWarn lets backup-eligible passkeys pass whose count did not rise, says so, and lets no others pass.
func TestCounterWarn(t *testing.T) {
	w := newWorld(t, func(c *ceremony.Config) { c.CounterWarn = true })
	phone, usb := synced(), key()
	w.enrol(ada, phone)
	w.enrol(bob, usb)
	for _, step := range []struct {
		count, stored uint32
		regress       bool
	}{{10, 10, false}, {10, 10, true}, {3, 10, true}, {0, 10, true}, {11, 11, false}} {
		proof, err := w.authenticate(ada, stepUp, phone, authtest.SignCount(step.count))
		if err != nil || proof.Regress != step.regress || proof.Passkey.SignCount != step.stored {
			t.Errorf("count %d: %+v, %v", step.count, proof, err)
		}
		same(t, w.account(ada.User).Passkeys[0].SignCount, step.stored)
	}
	if _, err := w.authenticate(bob, stepUp, usb, authtest.SignCount(10)); err != nil {
		t.Fatal(err)
	}
	_, err := w.authenticate(bob, stepUp, usb, authtest.SignCount(10))
	refused(t, err, passkey.CounterRegressed)
}

// TestCounterRace: another assertion is recorded between reading the account and recording this one.
func TestCounterRace(t *testing.T) {
	for _, warn := range []bool{false, true} {
		f := &faulty{}
		w := newWorld(t, onFaulty(f), func(c *ceremony.Config) { c.CounterWarn = warn })
		a := synced()
		p := w.enrol(ada, a)
		f.use = func(use passkey.Use) error {
			f.use = nil
			return f.Store.Use(t.Context(), ada.User, passkey.Use{ID: p.ID, Ceremony: "another", SignCount: 7, BackedUp: true, At: w.clock.Now()})
		}
		proof, err := w.authenticate(ada, stepUp, a, authtest.SignCount(5))
		if !warn {
			refused(t, err, passkey.CounterRegressed)
		} else if err != nil || !proof.Regress {
			t.Errorf("%+v, %v", proof, err)
		}
		same(t, w.account(ada.User).Passkeys[0].SignCount, uint32(7))
	}
}
