package boltstore

import (
	"context"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Invite implements [ceremony.Store].
func (s *Store) Invite(ctx context.Context, user string, invitation passkey.Invitation) error {
	return s.update(ctx, "storing invitation", func(t tx) error {
		if _, err := t.invitation(user); err != nil {
			return err // what can't be read is not overwritten
		}
		data, err := encode(invitationRecord{V: recordVersion, RPID: t.rpID, User: []byte(user), ID: invitation.ID, Expires: invitation.Expires.UTC()})
		if err == nil {
			_, err = t.decodeInvitation(data, user)
		}
		if err != nil {
			return notStorable(err)
		}
		return t.bucket.Put(t.invitationKey(user), data)
	})
}

// invitation reads a user's invitation; zero when there is none.
func (t tx) invitation(user string) (passkey.Invitation, error) {
	data := t.bucket.Get(t.invitationKey(user))
	if data == nil {
		return passkey.Invitation{}, nil
	}
	return t.decodeInvitation(data, user)
}

func (t tx) decodeInvitation(data []byte, user string) (passkey.Invitation, error) {
	r, err := decode[invitationRecord](data)
	if err != nil {
		return passkey.Invitation{}, err
	}
	if r.RPID != t.rpID || string(r.User) != user {
		return passkey.Invitation{}, errMisplaced
	}
	if r.ID == "" || r.Expires.IsZero() {
		return passkey.Invitation{}, errMalformed
	}
	return passkey.Invitation{ID: r.ID, Expires: r.Expires}, nil
}

// spend deletes a user's invitation if it is this one.
func (t tx) spend(user, id string) error {
	stored, err := t.invitation(user)
	if err != nil {
		return err
	}
	if stored.ID != id || id == "" {
		return passkey.InvitationInvalid
	}
	return t.bucket.Delete(t.invitationKey(user))
}
