package gate_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

// registration is what a finished registration answers.
type registration struct {
	ID        string   `json:"id"`
	Level     string   `json:"level"`
	Codes     []string `json:"recovery_codes"`
	CodesLeft *int     `json:"recovery_codes_left"`
}

// registerBy finishes a registration that begins with this body.
func (b *browser) registerBy(a *authtest.Authenticator, body object) (registered registration) {
	b.w.t.Helper()
	options := want(b.w.t, b.post("/.stepgate/passkeys/options", body), http.StatusOK)
	credential, err := a.Register(options, b.origin)
	if err != nil {
		b.w.t.Fatal(err)
	}
	answer := want(b.w.t, b.post("/.stepgate/passkeys", object{"credential": raw(credential)}), http.StatusCreated)
	if err := json.Unmarshal(answer, &registered); err != nil {
		b.w.t.Fatal(err)
	}
	return registered
}

func (e *events) kinds(from int) (kinds []audit.Kind) {
	for _, event := range e.since(from) {
		kinds = append(kinds, event.Kind)
	}
	return kinds
}

// A recovery code registers a passkey and is no grant; it is audited, with how many are left.
func TestRecoveryCodes(t *testing.T) {
	w := newWorld(t)
	alice, key, phone := w.browser("alice"), authtest.New(authtest.Config{}), authtest.New(authtest.Config{Synced: true})
	first := alice.registerBy(key, object{"name": "Key"})
	if len(first.Codes) != passkey.RecoveryCodes || first.CodesLeft != nil {
		t.Fatalf("%+v", first)
	}
	if diff := cmp.Diff([]audit.Kind{audit.PasskeyRegistered, audit.RecoveryCodesMade}, w.audit.kinds(0)); diff != "" {
		t.Errorf("audited (-want +got)\n%s", diff)
	}

	// In another browser, after the key was lost.
	there := w.browser("alice")
	for _, code := range []string{"AAAA-AAAA-AAAA-AAAA", first.Codes[0] + "A", strings.Repeat("A", 10_000)} {
		there.refused(http.StatusForbidden, passkey.RecoveryCodeInvalid, func() *http.Response {
			return there.post("/.stepgate/passkeys/options", object{"recovery_code": code})
		})
	}
	bob := w.browser("bob")
	bob.refused(http.StatusForbidden, passkey.RecoveryCodeInvalid, func() *http.Response {
		return bob.post("/.stepgate/passkeys/options", object{"recovery_code": first.Codes[0]})
	})
	for _, both := range []object{
		{"recovery_code": first.Codes[0], "invitation": "ABCD"},
		{"recovery_code": first.Codes[0], "authorization": object{}},
		{"recovery_code": 7}, {"Recovery_Code": first.Codes[0]},
	} {
		there.refused(http.StatusBadRequest, passkey.BodyMalformed, func() *http.Response {
			return there.post("/.stepgate/passkeys/options", both)
		})
	}
	seen := w.audit.count()
	recovered := there.registerBy(phone, object{"recovery_code": first.Codes[0]})
	if recovered.CodesLeft == nil || *recovered.CodesLeft != 7 || recovered.Codes != nil || recovered.Level != "verified" {
		t.Errorf("%+v", recovered)
	}
	events := w.audit.since(seen)
	if len(events) != 3 || events[0].Kind != audit.CodeAccepted || events[1].Kind != audit.PasskeyRegistered || events[1].Action != passkey.Recovered ||
		events[2].Kind != audit.RecoveryCodeUsed || events[2].CodesLeft == nil || *events[2].CodesLeft != 7 || events[2].Passkey != recovered.ID {
		t.Errorf("audited %+v", events)
	}
	for _, cookie := range there.cookies {
		if cookie.Name == "__Host-stepgate" {
			t.Error("a recovery code earned a grant")
		}
	}
	there.needsStepUp(passkey.GrantMissing, func() *http.Response { return there.get("/admin") })
	there.refused(http.StatusForbidden, passkey.RecoveryCodeInvalid, func() *http.Response {
		return there.post("/.stepgate/passkeys/options", object{"recovery_code": first.Codes[0]})
	})
	want(t, there.stepUp(phone, "/admin"), http.StatusOK)
	there.passes("/admin")
}

// Making codes needs a ceremony made for it; a grant is not enough (rule 9).
func TestMakeRecoveryCodes(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	old := alice.registerBy(key, object{}).Codes
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.refused(http.StatusForbidden, passkey.AuthorizationNeeded, func() *http.Response {
		return alice.post("/.stepgate/recovery-codes", object{})
	})
	forAdd := alice.authorize(key, object{"action": "add"})
	alice.refused(http.StatusBadRequest, passkey.CeremonyMismatch, func() *http.Response {
		return alice.post("/.stepgate/recovery-codes", object{"authorization": raw(forAdd)})
	})
	alice.refused(http.StatusBadRequest, passkey.BodyMalformed, func() *http.Response {
		return alice.post("/.stepgate/passkeys/authorize/options", object{"action": "recovery_codes", "id": "x"})
	})
	authorization := alice.authorize(key, object{"action": "recovery_codes"})
	mallory := w.browser("alice")
	mallory.refused(http.StatusForbidden, passkey.BrowserMismatch, func() *http.Response {
		return mallory.post("/.stepgate/recovery-codes", object{"authorization": raw(authorization)})
	})
	alice.refused(http.StatusForbidden, passkey.CrossSite, func() *http.Response {
		return alice.post("/.stepgate/recovery-codes", object{"authorization": raw(authorization)}, header("Sec-Fetch-Site", "cross-site"))
	})
	seen := w.audit.count()
	var made struct {
		Codes []string `json:"recovery_codes"`
	}
	response := alice.post("/.stepgate/recovery-codes", object{"authorization": raw(authorization)})
	if response.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", response.Header.Get("Cache-Control"))
	}
	if err := json.Unmarshal(want(t, response, http.StatusOK), &made); err != nil || len(made.Codes) != passkey.RecoveryCodes {
		t.Fatalf("%v, %v", made, err)
	}
	if diff := cmp.Diff([]audit.Kind{audit.CeremonyFinished, audit.RecoveryCodesMade}, w.audit.kinds(seen)); diff != "" {
		t.Errorf("audited (-want +got)\n%s", diff)
	}
	for _, event := range w.audit.since(0) {
		text, _ := json.Marshal(event)
		for _, code := range append(slices.Clone(old), made.Codes...) {
			if strings.Contains(string(text), code) {
				t.Error("a code is in the audit log")
			}
		}
	}
	alice.refused(http.StatusConflict, passkey.ChallengeUsed, func() *http.Response {
		return alice.post("/.stepgate/recovery-codes", object{"authorization": raw(authorization)})
	})
	alice.refused(http.StatusForbidden, passkey.RecoveryCodeInvalid, func() *http.Response {
		return alice.post("/.stepgate/passkeys/options", object{"recovery_code": old[0]})
	})
	alice.registerBy(authtest.New(authtest.Config{}), object{"recovery_code": made.Codes[7]})

	// Without a line in the audit log nobody gets to see them, nor to use one.
	w.audit.fill(true)
	refused := want(t, alice.post("/.stepgate/passkeys/options", object{"recovery_code": made.Codes[0]}), http.StatusServiceUnavailable)
	if !strings.Contains(string(refused), string(passkey.AuditUnavailable)) {
		t.Errorf("%s", refused)
	}
	w.audit.fill(false)
	alice.get("/nowhere") // whose line goes through again
	authorization = alice.authorize(key, object{"action": "recovery_codes"})
	w.audit.fill(true)
	answer := want(t, alice.post("/.stepgate/recovery-codes", object{"authorization": raw(authorization)}), http.StatusServiceUnavailable)
	if !strings.Contains(string(answer), string(passkey.AuditUnavailable)) || strings.Contains(string(answer), "recovery_codes") {
		t.Errorf("%s", answer)
	}
}

func TestRecoveryCodesOff(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) { c.NoRecovery = true })
	w.backend = w.backendOf(ceremony.Config{NoRecovery: true}, 0)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	if codes := alice.registerBy(key, object{}).Codes; codes != nil {
		t.Errorf("%v", codes)
	}
	alice.refused(http.StatusForbidden, passkey.RecoveryOff, func() *http.Response {
		return alice.post("/.stepgate/passkeys/options", object{"recovery_code": "ABCD"})
	})
	alice.refused(http.StatusForbidden, passkey.RecoveryOff, func() *http.Response {
		return alice.post("/.stepgate/passkeys/authorize/options", object{"action": "recovery_codes"})
	})
	if list := want(t, alice.get("/.stepgate/passkeys", header("Accept", "application/json")), http.StatusOK); strings.Contains(string(list), "recovery") {
		t.Errorf("%s", list)
	}
}

// A flood of guesses is cut short, like any other start.
func TestRecoveryCodesAreLimited(t *testing.T) {
	w := newWorld(t)
	mallory := w.browser("alice")
	for range 30 {
		mallory.refused(http.StatusForbidden, passkey.RecoveryCodeInvalid, func() *http.Response {
			return mallory.post("/.stepgate/passkeys/options", object{"recovery_code": "AAAA-AAAA-AAAA-AAAA"})
		})
	}
	mallory.refused(http.StatusTooManyRequests, passkey.RateLimited, func() *http.Response {
		return mallory.post("/.stepgate/passkeys/options", object{"recovery_code": "AAAA-AAAA-AAAA-AAAA"})
	})
}

// The list says how many codes are left, and what password managers may keep: this user's, and nobody else's.
func TestListForSignals(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) { c.RPID = rpID })
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	nobody := want(t, alice.get("/.stepgate/passkeys", header("Accept", "application/json")), http.StatusOK)
	if string(nobody) != "{\"passkeys\":[]}\n" {
		t.Errorf("%s", nobody)
	}
	alice.registerBy(key, object{})
	w.browser("bob").registerBy(authtest.New(authtest.Config{}), object{})
	text := want(t, alice.get("/.stepgate/passkeys", header("Accept", "application/json")), http.StatusOK)
	for _, member := range []string{`"rpId":`, `"userId":`, `"displayName":`, `"allAcceptedCredentialIds":`} { // as WebAuthn spells them
		if !strings.Contains(string(text), member) {
			t.Errorf("no %s", member)
		}
	}
	var list struct {
		Recovery struct {
			Left   int    `json:"left"`
			MadeAt string `json:"made_at"`
		} `json:"recovery_codes"`
		Signal struct {
			RPID, UserID, Name, DisplayName string
			Accepted                        []string `json:"allAcceptedCredentialIds"`
		} `json:"signal"`
	}
	if err := json.Unmarshal(want(t, alice.get("/.stepgate/passkeys", header("Accept", "application/json")), http.StatusOK), &list); err != nil {
		t.Fatal(err)
	}
	if list.Recovery.Left != 8 || list.Recovery.MadeAt != "2026-11-22T12:00:00Z" {
		t.Errorf("%+v", list.Recovery)
	}
	of := key.Credentials()[0]
	if list.Signal.RPID != rpID || list.Signal.UserID != base64.RawURLEncoding.EncodeToString(of.UserHandle) || list.Signal.Name != "alice" ||
		!slices.Equal(list.Signal.Accepted, []string{base64.RawURLEncoding.EncodeToString(of.ID)}) {
		t.Errorf("%+v", list.Signal)
	}
}

// The only passkey goes when the request says that it may be the only one, and with it what it opened.
func TestRemoveTheLast(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	codes := alice.registerBy(key, object{}).Codes
	id := passkey.ShortID(key.Credentials()[0].ID)
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.passes("/admin")

	seen := w.audit.count()
	answer := want(t, alice.send("DELETE", "/.stepgate/passkeys/"+id, object{"authorization": raw(alice.authorize(key, object{"action": "remove", "id": id}))}), http.StatusConflict)
	if events := w.audit.since(seen); !strings.Contains(string(answer), string(passkey.LastPasskey)) || len(events) != 2 || events[1].Reason != passkey.LastPasskey {
		t.Errorf("%s, %+v", answer, events)
	}
	alice.passes("/admin")
	alice.refused(http.StatusBadRequest, passkey.BodyMalformed, func() *http.Response {
		return alice.send("DELETE", "/.stepgate/passkeys/"+id, object{"authorization": object{}, "last": "yes"})
	})
	want(t, alice.send("DELETE", "/.stepgate/passkeys/"+id, object{"authorization": raw(alice.authorize(key, object{"action": "remove", "id": id})), "last": true}), http.StatusNoContent)
	alice.needsStepUp(passkey.GrantPasskeyRemoved, func() *http.Response { return alice.get("/admin") })
	alice.refused(http.StatusForbidden, passkey.RegistrationClosed, func() *http.Response {
		return alice.post("/.stepgate/passkeys/options", object{"name": "x"})
	})
	alice.registerBy(authtest.New(authtest.Config{}), object{"recovery_code": codes[0]})

	keeping := newWorld(t, func(c *gate.Config) { c.KeepLast = true })
	keeping.backend = keeping.backendOf(ceremony.Config{KeepLast: true}, 0)
	bob := keeping.browser("bob")
	bob.registerBy(key, object{})
	bob.refused(http.StatusConflict, passkey.LastPasskey, func() *http.Response {
		return bob.post("/.stepgate/passkeys/authorize/options", object{"action": "remove", "id": passkey.ShortID(key.Credentials()[1].ID)})
	})
}

// Whoever came back by a code is told that adding another passkey leads nowhere, where it does.
func TestBoundedPasskeys(t *testing.T) {
	w := newWorld(t)
	alice, key, paper := w.browser("alice"), authtest.New(authtest.Config{}), authtest.New(authtest.Config{})
	first := alice.registerBy(key, object{})
	alice.registerBy(paper, object{"recovery_code": first.Codes[0]})
	page := func() string {
		return string(want(t, alice.get("/.stepgate/challenge?return_to=/hardware", navigate), http.StatusOK))
	}
	if text := page(); !strings.Contains(text, `data-panel="use"`) {
		t.Error("the lost key is suitable still, and registered")
	}
	want(t, alice.send("DELETE", "/.stepgate/passkeys/"+first.ID, object{"authorization": raw(alice.authorize(key, object{"action": "remove", "id": first.ID}))}), http.StatusNoContent)
	if text := page(); !strings.Contains(text, `data-panel="closed"`) || !strings.Contains(text, "registered with a recovery code") {
		t.Error("the page offers to add what would be bounded too")
	}
	list := want(t, alice.get("/.stepgate/passkeys", header("Accept", "application/json")), http.StatusOK)
	if !strings.Contains(string(list), `"level":"verified","max_level":"verified"`) {
		t.Errorf("%s", list)
	}
	if text := want(t, alice.get("/.stepgate/passkeys", navigate), http.StatusOK); !strings.Contains(string(text), "by a recovery code: at most Standard") {
		t.Error("the account page does not say why")
	}
}

// A user whose handle another relying party drew is known there by it: nobody is told what is accepted here only.
func TestNoSignalForImportedUsers(t *testing.T) {
	w := newWorld(t)
	id := []byte("sixteen bytes id")
	user := passkey.User{Name: "ada", Version: 1, Handle: []byte("ada"), Passkeys: []passkey.Ref{{ID: id, Folded: "laptop"}}}
	importer, ok := w.store.Store.(transfer.Store)
	if !ok {
		t.Fatal("no importer")
	}
	if err := importer.Import(t.Context(), passkey.Account{User: user, Passkeys: []passkey.Passkey{
		{ID: id, PublicKey: []byte{1}, Name: "Laptop", CreatedAt: w.clock.Now(), BackupUnknown: true},
	}}); err != nil {
		t.Fatal(err)
	}
	list := want(t, w.browser("ada").get("/.stepgate/passkeys", header("Accept", "application/json")), http.StatusOK)
	if strings.Contains(string(list), "signal") || !strings.Contains(string(list), `"kind":"unknown"`) {
		t.Errorf("%s", list)
	}
}
