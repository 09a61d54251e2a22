package ceremony_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// invite returns the code of a new invitation.
func (w *world) invite(user string) string {
	w.t.Helper()
	code, _, err := w.Invite(w.t.Context(), user, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

// accept registers a passkey by an invitation.
func (w *world) accept(p ceremony.Party, code string, a *authtest.Authenticator) (ceremony.Registered, error) {
	w.t.Helper()
	options, err := w.StartInvited(w.t.Context(), p, "", code)
	if err != nil {
		return ceremony.Registered{}, err
	}
	return w.finishRegistration(p, "", must(a.Register(options, p.Origin))(w.t))
}

// An invitation registers one passkey of one user, once, within its time.
func TestInvitation(t *testing.T) {
	w := newWorld(t)
	replaced, code := w.invite(ada.User), w.invite(ada.User)
	for what, test := range map[string]struct {
		party ceremony.Party
		code  string
	}{"replaced": {ada, replaced}, "somebody else's": {bob, code}, "made up": {ada, "ABCD"}, "none": {ada, ""}} {
		_, err := w.accept(test.party, test.code, key())
		t.Log(what)
		refused(t, err, passkey.InvitationInvalid)
	}
	typed := strings.ToLower(strings.ReplaceAll(code, "-", " "))
	registered, err := w.accept(ada, typed, key())
	if err != nil || registered.Action != passkey.Invited || len(registered.Codes) != passkey.RecoveryCodes {
		t.Fatalf("%+v, %v", registered, err)
	}
	_, err = w.accept(ada, code, key())
	refused(t, err, passkey.InvitationInvalid)

	// Beside passkeys that are there, and after they are gone: the user handle stays.
	handle := w.account(ada.User).User.Handle
	second := key()
	must(w.accept(ada, w.invite(ada.User), second))(t)
	if len(w.account(ada.User).Passkeys) != 2 || string(w.account(ada.User).User.Handle) != string(handle) {
		t.Errorf("account %+v", w.account(ada.User))
	}
	must(w.authenticate(ada, stepUp, second))(t)

	expired := w.invite(ada.User)
	w.clock.Advance(time.Hour)
	_, err = w.accept(ada, expired, key())
	refused(t, err, passkey.InvitationExpired)
}

// What has changed between the start and the finish of a registration counts.
func TestInvitationMeanwhile(t *testing.T) {
	begin := func(w *world, code string) []byte {
		return must(key().Register(must(w.StartInvited(t.Context(), ada, "", code))(t), origin))(t)
	}
	t.Run("used by another tab", func(t *testing.T) {
		w := newWorld(t)
		code := w.invite(ada.User)
		reply := begin(w, code)
		must(w.accept(ada, code, key()))(t)
		_, err := w.finishRegistration(ada, "", reply)
		refused(t, err, passkey.Conflict)
	})
	t.Run("replaced", func(t *testing.T) {
		w := newWorld(t)
		reply := begin(w, w.invite(ada.User))
		w.invite(ada.User)
		_, err := w.finishRegistration(ada, "", reply)
		refused(t, err, passkey.InvitationInvalid)
	})
	t.Run("expired", func(t *testing.T) {
		w := newWorld(t, func(c *ceremony.Config) { c.TTL = 2 * time.Hour })
		reply := begin(w, w.invite(ada.User))
		w.clock.Advance(time.Hour)
		_, err := w.finishRegistration(ada, "", reply)
		refused(t, err, passkey.InvitationExpired)
	})
	t.Run("as many passkeys as may be", func(t *testing.T) {
		w, a := newWorld(t, func(c *ceremony.Config) { c.MaxPasskeys = 100 }), key()
		w.enrol(ada, a)
		for range 99 {
			w.enrolAnother(ada, a, key())
		}
		_, err := w.StartInvited(t.Context(), ada, "", w.invite(ada.User))
		refused(t, err, passkey.TooManyPasskeys)

		// A lower limit does not hold whoever lost all that they may have.
		lower := newWorld(t, func(c *ceremony.Config) { c.MaxPasskeys = 1 })
		lower.enrol(ada, key())
		must(lower.accept(ada, lower.invite(ada.User), key()))(t)
	})
}

// registration invite: nobody registers a first passkey on the first factor alone.
func TestInviteOnly(t *testing.T) {
	w := newWorld(t, func(c *ceremony.Config) { c.InviteOnly = true })
	_, err := w.StartRegistration(t.Context(), ada, "", nil)
	refused(t, err, passkey.InvitationNeeded)
	first := key()
	must(w.accept(ada, w.invite(ada.User), first))(t)
	w.enrolAnother(ada, first, key()) // an existing passkey lets another one in, as ever
	if n := len(w.account(ada.User).Passkeys); n != 2 {
		t.Errorf("%d passkeys", n)
	}
}

func TestInviteRefused(t *testing.T) {
	w := newWorld(t)
	for _, lasts := range []time.Duration{0, -time.Hour, time.Second, 31 * 24 * time.Hour} {
		_, _, err := w.Invite(t.Context(), ada.User, lasts)
		refused(t, err, passkey.Internal)
	}
	_, _, err := w.Invite(t.Context(), "", time.Hour)
	refused(t, err, passkey.UserMissing)
	if code := w.invite(ada.User); len(strings.ReplaceAll(code, "-", "")) != 32 {
		t.Errorf("code %q", code)
	}
}
