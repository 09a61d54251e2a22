package e2etest_test

import (
	"fmt"
	"strings"
	"testing"
)

// The page says: allow cookies, then try again. Who does that gets through.
func TestCookiesAllowedAfterCreating(t *testing.T) {
	t.Parallel()
	without := globals("") + site("header {\n -Set-Cookie\n defer\n }\n"+basicAuth+"\n\tstepgate")
	g := start(t, without)
	p := g.visit("alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	p.press()
	p.failure("browser_mismatch")
	g.audited("ceremony_refused", "browser_mismatch")
	must(t, g.reload(console("", ""))) // cookies are kept from here on
	p.press()
	p.Wait("document.querySelector('main').dataset.state !== 'waiting'")
	for range 2 { // the cookie comes with the first answer, so the second try has it
		if evalBool(p, "document.querySelector('main').dataset.panel === 'create'") {
			p.press()
			p.Wait("document.querySelector('main').dataset.state !== 'waiting'")
		}
	}
	p.keeps()
	p.Wait("document.querySelector('main').dataset.panel === 'confirm'")
	p.press()
	p.at("/keys")
}

// A passkey was created on the device while the gateway was away: the next press sends it, and no second one is made.
func TestRestartWhileCreating(t *testing.T) { onEachStore(t, testRestartWhileCreating) }

func testRestartWhileCreating(t *testing.T, on store) {
	g := on.start(t, console("", ""))
	p := g.visit("alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	g.stop()
	p.press()
	p.failure("network")
	g.run()
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
	g := start(t, console("", ""))
	p := g.visit("", options{}, calm)
	p.Open(fmt.Sprintf("http://alice:%s@localhost:%d/keys?x=1", strings.ReplaceAll(password, " ", "%20"), g.port))
	p.panel("create")
	p.press()
	p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys?x=1")
	p.open(account)
	p.says("main", "1 of 10")
	for _, r := range g.upstream.take() {
		if r.Header.Get("X-Stepgate-User") != "alice" {
			t.Errorf("the upstream got %v", r)
		}
	}
}

// The window is shorter than the way back to the page takes: the page may not blame a clock for that.
func TestShortWindowIsNoWrongClock(t *testing.T) {
	t.Parallel()
	g := start(t, console("", "protect /keys/* {\n max_age 4s\n}"))
	p := g.visit("alice", options{}, calm)
	p.enrolByHand("/keys/a")
	p.at("/keys/a")
	eventually(t, "a script gets 401", func() bool { return p.fetch("/keys/a", "{}").Status == 401 })
	p.open("/keys/a")
	p.Wait("['ready', 'failed'].includes(document.querySelector('main')?.dataset.state)")
	if text := p.Text("main"); strings.Contains(text, "clock") {
		t.Errorf("the page says %q", text)
	}
}
