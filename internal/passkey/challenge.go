package passkey

import (
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// Kind says which WebAuthn ceremony a challenge belongs to.
type Kind uint8

// The two kinds of ceremony. Anything else is refused.
const (
	Registration   Kind = iota + 1 // navigator.credentials.create
	Authentication                 // navigator.credentials.get
)

// String returns "registration" or "authentication".
func (k Kind) String() string {
	switch k {
	case Registration:
		return "registration"
	case Authentication:
		return "authentication"
	}
	return "unknown"
}

// Action is what a ceremony is for. A grant never stands in for an action (docs/rules.md, rule 9).
type Action string

// The actions. The first four are authentications, the others registrations.
const (
	StepUp    Action = "step_up"        // earns a grant
	Add       Action = "add"            // authorises registering another passkey
	Remove    Action = "remove"         // authorises removing the target
	MakeCodes Action = "recovery_codes" // authorises making new recovery codes
	FirstUse  Action = "first_use"      // registers the first passkey of a user, on the first factor alone
	Another   Action = "another"        // registers another passkey, authorised by an Add
	Invited   Action = "invited"        // registers a passkey, authorised by an invitation
	Recovered Action = "recovered"      // registers a passkey, authorised by a recovery code
)

// Kind returns the ceremony that an action needs.
func (a Action) Kind() Kind {
	switch a {
	case StepUp, Add, Remove, MakeCodes:
		return Authentication
	case FirstUse, Another, Invited, Recovered:
		return Registration
	}
	return 0
}

// Challenge is the stored, single-use, expiring state of one ceremony. The random challenge itself is not kept: its ID
// is the SHA-256 of it, so whoever presents the right challenge finds the record, and a reader of the store learns
// nothing to sign.
type Challenge struct {
	ID      string // see [ChallengeID]
	RPID    string
	User    string // who started it; nobody else can finish it
	Action  Action
	Target  string // [ShortID] of the passkey that a Remove is about, or that authorised an Another; [CodeID] for an Invited or a Recovered
	Level   Level  // what the ceremony must at least prove
	Origin  string // the one origin it may be finished on
	Browser Digest // digest of the browser's ceremony cookie
	Session Digest // digest of the first-factor session; zero when none is bound
	Handle  []byte // user handle offered to a registration
	Name    string // passkey name asked for by a registration
	Expires time.Time
}

// ChallengeID returns the record id of a challenge: 43 base64url characters, the SHA-256 of the random bytes.
func ChallengeID(challenge []byte) string {
	sum := sha256.Sum256(challenge)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Claim is what must hold of a challenge for it to be consumed. It comes from the request, never from the record.
type Claim struct {
	ID      string
	User    string
	Kind    Kind
	Browser Digest
}

// Check tells why a claim does not fit a record, or nil: what the condition of the stores' conditional delete says.
// A challenge expires at its Expires, not after it; a record not yet swept is as dead as one that is.
func (c Challenge) Check(claim Claim, now time.Time) error {
	switch {
	case c.ID != claim.ID || c.User != claim.User:
		return ChallengeUsed
	case !now.Before(c.Expires):
		return ChallengeExpired
	case c.Action.Kind() != claim.Kind:
		return CeremonyMismatch
	case c.Browser != claim.Browser:
		return BrowserMismatch
	}
	return nil
}
