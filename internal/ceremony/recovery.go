package ceremony

import (
	"context"
	"encoding/base32"
	"fmt"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// codeLength is in bytes: 80 random bits, which nobody guesses, in 16 letters.
const codeLength = 10

// drawCodes makes recovery codes, as people read them and as they are kept.
func (s *Service) drawCodes(at time.Time) ([]string, passkey.Recovery, error) {
	codes := make([]string, 0, passkey.RecoveryCodes)
	recovery := passkey.Recovery{MadeAt: at.UTC().Truncate(time.Second)}
	for range passkey.RecoveryCodes {
		secret, err := s.draw(codeLength)
		if err != nil {
			return nil, passkey.Recovery{}, err
		}
		code := passkey.PrintCode(base32.StdEncoding.EncodeToString(secret))
		codes = append(codes, code)
		recovery.Codes = append(recovery.Codes, passkey.CodeDigest(code))
	}
	return codes, recovery, nil
}

// firstCodes makes the recovery codes that come with the first of a user's passkeys, on the first factor alone or by an
// invitation; nil with any other. One recovery code never makes others: those need a passkey, see [Service.MakeCodes].
func (s *Service) firstCodes(record passkey.Challenge, account passkey.Account, at time.Time) ([]string, passkey.Recovery, error) {
	first := len(account.Passkeys) == 0 && (record.Action == passkey.FirstUse || record.Action == passkey.Invited)
	if !first || s.config.NoRecovery {
		return nil, passkey.Recovery{}, nil
	}
	return s.drawCodes(at)
}

// maxLevel returns the bound of a passkey about to be registered. What a recovery code registered stays bounded, and hands
// its bound down to the passkeys it adds: else it would only have to add another one.
func (s *Service) maxLevel(record passkey.Challenge, account passkey.Account) passkey.Level {
	switch record.Action {
	case passkey.Recovered:
		return s.config.RecoveryLevel
	case passkey.Another:
		authorised, _ := account.PasskeyByShortID(record.Target)
		return authorised.MaxLevel
	}
	return 0
}

// MakeCodes finishes the authentication begun for [passkey.MakeCodes], with all refusals of [Service.Finish], then gives the
// user new recovery codes in the place of all that they had.
//
// Refusals of its own: [passkey.RecoveryOff], [passkey.AuthorizationNeeded] when the passkey that authorised it is gone or no
// longer the user's strongest, [passkey.Conflict].
func (s *Service) MakeCodes(ctx context.Context, party Party, authorization []byte) (MadeCodes, error) {
	made, err := s.makeCodes(ctx, party, authorization)
	if err != nil {
		return made, fmt.Errorf("making recovery codes: %w", err)
	}
	return made, nil
}

func (s *Service) makeCodes(ctx context.Context, party Party, authorization []byte) (made MadeCodes, err error) {
	if s.config.NoRecovery {
		return made, passkey.RecoveryOff
	}
	proof, account, err := s.finish(ctx, party, Purpose{Action: passkey.MakeCodes}, authorization)
	if err != nil {
		return made, err
	}
	made.Authorized = &proof
	codes, recovery, err := s.drawCodes(proof.At)
	if err != nil {
		return made, err
	}
	err = s.retryUpTo(ctx, insistence, party.User, &account, func(account passkey.Account) error {
		if account.User.Recovery.Equal(recovery) {
			return nil // they were written, and the answer was lost
		}
		authorised, ok := account.Passkey(proof.Passkey.ID)
		if !ok || s.Reach(authorised) < s.recorded(account.Reach()) {
			return passkey.AuthorizationNeeded
		}
		return s.config.Store.ChangeUser(ctx, account.User.WithRecovery(recovery))
	})
	if err != nil {
		// Were they written all the same, the earlier ones are gone, and nobody would have seen these.
		if now, unread := s.config.Store.Account(ctx, party.User); unread != nil || !now.User.Recovery.Equal(recovery) {
			return made, err
		}
	}
	made.Codes = codes
	return made, nil
}
