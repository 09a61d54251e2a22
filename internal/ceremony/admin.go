package ceremony

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// What is in this file changes a user's passkeys without a ceremony. It is for whoever administers the store, which they
// could change as well, and may never be reached through a site that the gate protects (docs/rules.md, rule 9).

// Discard removes one passkey of a user, the last one too, and returns it as it was. Grants made with it end.
//
// Refusals: [passkey.UserUnknown], [passkey.PasskeyUnknown], [passkey.Conflict], [passkey.StoreUnavailable].
func (s *Service) Discard(ctx context.Context, user, shortID string) (passkey.Passkey, error) {
	var discarded passkey.Passkey
	err := s.retryUpTo(ctx, insistence, user, nil, func(account passkey.Account) error {
		if account.User.Version == 0 {
			return passkey.UserUnknown
		}
		p, ok := account.PasskeyByShortID(shortID)
		if !ok {
			return passkey.PasskeyUnknown
		}
		next, err := account.User.Removing(p.ID)
		if err != nil {
			return err
		}
		discarded = p
		return s.config.Store.Remove(ctx, next, p.ID)
	})
	if err != nil {
		return passkey.Passkey{}, fmt.Errorf("discarding a passkey: %w", err)
	}
	return discarded, nil
}

// Reset ends an invitation of the user, removes all of their passkeys, in one transaction each, then ends all of their
// grants and recovery codes, and returns what it removed, also with an error. The user's record stays, so that first use stays closed. It may be
// called again after it was cut off, and then goes on. When it succeeds, the user had no passkey at the moment in which the
// grants ended, and nothing that was under way before gives them one.
//
// Refusals: [passkey.UserUnknown], which says that nothing was written, but for the end of an invitation that had expired,
// [passkey.Conflict], [passkey.StoreUnavailable].
func (s *Service) Reset(ctx context.Context, user string) ([]passkey.Passkey, error) {
	removed, _, err := s.reset(ctx, user, "")
	if err != nil {
		return removed, fmt.Errorf("resetting a user: %w", err)
	}
	return removed, nil
}

// reset does it, and returns the account as it left it, also with [passkey.UserUnknown]. With a tag whoever is not, or no
// longer, in the state that it names is left alone, [passkey.Conflict], and so is their invitation: the erasure that follows ends
// it, and no other one.
func (s *Service) reset(ctx context.Context, user, tag string) (removed []passkey.Passkey, left passkey.Account, err error) {
	epoch, err := s.epoch()
	if err != nil {
		return nil, left, err
	}
	var account *passkey.Account // nil: to be read, because somebody else changed it
	for conflicts := 0; ; {
		if account == nil {
			fresh, err := s.config.Store.Account(ctx, user)
			if err != nil {
				return removed, left, err
			}
			if tag != "" && fresh.Tag() != tag {
				return removed, left, passkey.Conflict
			}
			invited := false
			if tag == "" {
				invited, err = s.endInvitation(ctx, fresh)
			}
			switch {
			case err != nil:
				return removed, left, err
			case fresh.User.Version == 0 && invited:
				return removed, fresh, nil // invited, and never registered: there is nothing else
			case fresh.User.Version == 0:
				return removed, fresh, passkey.UserUnknown
			}
			account = &fresh
		}
		// Each change is conditioned on the version that the one before it wrote: a passkey that is registered in between, by
		// a ceremony under way, makes a conflict and is then removed too.
		if len(account.Passkeys) == 0 {
			next := account.User.Reset(epoch)
			if err = s.config.Store.ChangeUser(ctx, next); err == nil {
				account.User = next
				return removed, *account, nil
			}
		} else {
			var p passkey.Passkey
			if p, err = s.removeFirst(ctx, account); err == nil {
				removed = append(removed, p)
				continue
			}
		}
		if conflicts++; !errors.Is(err, passkey.Conflict) && !errors.Is(err, passkey.PasskeyUnknown) || conflicts == insistence {
			return removed, left, err
		}
		account = nil
	}
}

// endInvitation puts a dead invitation that nobody knows in the place of one that is there, and reports whether that was
// alive. One that has expired is ended too: by another gateway's clock it may not have.
func (s *Service) endInvitation(ctx context.Context, account passkey.Account) (alive bool, err error) {
	if account.Invitation.ID == "" {
		return false, nil
	}
	now := s.config.Now()
	nobodys, err := s.draw(invitationLength)
	if err != nil {
		return false, err
	}
	dead := passkey.Invitation{ID: passkey.CodeID(base32.StdEncoding.EncodeToString(nobodys)), Expires: now.UTC().Truncate(time.Second)}
	return now.Before(account.Invitation.Expires), s.config.Store.Invite(ctx, account.User.Name, dead)
}

// removeFirst removes the first passkey of an account and makes the account what it is then.
func (s *Service) removeFirst(ctx context.Context, account *passkey.Account) (passkey.Passkey, error) {
	p := account.Passkeys[0]
	next, err := account.User.Removing(p.ID)
	if err == nil {
		err = s.config.Store.Remove(ctx, next, p.ID)
	}
	if err != nil {
		return passkey.Passkey{}, err
	}
	account.User, account.Passkeys = next, account.Passkeys[1:]
	return p, nil
}

// Erase is [Service.Reset], and then removes the user's record and their invitation, also one that has expired: nothing is
// kept of them. From then on they were never seen, and whoever the first factor calls by this name may register a first passkey
// again: the gate keeps no memory of whom to refuse that (docs/rules.md, rule 10, ends here).
//
// With a tag ([passkey.Account.Tag]) nothing is done to a user who was changed, invited, or seen with a passkey ([Lately] apart) since; "" takes
// them as they are.
//
// Refusals: [passkey.UserUnknown], [passkey.Conflict] when the user registered meanwhile or has another tag, which may be after
// some or all of the passkeys that it returns were removed,
// [passkey.StoreUnavailable].
func (s *Service) Erase(ctx context.Context, user, tag string) ([]passkey.Passkey, error) {
	removed, left, err := s.reset(ctx, user, tag)
	if unknown := err; err == nil || errors.Is(err, passkey.UserUnknown) {
		erase := func(account passkey.Account) error {
			switch {
			case len(account.Passkeys) > 0:
				return passkey.Conflict
			case account.User.Version == 0 && account.Invitation.ID == "":
				return unknown // nil when somebody else erased them just now
			}
			return s.config.Store.Erase(ctx, account.User, account.Invitation.ID)
		}
		if tag != "" {
			err = erase(left) // and nobody who changed or was invited since
		} else {
			err = s.retry(ctx, user, nil, erase)
		}
	}
	if err != nil {
		return removed, fmt.Errorf("erasing a user: %w", err)
	}
	return removed, nil
}
