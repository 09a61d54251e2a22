package e2etest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/browsertest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// The page says: allow cookies, then try again. Who does that gets through.
func TestCookiesAllowedAfterCreating(t *testing.T) {
	t.Parallel()
	without := gatewaytest.Globals("") + gatewaytest.Site("header {\n -Set-Cookie\n defer\n }\n"+gatewaytest.BasicAuth+"\n\tstepgate")
	g := gatewaytest.Start(t, without)
	p := visit(g, "alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	p.press()
	p.failure("browser_mismatch")
	g.Audited("ceremony_refused", "browser_mismatch")
	gatewaytest.Must(t, g.Reload(gatewaytest.Console("", ""))) // cookies are kept from here on
	p.press()
	p.Wait("document.querySelector('main').dataset.state !== 'waiting'")
	for range 2 { // the cookie comes with the first answer, so the second try has it
		if evalBool(p, "document.querySelector('main').dataset.panel === 'create'") {
			p.press()
			p.Wait("document.querySelector('main').dataset.state !== 'waiting'")
		}
	}
	p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys")
}

// The options of the next step may take a while. The button is there at once, and stays where it is: a press that is under
// way when they come does not miss it.
func TestButtonStaysWhileOptionsCome(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{}, calm, `{
	const original = fetch;
	window.held = [];
	window.fetch = (...all) => String(all[0]).endsWith("/challenge/options") ? new Promise((go) => held.push(go)).then(() => original(...all)) : original(...all);
}`)
	p.open("/keys")
	p.panel("create")
	p.press()
	p.keeps()
	p.Wait("document.querySelector('main').dataset.panel === 'confirm' && held.length === 1")
	const place = `JSON.stringify(document.querySelector("section[data-panel=confirm] .primary").getBoundingClientRect())`
	before := browsertest.Eval[string](p.Tab, place)
	p.Run("held[0]()")
	p.panel("confirm")
	if after := browsertest.Eval[string](p.Tab, place); after != before {
		t.Errorf("the button moved from %s to %s", before, after)
	}
	p.press()
	p.at("/keys")
}

// A passkey was created on the device while the gateway was away: the next press sends it, and no second one is made.
func TestRestartWhileCreating(t *testing.T) { gatewaytest.OnEachStore(t, testRestartWhileCreating) }

func testRestartWhileCreating(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	g.Stop()
	p.press()
	p.failure("network")
	g.Run()
	p.press()
	p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys")
	if held := p.key.Credentials(); len(held) != 1 {
		t.Errorf("the authenticator holds %v", held)
	}
	if n := prompts(p, "create"); n != 1 {
		t.Errorf("%d prompts to create a passkey, want 1", n)
	}
}

// Name and password in the address, as people type it to try the example.
func TestPasswordInTheAddress(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "", options{}, calm)
	p.Open(fmt.Sprintf("http://alice:%s@localhost:%d/keys?x=1", strings.ReplaceAll(gatewaytest.Password, " ", "%20"), g.Port))
	p.panel("create")
	p.press()
	p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys?x=1")
	p.open(gatewaytest.Account)
	p.says("main", "1 of 10")
	for _, r := range g.Upstream.Take() {
		if r.Header.Get("X-Stepgate-User") != "alice" {
			t.Errorf("the upstream got %v", r)
		}
	}
}

// The window is shorter than the way back to the page takes: the page may not blame a clock for that.
func TestShortWindowIsNoWrongClock(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", "protect /keys/* {\n max_age 4s\n}"))
	p := visit(g, "alice", options{}, calm)
	p.enrolByHand("/keys/a")
	p.at("/keys/a")
	gatewaytest.Eventually(t, "a script gets 401", func() bool { return p.fetch("/keys/a", "{}").Status == 401 })
	p.open("/keys/a")
	p.Wait("['ready', 'failed'].includes(document.querySelector('main')?.dataset.state)")
	if text := p.Text("main"); strings.Contains(text, "clock") {
		t.Errorf("the page says %q", text)
	}
}
