package ceremony

import (
	"context"
	"fmt"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// whole is a [Store] whose records have what every ceremony writes. Stores leave out what is empty, so a record that lost it
// reads like one that never had it. A user without a handle, in a registration's challenge or in their record, is one whom no
// passkey knows; any change would write them back like that, and lock them out for good.
type whole struct{ Store }

func (s whole) Begin(ctx context.Context, c passkey.Challenge) (passkey.Account, error) {
	account, err := s.Store.Begin(ctx, c)
	return wholeAccount(account, err)
}

func (s whole) Account(ctx context.Context, user string) (passkey.Account, error) {
	account, err := s.Store.Account(ctx, user)
	return wholeAccount(account, err)
}

func (s whole) Consume(ctx context.Context, claim passkey.Claim, now time.Time) (passkey.Challenge, passkey.Account, error) {
	record, account, err := s.Store.Consume(ctx, claim, now)
	if account, err = wholeAccount(account, err); err == nil && !isWhole(record) {
		err = fmt.Errorf("%w: the challenge's record has lost a part", passkey.StoreUnavailable)
	}
	if err != nil {
		return passkey.Challenge{}, passkey.Account{}, err
	}
	return record, account, nil
}

func wholeAccount(account passkey.Account, err error) (passkey.Account, error) {
	if err == nil && account.User.Version > 0 && len(account.User.Handle) == 0 {
		err = fmt.Errorf("%w: the user's record has lost the user handle", passkey.StoreUnavailable)
	}
	if err != nil {
		return passkey.Account{}, err
	}
	return account, nil
}

// isWhole reports whether a challenge's record has what its action needs.
func isWhole(record passkey.Challenge) bool {
	switch record.Action {
	case passkey.Remove, passkey.Another, passkey.Invited, passkey.Recovered:
		if record.Target == "" {
			return false
		}
	}
	if record.Action.Kind() == passkey.Registration {
		return record.Origin != "" && len(record.Handle) > 0
	}
	return record.Origin != "" && record.Level.Valid()
}
