package ceremony

import (
	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/stepgate/stepgate/internal/passkey"
)

// libraryUser is a user as go-webauthn wants to see them, with those of their passkeys that a call is about.
type libraryUser struct {
	name     string
	handle   []byte
	passkeys []passkey.Passkey
}

func (u libraryUser) WebAuthnID() []byte          { return u.handle }
func (u libraryUser) WebAuthnName() string        { return u.name }
func (u libraryUser) WebAuthnDisplayName() string { return u.name }

func (u libraryUser) WebAuthnCredentials() []webauthn.Credential {
	credentials := make([]webauthn.Credential, len(u.passkeys))
	for i, p := range u.passkeys {
		credentials[i] = webauthn.Credential{
			ID:                p.ID,
			PublicKey:         p.PublicKey,
			AttestationFormat: p.AttestationFormat,
			Flags:             webauthn.CredentialFlags{BackupEligible: p.BackupEligible, BackupState: p.BackedUp},
			Authenticator:     webauthn.Authenticator{AAGUID: p.AAGUID[:], SignCount: p.SignCount},
		}
		for _, t := range p.Transports {
			credentials[i].Transport = append(credentials[i].Transport, protocol.AuthenticatorTransport(t))
		}
	}
	return credentials
}

// session makes the state that go-webauthn would have liked to keep between the two steps. Every field is ours: from the
// challenge that was just consumed, its record, and constants.
func (s *Service) session(challenge []byte, record passkey.Challenge, handle []byte) webauthn.SessionData {
	return webauthn.SessionData{
		Challenge:        protocol.URLEncodedBase64(challenge).String(),
		RelyingPartyID:   record.RPID,
		Origin:           record.Origin,
		UserID:           handle,
		UserVerification: protocol.VerificationRequired, // any other value than this constant turns the check off
	}
}
