package passkey

// Refusal is a reason why something was refused, from one closed list. It is an error, the stable `code` of the problem
// that a client gets, and the `reason` of the audit event: the three can't disagree. Wrap it to add context; find it
// with errors.As.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// The request itself.
const (
	UserMissing      Refusal = "user_missing"       // the first factor named nobody
	UserInvalid      Refusal = "user_invalid"       // the first factor's user name can't be used, see [CheckUser]
	SessionMissing   Refusal = "session_missing"    // bind_session is configured and empty
	PathAmbiguous    Refusal = "path_ambiguous"     // two parsers could read the path differently
	MethodRefused    Refusal = "method_refused"     // TRACE, plain CONNECT, or not an upper-case token
	MethodNotAllowed Refusal = "method_not_allowed" // the gateway's own route has no such method
	UpgradeRefused   Refusal = "upgrade_refused"    // Upgrade: h2c
	TooEarly         Refusal = "too_early"          // TLS early data could be a replay
	OriginUnknown    Refusal = "origin_unknown"     // no configured origin has this Host
	OriginInsecure   Refusal = "origin_insecure"    // an https origin on a plain connection from an untrusted peer
	NotFound         Refusal = "not_found"          // nothing under the gateway's prefix has this path
	CrossSite        Refusal = "cross_site"         // a state change that does not come from this origin
	MediaType        Refusal = "media_type"         // not application/json
	BodyTooLarge     Refusal = "body_too_large"     // over 64 KiB
	BodyTimeout      Refusal = "body_timeout"       // did not arrive within 10 seconds
	BodyMalformed    Refusal = "body_malformed"     // does not parse, or names a member twice or in the wrong case
	DemandInvalid    Refusal = "demand_invalid"     // the sealed demand is not ours, or not for this origin
	RateLimited      Refusal = "rate_limited"       // too many ceremonies started
)

// Why a request needs a step-up: the reason beside the code step_up_required.
const (
	StepUpRequired      Refusal = "step_up_required"
	GrantMissing        Refusal = "grant_missing"         // no grant was presented
	GrantUnreadable     Refusal = "grant_unreadable"      // not sealed by one of our keys, or not in canonical form
	GrantOtherUser      Refusal = "grant_other_user"      // made for somebody else
	GrantOtherOrigin    Refusal = "grant_other_origin"    // made on another origin
	GrantOtherSession   Refusal = "grant_other_session"   // made in another first-factor session
	GrantRevoked        Refusal = "grant_revoked"         // the user's grants were revoked since
	GrantPasskeyRemoved Refusal = "grant_passkey_removed" // its passkey is gone
	GrantLevel          Refusal = "grant_level"           // too weak for this route
	GrantStale          Refusal = "grant_stale"           // too old for this route
	GrantFromFuture     Refusal = "grant_from_future"     // made later than now: a clock is wrong
)

// Ceremonies.
const (
	ChallengeUsed           Refusal = "challenge_used"    // already used, or never issued to this user
	ChallengeExpired        Refusal = "challenge_expired" // took too long
	CeremonyMismatch        Refusal = "ceremony_mismatch" // a challenge of another kind, action or target
	BrowserMismatch         Refusal = "browser_mismatch"  // started in another browser
	SessionMismatch         Refusal = "session_mismatch"  // started in another first-factor session
	OriginMismatch          Refusal = "origin_mismatch"   // made on, or started on, another origin
	RelyingPartyMismatch    Refusal = "relying_party_mismatch"
	CrossOrigin             Refusal = "cross_origin" // made in a frame of another origin
	UserPresenceMissing     Refusal = "user_presence_missing"
	UserVerificationMissing Refusal = "user_verification_missing"
	BackupFlagsInconsistent Refusal = "backup_flags_inconsistent" // BS without BE, or BE differs from registration
	SignatureInvalid        Refusal = "signature_invalid"
	UserHandleMismatch      Refusal = "user_handle_mismatch"
	CounterRegressed        Refusal = "counter_regressed" // the sign count did not rise: perhaps a clone
	ExtensionRefused        Refusal = "extension_refused" // appid true, remoteClientDataJSON
	PasskeyUnknown          Refusal = "passkey_unknown"   // not one of this user's passkeys
	LevelUnreachable        Refusal = "level_unreachable" // none of the user's passkeys reaches the level
	NoPasskey               Refusal = "no_passkey"        // the user has none
)

// Registering and managing passkeys.
const (
	RegistrationClosed  Refusal = "registration_closed"   // somebody registered a passkey for this user before
	InvitationInvalid   Refusal = "invitation_invalid"    // not this user's, used up, or replaced by another
	InvitationExpired   Refusal = "invitation_expired"    // too old
	InvitationNeeded    Refusal = "invitation_needed"     // registration invite: the first passkey needs one
	RecoveryCodeInvalid Refusal = "recovery_code_invalid" // not this user's, used, or replaced by new ones
	RecoveryOff         Refusal = "recovery_off"          // recovery_codes off
	SignInTimeMissing   Refusal = "sign_in_time_missing"  // sign_in_time: the first factor does not say, or not clearly, when the person signed in
	SignInTooOld        Refusal = "sign_in_too_old"       // sign_in_time: too long ago for a first passkey
	AuthorizationNeeded Refusal = "authorization_needed"  // an existing passkey has to be used first
	AttestationInvalid  Refusal = "attestation_invalid"
	AlgorithmRefused    Refusal = "algorithm_refused"     // not one of ES256, EdDSA, RS256
	KeyUnusable         Refusal = "key_unusable"          // off the curve, too short, of small order, or malformed
	CredentialIDInvalid Refusal = "credential_id_invalid" // #nosec G101 -- the name of a reason
	PasskeyExists       Refusal = "passkey_exists"        // this credential id is registered, perhaps to another user
	TooManyPasskeys     Refusal = "too_many_passkeys"
	NameInvalid         Refusal = "name_invalid"
	NameTaken           Refusal = "name_taken"
	LastPasskey         Refusal = "last_passkey" // add another first
	Conflict            Refusal = "conflict"     // the user's record changed meanwhile; try again
	UserUnknown         Refusal = "user_unknown" // nobody ever registered a passkey for this user; administrators alone are told
)

// The gateway.
const (
	StoreUnavailable Refusal = "store_unavailable" // closed, unreachable, out of time, or holds a record we can't read
	AuditUnavailable Refusal = "audit_unavailable" // audit require: the audit log does not take events
	Internal         Refusal = "internal"
)
