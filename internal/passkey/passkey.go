// Package passkey holds the values that every part of Stepgate shares: users, their passkeys, the challenges of
// ceremonies under way, levels, and the closed list of refusals.
//
// It imports only the standard library, does no I/O and reads no clock. Nothing in it trusts a client: whoever fills
// a value says where it came from. A value of this package is plain data; the invariants that span several of them
// (a challenge works once, the first passkey is registered once, a sign count never goes down) are decided on the
// [User] record's version and kept by the stores, in one transaction each.
package passkey

import (
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// MinIDLength and MaxIDLength bound a credential id in bytes. The upper one is WebAuthn L3 §7.1 step 25; the lower one
// is the 100 bits of entropy of §4 "Credential ID", rounded up to 16 bytes.
const (
	MinIDLength = 16
	MaxIDLength = 1023
)

// Passkey is a WebAuthn credential registered for a user: the credential record of WebAuthn L3 §4, as far as
// Stepgate keeps it.
type Passkey struct {
	ID                []byte    // credential id, 16 to 1023 bytes
	PublicKey         []byte    // COSE_Key, as the authenticator sent it
	SignCount         uint32    // highest accepted; 0 when the authenticator keeps none
	Transports        []string  // known transports only, sorted, without repeats
	BackupEligible    bool      // may be synced; fixed at registration (WebAuthn L3 §7.2 step 19)
	BackupUnknown     bool      // imported without that; BackupEligible is learned at the first use
	BackedUp          bool      // is synced, as of the last ceremony
	AAGUID            [16]byte  // the authenticator's model; a claim, never policy
	AttestationFormat string    // for example "none" or "packed"
	Trusted           bool      // the attestation chained to a trusted root when it was registered
	MaxLevel          Level     // the highest level it may prove, whatever it is; zero: no bound
	Name              string    // chosen by the user, see [CheckName]
	CreatedAt         time.Time // when it was registered
	LastUsedAt        time.Time // zero until it was used in an authentication
	LastUsedOn        string    // the origin where that was; "" until then
	LastCeremony      string    // the [Challenge] ID of the last ceremony that wrote this record
}

// ShortID names a passkey where its credential id would be too long or too telling: in lists, URLs, headers and logs.
func (p Passkey) ShortID() string { return ShortID(p.ID) }

// ShortID returns 22 base64url characters: the first 128 bits of the SHA-256 of a credential id.
func ShortID(credentialID []byte) string {
	sum := sha256.Sum256(credentialID)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Reach returns the highest level a ceremony with this passkey can prove, as far as its record says. Every passkey was
// registered with user verification, so [Verified] is the least, but for a lower MaxLevel. One whose backup eligibility is
// not known counts as one that may be synced. For [Attested] more is needed than the record: the model must be trusted still.
func (p Passkey) Reach() Level {
	reach := DeviceBound
	switch {
	case p.BackupEligible || p.BackupUnknown:
		reach = Verified
	case p.Trusted:
		reach = Attested
	}
	return p.Bounded(reach)
}

// Bounded returns a level, or the highest that this passkey may prove where that is lower.
func (p Passkey) Bounded(level Level) Level {
	if p.MaxLevel > 0 {
		return min(level, p.MaxLevel)
	}
	return level
}

// Use is what one successful authentication changes in a passkey's record.
type Use struct {
	ID         []byte    // credential id
	Ceremony   string    // [Challenge] ID of the ceremony, so that a lost answer to an applied write is recognised
	SignCount  uint32    // as the authenticator signed it
	BackedUp   bool      // as the authenticator signed it
	At         time.Time // when it was verified
	On         string    // the origin where it was
	AllowReset bool      // let a sign count that did not rise pass (counter warn); the stored count stays the higher one

	// LearnBackup makes BackupEligible known of a passkey that was imported without. Otherwise BackupEligible says nothing.
	LearnBackup    bool
	BackupEligible bool
}

// Digest is a SHA-256, used where the value itself must not be kept. The zero Digest stands for "none".
type Digest [sha256.Size]byte

// DigestOf returns the digest of s, or the zero Digest when s is empty.
func DigestOf(s string) Digest {
	if s == "" {
		return Digest{}
	}
	return sha256.Sum256([]byte(s))
}
