package assets_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/browsertest"
)

// console stands in for a gateway in front of a console, so that a test can make it say anything. It renders the real
// pages under the real policy and keeps the API's contract: a challenge works once, for one purpose, and every request
// has the headers that the gateway demands. It checks no signatures: that is not what is tested here.
type console struct {
	t   *testing.T
	url string

	mu        sync.Mutex
	challenge assets.Challenge
	account   assets.Account
	message   assets.Message
	satisfied bool              // the challenge page redirects to where the person was going
	bounces   bool              // the goal redirects to the challenge page, as if the proof had been lost
	level     string            // of passkeys registered from now on
	issued    map[string]string // challenge -> what it was issued for
	answers   map[string][]http.HandlerFunc
	calls     []string
	demands   int

	model      string            // what the authenticator calls itself; "" for unknown
	ids        map[string]string // credential ids by short id
	offered    []string          // what authentications are allowed to use; nil for anything
	recovering bool              // the registration under way is by a recovery code
}

// theCodes are everybody's.
var theCodes = []string{
	"AAAA-BBBB-CCCC-DDDD", "ABCD-EFGH-IJKL-MNOP", "QRST-UVWX-YZ23-4567", "KLMN-OPQR-STUV-WXYZ",
	"2345-6723-4567-2345", "GATE-STEP-GATE-STEP", "MMMM-MMMM-MMMM-MMMM", "ZZZZ-ZZZZ-ZZZZ-ZZZZ",
}

const prefix = "/.stepgate"

func newConsole(t *testing.T) *console {
	t.Parallel()
	c := &console{
		t: t, level: "verified", issued: map[string]string{}, answers: map[string][]http.HandlerFunc{}, ids: map[string]string{},
		challenge: challenge(func(c *assets.Challenge) { c.Passkeys, c.Suitable = 0, 0 }),
		account:   account(func(a *assets.Account) { a.Passkeys = nil }),
	}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.url = strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // a secure context without TLS
	return c
}

// answer makes the next requests to a route ("POST /challenge/options") get these answers, in turn; then the usual one.
func (c *console) answer(route string, answers ...http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers[route] = answers
}

// set changes the console while requests may be under way.
func (c *console) set(change func(*console)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
}

// called returns how often a route was called.
func (c *console) called(route string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, call := range c.calls {
		if call == route {
			n++
		}
	}
	return n
}

func (c *console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ours := strings.CutPrefix(r.URL.Path, prefix)
	asJSON := r.Header.Get("Accept") == "application/json"
	route := r.Method + " " + path
	if asJSON {
		route += " json"
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, strings.TrimSuffix(route, " json"))
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if ours {
		h.Set("Content-Security-Policy", assets.ContentSecurityPolicy)
	}
	h.Set("X-Content-Type-Options", "nosniff")

	if queue := c.answers[strings.TrimSuffix(route, " json")]; len(queue) > 0 {
		c.answers[strings.TrimSuffix(route, " json")] = queue[1:]
		c.mu.Unlock()
		defer c.mu.Lock()
		queue[0](w, r)
		return
	}
	if name, ok := strings.CutPrefix(path, "/assets/"); ours && ok {
		f, found := assets.Lookup(name)
		if !found {
			c.t.Errorf("no asset %q", name)
		}
		h.Set("Content-Type", f.ContentType)
		w.Write(f.Body)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	switch {
	case !ours && c.bounces:
		c.demands++
		c.challenge.Demand = fmt.Sprint("demand", c.demands)
		c.challenge.ReturnTo = r.URL.RequestURI()
		http.Redirect(w, r, prefix+"/challenge?demand="+c.challenge.Demand, http.StatusSeeOther)
	case !ours:
		io.WriteString(w, "<!DOCTYPE html><html lang=en><title>Console</title><link rel=icon href=data:,><h1>The console</h1>")
	case route == "GET /challenge" && c.satisfied:
		http.Redirect(w, r, c.challenge.ReturnTo, http.StatusSeeOther)
	case route == "GET /challenge":
		c.challenge.Prefix = prefix
		c.challenge.Passkeys = len(c.account.Passkeys)
		c.challenge.Render(w)
	case route == "GET /passkeys":
		c.account.Prefix = prefix
		c.account.Render(w)
	case route == "GET /message":
		c.message.Render(w)
	case !asJSON:
		http.NotFound(w, r)
	default:
		c.api(w, r, strings.TrimSuffix(route, " json"))
	}
}

type credential struct {
	ID, RawID, Type string
	Response        struct {
		ClientDataJSON, AttestationObject, AuthenticatorData, Signature, UserHandle string
		Transports                                                                  []string
	}
	ClientExtensionResults map[string]any
}

func (c *console) api(w http.ResponseWriter, r *http.Request, route string) {
	var body struct {
		Demand, Action, ID, Name string
		ReturnTo                 string `json:"return_to"`
		Credential               json.RawMessage
		Authorization            json.RawMessage
		Suggested, Last          bool
		RecoveryCode             string `json:"recovery_code"`
	}
	if r.Method != "GET" {
		if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Sec-Fetch-Site") != "same-origin" {
			c.t.Errorf("%s: headers %v", route, r.Header)
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			c.t.Errorf("%s: %v", route, err)
		}
	}
	switch {
	case route == "POST /challenge/options":
		if body.Demand != c.challenge.Demand {
			c.t.Errorf("%s: demand %q, want %q", route, body.Demand, c.challenge.Demand)
		}
		c.issue(w, "use")
	case route == "POST /challenge/verify":
		if c.consume(w, body.Credential, "use") != nil {
			reply(w, 200, map[string]any{"return_to": c.challenge.ReturnTo, "expires_at": time.Now().Add(time.Minute), "level": "verified"})
		}
	case route == "POST /passkeys/authorize/options":
		c.issue(w, body.Action+" "+body.ID)
	case route == "POST /passkeys/options":
		if body.RecoveryCode != "" {
			if body.RecoveryCode != theCodes[0] {
				problem("recovery_code_invalid", 403)(w, r)
				return
			}
			c.recovering = true
			c.issue(w, "create")
			return
		}
		if len(c.account.Passkeys) > 0 && body.Authorization == nil {
			problem("authorization_needed", 403)(w, r)
			return
		}
		if len(c.account.Passkeys) > 0 && c.consume(w, body.Authorization, "add ") == nil {
			return
		}
		c.issue(w, "create")
	case route == "POST /passkeys":
		if made := c.consume(w, body.Credential, "create"); made != nil {
			if body.Suggested && c.model != "" {
				body.Name = c.model
			}
			answer := struct {
				assets.Passkey
				Codes []string `json:"recovery_codes,omitempty"`
				Left  *int     `json:"recovery_codes_left,omitempty"`
			}{Passkey: c.register(made.ID, body.Name)}
			switch {
			case c.recovering:
				c.account.CodesLeft--
				answer.Left = &c.account.CodesLeft
			case c.account.Recovery && len(c.account.Passkeys) == 1:
				answer.Codes, c.account.CodesLeft = theCodes, len(theCodes)
			}
			c.recovering = false
			reply(w, 201, answer)
		}
	case route == "GET /passkeys":
		accepted := []string{}
		for _, p := range c.account.Passkeys {
			accepted = append(accepted, c.ids[p.ID])
		}
		reply(w, 200, map[string]any{
			"passkeys": append([]assets.Passkey{}, c.account.Passkeys...), "recovery_codes": map[string]any{"left": c.account.CodesLeft},
			"signal": map[string]any{
				"rpId": "localhost", "userId": "AAECAwQFBgcICQoLDA0ODw", "name": "maria", "displayName": "maria", "allAcceptedCredentialIds": accepted,
			},
		})
	case route == "POST /recovery-codes":
		if c.consume(w, body.Authorization, "recovery_codes ") != nil {
			c.account.CodesLeft = len(theCodes)
			reply(w, 200, map[string]any{"recovery_codes": theCodes})
		}
	case route == "GET /status":
		reply(w, 200, map[string]any{"stepped_up": false})
	case route == "POST /logout":
		w.WriteHeader(http.StatusNoContent)
	case r.Method == "PATCH":
		for i, p := range c.account.Passkeys {
			if strings.HasSuffix(route, "/"+p.ID) {
				c.account.Passkeys[i].Name = body.Name
				reply(w, 200, c.account.Passkeys[i])
			}
		}
	case r.Method == "DELETE":
		for i, p := range c.account.Passkeys {
			if strings.HasSuffix(route, "/"+p.ID) && len(c.account.Passkeys) == 1 && !body.Last {
				problem("last_passkey", 409)(w, r)
				return
			}
			if strings.HasSuffix(route, "/"+p.ID) && c.consume(w, body.Authorization, "remove "+p.ID) != nil {
				c.account.Passkeys = append(c.account.Passkeys[:i:i], c.account.Passkeys[i+1:]...)
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
	default:
		c.t.Errorf("unexpected request: %s", route)
	}
}

func (c *console) register(id, name string) assets.Passkey {
	row := assets.Passkey{ID: shortID(id), Name: name, Kind: assets.KindDevice, Authenticator: "Unknown authenticator", AAGUID: "00000000-0000-0000-0000-000000000000",
		BackupEligible: c.level == "verified", Level: c.level, CreatedAt: time.Now()}
	c.account.Passkeys = append(c.account.Passkeys, row)
	c.ids[row.ID] = id
	c.account.FirstUse, c.challenge.FirstUse = false, false
	if c.level == c.challenge.Level || c.challenge.Level == "verified" {
		c.challenge.Suitable++
	}
	return row
}

func shortID(credentialID string) string {
	raw, _ := base64.RawURLEncoding.DecodeString(credentialID)
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// issue sends options as the gateway does, with a null in them that Safari and Chromium refuse.
func (c *console) issue(w http.ResponseWriter, purpose string) {
	challenge := rand.Text()
	c.issued[challenge] = purpose
	options := map[string]any{
		"challenge": base64.RawURLEncoding.EncodeToString([]byte(challenge)),
		"timeout":   c.challenge.Timeout.Milliseconds(),
	}
	if purpose == "create" {
		options["rp"] = map[string]any{"id": "localhost", "name": "Example operations"}
		options["user"] = map[string]any{"id": "AAECAwQFBgcICQoLDA0ODw", "name": "maria", "displayName": "maria"}
		options["pubKeyCredParams"] = []any{map[string]any{"type": "public-key", "alg": -7}}
		options["authenticatorSelection"] = map[string]any{"authenticatorAttachment": nil, "residentKey": "required", "userVerification": "required"}
		options["excludeCredentials"] = []any{}
	} else {
		options["rpId"] = "localhost"
		for _, id := range c.offered {
			options["allowCredentials"] = []any{map[string]any{"type": "public-key", "id": id}}
		}
		options["userVerification"] = "required"
	}
	reply(w, 200, map[string]any{"publicKey": options})
}

// consume takes a credential apart and uses its challenge up.
func (c *console) consume(w http.ResponseWriter, raw json.RawMessage, purpose string) *credential {
	var cred credential
	var clientData struct{ Type, Challenge, Origin string }
	if err := json.Unmarshal(raw, &cred); err != nil {
		c.t.Errorf("credential %s: %v", raw, err)
	}
	clientDataJSON, _ := base64.RawURLEncoding.DecodeString(cred.Response.ClientDataJSON)
	if err := json.Unmarshal(clientDataJSON, &clientData); err != nil {
		c.t.Errorf("client data of %s: %v", raw, err)
	}
	creates := purpose == "create"
	if cred.ID == "" || cred.ID != cred.RawID || cred.Type != "public-key" || clientData.Origin != c.url || cred.ClientExtensionResults == nil ||
		creates != (cred.Response.AttestationObject != "") || creates != (len(cred.Response.Transports) > 0) ||
		creates == (cred.Response.Signature != "" && cred.Response.AuthenticatorData != "") ||
		clientData.Type != map[bool]string{true: "webauthn.create", false: "webauthn.get"}[creates] || strings.Contains(string(raw), "null") {
		c.t.Errorf("credential is not well formed: %s", raw)
	}
	challenge, _ := base64.RawURLEncoding.DecodeString(clientData.Challenge)
	if c.issued[string(challenge)] != purpose {
		problem("challenge_used", 409)(w, nil)
		return nil
	}
	delete(c.issued, string(challenge))
	return &cred
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func problem(code string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"code": code, "status": status, "title": "The gateway's title", "detail": "The gateway's detail."})
	}
}

func answerHTML(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		io.WriteString(w, "<title>Somebody else</title>")
	}
}

func redirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/oauth2/sign_in", http.StatusFound)
}

// repeat gives an answer often enough for Chromium, which sends a request again when a kept connection is cut.
func repeat(answer http.HandlerFunc) []http.HandlerFunc {
	return slices.Repeat([]http.HandlerFunc{answer}, 20)
}

// hangUp closes the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// ------------------------------------------------------------------------------------------------------------- the browser

var chromium *browsertest.Browser

func TestMain(m *testing.M) {
	browser, stop, err := browsertest.Launch(browsertest.Options{Hosts: map[string]string{"console.example.test": "127.0.0.1"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: these tests need a browser:", err)
		os.Exit(1)
	}
	chromium = browser
	status := m.Run()
	stop()
	os.Exit(status)
}

// count counts prompts in sessionStorage, so that the count outlives the page.
const count = `if (window.CredentialsContainer) for (const kind of ["get", "create"]) {
	const original = CredentialsContainer.prototype[kind];
	CredentialsContainer.prototype[kind] = function (options) {
		sessionStorage["test." + kind] = Number(sessionStorage["test." + kind] ?? 0) + 1;
		return original.call(this, options);
	};
}`

// quiet makes the tab believe that it has prompted by itself before.
const quiet = `sessionStorage["stepgate.prompted"] ??= JSON.stringify(["sealed", "demand1", "demand2"])`

// tab opens a tab with an authenticator. At the end of the test nothing may have violated the policy or thrown.
func (c *console) tab(o browsertest.AuthenticatorOptions, scripts ...string) (*browsertest.Tab, *browsertest.Authenticator) {
	c.t.Helper()
	tab := chromium.Tab(c.t)
	for _, script := range append([]string{count}, scripts...) {
		tab.OnEveryPage(script)
	}
	c.t.Cleanup(func() {
		for _, problem := range tab.Problems() {
			c.t.Errorf("the browser complained: %s", problem)
		}
	})
	return tab, tab.Authenticator(o)
}

// enrol gives the tab's authenticator a passkey that the console knows.
func (c *console) enrol(tab *browsertest.Tab, name string) assets.Passkey {
	c.t.Helper()
	tab.Open(c.url + "/plain")
	id := browsertest.Eval[string](tab, `navigator.credentials.create({publicKey: {
		challenge: new Uint8Array(32), rp: {id: "localhost", name: "Console"}, user: {id: crypto.getRandomValues(new Uint8Array(16)), name: "maria", displayName: "maria"},
		pubKeyCredParams: [{type: "public-key", alg: -7}], authenticatorSelection: {residentKey: "required", userVerification: "required"},
	}}).then((c) => { delete sessionStorage["test.create"]; return c.id; })`)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.register(id, name)
}

func prompts(tab *browsertest.Tab, kind string) int {
	return browsertest.Eval[int](tab, fmt.Sprintf("Number(sessionStorage['test.%s'] ?? 0)", kind))
}

func state(want string) string {
	return fmt.Sprintf("document.querySelector('main')?.dataset.state === %q", want)
}

func failure(want string) string {
	return fmt.Sprintf("document.querySelector('main')?.dataset.state === 'failed' && document.querySelector('main').dataset.failure === %q", want)
}
