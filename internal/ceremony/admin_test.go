package ceremony_test

import (
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

func TestDiscard(t *testing.T) {
	w, a, b := newWorld(t), key(), key()
	first := w.enrol(ada, a)
	second := w.enrolAnother(ada, a, b)
	_, err := w.Discard(t.Context(), "nobody", first.ShortID())
	refused(t, err, passkey.UserUnknown)
	same(t, w.account("nobody").User.Version, uint64(0))
	_, err = w.Discard(t.Context(), ada.User, "unknown")
	refused(t, err, passkey.PasskeyUnknown)
	w.enrol(bob, key())
	_, err = w.Discard(t.Context(), bob.User, first.ShortID()) // somebody else's
	refused(t, err, passkey.PasskeyUnknown)

	same(t, must(w.Discard(t.Context(), ada.User, first.ShortID()))(t).ShortID(), first.ShortID())
	_, err = w.Discard(t.Context(), ada.User, first.ShortID())
	refused(t, err, passkey.PasskeyUnknown)
	if _, err := w.authenticate(ada, stepUp, b); err != nil {
		t.Errorf("the other passkey: %v", err)
	}
	same(t, must(w.Discard(t.Context(), ada.User, second.ShortID()))(t).ShortID(), second.ShortID()) // the last one
	same(t, len(w.account(ada.User).Passkeys), 0)
	_, err = w.StartRegistration(t.Context(), ada, "", nil)
	refused(t, err, passkey.RegistrationClosed)
}

func TestReset(t *testing.T) {
	w, a := newWorld(t), key()
	_, err := w.Reset(t.Context(), ada.User)
	refused(t, err, passkey.UserUnknown)
	same(t, w.account(ada.User).User.Version, uint64(0)) // first use is as open as before
	first := w.enrol(ada, a)
	second := w.enrolAnother(ada, a, key())
	before := w.account(ada.User).User
	// Authorised before the reset, finished after it.
	under := must(key().Register(w.startRegistration(ada, "", w.reply(ada, add, a)), origin))(t)

	removed := must(w.Reset(t.Context(), ada.User))(t)
	same(t, []string{removed[0].ShortID(), removed[1].ShortID()}, []string{first.ShortID(), second.ShortID()})
	after := w.account(ada.User)
	if len(after.Passkeys) != 0 || after.User.Epoch == before.Epoch || after.User.Version != before.Version+3 {
		t.Errorf("after: %+v", after)
	}
	if _, err := w.finishRegistration(ada, "", under); err == nil {
		t.Error("a registration under way went through after the reset")
	}
	_, err = w.StartRegistration(t.Context(), ada, "", nil)
	refused(t, err, passkey.RegistrationClosed)

	if removed := must(w.Reset(t.Context(), ada.User))(t); len(removed) != 0 { // again
		t.Errorf("removed %v", removed)
	}
	if w.account(ada.User).User.Epoch == after.User.Epoch {
		t.Error("the second reset ended no grants")
	}
}

// What an administrator gave before a reset does not undo it.
func TestResetEndsInvitations(t *testing.T) {
	w := newWorld(t)
	w.enrol(ada, key())
	code := w.invite(ada.User)
	options := must(w.StartInvited(t.Context(), ada, "", code))(t)
	under := must(key().Register(options, origin))(t)
	must(w.Reset(t.Context(), ada.User))(t)
	_, err := w.finishRegistration(ada, "", under)
	refused(t, err, passkey.InvitationInvalid)
	_, err = w.accept(ada, code, key())
	refused(t, err, passkey.InvitationInvalid)
	must(w.accept(ada, w.invite(ada.User), key()))(t) // a new one

	code = w.invite(bob.User) // who never registered
	must(w.Reset(t.Context(), bob.User))(t)
	_, err = w.accept(bob, code, key())
	refused(t, err, passkey.InvitationInvalid)
	_, err = w.Reset(t.Context(), bob.User)
	refused(t, err, passkey.UserUnknown)
	w.enrol(bob, key()) // first use is as open as before
}

// An invitation that has expired by the clock of the gateway where the reset is made may be good on another one, or here once
// the clock is put right.
func TestResetEndsExpiredInvitations(t *testing.T) {
	w := newWorld(t)
	w.enrol(ada, key())
	for _, user := range []ceremony.Party{ada, bob} { // bob never registered
		code := w.invite(user.User)
		w.clock.Advance(ceremony.MaxInvitation)
		_, err := w.accept(user, code, key())
		refused(t, err, passkey.InvitationExpired)
		if _, err := w.Reset(t.Context(), user.User); user == bob {
			refused(t, err, passkey.UserUnknown)
		} else if err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(-ceremony.MaxInvitation)
		_, err = w.accept(user, code, key())
		refused(t, err, passkey.InvitationInvalid)
	}
}

// A reset that is cut off says what it did, and goes on when it is called again.
func TestResetCutOff(t *testing.T) {
	f, calls := &faulty{}, 0
	w, a := newWorld(t, onFaulty(f)), key()
	w.enrol(ada, a)
	w.enrolAnother(ada, a, key())
	f.remove = func() error {
		if calls++; calls == 2 {
			return passkey.StoreUnavailable
		}
		return nil
	}
	removed, err := w.Reset(t.Context(), ada.User)
	refused(t, err, passkey.StoreUnavailable)
	same(t, len(removed), 1)
	same(t, len(w.account(ada.User).Passkeys), 1)

	f.revoke = func() error { return passkey.StoreUnavailable }
	removed, err = w.Reset(t.Context(), ada.User)
	refused(t, err, passkey.StoreUnavailable)
	same(t, len(removed), 1)
	f.revoke = nil
	removed = must(w.Reset(t.Context(), ada.User))(t)
	same(t, len(removed), 0)
}

// Somebody else's changes meanwhile are seen, also a passkey that was registered between two transactions.
func TestAdministrationRetries(t *testing.T) {
	f := &faulty{}
	w, a, b := newWorld(t, onFaulty(f)), key(), key()
	first := w.enrol(ada, a)
	second := w.enrolAnother(ada, a, b)
	meanwhile := func(fault *func() error, do func()) {
		done := false
		*fault = func() error {
			if !done {
				done = true
				do()
			}
			return nil
		}
	}
	meanwhile(&f.remove, func() { must(w.Rename(t.Context(), ada.User, second.ShortID(), "Renamed"))(t) })
	must(w.Discard(t.Context(), ada.User, first.ShortID()))(t)

	meanwhile(&f.revoke, func() {
		// As a registration whose transaction came first.
		account := w.account(ada.User)
		p := first
		next := must(account.User.Adding(p))(t)
		if err := w.store.Register(t.Context(), next, p); err != nil {
			t.Fatal(err)
		}
	})
	removed := must(w.Reset(t.Context(), ada.User))(t)
	same(t, []string{removed[0].ShortID(), removed[1].ShortID()}, []string{second.ShortID(), first.ShortID()})
	same(t, len(w.account(ada.User).Passkeys), 0)

	w.enrol(bob, key())
	f.remove = func() error { return passkey.Conflict }
	_, err := w.Reset(t.Context(), bob.User)
	refused(t, err, passkey.Conflict)
	_, err = w.Discard(t.Context(), bob.User, w.account(bob.User).Passkeys[0].ShortID())
	refused(t, err, passkey.Conflict)
	f.account = func() error { return passkey.StoreUnavailable }
	_, err = w.Reset(t.Context(), bob.User)
	refused(t, err, passkey.StoreUnavailable)
}

// Whoever is no longer as they were looked at is left alone, down to the last record.
func TestEraseOnlyAsSeen(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f)), key()
	w.enrol(ada, a)
	unchanged := func(tag, what string) {
		t.Helper()
		before := w.account(ada.User)
		removed, err := w.Erase(t.Context(), ada.User, tag)
		refused(t, err, passkey.Conflict)
		if len(removed) != 0 || w.account(ada.User).Tag() != before.Tag() {
			t.Errorf("%s: removed %v", what, removed)
		}
	}
	seen := w.account(ada.User).Tag()
	unchanged("x", "no such tag")
	must(w.authenticate(ada, stepUp, a))(t)
	unchanged(seen, "a passkey was used since")
	seen = w.account(ada.User).Tag()
	w.invite(ada.User)
	unchanged(seen, "invited since")
	seen = w.account(ada.User).Tag()
	w.enrolAnother(ada, a, key())
	unchanged(seen, "registered since")

	// Changed between two of its own transactions: what was registered then stays.
	seen = w.account(ada.User).Tag()
	done := false
	f.remove = func() error {
		if !done {
			done = true
			return w.Revoke(t.Context(), ada.User)
		}
		return nil
	}
	removed, err := w.Erase(t.Context(), ada.User, seen)
	refused(t, err, passkey.Conflict)
	if account := w.account(ada.User); len(removed) != 0 || len(account.Passkeys) != 2 {
		t.Errorf("removed %v, left %+v", removed, account)
	}
	f.remove = nil
	same(t, len(must(w.Erase(t.Context(), ada.User, w.account(ada.User).Tag()))(t)), 2)
	same(t, w.account(ada.User), passkey.Account{User: passkey.User{Name: ada.User}})

	// Erased and registered again: the one who is there now is not the one who was seen.
	w.enrol(ada, a)
	unchanged(seen, "another person")
}

// Somebody is invited while their turn lasts, by an administrator who knows better than the list. The invitation stays good,
// whenever it comes; without a tag they are deleted as they are, and it goes with them.
func TestEraseInvitedMeanwhile(t *testing.T) {
	for _, before := range []string{"remove", "ChangeUser"} {
		for _, invited := range []bool{false, true} {
			f := &faulty{}
			w, a := newWorld(t, onFaulty(f)), key()
			w.enrol(ada, a)
			if invited {
				w.invite(ada.User)
			}
			code := ""
			meanwhile := func() error {
				if code == "" {
					code = w.invite(ada.User)
				}
				return nil
			}
			if before == "remove" {
				f.remove = meanwhile
			} else {
				f.revoke = meanwhile
			}
			removed, err := w.Erase(t.Context(), ada.User, w.account(ada.User).Tag())
			refused(t, err, passkey.Conflict)
			same(t, len(removed), 1)
			same(t, w.account(ada.User).Invitation.ID, passkey.CodeID(code))
			same(t, len(must(w.accept(ada, code, key()))(t).Codes), passkey.RecoveryCodes)

			code = ""
			must(w.Erase(t.Context(), ada.User, ""))(t)
			same(t, w.account(ada.User), passkey.Account{User: passkey.User{Name: ada.User}})
		}
	}
	// Invited, and nothing else: as looked at they go, and not with another invitation.
	w := newWorld(t)
	w.invite("eve")
	seen := w.account("eve").Tag()
	w.invite("eve")
	_, err := w.Erase(t.Context(), "eve", seen)
	refused(t, err, passkey.Conflict)
	same(t, len(must(w.Erase(t.Context(), "eve", w.account("eve").Tag()))(t)), 0)
	same(t, w.account("eve"), passkey.Account{User: passkey.User{Name: "eve"}})
}

// An invitation that has expired is something that is stored about somebody; so it can be erased.
func TestEraseExpiredInvitation(t *testing.T) {
	w := newWorld(t)
	w.invite("eve")
	w.clock.Advance(31 * 24 * time.Hour)
	_, err := w.Reset(t.Context(), "eve")
	refused(t, err, passkey.UserUnknown)
	_, err = w.Erase(t.Context(), "eve", "x")
	refused(t, err, passkey.Conflict)
	same(t, w.account("eve").Invitation.ID != "", true)
	same(t, len(must(w.Erase(t.Context(), "eve", w.account("eve").Tag()))(t)), 0)
	same(t, w.account("eve"), passkey.Account{User: passkey.User{Name: "eve"}})
	_, err = w.Erase(t.Context(), "eve", "")
	refused(t, err, passkey.UserUnknown)
}
