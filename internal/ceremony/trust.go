package ceremony

import (
	"encoding/json"
	"slices"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/passkey"
)

// Attestation says which authenticators reach [passkey.Attested].
type Attestation struct {
	// Metadata returns what is known of models of authenticators now, or nil when nothing is: then no passkey reaches the
	// level. Required. It is asked at every ceremony, so it must not wait.
	Metadata func() *metadata.Snapshot

	// Allow lists the models that may reach the level, by AAGUID; empty lets all that the metadata knows. Deny lists those
	// that never do. They bind passkeys that are registered already too.
	Allow, Deny [][16]byte
}

// accepts reports whether a model may reach the level, as far as the configuration says.
func (a *Attestation) accepts(aaguid [16]byte) bool {
	return a != nil && aaguid != [16]byte{} && (len(a.Allow) == 0 || slices.Contains(a.Allow, aaguid)) && !slices.Contains(a.Deny, aaguid)
}

// Reach returns the highest level that a ceremony with this passkey would prove now. Below [passkey.Attested] that is
// what its record says. A passkey whose record says more than holds now, because the metadata is not there, or knows
// something against its model, or a list does, reaches [passkey.DeviceBound].
func (s *Service) Reach(p passkey.Passkey) passkey.Level {
	reach := p.Reach()
	if reach == passkey.Attested && !(s.config.Attestation.accepts(p.AAGUID) && s.config.Attestation.Metadata().Accepts(p.AAGUID, s.config.Now())) {
		return passkey.DeviceBound
	}
	return reach
}

// recorded returns a level that passkeys' records say, as it counts where something must be at least as strong: changing
// who can sign in needs what the records say, and takes what holds now. Were the need what holds now too, then whoever
// keeps the metadata away, or waits for an outage, could remove an attested passkey with a weaker one, or add one of
// their own beside it. Where no attestation is configured the level does not exist.
func (s *Service) recorded(level passkey.Level) passkey.Level {
	if s.config.Attestation == nil {
		return min(level, passkey.DeviceBound)
	}
	return level
}

// provedLevel reads off the flags of an assertion what it proved, no more than this passkey reaches now. One whose backup
// eligibility is not known has yet to be held to what it says in this very assertion.
func (s *Service) provedLevel(p passkey.Passkey, flags protocol.AuthenticatorFlags) passkey.Level {
	switch {
	case !flags.HasUserVerified():
		return p.Bounded(passkey.Present)
	case flags.HasBackupEligible() || p.BackupUnknown:
		return p.Bounded(passkey.Verified)
	}
	return s.Reach(p)
}

// Hint adds to the options of a registration which kind of authenticator reaches a level, so that the browser asks for
// that one first (WebAuthn L3 §5.8.7). It is a hint and decides nothing. Not by go-webauthn, which makes of hints an
// authenticatorAttachment, and that does shut out.
func Hint(options Options, level passkey.Level) Options {
	var hints []protocol.PublicKeyCredentialHints
	switch level {
	case passkey.Attested:
		hints = []protocol.PublicKeyCredentialHints{protocol.PublicKeyCredentialHintSecurityKey}
	case passkey.DeviceBound:
		hints = []protocol.PublicKeyCredentialHints{protocol.PublicKeyCredentialHintSecurityKey, protocol.PublicKeyCredentialHintClientDevice}
	default:
		return options
	}
	var document map[string]map[string]json.RawMessage
	if json.Unmarshal(options, &document) != nil || document["publicKey"] == nil {
		return options
	}
	text, err := json.Marshal(hints)
	if err != nil {
		return options
	}
	document["publicKey"]["hints"] = text
	if hinted, err := json.Marshal(document); err == nil {
		return hinted
	}
	return options
}
