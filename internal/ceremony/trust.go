package ceremony

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"slices"
	"time"

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

// certificates returns the chain of a statement, the leaf first; nil where it has none, or one that can't be read. A
// compound statement has none of its own, and none of its parts is looked at.
func certificates(statement protocol.AttestationObject) []*x509.Certificate {
	list, _ := statement.AttStatement["x5c"].([]any)
	chain := make([]*x509.Certificate, 0, len(list))
	for _, one := range list {
		der, _ := one.([]byte)
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, parsed)
	}
	return chain
}

// forget makes a statement none whose certificates have ended. It proves nothing any more, and is worth what no
// statement is worth; go-webauthn would refuse the whole registration, of an authenticator that works.
func forget(statement *protocol.AttestationObject, now time.Time) {
	for _, c := range certificates(*statement) {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			statement.Format, statement.AttStatement = string(protocol.AttestationFormatNone), nil
			return
		}
	}
}

// trusts decides whether a new passkey's attestation chains to a trusted root: WebAuthn L3 §7.1 steps 23 and 24, on a
// statement whose signature was verified. kind is the attestation type, as go-webauthn found it. Whatever is not quite
// right makes a passkey that is not trusted, and no error: it is one like any other then. One that may be synced can be
// trusted, and reaches the level as little as any.
func (s *Service) trusts(p passkey.Passkey, kind string, statement protocol.AttestationObject) bool {
	if !s.config.Attestation.accepts(p.AAGUID) {
		return false
	}
	chain := certificates(statement)
	if len(chain) > 0 && protocol.AttestationFormat(statement.Format) == protocol.AttestationFormatTPM {
		chain[0].UnhandledCriticalExtensions = slices.DeleteFunc(chain[0].UnhandledCriticalExtensions, subjectAltName.Equal)
	}
	known := s.config.Attestation.Metadata()
	if protocol.AttestationFormat(statement.Format) == protocol.AttestationFormatPacked && known.Shares(p.AAGUID) && !named(chain) {
		return false
	}
	return known.Trusts(p.AAGUID, kind, chain, s.config.Now())
}

// named reports whether a certificate names the model. go-webauthn verified that it is then the one that the authenticator
// claims. WebAuthn L3 §8.2.1 has it named where a root is used for several models: otherwise whoever holds the attestation
// key of a weak model, or one that was revoked, could claim to be of another.
func named(chain []*x509.Certificate) bool {
	return len(chain) > 0 && slices.ContainsFunc(chain[0].Extensions, func(e pkix.Extension) bool { return e.Id.Equal(modelExtension) })
}

// modelExtension is id-fido-gen-ce-aaguid.
var modelExtension = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}

// subjectAltName is a critical extension of a TPM's certificate, which crypto/x509 does not know in that form.
// go-webauthn verified it (WebAuthn L3 §8.3.1).
var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

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
