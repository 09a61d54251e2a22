package ceremony_test

import (
	"errors"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

// imported returns a world in which ada has these passkeys, of which nobody knows whether they may be synced.
func imported(t *testing.T, authenticators ...*authtest.Authenticator) *world {
	t.Helper()
	before := newWorld(t)
	before.enrol(ada, authenticators[0])
	for _, a := range authenticators[1:] {
		before.enrolAnother(ada, authenticators[0], a)
	}
	account := before.account(ada.User)
	for i := range account.Passkeys {
		account.Passkeys[i].BackupUnknown, account.Passkeys[i].BackupEligible, account.Passkeys[i].BackedUp = true, false, false
		account.Passkeys[i].LastCeremony = ""
	}
	w := newWorld(t)
	if err := w.store.(transfer.Store).Import(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestLearnBackup: the first authentication tells whether an imported passkey may be synced, and proves verified at most.
func TestLearnBackup(t *testing.T) {
	for _, test := range []struct {
		name    string
		a       *authtest.Authenticator
		purpose ceremony.Purpose
		first   passkey.Level
		synced  bool
	}{
		{"bound", key(), stepUp, passkey.Verified, false},
		{"bound, presence only", key(), present, passkey.Present, false},
		{"bound, presence asked for, verified all the same", authtest.New(authtest.Config{AlwaysUV: true}), present, passkey.Verified, false},
		{"bound, adding", key(), add, passkey.Verified, false},
		{"synced", synced(), stepUp, passkey.Verified, true},
		{"eligible, not yet backed up", authtest.New(authtest.Config{Synced: true, NotBackedUp: true}), stepUp, passkey.Verified, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := imported(t, test.a)
			_, err := w.Start(t.Context(), ada, deviceBound)
			refused(t, err, passkey.LevelUnreachable) // not offered
			before := w.account(ada.User)

			proof, err := w.authenticate(ada, test.purpose, test.a)
			if err != nil {
				t.Fatal(err)
			}
			if !proof.Learned || proof.Level != test.first {
				t.Errorf("learned %t, proved %s", proof.Learned, proof.Level)
			}
			want := before.Passkeys[0]
			want.BackupUnknown, want.BackupEligible = false, test.synced
			want.BackedUp = proof.Passkey.BackedUp
			want.LastUsedAt, want.LastUsedOn, want.LastCeremony = w.clock.Now(), origin, proof.Passkey.LastCeremony
			same(t, proof.Passkey, want)
			same(t, w.account(ada.User).Passkeys, []passkey.Passkey{want})

			if test.synced {
				_, err := w.Start(t.Context(), ada, deviceBound)
				refused(t, err, passkey.LevelUnreachable)
			} else if proof, err = w.authenticate(ada, deviceBound, test.a); err != nil || proof.Learned || proof.Level != passkey.DeviceBound {
				t.Errorf("the second time: %v, learned %t, proved %s", err, proof.Learned, proof.Level)
			}
			// What is known is held to.
			_, err = w.authenticate(ada, stepUp, test.a, authtest.Set(authtest.BE))
			if !test.synced {
				refused(t, err, passkey.BackupFlagsInconsistent)
			}
		})
	}
}

// TestLearnNothing: what is refused teaches nothing, and neither does an answer on a route that wants more.
func TestLearnNothing(t *testing.T) {
	a, bound := key(), key()
	for name, test := range map[string]struct {
		want    passkey.Refusal
		attempt func(*testing.T, *world) error
	}{
		"a false signature": {passkey.SignatureInvalid, func(t *testing.T, w *world) error {
			_, err := w.authenticate(ada, stepUp, a, authtest.Signature(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }))
			return err
		}},
		"backed up and not eligible": {passkey.BackupFlagsInconsistent, func(t *testing.T, w *world) error {
			_, err := w.authenticate(ada, stepUp, a, authtest.Set(authtest.BS))
			return err
		}},
		// The route offers a passkey that was learned; the other one answers, though nobody asked it.
		"device_bound": {passkey.LevelUnreachable, func(t *testing.T, w *world) error {
			if _, err := w.authenticate(ada, stepUp, bound); err != nil {
				t.Fatal(err)
			}
			_, err := w.authenticate(ada, deviceBound, a, authtest.Obstinate())
			return err
		}},
		"adding, where another passkey reaches more": {passkey.LevelUnreachable, func(t *testing.T, w *world) error {
			if _, err := w.authenticate(ada, stepUp, bound); err != nil {
				t.Fatal(err)
			}
			_, err := w.authenticate(ada, add, a, authtest.Obstinate())
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := imported(t, a, bound)
			before := w.account(ada.User).Passkeys[0]
			refused(t, test.attempt(t, w), test.want)
			same(t, w.account(ada.User).Passkeys[0], before)
		})
	}
}

// TestLearnTogether: two first uses at once both succeed, for they say the same.
func TestLearnTogether(t *testing.T) {
	a := key()
	w := imported(t, a)
	replies := [][]byte{w.reply(ada, stepUp, a), w.reply(ada, stepUp, a)}
	errs := make(chan error)
	for _, reply := range replies {
		go func() {
			proof, err := w.finish(ada, stepUp, reply)
			if err == nil && proof.Level != passkey.Verified && proof.Level != passkey.DeviceBound {
				err = errors.New(proof.Level.String())
			}
			errs <- err
		}()
	}
	for range replies {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if p := w.account(ada.User).Passkeys[0]; p.BackupUnknown || p.BackupEligible {
		t.Errorf("%+v", p)
	}
}

// TestLearnedDifferently: a first use that says otherwise than one that was recorded meanwhile is refused.
func TestLearnedDifferently(t *testing.T) {
	a := key()
	w := imported(t, a)
	store := &faulty{Store: w.store}
	service := must(ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{origin}, Now: w.clock.Now, Store: store}))(t)
	store.use = func(use passkey.Use) error {
		store.use = nil
		use.Ceremony, use.BackupEligible = passkey.ChallengeID([]byte("another")), true
		return store.Store.Use(t.Context(), ada.User, use)
	}
	options := must(service.Start(t.Context(), ada, stepUp))(t)
	_, err := service.Finish(t.Context(), ada, stepUp, must(a.Authenticate(options, origin))(t))
	refused(t, err, passkey.BackupFlagsInconsistent)
	if p := w.account(ada.User).Passkeys[0]; p.BackupUnknown || !p.BackupEligible {
		t.Errorf("%+v", p)
	}
}

// CheckKey asks of a key what a registration does, and that it stands as it would be kept.
func TestCheckKey(t *testing.T) {
	w := newWorld(t)
	for name, algorithm := range map[string]authtest.Algorithm{"ES256": authtest.ES256, "EdDSA": authtest.EdDSA, "RS256": authtest.RS256} {
		p := w.enrol(person(name), seeded(authtest.Config{Algorithm: algorithm}, name))
		if err := ceremony.CheckKey(p.PublicKey); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		refused(t, ceremony.CheckKey(append(p.PublicKey[:len(p.PublicKey):len(p.PublicKey)], 0)), passkey.KeyUnusable)
		refused(t, ceremony.CheckKey(p.PublicKey[:len(p.PublicKey)-1]), passkey.KeyUnusable)
	}
	x, y := make([]byte, 32), make([]byte, 32)
	refused(t, ceremony.CheckKey(authtest.COSEKey{1: 2, 3: -7, -1: 1, -2: x, -3: y}.CBOR()), passkey.KeyUnusable)
	refused(t, ceremony.CheckKey(authtest.COSEKey{1: 2, 3: -35, -1: 2, -2: x, -3: y}.CBOR()), passkey.AlgorithmRefused)
	refused(t, ceremony.CheckKey(nil), passkey.KeyUnusable)

	good := w.enrol(ada, key()).PublicKey
	if good[0] != 0xa5 || good[1] != 1 || good[2] != 2 {
		t.Fatalf("% x", good[:3])
	}
	long := append([]byte{0xa5, 0x18, 1, 2}, good[3:]...) // label 1 in two bytes
	refused(t, ceremony.CheckKey(long), passkey.KeyUnusable)
}

// TestLearnWhileRemoving: authorising the removal of another passkey is a use like any other.
func TestLearnWhileRemoving(t *testing.T) {
	a, other := key(), key()
	w := imported(t, a, other)
	account := w.account(ada.User)
	removed, err := w.Remove(t.Context(), ada, account.Passkeys[1].ShortID(), w.reply(ada, removal(account.Passkeys[1]), a), false)
	if err != nil || removed.Authorized == nil || !removed.Authorized.Learned || removed.Authorized.Level != passkey.Verified {
		t.Fatalf("%v, %+v", err, removed)
	}
	if left := w.account(ada.User).Passkeys; len(left) != 1 || left[0].BackupUnknown || left[0].BackupEligible {
		t.Errorf("%+v", left)
	}
}
