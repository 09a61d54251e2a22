package browsertest

import (
	"encoding/json"
	"fmt"
)

// Authenticator is a virtual authenticator of one tab. Chromium allows only one with transport internal per tab, and
// all that a tab has answer at once: keep one, or switch presence off on the others.
type Authenticator struct {
	tab *Tab
	id  string
}

// AuthenticatorOptions describe a virtual authenticator. The zero value is a platform authenticator that holds
// discoverable passkeys, verifies its user, answers at once and does not sync.
type AuthenticatorOptions struct {
	Transport  string // default internal; or usb, nfc, ble, hybrid
	Synced     bool   // new passkeys are backup eligible and backed up
	NoPresence bool   // prompts stay unanswered
	NoUser     bool   // user verification fails
}

// Authenticator adds a virtual authenticator to the tab.
func (t *Tab) Authenticator(o AuthenticatorOptions) *Authenticator {
	t.tb.Helper()
	if o.Transport == "" {
		o.Transport = "internal"
	}
	var added struct {
		AuthenticatorID string `json:"authenticatorId"`
	}
	t.Call("WebAuthn.addVirtualAuthenticator", map[string]any{"options": map[string]any{
		"protocol":                    "ctap2",
		"transport":                   o.Transport,
		"hasResidentKey":              true,
		"hasUserVerification":         true,
		"isUserVerified":              !o.NoUser,
		"automaticPresenceSimulation": !o.NoPresence,
		"defaultBackupEligibility":    o.Synced,
		"defaultBackupState":          o.Synced,
	}}, &added)
	return &Authenticator{tab: t, id: added.AuthenticatorID}
}

func (a *Authenticator) call(method string, params map[string]any, result any) {
	a.tab.tb.Helper()
	params["authenticatorId"] = a.id
	a.tab.Call("WebAuthn."+method, params, result)
}

// Presence says whether prompts are answered. Switching it on does not release one that is already waiting.
func (a *Authenticator) Presence(on bool) {
	a.tab.tb.Helper()
	a.call("setAutomaticPresenceSimulation", map[string]any{"enabled": on}, nil)
}

// UserVerified says whether user verification succeeds.
func (a *Authenticator) UserVerified(ok bool) {
	a.tab.tb.Helper()
	a.call("setUserVerified", map[string]any{"isUserVerified": ok}, nil)
}

// Lie makes the authenticator answer wrongly: isBogusSignature, isBadUV, isBadUP.
func (a *Authenticator) Lie(bits ...string) {
	a.tab.tb.Helper()
	params := map[string]any{}
	for _, bit := range bits {
		params[bit] = true
	}
	a.call("setResponseOverrideBits", params, nil)
}

// Credential is a passkey inside a virtual authenticator. Bytes are in base64, as the protocol has them.
type Credential struct {
	CredentialID         string `json:"credentialId"`
	IsResidentCredential bool   `json:"isResidentCredential"`
	RpID                 string `json:"rpId,omitempty"`
	PrivateKey           string `json:"privateKey"`
	UserHandle           string `json:"userHandle,omitempty"`
	SignCount            int    `json:"signCount"`
	BackupEligibility    bool   `json:"backupEligibility"`
	BackupState          bool   `json:"backupState"`
}

// Credentials lists the passkeys.
func (a *Authenticator) Credentials() []Credential {
	a.tab.tb.Helper()
	var result struct {
		Credentials []Credential `json:"credentials"`
	}
	a.call("getCredentials", map[string]any{}, &result)
	return result.Credentials
}

// Add puts a passkey into the authenticator, for example one that another tab's authenticator made.
func (a *Authenticator) Add(c Credential) {
	a.tab.tb.Helper()
	// Sent as it is: the typed command adds a field that Chromium refuses.
	a.call("addCredential", map[string]any{"credential": c}, nil)
}

// Set changes what a passkey says of itself: signCount, backupEligibility, backupState.
func (a *Authenticator) Set(credentialID string, properties map[string]any) {
	a.tab.tb.Helper()
	params := map[string]any{"credentialId": credentialID}
	for name, value := range properties {
		params[name] = value
	}
	a.call("setCredentialProperties", params, nil)
}

// Forget removes all passkeys.
func (a *Authenticator) Forget() {
	a.tab.tb.Helper()
	a.call("clearCredentials", map[string]any{}, nil)
}

// Remove takes the authenticator away.
func (a *Authenticator) Remove() {
	a.tab.tb.Helper()
	a.call("removeVirtualAuthenticator", map[string]any{}, nil)
}

// String helps in failures.
func (c Credential) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Sprintf("%#v", c)
	}
	return string(b)
}
