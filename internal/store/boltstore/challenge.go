package boltstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Begin implements [ceremony.Store]. A user without passkeys has no use for an authentication's challenge, so none is
// stored: asking about made-up users writes nothing. A challenge id that is stored already is refused: ids come from
// 32 random bytes, and one that comes round again is a broken source of randomness or a replay.
func (s *Store) Begin(ctx context.Context, c passkey.Challenge) (passkey.Account, error) {
	const doing = "storing challenge"
	if c.RPID != s.rpID {
		return passkey.Account{}, fmt.Errorf("%s: %w: it is another relying party's", doing, passkey.Internal)
	}
	var account passkey.Account
	err := s.update(ctx, doing, func(t tx) (err error) {
		if account, err = t.account(c.User); err != nil {
			return err
		}
		if len(account.Passkeys) == 0 && c.Action.Kind() == passkey.Authentication {
			return errNoChange
		}
		return t.putChallenge(c)
	})
	if err != nil {
		return passkey.Account{}, err
	}
	return account, nil
}

// Issue implements [ceremony.Store].
func (s *Store) Issue(ctx context.Context, c passkey.Challenge) error {
	const doing = "storing challenge"
	if c.RPID != s.rpID {
		return fmt.Errorf("%s: %w: it is another relying party's", doing, passkey.Internal)
	}
	return s.update(ctx, doing, func(t tx) error { return t.putChallenge(c) })
}

// Consume implements [ceremony.Store].
func (s *Store) Consume(ctx context.Context, claim passkey.Claim, now time.Time) (passkey.Challenge, passkey.Account, error) {
	const doing = "consuming challenge"
	var (
		challenge  passkey.Challenge
		account    passkey.Account
		accountErr error
	)
	err := s.update(ctx, doing, func(t tx) error {
		key := t.challengeKey(claim.User, claim.ID)
		data := t.bucket.Get(key)
		if data == nil {
			return passkey.ChallengeUsed
		}
		var err error
		if challenge, err = t.decodeChallenge(data, claim.User, claim.ID); err != nil {
			return err
		}
		if err := challenge.Check(claim, now); err != nil {
			return err
		}
		if err := t.bucket.Delete(key); err != nil {
			return err
		}
		if err := t.bucket.Delete(expiryKey(challenge.Expires, key)); err != nil {
			return err
		}
		// Not returned: that would undo the deletion, and a challenge that was tried must not be tried again.
		account, accountErr = t.account(claim.User)
		return nil
	})
	if err == nil {
		err = describe("reading account of a consumed challenge", accountErr)
	}
	if err != nil {
		return passkey.Challenge{}, passkey.Account{}, err
	}
	return challenge, account, nil
}

var errRepeated = errors.New("a challenge with this id is stored already")

func (t tx) putChallenge(c passkey.Challenge) error {
	key := t.challengeKey(c.User, c.ID)
	if t.bucket.Get(key) != nil {
		return errRepeated
	}
	data, err := t.encodeChallenge(c)
	if err == nil {
		_, err = t.decodeChallenge(data, c.User, c.ID)
	}
	if err != nil {
		return notStorable(err)
	}
	if err := t.bucket.Put(key, data); err != nil {
		return err
	}
	return t.bucket.Put(expiryKey(c.Expires, key), nil)
}
