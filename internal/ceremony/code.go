package ceremony

import (
	"bytes"
	"context"
	"fmt"

	"github.com/stepgate/stepgate/internal/passkey"
)

// A code takes the place of an existing passkey's authorization, and of the first factor's word alone: an administrator's
// invitation, or a recovery code that the user has kept. It is good for registering one passkey, and earns no grant. It is used
// up when the registration is finished, in the same transaction.

// StartInvited is [Service.StartRegistration] for somebody who has an administrator's invitation. Refusals of its own:
// [passkey.InvitationInvalid], [passkey.InvitationExpired].
func (s *Service) StartInvited(ctx context.Context, party Party, name, invitation string) (Options, error) {
	options, err := s.startByCode(ctx, party, name, passkey.Invited, invitation)
	if err != nil {
		return nil, fmt.Errorf("starting a registration by invitation: %w", err)
	}
	return options, nil
}

// StartRecovered is [Service.StartRegistration] for somebody who has a recovery code. Refusals of its own:
// [passkey.RecoveryCodeInvalid], [passkey.RecoveryOff].
func (s *Service) StartRecovered(ctx context.Context, party Party, name, code string) (Options, error) {
	options, err := s.startByCode(ctx, party, name, passkey.Recovered, code)
	if err != nil {
		return nil, fmt.Errorf("starting a registration by recovery code: %w", err)
	}
	return options, nil
}

func (s *Service) startByCode(ctx context.Context, party Party, name string, action passkey.Action, code string) (Options, error) {
	if err := s.admit(party); err != nil {
		return nil, err
	}
	name, err := optionalName(name)
	if err != nil {
		return nil, err
	}
	record := passkey.Challenge{Action: action, Level: passkey.Verified, Name: name, Target: passkey.CodeID(code)}
	// Read first: whoever has a record keeps their user handle, and whoever guesses writes nothing.
	account, err := s.config.Store.Account(ctx, party.User)
	if err != nil {
		return nil, err
	}
	if record.Handle = account.User.Handle; account.User.Version == 0 {
		if record.Handle, err = s.draw(passkey.HandleLength); err != nil {
			return nil, err
		}
	}
	if err := s.mayRegister(record, account, s.signInAt(party, false)); err != nil {
		return nil, err
	}
	challenge, account, err := s.begin(ctx, party, record)
	if err != nil {
		return nil, err
	}
	return s.offer(party, record, challenge, account)
}

// mayRegisterByCode is the part of mayRegister that is about codes.
func (s *Service) mayRegisterByCode(record passkey.Challenge, account passkey.Account) error {
	if record.Action == passkey.Recovered && s.config.NoRecovery {
		return passkey.RecoveryOff
	}
	if account.User.Version > 0 && !bytes.Equal(record.Handle, account.User.Handle) {
		return passkey.Conflict // somebody was registered meanwhile; the code is still good
	}
	err := account.User.Recovery.Check(record.Target)
	if record.Action == passkey.Invited {
		err = account.Invitation.Check(record.Target, s.config.Now())
	}
	if err != nil {
		return err
	}
	// Not MaxPasskeys: whoever lost all that they may have could remove none to make room.
	if len(account.User.Passkeys) >= mostPasskeys {
		return passkey.TooManyPasskeys
	}
	return nil
}
