package gate

import (
	"net/http"

	"github.com/stepgate/stepgate/internal/passkey"
)

// answer is how a refusal reads to whoever gets it: the status, and for people a title, what happened, and what to do.
type answer struct {
	status int
	title  string
	text   string
	hint   string
}

// answers has one entry for each refusal that can reach a client; a test holds it to the list in package passkey. The
// texts name no value of the request: they are the same for everyone.
var answers = map[passkey.Refusal]answer{
	passkey.UserMissing:      {401, "You are not signed in", "The sign-in in front of this page did not say who you are.", "Sign in again, then reload this page."},
	passkey.UserInvalid:      {400, "Your user name can't be used", "The sign-in handed over a user name that is too long or holds control characters.", "Ask the administrators of this console."},
	passkey.SessionMissing:   {401, "Your sign-in session is missing", "This console ties each confirmation to your sign-in session, and the sign-in named none.", "Sign in again, then reload this page."},
	passkey.PathAmbiguous:    {400, "This address is not accepted", "The address can be read in more than one way, so it is not passed on.", "Check the link you followed."},
	passkey.MethodRefused:    {405, "This request method is not accepted", "The gateway passes on no TRACE, no plain CONNECT, and no method that is not in upper case.", "Use another method."},
	passkey.MethodNotAllowed: {405, "Method not allowed", "This address does not take requests of this kind.", "Open the page you wanted again."},
	passkey.UpgradeRefused:   {400, "This upgrade is not accepted", "Connections are not upgraded to cleartext HTTP/2.", "Send the request without Upgrade: h2c."},
	passkey.TooEarly:         {425, "Too early", "The request came before the connection was complete, so it could be a replay.", "Send it again."},
	passkey.OriginUnknown:    {421, "This host is not set up", "No configured origin has this host name.", "An administrator can make it known with this line in the global option stepgate:"},
	passkey.OriginInsecure:   {421, "This connection is not encrypted", "The origin is https, but the request came over plain HTTP from a peer that is not trusted.", "Use https. Behind a load balancer that ends TLS, an administrator adds its address to `trusted_proxies`."},
	passkey.NotFound:         {404, "Nothing here", "The gateway has no such page.", "Check the link you followed."},
	passkey.CrossSite:        {403, "Request from another site refused", "Changes are only accepted from this site's own pages.", "Reload the page and try again."},
	passkey.MediaType:        {415, "Unsupported media type", "The body must be application/json in UTF-8, without a content encoding.", "Send JSON."},
	passkey.BodyTooLarge:     {413, "Body too large", "The body is larger than 64 KiB.", "Send less."},
	passkey.BodyTimeout:      {408, "The body took too long", "The body did not arrive within 10 seconds.", "Send it again."},
	passkey.BodyMalformed:    {400, "Body not understood", "The body is not the JSON that is expected here, or names a member twice.", "Reload the page and try again. If it stays, a browser extension may be changing what the passkey sends."},
	passkey.DemandInvalid:    {400, "This link is no longer valid", "The link was made by another gateway or another site, or was changed on the way.", "Open the page you wanted again."},
	passkey.RateLimited:      {429, "Too many attempts", "Too many confirmations or changes were started in a short time.", "Wait a minute, then try again."},

	passkey.StepUpRequired: {401, "Confirm with your passkey", "This needs a recent confirmation with your passkey.", "Confirm, then try again."},

	passkey.ChallengeUsed:           {409, "This attempt was already used", "Each attempt works once, and this one was used before or is unknown.", "Try again."},
	passkey.ChallengeExpired:        {410, "That took too long", "The attempt was open for too long and has expired.", "Try again."},
	passkey.CeremonyMismatch:        {400, "This confirmation is for something else", "The passkey confirmed another action than the one asked for.", "Reload the page and try again."},
	passkey.BrowserMismatch:         {403, "Started in another browser", "The attempt was started in another browser, or this one dropped its cookies.", "Allow cookies for this site, reload the page and try again."},
	passkey.SessionMismatch:         {403, "Your sign-in changed", "You signed in again while the attempt was open.", "Reload the page and try again."},
	passkey.OriginMismatch:          {403, "Made on another site", "The confirmation was made for another address than this one.", "Open the page at its usual address and try again."},
	passkey.RelyingPartyMismatch:    {403, "Made for another site", "The confirmation is for another site's passkeys.", "Open the page at its usual address and try again."},
	passkey.CrossOrigin:             {403, "Made inside another site", "The confirmation was made in a frame of another site.", "Open the page directly and try again."},
	passkey.UserPresenceMissing:     {403, "No touch was recorded", "The passkey did not record that somebody was there.", "Try again and touch the key when it asks."},
	passkey.UserVerificationMissing: {403, "The passkey did not check that it is you", "This needs your fingerprint, face or PIN, and the passkey did not ask for it.", "Set up a PIN or biometrics for this passkey, or use another one."},
	passkey.BackupFlagsInconsistent: {403, "This passkey changed", "The passkey says otherwise than when it was registered whether it can be synced.", "Use another passkey, or remove this one and add it again."},
	passkey.SignatureInvalid:        {403, "The confirmation did not check out", "The passkey's answer is not valid.", "Try again. If it stays, use another passkey."},
	passkey.UserHandleMismatch:      {403, "This passkey is somebody else's", "The passkey was made for another user.", "Choose a passkey of yours."},
	passkey.CounterRegressed:        {403, "This passkey may have been copied", "The passkey's counter went backwards, as it does when a key was cloned.", "Use another passkey and tell your administrators."},
	passkey.ExtensionRefused:        {403, "The confirmation did not check out", "The passkey's answer holds something that was not asked for.", "Try again without browser extensions."},
	passkey.PasskeyUnknown:          {404, "This passkey is not known", "It is not one of the passkeys registered for you.", "Choose another passkey, or add this one on the passkeys page."},
	passkey.LevelUnreachable:        {409, "Another kind of passkey is needed", "None of your passkeys is strong enough for this.", "Add a passkey of the kind that is asked for."},
	passkey.NoPasskey:               {409, "You have no passkey yet", "No passkey is registered for you.", "Create one first."},

	passkey.InvitationInvalid:   {403, "This invitation is not valid", "It was used already, replaced by another one, or made for somebody else.", "Check it, or ask your administrators for a new one."},
	passkey.InvitationExpired:   {403, "This invitation is too old", "An invitation works for a limited time.", "Ask your administrators for a new one."},
	passkey.InvitationNeeded:    {403, "The first passkey needs an invitation", "A first passkey can't be registered here on your sign-in alone.", "Ask your administrators for an invitation."},
	passkey.RecoveryCodeInvalid: {403, "This recovery code is not valid", "It was used already, replaced by new ones, or made for somebody else. Each works once.", "Check it, try another one of yours, or ask your administrators for an invitation."},
	passkey.RecoveryOff:         {403, "Recovery codes are not used here", "The administrators have switched them off.", "Ask your administrators for an invitation."},
	passkey.SignInTimeMissing:   {403, "Sign in again first", "A first passkey can be registered only soon after signing in, and the sign-in in front of this page did not say when that was.", "Sign in again, then try once more. If it stays, tell your administrators."},
	passkey.SignInTooOld:        {403, "Sign in again first", "A first passkey can be registered only soon after signing in, and you signed in too long ago.", "Sign in again, then try once more."},
	passkey.RegistrationClosed:  {403, "Registration is closed", "A passkey was registered for you before, so another one can't be registered on your sign-in alone.", "Use an existing passkey, or ask your administrators."},
	passkey.AuthorizationNeeded: {403, "Confirm with an existing passkey first", "Adding or removing a passkey, and ending all confirmations, needs one that you have.", "Confirm with an existing passkey, then try again."},
	passkey.AttestationInvalid:  {403, "The new passkey did not check out", "The answer of the device that made it is not valid.", "Try again, or use another device."},
	passkey.AlgorithmRefused:    {403, "This passkey's algorithm is not accepted", "Passkeys must use ES256, EdDSA or RS256.", "Use another device."},
	passkey.KeyUnusable:         {403, "This passkey's key is not safe", "The device made a key that is too weak or malformed.", "Use another device."},
	passkey.CredentialIDInvalid: {403, "This passkey's id is not accepted", "The id is shorter than 16 or longer than 1023 bytes.", "Use another device."},
	passkey.PasskeyExists:       {409, "Already registered", "This passkey is registered already.", "Use it, or create another one."},
	passkey.TooManyPasskeys:     {409, "You have the most passkeys allowed", "No further passkey can be added.", "Remove one you no longer use first."},
	passkey.NameInvalid:         {400, "This name can't be used", "A name has 1 to 64 visible characters.", "Choose another name."},
	passkey.NameTaken:           {409, "This name is taken", "Another of your passkeys has this name.", "Choose another name."},
	passkey.LastPasskey:         {409, "This is your only passkey", "Without it you could not confirm anything any more.", "Reload the page: it says whether your only passkey may go. Or add another one first."},
	passkey.Conflict:            {409, "Changed at the same time", "Your passkeys were changed elsewhere at the same moment.", "Reload the page and try again."},
	passkey.UserUnknown:         {404, "This user is not known", "Nobody ever registered a passkey for this user.", "Check the name: it counts byte for byte."},

	passkey.StoreUnavailable: {503, "Confirmations are not available right now", "The gateway can't reach its passkey store, so protected pages stay closed.", "Try again in a moment. Administrators find the cause in the gateway's log."},
	passkey.AuditUnavailable: {503, "Confirmations are not available right now", "The gateway can't write its audit log, and must not go on without it.", "Try again in a moment. Administrators find the cause in the gateway's log."},
	passkey.Internal:         {500, "Something went wrong in the gateway", "The request was not passed on.", "Try again. Administrators find the cause in the gateway's log."},
}

// deadEnds are refusals whose page would leave a person with nowhere to go.
var deadEnds = map[passkey.Refusal]bool{
	passkey.DemandInvalid: true, passkey.NotFound: true, passkey.PathAmbiguous: true, passkey.MethodNotAllowed: true,
}

func answerFor(refusal passkey.Refusal) answer {
	if a, ok := answers[refusal]; ok {
		return a
	}
	return answer{status: http.StatusForbidden, title: "Refused", text: "The request was refused.", hint: "Try again."}
}
