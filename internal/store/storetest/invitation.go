package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

func newInvitation(code string) passkey.Invitation {
	return passkey.Invitation{ID: passkey.CodeID(code), Expires: now.Add(24 * time.Hour)}
}

// "Invite stores an invitation for a user, who need not have a record, in the place of one that is there", and
// "RegisterInvited deletes the user's invitation of this id, in the same transaction".
func testInvitation(t *testing.T, s ceremony.Store) {
	first, second := newInvitation("first"), newInvitation("second")
	second.Expires = now.Add(time.Hour).In(time.FixedZone("", 3600))
	accepted(t, "Invite", s.Invite(t.Context(), "ada", first))
	stored(t, s, passkey.Account{User: passkey.User{Name: "ada"}, Invitation: first})
	accepted(t, "Invite again", s.Invite(t.Context(), "ada", second))
	second.Expires = second.Expires.UTC()
	stored(t, s, passkey.Account{User: passkey.User{Name: "ada"}, Invitation: second})
	stored(t, s, passkey.Account{User: passkey.User{Name: "bob"}})

	laptop, phone := newPasskey("laptop"), newPasskey("phone")
	next := adding(t, passkey.User{Name: "ada"}, laptop)
	for what, id := range map[string]string{"that was replaced": first.ID, "never made": newInvitation("third").ID, "without an id": ""} {
		refused(t, "RegisterInvited with one "+what, s.RegisterInvited(t.Context(), next, laptop, id), passkey.InvitationInvalid)
	}
	bobs := adding(t, passkey.User{Name: "bob"}, laptop)
	refused(t, "RegisterInvited with somebody else's", s.RegisterInvited(t.Context(), bobs, laptop, second.ID), passkey.InvitationInvalid)
	stored(t, s, passkey.Account{User: passkey.User{Name: "ada"}, Invitation: second})
	stored(t, s, passkey.Account{User: passkey.User{Name: "bob"}})

	for range 2 { // the answer was lost: success, and nothing changes
		accepted(t, "RegisterInvited", s.RegisterInvited(t.Context(), next, laptop, second.ID))
		stored(t, s, passkey.Account{User: next, Passkeys: []passkey.Passkey{laptop}})
	}
	another := adding(t, next, phone)
	refused(t, "RegisterInvited with one that is used up", s.RegisterInvited(t.Context(), another, phone, second.ID), passkey.InvitationInvalid)

	// For somebody who has passkeys; whatever else is done leaves it alone.
	accepted(t, "Invite", s.Invite(t.Context(), "ada", first))
	account := passkey.Account{User: next, Passkeys: []passkey.Passkey{laptop}, Invitation: first}
	stored(t, s, account)
	accepted(t, "Register", s.Register(t.Context(), another, phone))
	account.User, account.Passkeys = another, []passkey.Passkey{laptop, phone}
	stored(t, s, account)
	third := newPasskey("third")
	stale := adding(t, next, third)
	refused(t, "RegisterInvited for an old version", s.RegisterInvited(t.Context(), stale, third, first.ID), passkey.Conflict)
	twice := another
	twice.Version++
	again := laptop
	again.LastCeremony = passkey.ChallengeID([]byte("another ceremony"))
	refused(t, "RegisterInvited of a passkey that is there", s.RegisterInvited(t.Context(), twice, again, first.ID), passkey.PasskeyExists)
	stored(t, s, account)
	last := adding(t, another, third)
	accepted(t, "RegisterInvited", s.RegisterInvited(t.Context(), last, third, first.ID))
	stored(t, s, passkey.Account{User: last, Passkeys: []passkey.Passkey{laptop, phone, third}})
}

// One invitation registers one passkey, however many try at once.
func testInvitationOnce(t *testing.T, s ceremony.Store) {
	invitation := newInvitation("once")
	accepted(t, "Invite", s.Invite(t.Context(), "ada", invitation))
	got := race(racers, func(i int) error {
		p := newPasskey(fmt.Sprint("racer ", i))
		next, err := passkey.User{Name: "ada"}.Adding(p)
		if err != nil {
			return err
		}
		next.Handle, next.Epoch = []byte("handle"), sixteen("epoch")
		return s.RegisterInvited(context.Background(), next, p, invitation.ID)
	})
	if got["accepted"] != 1 || got["accepted"]+got[string(passkey.Conflict)]+got[string(passkey.InvitationInvalid)] != racers {
		t.Errorf("concurrent registrations by one invitation: %v", got)
	}
	if diff := cmp.Diff(passkey.Invitation{}, read(t, s, "ada").Invitation); diff != "" {
		t.Errorf("what is left of it: %s", diff)
	}
}
