package ceremony_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

func TestNames(t *testing.T) {
	w, a := newWorld(t), key()
	register := func(start, finish string) string {
		t.Helper()
		b := key()
		var authorization []byte
		if len(w.account(ada.User).Passkeys) > 0 {
			authorization = w.reply(ada, add, a)
		} else {
			b = a
		}
		reply := must(b.Register(w.startRegistration(ada, start, authorization), origin))(t)
		return must(w.finishRegistration(ada, finish, reply))(t).Passkey.Name
	}
	same(t, register("", ""), "Passkey")
	same(t, register("  ", ""), "Passkey 2")
	same(t, register("Phone", ""), "Phone")
	same(t, register("Tablet", " Laptop\t"), "Laptop") // what is said last counts
	same(t, register("", "PHONE"), "PHONE 2")          // taken: a number, and no orphan on the authenticator
	same(t, register("", "phone 2"), "phone 2 2")
	long := strings.Repeat("ä", passkey.MaxNameLength)
	same(t, register("", long), long)
	same(t, register("", long), long[:2*(passkey.MaxNameLength-2)]+" 2")
}

func TestF12_NamesRefused(t *testing.T) {
	w, a := newWorld(t), key()
	p := w.enrol(ada, a)
	options := w.startRegistration(ada, "", w.reply(ada, add, a))
	reply := must(key().Register(options, origin))(t)
	for _, name := range []string{"a\x00b", "a\nb", "a\u202eb", "a\u200bb", strings.Repeat("x", 65), strings.Repeat("x", 1<<20), "\xff"} {
		_, err := w.StartRegistration(t.Context(), ada, name, w.reply(ada, add, a))
		refused(t, err, passkey.NameInvalid)
		_, err = w.finishRegistration(ada, name, reply)
		refused(t, err, passkey.NameInvalid)
		_, err = w.Rename(t.Context(), ada.User, p.ShortID(), name)
		refused(t, err, passkey.NameInvalid)
	}
	_, err := w.StartRegistration(t.Context(), ada, "PASSKEY", w.reply(ada, add, a))
	refused(t, err, passkey.NameTaken)
	_, err = w.Rename(t.Context(), ada.User, p.ShortID(), " ")
	refused(t, err, passkey.NameInvalid)
	if _, err := w.finishRegistration(ada, "<b>🔑 It's mine</b>", reply); err != nil { // a bad name did not use the challenge up
		t.Error(err)
	}
}

func TestRename(t *testing.T) {
	w, a := newWorld(t), key()
	first := w.enrol(ada, a)
	second := w.enrolAnother(ada, a, key())
	want := w.account(ada.User).Passkeys[1]
	want.Name = "Phone"
	same(t, must(w.Rename(t.Context(), ada.User, second.ShortID(), " Phone "))(t), want)
	same(t, w.account(ada.User).Passkeys[1], want)
	_, err := w.Rename(t.Context(), ada.User, first.ShortID(), "phone")
	refused(t, err, passkey.NameTaken)
	same(t, must(w.Rename(t.Context(), ada.User, second.ShortID(), "PHONE"))(t).Name, "PHONE") // its own name in another case
	_, err = w.Rename(t.Context(), bob.User, second.ShortID(), "mine")                         // F8
	refused(t, err, passkey.PasskeyUnknown)
	_, err = w.Rename(t.Context(), ada.User, strings.ToLower(second.ShortID())+"x", "mine")
	refused(t, err, passkey.PasskeyUnknown)
}

func TestRemove(t *testing.T) {
	w, a, b := newWorld(t), key(), key()
	first := w.enrol(ada, a)
	second := w.enrolAnother(ada, a, b)
	w.enrol(bob, key())

	// F8: not the user's, unknown, or no short id at all.
	for _, target := range []string{w.account(bob.User).Passkeys[0].ShortID(), strings.Repeat("A", 22), "", strings.Repeat("A", 1<<16)} {
		_, err := w.Start(t.Context(), ada, ceremony.Purpose{Action: passkey.Remove, Target: target})
		refused(t, err, passkey.PasskeyUnknown)
	}
	_, err := w.Start(t.Context(), ada, ceremony.Purpose{Action: passkey.Add, Target: first.ShortID()})
	refused(t, err, passkey.Internal)
	_, err = w.Start(t.Context(), ada, ceremony.Purpose{Action: passkey.StepUp, Level: 9})
	refused(t, err, passkey.Internal)

	_, err = w.remove(ada, second.ShortID(), must(a.Authenticate(w.start(ada, removal(second)), origin, authtest.Clear(authtest.UV)))(t))
	refused(t, err, passkey.UserVerificationMissing)

	// Two removals at the same time, each of the other: the second would leave the user without any.
	removeFirst, removeSecond := w.reply(ada, removal(first), b), w.reply(ada, removal(second), a)
	removed := must(w.remove(ada, first.ShortID(), removeFirst))(t)
	same(t, removed.Passkey.ID, first.ID)
	_, err = w.remove(ada, second.ShortID(), removeSecond)
	refused(t, err, passkey.PasskeyUnknown) // signed with the one that is gone
	same(t, len(w.account(ada.User).Passkeys), 1)

	w.enrolAnother(ada, b, a) // the id may come back
	if _, err := w.remove(ada, second.ShortID(), w.reply(ada, removal(second), b)); err != nil {
		t.Errorf("a passkey authorises its own removal: %v", err)
	}
	_, err = w.finish(ada, stepUp, must(b.Authenticate(w.start(ada, stepUp), origin, authtest.Obstinate()))(t))
	refused(t, err, passkey.PasskeyUnknown)
}

// TestRemoveRaces has another change between authorising and removing, and decides on the account as it is then.
func TestRemoveRaces(t *testing.T) {
	for _, test := range []struct {
		name      string
		meanwhile func(*world, *faulty, []passkey.Passkey) error
		want      passkey.Refusal
	}{
		{"renamed", func(w *world, _ *faulty, p []passkey.Passkey) error {
			_, err := w.Rename(w.t.Context(), ada.User, p[1].ShortID(), "new name")
			return err
		}, ""},
		{"target removed", func(w *world, f *faulty, p []passkey.Passkey) error {
			return f.Store.Remove(w.t.Context(), must(w.account(ada.User).User.Removing(p[1].ID))(w.t), p[1].ID)
		}, passkey.PasskeyUnknown},
		{"signer removed", func(w *world, f *faulty, p []passkey.Passkey) error {
			return f.Store.Remove(w.t.Context(), must(w.account(ada.User).User.Removing(p[0].ID))(w.t), p[0].ID)
		}, passkey.AuthorizationNeeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &faulty{}
			w, a := newWorld(t, onFaulty(f)), key()
			w.enrol(ada, a)
			w.enrolAnother(ada, a, key())
			w.enrolAnother(ada, a, key())
			passkeys := w.account(ada.User).Passkeys
			reply := w.reply(ada, removal(passkeys[1]), a)
			f.remove = func() error {
				f.remove = nil
				return test.meanwhile(w, f, passkeys)
			}
			_, err := w.remove(ada, passkeys[1].ShortID(), reply)
			if test.want != "" {
				refused(t, err, test.want)
			} else if err != nil {
				t.Fatal(err)
			}
			same(t, len(w.account(ada.User).Passkeys), 2)
		})
	}
}

// TestRemoveLastRace: a passkey authorises its own removal while the only other one goes.
func TestRemoveLastRace(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f)), key()
	first := w.enrol(ada, a)
	second := w.enrolAnother(ada, a, key())
	reply := w.reply(ada, removal(first), a)
	f.remove = func() error {
		f.remove = nil
		return f.Store.Remove(t.Context(), must(w.account(ada.User).User.Removing(second.ID))(t), second.ID)
	}
	_, err := w.remove(ada, first.ShortID(), reply)
	refused(t, err, passkey.LastPasskey)
	same(t, len(w.account(ada.User).Passkeys), 1)
}

func TestRevoke(t *testing.T) {
	w, a := newWorld(t), key()
	if err := w.Revoke(t.Context(), ada.User); err != nil {
		t.Errorf("a user without a record: %v", err)
	}
	same(t, w.account(ada.User).User.Version, uint64(0))
	w.enrol(ada, a)
	before := must(w.authenticate(ada, stepUp, a))(t)
	if err := w.Revoke(t.Context(), ada.User); err != nil {
		t.Fatal(err)
	}
	after := must(w.authenticate(ada, stepUp, a))(t)
	if before.Epoch == after.Epoch || after.Epoch != w.account(ada.User).User.Epoch {
		t.Errorf("epoch %x before and %x after", before.Epoch, after.Epoch)
	}
}

// Whoever comes between while grants are to end does not keep them alive: not somebody who ends them as well, which is as good,
// and not somebody with the user's sign-in, who may rename passkeys as often as the limits let them.
func TestRevokeInsists(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f)), key()
	p := w.enrol(ada, a)
	other := must(ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{origin}, Now: w.clock.Now, Store: f.Store}))(t) // on another gateway
	before, tries := w.account(ada.User).User.Epoch, 0
	f.revoke = func() error {
		tries++
		return other.Revoke(t.Context(), ada.User)
	}
	if err := w.Revoke(t.Context(), ada.User); err != nil || tries != 1 || w.account(ada.User).User.Epoch == before {
		t.Errorf("%v, after %d tries", err, tries)
	}
	before, tries = w.account(ada.User).User.Epoch, 0
	f.revoke = func() error {
		if tries++; tries > 30 {
			return nil
		}
		_, err := other.Rename(t.Context(), ada.User, p.ShortID(), fmt.Sprint("Key ", tries))
		return err
	}
	if err := w.Revoke(t.Context(), ada.User); err != nil || w.account(ada.User).User.Epoch == before {
		t.Errorf("%v, after %d tries", err, tries)
	}
	tries = 0
	removed, err := w.Reset(t.Context(), ada.User)
	if err != nil || len(removed) != 1 {
		t.Errorf("%v, after %d tries", err, tries)
	}
	f.revoke = nil
	p = w.enrol(bob, key())
	tries = 0
	f.remove = func() error {
		if tries++; tries > 30 {
			return nil
		}
		_, err := other.Rename(t.Context(), bob.User, p.ShortID(), fmt.Sprint("Key ", tries))
		return err
	}
	if _, err := w.Discard(t.Context(), bob.User, p.ShortID()); err != nil {
		t.Errorf("%v, after %d tries", err, tries)
	}
}

// TestConflicts: three tries, and more where an administrator or a log-out asks, then the caller is told.
func TestConflicts(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f)), key()
	p := w.enrol(ada, a)
	tries := 0
	always := func() error { tries++; return passkey.Conflict }
	f.rename, f.revoke = always, always
	_, err := w.Rename(t.Context(), ada.User, p.ShortID(), "new")
	refused(t, err, passkey.Conflict)
	same(t, tries, 3)
	refused(t, w.Revoke(t.Context(), ada.User), passkey.Conflict)
	same(t, tries, 43)
}

// Two passkeys get one name at the same time: one of them does, and two passkeys never share a name.
func TestRenameRace(t *testing.T) {
	for range 16 {
		w, a := newWorld(t), key()
		first := w.enrol(ada, a)
		second := w.enrolAnother(ada, a, key())
		var (
			wait sync.WaitGroup
			errs [2]error
		)
		for i, p := range []passkey.Passkey{first, second} {
			wait.Go(func() { _, errs[i] = w.Rename(t.Context(), ada.User, p.ShortID(), []string{"Phone", "PHONE"}[i]) })
		}
		wait.Wait()
		account := w.account(ada.User)
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs[:]...), passkey.NameTaken) {
			t.Errorf("%v", errs)
		}
		if passkey.FoldName(account.Passkeys[0].Name) == passkey.FoldName(account.Passkeys[1].Name) {
			t.Errorf("both are called %q", account.Passkeys[0].Name)
		}
	}
}
