package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Register implements [ceremony.Store].
func (s *Store) Register(ctx context.Context, next passkey.User, p passkey.Passkey) error {
	return s.register(ctx, next, p, func(tx) error { return nil })
}

// RegisterInvited implements [ceremony.Store].
func (s *Store) RegisterInvited(ctx context.Context, next passkey.User, p passkey.Passkey, invitation string) error {
	return s.register(ctx, next, p, func(t tx) error { return t.spend(next.Name, invitation) })
}

// register is Register, and spends what authorised it in the same transaction.
func (s *Store) register(ctx context.Context, next passkey.User, p passkey.Passkey, spend func(tx) error) error {
	return s.update(ctx, "registering passkey", func(t tx) error {
		stored, found, err := t.passkey(next.Name, p.ID)
		if err != nil {
			return err
		}
		if found && isSame(stored.LastCeremony, p.LastCeremony) {
			return errNoChange
		}
		before, err := t.before(next)
		if err != nil {
			return err
		}
		if _, owned, err := t.owner(p.ID); err != nil {
			return err
		} else if found || owned {
			return passkey.PasskeyExists
		}
		if err := checkList(before, next, nil, p.ID); err != nil {
			return err
		}
		if _, named := next.Named(p.ID, p.Name); !named {
			return errList
		}
		if err := spend(t); err != nil {
			return err
		}
		if err := t.putUser(next); err != nil {
			return err
		}
		if err := t.putPasskey(next.Name, p); err != nil {
			return err
		}
		return t.putOwner(next.Name, p.ID)
	})
}

// Rename implements [ceremony.Store]. Where the passkey is gone and the user has changed, which go together, it says
// that the passkey is gone: trying again would not help.
func (s *Store) Rename(ctx context.Context, next passkey.User, credentialID []byte, name string) error {
	return s.update(ctx, "renaming passkey", func(t tx) error {
		p, before, err := t.toChange(next, credentialID)
		if err != nil {
			return err
		}
		if err := checkList(before, next, nil, nil); err != nil {
			return err
		}
		if _, named := next.Named(credentialID, name); !named {
			return errList
		}
		if err := t.putUser(next); err != nil {
			return err
		}
		p.Name = name
		return t.putPasskey(next.Name, p)
	})
}

// Remove implements [ceremony.Store]. It refuses as Rename does.
func (s *Store) Remove(ctx context.Context, next passkey.User, credentialID []byte) error {
	return s.update(ctx, "removing passkey", func(t tx) error {
		_, before, err := t.toChange(next, credentialID)
		if err != nil {
			return err
		}
		if err := checkList(before, next, credentialID, nil); err != nil {
			return err
		}
		if owner, owned, err := t.owner(credentialID); err != nil {
			return err
		} else if !owned || owner != next.Name {
			return errDisagree
		}
		if err := t.putUser(next); err != nil {
			return err
		}
		if err := t.bucket.Delete(t.passkeyKey(next.Name, credentialID)); err != nil {
			return err
		}
		return t.bucket.Delete(t.ownerKey(credentialID))
	})
}

// ChangeUser implements [ceremony.Store]. For a user never seen it makes the record, which closes first use.
func (s *Store) ChangeUser(ctx context.Context, next passkey.User) error {
	return s.update(ctx, "changing user", func(t tx) error {
		before, err := t.before(next)
		if err != nil {
			return err
		}
		if err := checkList(before, next, nil, nil); err != nil {
			return err
		}
		return t.putUser(next)
	})
}

// Erase implements [ceremony.Store].
func (s *Store) Erase(ctx context.Context, user passkey.User, invitation string) error {
	return s.update(ctx, "erasing user", func(t tx) error {
		before, err := t.user(user.Name)
		if err != nil {
			return err
		}
		invited, err := t.invitation(user.Name)
		if err != nil {
			return err
		}
		if before.Version != user.Version || invited.ID != invitation {
			return passkey.Conflict
		}
		if len(before.Passkeys) > 0 {
			return errList
		}
		if err := t.bucket.Delete(t.userKey(user.Name)); err != nil {
			return err
		}
		return t.bucket.Delete(t.invitationKey(user.Name))
	})
}

// before returns the user record that next replaces, if it is the one that next was made from.
func (t tx) before(next passkey.User) (passkey.User, error) {
	before, err := t.user(next.Name)
	if err != nil {
		return passkey.User{}, err
	}
	if next.Version == 0 || before.Version != next.Version-1 {
		return passkey.User{}, passkey.Conflict
	}
	return before, nil
}

// toChange returns a passkey that is about to change, and the user record that next replaces.
func (t tx) toChange(next passkey.User, credentialID []byte) (passkey.Passkey, passkey.User, error) {
	p, found, err := t.passkey(next.Name, credentialID)
	if err != nil {
		return passkey.Passkey{}, passkey.User{}, err
	}
	if !found {
		return passkey.Passkey{}, passkey.User{}, passkey.PasskeyUnknown
	}
	before, err := t.before(next)
	return p, before, err
}

// checkList refuses a next user whose list does not say what the transaction does: it is what limits are decided on.
func checkList(before, next passkey.User, removed, added []byte) error {
	var want, have [][]byte
	for _, ref := range before.Passkeys {
		if removed == nil || !bytes.Equal(ref.ID, removed) {
			want = append(want, ref.ID)
		}
	}
	if added != nil {
		want = append(want, added)
	}
	for _, ref := range next.Passkeys {
		have = append(have, ref.ID)
	}
	slices.SortFunc(want, bytes.Compare)
	slices.SortFunc(have, bytes.Compare)
	if !slices.EqualFunc(want, have, bytes.Equal) {
		return errList
	}
	return nil
}

// errList is a caller's mistake.
var errList = fmt.Errorf("%w: the user's list of passkeys does not fit the change", passkey.Internal)

// isSame tells whether a record's last ceremony is the one that is being written. No ceremony is the same as none.
func isSame(stored, writing string) bool { return stored == writing && writing != "" }

// owner tells who holds the credential id. An owner record that can't be read is an error, not "nobody".
func (t tx) owner(credentialID []byte) (user string, found bool, err error) {
	data := t.bucket.Get(t.ownerKey(credentialID))
	if data == nil {
		return "", false, nil
	}
	r, err := decode[ownerRecord](data)
	if err != nil {
		return "", false, err
	}
	if r.RPID != t.rpID || !bytes.Equal(r.ID, credentialID) {
		return "", false, errMisplaced
	}
	return string(r.User), true, nil
}

func (t tx) putOwner(user string, credentialID []byte) error {
	data, err := encode(ownerRecord{V: recordVersion, RPID: t.rpID, User: []byte(user), ID: credentialID})
	if err == nil {
		_, err = decode[ownerRecord](data)
	}
	if err != nil {
		return notStorable(err)
	}
	return t.bucket.Put(t.ownerKey(credentialID), data)
}
