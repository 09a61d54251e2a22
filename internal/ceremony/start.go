package ceremony

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/stepgate/stepgate/internal/passkey"
)

// shortIDLength is the length of every [passkey.ShortID].
const shortIDLength = 22

// level returns what an authentication must at least prove. The others change who can sign in later, so they
// need user verification whatever the routes demand. That an Add must reach the highest level of the user's passkeys
// is decided on the account, which is not known when the challenge is stored.
func (p Purpose) level() passkey.Level {
	if p.Action == passkey.StepUp {
		return p.Level
	}
	return passkey.Verified
}

// check refuses a purpose that no authentication can have.
func (p Purpose) check() error {
	switch {
	case p.Action.Kind() != passkey.Authentication, !p.level().Valid():
		return fmt.Errorf("purpose %q at level %d: %w", p.Action, p.Level, passkey.Internal)
	case p.Action == passkey.Remove && len(p.Target) != shortIDLength:
		return passkey.PasskeyUnknown
	case p.Action != passkey.Remove && p.Target != "":
		return fmt.Errorf("purpose %q has a target: %w", p.Action, passkey.Internal)
	}
	return nil
}

// Start begins an authentication for a purpose and returns the options for navigator.credentials.get(). It makes one
// call of the store, which reads nothing where [Config.Recall] allows that. The options offer the passkeys that can serve the purpose and no others.
//
// Refusals: [passkey.NoPasskey], [passkey.LevelUnreachable], [passkey.PasskeyUnknown] for a Remove whose target is not
// the user's, [passkey.LastPasskey] for one whose target is their only one and has to be kept, [passkey.RecoveryOff],
// [passkey.StoreUnavailable].
func (s *Service) Start(ctx context.Context, party Party, purpose Purpose) (Options, error) {
	options, err := s.start(ctx, party, purpose)
	if err != nil {
		return nil, fmt.Errorf("starting an authentication: %w", err)
	}
	return options, nil
}

func (s *Service) start(ctx context.Context, party Party, purpose Purpose) (Options, error) {
	if err := s.admit(party); err != nil {
		return nil, err
	}
	if err := purpose.check(); err != nil {
		return nil, err
	}
	if purpose.Action == passkey.MakeCodes && s.config.NoRecovery {
		return nil, passkey.RecoveryOff
	}
	record := passkey.Challenge{Action: purpose.Action, Target: purpose.Target, Level: purpose.level()}
	if account, suitable := s.recalled(party, purpose); suitable != nil {
		challenge, _, err := s.issue(ctx, party, record, func(ctx context.Context, c passkey.Challenge) (passkey.Account, error) {
			return account, s.config.Store.Issue(ctx, c)
		})
		if err != nil {
			return nil, err
		}
		return s.requestOptions(party, account.User, purpose, challenge, suitable)
	}
	challenge, account, err := s.begin(ctx, party, record)
	if err != nil {
		return nil, err
	}
	if err := s.checkTarget(account, purpose); err != nil {
		return nil, err
	}
	suitable := s.suitable(account, purpose)
	if len(suitable) == 0 {
		return nil, passkey.LevelUnreachable
	}
	return s.requestOptions(party, account.User, purpose, challenge, suitable)
}

// suitable returns the passkeys that can serve a purpose.
func (s *Service) suitable(account passkey.Account, purpose Purpose) []passkey.Passkey {
	return slices.DeleteFunc(slices.Clone(account.Passkeys), func(p passkey.Passkey) bool {
		return s.Reach(p) < s.neededLevel(account, purpose)
	})
}

// recalled returns the account that this browser's last step-up found, and which of its passkeys can serve the purpose; nil
// where the account has to be read. The passkey that was used then must be among them: so nobody is told that they have none,
// or offered none that they have at hand, because of what another gateway did meanwhile.
func (s *Service) recalled(party Party, purpose Purpose) (passkey.Account, []passkey.Passkey) {
	if !s.config.Recall || purpose.Action != passkey.StepUp {
		return passkey.Account{}, nil
	}
	last := s.recent.of(party.User)
	if last.browser != party.Browser || !lately(last.at, s.config.Now()) {
		return passkey.Account{}, nil
	}
	suitable := s.suitable(last.account, purpose)
	if !slices.ContainsFunc(suitable, func(p passkey.Passkey) bool { return bytes.Equal(p.ID, last.passkey) }) {
		return passkey.Account{}, nil
	}
	return last.account, suitable
}

// neededLevel returns the level that a passkey must reach for a purpose, now that the account is known: for an Add or
// MakeCodes, the highest that the user's passkeys reach, and for a Remove, that of the target, as their records say (see
// [Service.recorded]). With less, whoever holds a synced passkey could remove the security key and then add one of their
// own that claims as much.
func (s *Service) neededLevel(account passkey.Account, purpose Purpose) passkey.Level {
	switch purpose.Action {
	case passkey.Add, passkey.MakeCodes: // codes outlive the passkey that made them
		return max(purpose.level(), s.recorded(account.Reach()))
	case passkey.Remove:
		if target, ok := account.PasskeyByShortID(purpose.Target); ok {
			return max(purpose.level(), s.recorded(target.Reach()))
		}
	}
	return purpose.level()
}

// checkTarget refuses a purpose that the account has no use for.
func (s *Service) checkTarget(account passkey.Account, purpose Purpose) error {
	if len(account.Passkeys) == 0 {
		return passkey.NoPasskey
	}
	if purpose.Action != passkey.Remove {
		return nil
	}
	if _, ok := account.PasskeyByShortID(purpose.Target); !ok {
		return passkey.PasskeyUnknown
	}
	if len(account.Passkeys) == 1 && s.config.KeepLast {
		return passkey.LastPasskey
	}
	return nil
}

// beginnings is how many challenges are made for one ceremony when answers of the store are lost.
const beginnings = 3

// begin makes a challenge, stores its record and returns the account as it was at that moment.
func (s *Service) begin(ctx context.Context, party Party, record passkey.Challenge) ([]byte, passkey.Account, error) {
	return s.issue(ctx, party, record, s.config.Store.Begin)
}

// issue is begin with a way to store the record. A challenge that may be written later than it seems is given up for another
// one: nobody has seen it, so it is of no use to anybody.
func (s *Service) issue(ctx context.Context, party Party, record passkey.Challenge, store func(context.Context, passkey.Challenge) (passkey.Account, error)) ([]byte, passkey.Account, error) {
	record.RPID = s.config.RPID
	record.User = party.User
	record.Origin = party.Origin
	record.Browser = party.Browser
	record.Session = party.Session
	record.Expires = s.config.Now().Add(s.config.TTL)
	for beginning := 1; ; beginning++ {
		challenge, err := s.draw(challengeLength)
		if err != nil {
			return nil, passkey.Account{}, err
		}
		record.ID = passkey.ChallengeID(challenge)
		account, err := store(ctx, record)
		if err == nil {
			return challenge, account, nil
		}
		if !errors.Is(err, ErrUnsure) || beginning == beginnings || ctx.Err() != nil {
			return nil, passkey.Account{}, err
		}
	}
}

func (s *Service) requestOptions(party Party, user passkey.User, purpose Purpose, challenge []byte, suitable []passkey.Passkey) (Options, error) {
	verification := protocol.VerificationRequired
	if purpose.level() == passkey.Present {
		verification = protocol.VerificationDiscouraged
	}
	options, _, err := s.library.BeginLogin(
		libraryUser{name: user.Name, handle: user.Handle, passkeys: suitable},
		webauthn.WithChallenge(challenge),
		webauthn.WithLoginOrigin(party.Origin),
		webauthn.WithUserVerification(verification),
		webauthn.WithAssertionPublicKeyCredentialHints(hints(suitable)),
	)
	if err != nil {
		return nil, fmt.Errorf("making options: %w", passkey.Internal)
	}
	return encodeOptions(options)
}

// hints tells the browser where all of the passkeys are, if they are all in one kind of place, so that it does not ask
// (WebAuthn L3 §5.8.7). It has no part in any decision.
func hints(passkeys []passkey.Passkey) []protocol.PublicKeyCredentialHints {
	all := func(transports ...string) bool {
		return !slices.ContainsFunc(passkeys, func(p passkey.Passkey) bool {
			return len(p.Transports) == 0 || slices.ContainsFunc(p.Transports, func(t string) bool {
				return !slices.Contains(transports, t)
			})
		})
	}
	switch {
	case all("internal"):
		return []protocol.PublicKeyCredentialHints{protocol.PublicKeyCredentialHintClientDevice}
	case all("usb", "nfc", "ble", "smart-card"):
		return []protocol.PublicKeyCredentialHints{protocol.PublicKeyCredentialHintSecurityKey}
	}
	return nil
}

func encodeOptions(options any) (Options, error) {
	text, err := json.Marshal(options)
	if err != nil {
		return nil, fmt.Errorf("encoding options: %w", passkey.Internal)
	}
	return text, nil
}
