package e2etest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// register gives the person a first passkey on the account page, and no step-up with it.
func (p *person) register(name string) {
	p.t.Helper()
	p.open(gatewaytest.Account)
	p.Click("button[data-do=add]")
	p.Fill("#add-name", name)
	p.Click("form[data-step=create] .primary")
	p.keeps()
	p.Wait("document.querySelector('li[data-id]')")
}

// cancel ends the prompt that is open, by the button that the page has for it.
func (p *person) cancel() {
	p.t.Helper()
	p.state("waiting")
	p.Click("section:not([hidden]) .primary + .quiet")
}

// Two tabs stand on the challenge page; finishing in one lets the other go on without a prompt.
func TestOtherTabGoesOn(t *testing.T) { gatewaytest.OnEachStore(t, testOtherTabGoesOn) }

func testOtherTabGoesOn(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("", "protect /keys/* {\n max_age 1h\n}"))
	p := visit(g, "alice", options{})
	p.register("Laptop")
	p.key.Presence(false)
	q := p.sibling("alice")
	q.key.Presence(false)

	p.open("/keys/a?x=1")
	p.cancel() // it prompted by itself
	q.open("/keys/b?x=2")
	q.cancel()
	p.key.Presence(true)
	p.press()
	p.at("/keys/a?x=1")
	g.Audited("ceremony_finished", "")

	q.Run("dispatchEvent(new Event('focus'))") // the person looks at the other tab
	q.at("/keys/b?x=2")
	for _, e := range g.Log.Unread() {
		t.Errorf("more happened: %s", e)
	}
}

// Two tabs in the middle of a ceremony each: both finish, whichever started first.
func TestTabsDoNotDisturbEachOther(t *testing.T) {
	gatewaytest.OnEachStore(t, testTabsDoNotDisturbEachOther)
}

func testTabsDoNotDisturbEachOther(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{}, calm)
	p.register("Laptop")
	q := p.sibling("alice", calm)

	p.open("/a")
	p.panel("use")
	q.open("/b")
	q.panel("use")
	p.key.Presence(false)
	p.press() // waits
	p.state("waiting")
	q.press()
	q.at("/b")
	g.Audited("ceremony_finished", "")
	p.cancel()
	// Each tab has its own copy of the authenticator; a real one would have counted on.
	p.key.Set(p.key.Credentials()[0].CredentialID, map[string]any{"signCount": 100})
	p.key.Presence(true)
	p.press()
	p.at("/a")
	g.Audited("ceremony_finished", "")
}

// A copy of a passkey answers out of turn: refused, said so, and audited as what it may be.
func TestCopiedPasskey(t *testing.T) { gatewaytest.OnEachStore(t, testCopiedPasskey) }

func testCopiedPasskey(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{}, calm)
	p.register("Laptop")
	q := p.sibling("alice", calm)
	p.open("/a")
	p.panel("use")
	p.press()
	p.at("/a")
	q.open("/.stepgate/challenge?return_to=/b")
	q.at("/b") // one browser: the grant is there
	p.open(gatewaytest.Account)
	p.Click("button[data-do=logout]")
	g.Audited("grants_revoked", "")
	g.Upstream.Take()
	q.open("/b")
	q.panel("use")
	q.press()
	q.failure("counter_regressed")
	q.says("#alert", "This passkey can’t be used now", "a copy of it exists", "tell the administrators")
	if e := g.Audited("clone_suspected", "counter_regressed"); e.User != "alice" || e.Action != "step_up" {
		t.Errorf("audited %+v", e)
	}
	g.Upstream.Untouched()
}

// The same, while the person has no passkey: only one first passkey comes of it, and the other tab says what to do.
func TestTwoTabsAtFirstUse(t *testing.T) { gatewaytest.OnEachStore(t, testTwoTabsAtFirstUse) }

func testTwoTabsAtFirstUse(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{}, calm)
	q := p.sibling("alice", calm)
	p.open("/a")
	p.panel("create")
	q.open("/b")
	q.panel("create")
	p.press()
	p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/a")
	q.press()
	q.Wait("document.querySelector('main').dataset.state === 'failed'")
	g.Audited("ceremony_refused", "authorization_needed")
	q.says("#alert", "passkey")
	q.Reload() // the grant of the first tab is there
	q.at("/b")
}
