package e2etest_test

import (
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// Browsers that lack something are told so; nothing loops and nothing opens.

func TestWithoutScript(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{})
	p.NoScript(true)
	p.open("/keys")
	p.Wait("document.querySelector('main')")
	p.says("main", "JavaScript is off", "Turn it on for this site, then reload the page.")
	if buttons := p.Text("main button"); !strings.Contains(buttons, "(no ") && evalBool(p, "[...document.querySelectorAll('main button')].some((b) => b.checkVisibility())") {
		t.Errorf("a button that does nothing is shown: %s", buttons)
	}
	p.Screenshot("without-script")
	p.open(gatewaytest.Account)
	p.says("main", "JavaScript is off")
	g.Upstream.Untouched()
}

func TestWithoutWebAuthn(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{}, "delete window.PublicKeyCredential")
	for _, path := range []string{"/keys", gatewaytest.Account} {
		p.open(path)
		p.failure("unsupported")
		p.says("#alert", "This browser can’t use passkeys", "Open this page in a current version of Chrome, Edge, Firefox or Safari.")
	}
	p.open("/keys")
	p.failure("unsupported")
	p.look("without-webauthn")
	g.Upstream.Untouched()
}

// The browser keeps none of the gateway's cookies: nothing can be confirmed, and the page says why.
func TestWithoutCookies(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Globals("")+gatewaytest.Site("header {\n -Set-Cookie\n defer\n }\n"+gatewaytest.BasicAuth+"\n\tstepgate"))
	p := visit(g, "alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	p.press()
	p.failure("browser_mismatch")
	g.Audited("ceremony_refused", "browser_mismatch")
	p.says("#alert", "Your browser did not send its cookie back", "Allow cookies for this site, then try again.")
	p.look("without-cookies")

	// Where the browser says so itself, the page knows beforehand.
	p.Call("Emulation.setDocumentCookieDisabled", map[string]any{"disabled": true}, nil)
	p.Reload()
	p.failure("cookies_off")
	p.says("#alert", "Cookies are turned off")
	g.Upstream.Untouched()
}

// The browser loses only the grant: after the confirmation the page comes back once, explains itself, and waits.
func TestLosingTheGrant(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Globals("")+gatewaytest.Site("header {\n >Set-Cookie \"^stepgate=.*\" \"lost=1; Path=/\"\n }\n"+gatewaytest.BasicAuth+"\n\tstepgate"))
	p := visit(g, "alice", options{})
	p.open("/keys")
	p.panel("create")
	p.press()
	p.keeps()
	p.failure("proof_lost")
	p.says("#alert", "Your browser did not keep the proof", "cookies are blocked")
	p.look("without-grant")
	g.Audited("ceremony_finished", "")
	g.Audited("step_up_required", "grant_missing")
	if n := prompts(p, "get"); n != 1 {
		t.Errorf("%d prompts, want the one after creating the passkey", n)
	}
	p.press()
	p.failure("proof_lost")
	if n := prompts(p, "get"); n != 2 {
		t.Errorf("%d prompts, want one more for the press", n)
	}
	g.Upstream.Untouched()
}
