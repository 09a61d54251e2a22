package ceremony

import (
	"context"
	"errors"
	"fmt"

	"github.com/stepgate/stepgate/internal/passkey"
)

// attempts is how often a change of the user record is tried when somebody else changes it at the same time. What ends
// grants or passkeys insists: whoever has no more than the user's sign-in may rename passkeys, from one network 30 at once,
// from ten of them 300 at once and then five a second, and must not keep them alive by that.
const (
	attempts   = 3
	insistence = 40
)

// retry calls change with the account until it does not end in a conflict, and reads the account again in between. A nil
// account is read first.
func (s *Service) retry(ctx context.Context, user string, account *passkey.Account, change func(passkey.Account) error) error {
	return s.retryUpTo(ctx, attempts, user, account, change)
}

func (s *Service) retryUpTo(ctx context.Context, most int, user string, account *passkey.Account, change func(passkey.Account) error) error {
	for attempt := 1; ; attempt++ {
		if account == nil {
			fresh, err := s.config.Store.Account(ctx, user)
			if err != nil {
				return err
			}
			account = &fresh
		}
		err := change(*account)
		if !errors.Is(err, passkey.Conflict) || attempt == most {
			return err
		}
		account = nil
	}
}

// Account returns the user with their passkeys, oldest first. A user never seen has Version 0 and no error.
func (s *Service) Account(ctx context.Context, user string) (passkey.Account, error) {
	return s.config.Store.Account(ctx, user)
}

// Rename changes the name of a user's passkey and returns it. It needs no ceremony: a name is decoration.
//
// Refusals: [passkey.NameInvalid], [passkey.NameTaken], [passkey.PasskeyUnknown], [passkey.Conflict],
// [passkey.StoreUnavailable].
func (s *Service) Rename(ctx context.Context, user, shortID, name string) (passkey.Passkey, error) {
	renamed, err := s.rename(ctx, user, shortID, name)
	if err != nil {
		return passkey.Passkey{}, fmt.Errorf("renaming a passkey: %w", err)
	}
	return renamed, nil
}

func (s *Service) rename(ctx context.Context, user, shortID, name string) (passkey.Passkey, error) {
	name, err := passkey.CheckName(name)
	if err != nil {
		return passkey.Passkey{}, err
	}
	var renamed passkey.Passkey
	err = s.retry(ctx, user, nil, func(account passkey.Account) error {
		p, ok := account.PasskeyByShortID(shortID)
		if !ok {
			return passkey.PasskeyUnknown
		}
		next, err := account.User.Renaming(p.ID, name)
		if err != nil {
			return err
		}
		p.Name = name
		renamed = p
		return s.config.Store.Rename(ctx, next, p.ID, name)
	})
	return renamed, err
}

// Remove finishes the authentication begun for [passkey.Remove] with shortID as its target, with all refusals of
// [Service.Finish], then removes that passkey and returns it as it was. Grants made with it end. last says that whoever asks
// knows that it may be their only one: when the others were removed meanwhile, nobody has warned them.
//
// Refusals of its own: [passkey.PasskeyUnknown] when it is gone already, [passkey.AuthorizationNeeded] when whoever authorised
// it is gone or no longer strong enough, [passkey.LastPasskey] when it is the only one and last does not say so, or it has to
// be kept, [passkey.Conflict].
func (s *Service) Remove(ctx context.Context, party Party, shortID string, authorization []byte, last bool) (Removed, error) {
	removed, err := s.remove(ctx, party, shortID, authorization, last)
	if err != nil {
		return removed, fmt.Errorf("removing a passkey: %w", err)
	}
	return removed, nil
}

func (s *Service) remove(ctx context.Context, party Party, shortID string, authorization []byte, last bool) (removed Removed, err error) {
	purpose := Purpose{Action: passkey.Remove, Target: shortID}
	proof, account, err := s.finish(ctx, party, purpose, authorization)
	if err != nil {
		return removed, err
	}
	removed.Authorized = &proof
	err = s.retryUpTo(ctx, insistence, party.User, &account, func(account passkey.Account) error {
		// Whoever authorised it may have been removed by another request since: then nothing is authorised.
		authorised, ok := account.Passkey(proof.Passkey.ID)
		if !ok {
			return passkey.AuthorizationNeeded
		}
		if err := s.checkTarget(account, purpose); err != nil {
			return err
		}
		if s.Reach(authorised) < s.neededLevel(account, purpose) { // an imported target has turned out stronger since
			return passkey.AuthorizationNeeded
		}
		if len(account.Passkeys) == 1 && !last {
			return passkey.LastPasskey
		}
		removed.Passkey, _ = account.PasskeyByShortID(shortID)
		next, err := account.User.Removing(removed.Passkey.ID)
		if err != nil {
			return err
		}
		return s.config.Store.Remove(ctx, next, removed.Passkey.ID)
	})
	return removed, err
}

// Revoke ends all grants of a user, wherever they are, by replacing their epoch. For a user without a record there is
// nothing to do. Refusals: [passkey.Conflict], [passkey.StoreUnavailable].
func (s *Service) Revoke(ctx context.Context, user string) error {
	epoch, err := s.epoch()
	if err != nil {
		return err
	}
	var before *passkey.Epoch
	err = s.retryUpTo(ctx, insistence, user, nil, func(account passkey.Account) error {
		if account.User.Version == 0 {
			return nil
		}
		if before == nil {
			before = &account.User.Epoch
		}
		if account.User.Epoch != *before {
			return nil // somebody else has ended them since this began, or it was written and the answer lost
		}
		return s.config.Store.ChangeUser(ctx, account.User.InEpoch(epoch))
	})
	if err != nil {
		return fmt.Errorf("revoking grants: %w", err)
	}
	return nil
}

func (s *Service) epoch() (passkey.Epoch, error) {
	b, err := s.draw(len(passkey.Epoch{}))
	if err != nil {
		return passkey.Epoch{}, err
	}
	return passkey.Epoch(b), nil
}
