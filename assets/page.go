package assets

import "time"

// Common is what every page shows or needs.
type Common struct {
	Prefix string // the gateway's own path, without a slash at the end, for example /.stepgate
	RPName string // the relying party's name, for example "Example operations"
	User   string // who the first factor says the person is; "" where unknown

	EnforceFrom time.Time // from when on protected pages open only with a passkey, where that is yet to come
	DaysLeft    int       // until then, begun ones counted; 0 where nothing is to come
}

// Challenge is the page where a person steps up.
type Challenge struct {
	Common
	Demand    string        // sealed demand to send back with the ceremony; "" when ReturnTo alone says where to go
	ReturnTo  string        // path and query on this origin where the person goes afterwards
	Method    string        // method of the request that was stopped
	Target    string        // path and query of the request that was stopped, for display
	Level     string        // what it demands: present, verified, device_bound, attested
	MaxAge    time.Duration // how fresh the step-up must be
	Because   string        // refusal code: grant_missing, grant_stale, grant_level, …
	Passkeys  int           // how many passkeys the person has
	Suitable  int           // how many of them reach Level
	CodesLeft int           // how many recovery codes they have
	Bounded   bool          // none they could add would reach Level either: theirs came with a recovery code
	Lapsed    bool          // some of them did, and do not now: the metadata is not there, or their make lost its trust
	FirstUse  bool          // the person may register a first passkey here and now

	Uninvited bool          // the person could, but for registration invite
	Timeout   time.Duration // how long a ceremony may take

	SignIn       string        // the person could, but for their sign-in: sign_in_time_missing or sign_in_too_old
	SignInWithin time.Duration // how soon after signing in they could
}

// Account is the page where a person manages their passkeys.
type Account struct {
	Common
	Passkeys []Passkey
	Max      int  // how many passkeys a person may have
	FirstUse bool // the person may register a first passkey without authorization

	Uninvited bool          // the person could, but for registration invite
	Timeout   time.Duration // how long a ceremony may take

	KeepLast    bool       // the only passkey can't be removed
	Recovery    bool       // there are recovery codes here
	CodesLeft   int        // how many of the person's are left
	CodesMadeAt *time.Time // nil: they never had any

	SignIn       string        // the person could, but for their sign-in: sign_in_time_missing or sign_in_too_old
	SignInWithin time.Duration // how soon after signing in they could
}

// Passkey is one row of the account page. Its JSON form is the one of the account page's list (docs/http.md).
type Passkey struct {
	ID             string     `json:"id"` // short id
	Name           string     `json:"name"`
	Authenticator  string     `json:"authenticator"` // by AAGUID, or "Unknown authenticator"
	AAGUID         string     `json:"aaguid"`        // as a UUID
	Kind           string     `json:"kind"`          // one of the Kind constants
	BackupEligible bool       `json:"backup_eligible"`
	BackedUp       bool       `json:"backed_up"`
	Level          string     `json:"level"`               // the highest it reaches
	MaxLevel       string     `json:"max_level,omitempty"` // the highest it may reach, whatever it is; "" for no bound
	CreatedAt      time.Time  `json:"created_at"`
	LastUsedAt     *time.Time `json:"last_used_at"` // nil: never
	LastUsedOn     string     `json:"last_used_on"` // the origin where that was; "" for never
}

// The kinds of passkey, as people tell them apart.
const (
	KindSynced      = "synced"       // kept by a password manager, on all of a person's devices
	KindSyncable    = "syncable"     // may be, and is not yet
	KindDevice      = "device"       // stays on the device that made it
	KindSecurityKey = "security_key" // stays on a device that people plug in or hold near
	KindUnknown     = "unknown"      // imported, and not used since
)

// Message is a page that only says something: a refusal, or what to do next.
type Message struct {
	Common
	Code   string // stable code, shown small for support
	Title  string
	Text   string
	Hint   string // what to do next
	Line   string // a line to copy, below the hint; "" for none
	Action string // label of the link, "" for none
	Href   string // where the link leads; a path on this origin
}
