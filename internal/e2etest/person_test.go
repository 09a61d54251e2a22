package e2etest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// person is somebody at a browser: a tab, signed in by basic auth, and an authenticator.
type person struct {
	*browsertest.Tab
	g   *gatewaytest.Gateway
	t   testing.TB
	key *browsertest.Authenticator
}

// witness counts prompts and keeps what passes between page and authenticator, so that the log can be searched for it.
const witness = `if (window.CredentialsContainer) for (const kind of ["get", "create"]) {
	const original = CredentialsContainer.prototype[kind];
	const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
	const keep = (what, buffer) => { if (buffer) localStorage["test.secret " + what + " " + text(buffer)] = ""; };
	CredentialsContainer.prototype[kind] = async function (options) {
		sessionStorage["test." + kind] = Number(sessionStorage["test." + kind] ?? 0) + 1;
		keep("challenge", options.publicKey.challenge);
		const credential = await original.call(this, options);
		for (const part of ["clientDataJSON", "authenticatorData", "signature", "attestationObject"]) keep(part, credential.response[part]);
		return credential;
	};
}`

// calm makes the tab's pages wait for the button. It is what they do where the browser refuses them a memory.
const calm = `Object.defineProperty(Document.prototype, "hasFocus", {value: () => false})`

// visit opens a tab for a user of the gateway. Scripts run before those of every page.
func visit(g *gatewaytest.Gateway, user string, o browsertest.AuthenticatorOptions, scripts ...string) *person {
	g.T.Helper()
	return newPerson(g, g.T, chromium.Tab(g.T), user, o, scripts...)
}

// sibling opens another tab of the same browser, with an authenticator that holds the same passkeys.
func (p *person) sibling(user string, scripts ...string) *person {
	p.t.Helper()
	s := newPerson(p.g, p.t, p.Sibling(), user, browsertest.AuthenticatorOptions{}, scripts...)
	for _, c := range p.key.Credentials() {
		s.key.Add(c)
	}
	return s
}

func newPerson(g *gatewaytest.Gateway, t testing.TB, tab *browsertest.Tab, user string, o browsertest.AuthenticatorOptions, scripts ...string) *person {
	t.Helper()
	p := &person{Tab: tab, g: g, t: t}
	tab.Call("Network.enable", nil, nil)
	p.signIn(user)
	for _, script := range append([]string{witness}, scripts...) {
		tab.OnEveryPage(script)
	}
	p.key = tab.Authenticator(o)
	t.Cleanup(func() {
		if !t.Failed() {
			p.confide()
		}
		for _, problem := range tab.Problems() {
			t.Errorf("the browser complained: %s", problem)
		}
	})
	return p
}

// signIn makes the tab send the user's password, as a browser does after its dialog; "" sends none.
func (p *person) signIn(user string) {
	p.t.Helper()
	headers := map[string]string{}
	if user != "" {
		headers["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+gatewaytest.Password))
	}
	p.Call("Network.setExtraHTTPHeaders", map[string]any{"headers": headers}, nil)
}

// confide tells the logbook the secrets that this tab has seen on its origin.
func (p *person) confide() {
	p.t.Helper()
	kept := browsertest.Eval[[]string](p.Tab, `(() => { try { return Object.keys(localStorage) } catch { return [] } })()`)
	for _, key := range kept {
		if what, ok := strings.CutPrefix(key, "test.secret "); ok {
			what, value, _ := strings.Cut(what, " ")
			p.g.Log.Secret(what, value)
		}
	}
	for name, value := range p.cookies() {
		p.g.Log.Secret("cookie "+name, value)
	}
}

// cookies returns the tab's cookies for the page it shows, those hidden from scripts included.
func (p *person) cookies() map[string]string {
	p.t.Helper()
	var answer struct {
		Cookies []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"cookies"`
	}
	p.Call("Network.getCookies", nil, &answer)
	values := map[string]string{}
	for _, c := range answer.Cookies {
		values[c.Name] = c.Value
	}
	return values
}

// open opens an address of the gateway.
func (p *person) open(path string) {
	p.t.Helper()
	p.Open(p.g.URL + path)
}

// panel waits until the challenge page shows a panel and is ready for the button.
func (p *person) panel(name string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf("document.querySelector('main')?.dataset.panel === %q && document.querySelector('main').dataset.state === 'ready'", name))
}

// state waits for a state of the page: ready, waiting, failed.
func (p *person) state(name string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf("document.querySelector('main')?.dataset.state === %q", name))
}

// failure waits until the page reports a failure.
func (p *person) failure(code string) {
	p.t.Helper()
	p.Wait(fmt.Sprintf("document.querySelector('main')?.dataset.state === 'failed' && document.querySelector('main').dataset.failure === %q", code))
}

// press clicks the main button of the panel that is shown.
func (p *person) press() {
	p.t.Helper()
	p.Click("section[data-panel]:not([hidden]) .primary")
}

// says holds that an element's text has these parts.
func (p *person) says(selector string, parts ...string) {
	p.t.Helper()
	text := p.Text(selector)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			p.t.Errorf("%s says %q, want %q in it", selector, text, part)
		}
	}
}

// enrol opens a protected path, creates the person's first passkey, confirms with it, and is there.
func (p *person) enrol(path string) {
	p.t.Helper()
	p.open(path)
	p.panel("create")
	p.press()
	p.keeps()
	p.WaitPath(path)
}

// keeps takes the recovery codes that come with a first passkey, and goes on.
func (p *person) keeps() []string {
	p.t.Helper()
	p.state("keeping")
	codes := browsertest.Eval[[]string](p.Tab, "[...document.querySelectorAll('.codes code')].map((code) => code.textContent)")
	for _, code := range codes {
		p.g.Log.Secret("recovery code", code)
	}
	if len(codes) != 8 {
		p.t.Errorf("%d recovery codes", len(codes))
	}
	p.Click("section:not([hidden]) > button[data-do=kept]")
	return codes
}

// at waits for the console's own page at a path.
func (p *person) at(path string) {
	p.t.Helper()
	p.WaitPath(path)
	p.Wait("document.title === 'Console'")
}

// fetched is the answer to a script of the console.
type fetched struct {
	Status int
	Header map[string]string
	Body   json.RawMessage
}

// fetch makes the page that is shown fetch something, as a console's script would.
func (p *person) fetch(path, init string) fetched {
	p.t.Helper()
	return browsertest.Eval[fetched](p.Tab, fmt.Sprintf(`fetch(%q, %s).then(async (r) => {
		const text = await r.text();
		let Body; try { Body = JSON.parse(text) } catch { Body = text }
		return {Status: r.status, Header: Object.fromEntries(r.headers), Body};
	})`, path, init))
}

// prompts returns how often the tab asked for a passkey.
func prompts(p *person, kind string) int {
	p.t.Helper()
	return browsertest.Eval[int](p.Tab, fmt.Sprintf("Number(sessionStorage['test.%s'] ?? 0)", kind))
}

func evalBool(p *person, condition string) bool {
	p.t.Helper()
	return browsertest.Eval[bool](p.Tab, condition)
}

// enrolByHand is [person.enrol] in a tab that waits for the button.
func (p *person) enrolByHand(path string) {
	p.t.Helper()
	p.open(path)
	p.panel("create")
	p.press()
	p.keeps()
	p.panel("confirm")
	p.press()
	p.WaitPath(path)
}
