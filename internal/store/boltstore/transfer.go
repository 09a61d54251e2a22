package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

var _ transfer.Store = (*Store)(nil)

// usersBatch is how many users one reading transaction of Users reads. A reading transaction keeps bbolt from using pages
// again that were freed since it began, so it may not stay open while the caller does something slow with a user.
const usersBatch = 32

// Users implements [transfer.Store]. The order is that of the keys: shorter names first, then by their bytes.
func (s *Store) Users(ctx context.Context, after string, yield func(passkey.Account) error) error {
	from, skip := keyOf(userTag, s.rpID), []byte(nil)
	if after != "" {
		from = keyOf(userTag, s.rpID, after)
		skip = from
	}
	for {
		var batch []passkey.Account
		err := s.view(ctx, "reading users", func(t tx) (err error) {
			batch, err = t.users(from, skip)
			return err
		})
		if err != nil {
			return err
		}
		for _, account := range batch {
			if err := yield(account); err != nil {
				return err
			}
		}
		if len(batch) < usersBatch {
			return nil
		}
		from = keyOf(userTag, s.rpID, batch[len(batch)-1].User.Name)
		skip = from
	}
}

// users reads the next users, from a key on but for the one to skip.
func (t tx) users(from, skip []byte) ([]passkey.Account, error) {
	var batch []passkey.Account
	prefix := keyOf(userTag, t.rpID)
	cursor := t.bucket.Cursor()
	for key, _ := cursor.Seek(from); bytes.HasPrefix(key, prefix) && len(batch) < usersBatch; key, _ = cursor.Next() {
		if skip != nil && bytes.Equal(key, skip) {
			continue
		}
		length, name := key[len(prefix):], ""
		if len(length) >= 4 {
			name = string(length[4:])
		}
		if len(length) < 4 || int64(binary.BigEndian.Uint32(length)) != int64(len(name)) {
			return nil, errMisplaced
		}
		account, err := t.account(name)
		if err != nil {
			return nil, err
		}
		batch = append(batch, account)
	}
	return batch, nil
}

// Import implements [transfer.Store].
func (s *Store) Import(ctx context.Context, account passkey.Account) error {
	return s.update(ctx, "importing user", func(t tx) error {
		user := account.User
		if before, err := t.user(user.Name); err != nil {
			return err
		} else if before.Version != 0 {
			return passkey.Conflict
		}
		for _, p := range account.Passkeys {
			if _, owned, err := t.owner(p.ID); err != nil {
				return err
			} else if owned {
				return passkey.PasskeyExists
			}
			if err := t.putPasskey(user.Name, p); err != nil {
				return err
			}
			if err := t.putOwner(user.Name, p.ID); err != nil {
				return err
			}
		}
		if err := checkList(listOf(account.Passkeys), user, nil, nil); err != nil {
			return err
		}
		if err := t.putUser(user); err != nil {
			return err
		}
		// As every reader will: what is not an account may not be written. A passkey's record without a user, which only a
		// damaged file holds, shows here.
		_, err := t.account(user.Name)
		return err
	})
}

// listOf returns a user with the list that fits the passkeys.
func listOf(passkeys []passkey.Passkey) (u passkey.User) {
	for _, p := range passkeys {
		u.Passkeys = append(u.Passkeys, passkey.Ref{ID: p.ID})
	}
	return u
}
