package metadata

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"

	fido "github.com/go-webauthn/webauthn/metadata"
)

// Grace is how long a BLOB stays in force after the day on which it said that there would be another: the FIDO Alliance
// publishes one a month, and now and then is late.
const Grace = 30 * 24 * time.Hour

// Snapshot is what one BLOB says. It never changes, but for a copy with another AsOf. A nil Snapshot trusts nothing.
type Snapshot struct {
	Number     int               // of the BLOB
	NextUpdate time.Time         // when another will be there at the latest
	AsOf       time.Time         // when the source is known to have had this one
	Unread     int               // how many entries could not be read, or not whole
	Digest     [sha256.Size]byte // of the BLOB

	root   *x509.Certificate   // whose signature it has
	models map[[16]byte]*model // by AAGUID; nil for one that is there twice
}

// model is what a BLOB says of one model of authenticators.
type model struct {
	roots   []*x509.Certificate
	types   fido.AuthenticatorAttestationTypes
	reports []fido.StatusReport
	entry   int  // where in the BLOB
	shares  bool // some root is another entry's too: see roots
}

// InForce reports whether the snapshot still counts.
func (s *Snapshot) InForce(now time.Time) bool {
	return s != nil && now.Before(s.NextUpdate.Add(Grace))
}

// Overdue reports whether there should be another one.
func (s *Snapshot) Overdue(now time.Time) bool { return !now.Before(s.NextUpdate.Add(24 * time.Hour)) }

// Models returns how many models the snapshot knows.
func (s *Snapshot) Models() int { return len(s.models) }

// compromised are the statuses with which no authenticator of a model is trusted (FIDO Metadata Service v3.1.1, enum
// AuthenticatorStatus). RETIRED is among them: "should not be accepted any longer".
var compromised = []fido.AuthenticatorStatus{
	fido.Revoked, fido.Retired, fido.UserVerificationBypass, fido.AttestationKeyCompromise, fido.UserKeyRemoteCompromise, fido.UserKeyPhysicalCompromise,
}

// Accepts reports whether the snapshot is in force, knows the model, and knows of nothing in effect against it. Without a
// report it knows nothing: an entry has to have statusReports, and no list may be empty (FIDO Metadata Service v3.0 §3.1.1
// and "Notation"). Any report counts, not the latest alone: a later "update available" or certificate does not mend the
// authenticators that are in use. A report about one certificate counts for the whole model, because a passkey's record does not keep the
// certificate that it came with.
func (s *Snapshot) Accepts(aaguid [16]byte, now time.Time) bool {
	if !s.InForce(now) || aaguid == ([16]byte{}) {
		return false
	}
	m := s.models[aaguid]
	return m != nil && len(m.reports) > 0 && fido.ValidateStatusReportsAt(m.reports, nil, compromised, now) == nil
}

// Trusts reports whether an attestation whose signature was verified shows that the authenticator is of the model it
// claims: an attestation of one of the two types with a certificate of the maker's, which the model makes, with a chain
// (the leaf first) to a root of that very model's. Self attestation has no chain, and attestation by a CA that knows
// nothing but an anonymous key is not of these types.
func (s *Snapshot) Trusts(aaguid [16]byte, kind string, chain []*x509.Certificate, now time.Time) bool {
	if !s.Accepts(aaguid, now) || len(chain) == 0 {
		return false
	}
	m, made := s.models[aaguid], fido.AuthenticatorAttestationType(kind)
	return (made == fido.BasicFull || made == fido.AttCA) && slices.Contains(m.types, made) && leadsTo(m.roots, chain, now)
}

// Shares reports whether a root of the model is that of another model too, or certifies it, or is certified by it: then a
// chain alone does not tell which of them an authenticator is. Where roots of another can't be read, each could be it.
func (s *Snapshot) Shares(aaguid [16]byte) bool {
	return s != nil && s.models[aaguid] != nil && s.models[aaguid].shares
}

// seen returns the snapshot as it is when its source was found to have it still.
func (s *Snapshot) seen(at time.Time) *Snapshot {
	later := *s
	later.AsOf = at
	return &later
}
