package ceremony

import (
	"encoding/json"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Party is who takes part in a ceremony and where. The gate fills it from what it trusts: the first factor's user, the
// configured origin that the request's Host names, and digests of cookies. Nothing in it comes from a body.
type Party struct {
	User    string
	Origin  string         // one configured origin, for example https://console.example.com
	Browser passkey.Digest // of the ceremony cookie
	Session passkey.Digest // of the first-factor session; zero when none is bound

	SignedIn time.Time // when the first factor says that they signed in; zero when it does not. Only a first use asks
}

// Purpose is what an authentication is for. Finishing needs the same purpose as starting, or the ceremony is refused
// with [passkey.CeremonyMismatch].
type Purpose struct {
	Action passkey.Action // StepUp, Add, Remove or MakeCodes
	Target string         // short id of the passkey to remove
	Level  passkey.Level  // for StepUp: what the route demands. The others know their own
}

// Proof is what a successful authentication proved.
type Proof struct {
	Passkey passkey.Passkey // as its record is after the ceremony
	Level   passkey.Level   // read from this assertion's flags, within what the record allows
	At      time.Time       // when it was verified
	Epoch   passkey.Epoch   // the user's epoch when it was verified
	Regress bool            // the sign count did not rise and counter warn let it pass: to be audited
	Learned bool            // the passkey was imported, and its backup eligibility is known from this use on: to be audited
}

// Failed is an authentication that failed after the reply had named one of the user's passkeys. It says which one, for
// the audit; that it was really used is proved only where the signature was verified before.
type Failed struct {
	Passkey string // short id
	Err     error
}

func (f *Failed) Error() string { return f.Err.Error() }

// Unwrap returns the cause, which wraps a [passkey.Refusal].
func (f *Failed) Unwrap() error { return f.Err }

// Options is the JSON document that starts a ceremony in the browser: {"publicKey": …} in the shape that
// PublicKeyCredential.parseRequestOptionsFromJSON and parseCreationOptionsFromJSON take.
type Options = json.RawMessage

// Begun is a started registration.
type Begun struct {
	Options    Options
	Authorized *Proof // the Add that authorised it, also when the registration was then refused; nil for a first use
}

// Removed is what a removal took away.
type Removed struct {
	Passkey    passkey.Passkey
	Authorized *Proof // the Remove that authorised it, also when the removal was then refused
}

// Registered is what a finished registration wrote.
type Registered struct {
	Passkey   passkey.Passkey
	Action    passkey.Action // what authorised it: FirstUse, Another, Invited or Recovered
	Codes     []string       // the recovery codes that were made with it, which nobody can read again; nil for none
	CodesLeft int            // how many recovery codes the user has now
}

// MadeCodes are new recovery codes, in the place of all that the user had.
type MadeCodes struct {
	Codes      []string // nobody can read them again
	Authorized *Proof   // the MakeCodes that authorised it, also when it was then refused
}
