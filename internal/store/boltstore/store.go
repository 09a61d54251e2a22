package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// Store is one relying party's part of a [DB].
type Store struct {
	db   *DB
	rpID string
}

var _ ceremony.Store = (*Store)(nil)

// For returns the store of one relying party. Stores of different RP IDs share the file and nothing else; any number
// may be made for one.
func (db *DB) For(rpID string) *Store { return &Store{db, rpID} }

// Account implements [ceremony.Store].
func (s *Store) Account(ctx context.Context, user string) (passkey.Account, error) {
	var account passkey.Account
	err := s.view(ctx, "reading account", func(t tx) (err error) {
		account, err = t.account(user)
		return err
	})
	if err != nil {
		return passkey.Account{}, err
	}
	return account, nil
}

// account reads a user and their passkeys, oldest first.
func (t tx) account(name string) (passkey.Account, error) {
	user, err := t.user(name)
	if err != nil {
		return passkey.Account{}, err
	}
	var passkeys []passkey.Passkey
	prefix := t.passkeyPrefix(name)
	cursor := t.bucket.Cursor()
	for key, value := cursor.Seek(prefix); bytes.HasPrefix(key, prefix); key, value = cursor.Next() {
		p, err := t.decodePasskey(value, name)
		if err != nil {
			return passkey.Account{}, err
		}
		if !bytes.Equal(key, t.passkeyKey(name, p.ID)) {
			return passkey.Account{}, errMisplaced
		}
		passkeys = append(passkeys, p)
	}
	account, agree := passkey.AccountOf(user, passkeys)
	if !agree {
		return passkey.Account{}, errDisagree
	}
	account.Invitation, err = t.invitation(name)
	return account, err
}

var errDisagree = errors.New("unreadable account: the user's list, the passkeys' records and their owners disagree")

// user reads a user record; without one the user has version 0.
func (t tx) user(name string) (passkey.User, error) {
	data := t.bucket.Get(t.userKey(name))
	if data == nil {
		return passkey.User{Name: name}, nil
	}
	return t.decodeUser(data, name)
}

// passkey reads one passkey of one user.
func (t tx) passkey(user string, credentialID []byte) (p passkey.Passkey, found bool, err error) {
	data := t.bucket.Get(t.passkeyKey(user, credentialID))
	if data == nil {
		return passkey.Passkey{}, false, nil
	}
	if p, err = t.decodePasskey(data, user); err != nil {
		return passkey.Passkey{}, false, err
	}
	if !bytes.Equal(p.ID, credentialID) {
		return passkey.Passkey{}, false, errMisplaced
	}
	return p, true, nil
}

// putUser and its like read back what they are about to write: a record that decode refuses would lock its user out.
func (t tx) putUser(u passkey.User) error {
	data, err := t.encodeUser(u)
	if err == nil {
		_, err = t.decodeUser(data, u.Name)
	}
	if err != nil {
		return notStorable(err)
	}
	return t.bucket.Put(t.userKey(u.Name), data)
}

func (t tx) putPasskey(user string, p passkey.Passkey) error {
	data, err := t.encodePasskey(user, p)
	if err == nil {
		_, err = t.decodePasskey(data, user)
	}
	if err != nil {
		return notStorable(err)
	}
	return t.bucket.Put(t.passkeyKey(user, p.ID), data)
}

// notStorable marks a mistake of the caller: nothing is wrong with the store.
func notStorable(err error) error {
	return fmt.Errorf("%w: refusing to write what could not be read back: %w", passkey.Internal, err)
}
