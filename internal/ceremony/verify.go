package ceremony

import (
	"crypto/sha256"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/stepgate/stepgate/internal/passkey"
)

// expected is what a reply must agree with. It comes from the record, the party and constants.
type expected struct {
	record   passkey.Challenge
	kind     protocol.CeremonyType
	verified bool // user verification is needed
}

// checkRecord tells whether a consumed record was made for this party: the rest of what [passkey.Challenge.Check]
// compares, which the store did.
func (s *Service) checkRecord(record passkey.Challenge, party Party) error {
	switch {
	case record.RPID != s.config.RPID:
		return passkey.RelyingPartyMismatch
	case record.Session != party.Session:
		return passkey.SessionMismatch
	case record.Origin != party.Origin:
		return passkey.OriginMismatch
	}
	return nil
}

// reply.check makes the checks that WebAuthn L3 §7.1 (registration) and §7.2 (authentication) have in common, so that
// each has a refusal of its own. go-webauthn makes most of them again; where it is lax, ours decides.
func (r reply) check(want expected) error {
	switch {
	case r.client.kind != want.kind: // §7.1 step 7, §7.2 step 10
		return passkey.CeremonyMismatch
	case r.client.origin != want.record.Origin: // §7.1 step 9, §7.2 step 12: byte for byte, go-webauthn compares only hosts
		return passkey.OriginMismatch
	case r.client.crossOrigin, r.client.topOrigin: // §7.1 steps 10-11, §7.2 steps 13-14
		return passkey.CrossOrigin
	case r.rpIDHash != sha256.Sum256([]byte(want.record.RPID)): // §7.1 step 14, §7.2 step 15
		return passkey.RelyingPartyMismatch
	case !r.flags.HasUserPresent(): // §7.1 step 15, §7.2 step 16
		return passkey.UserPresenceMissing
	case want.verified && !r.flags.HasUserVerified(): // §7.1 step 16, §7.2 step 17
		return passkey.UserVerificationMissing
	case r.flags.HasBackupState() && !r.flags.HasBackupEligible(): // §7.1 step 17, §7.2 step 18
		return passkey.BackupFlagsInconsistent
	}
	return nil
}

// check refuses two client extensions that no options of ours ask for and that would loosen a check: appid replaces the
// RP ID (WebAuthn L3 §10.1.1), remoteClientDataJSON says that another machine compared the origin (§10.1.6). Others are
// ignored, as §7.2 step 23 allows; Safari says appid:false unasked.
func (e extensions) check() error {
	if e.appID || e.remoteClientDataJSON {
		return passkey.ExtensionRefused
	}
	return nil
}
