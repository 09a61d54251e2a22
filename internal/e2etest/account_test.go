package e2etest_test

import (
	"fmt"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// row is the selector of the passkey with this name on the account page.
func row(name string) string { return fmt.Sprintf("li[data-name=%q]", name) }

// add adds a passkey on the account page with an authenticator that replaces the one before.
func (p *person) add(name string, o options) *browsertest.Authenticator {
	p.t.Helper()
	p.open(gatewaytest.Account)
	p.Click("button[data-do=add]")
	p.Click("form[data-step=authorize] .primary")
	p.Wait("document.querySelector('form[data-step=create]')?.checkVisibility()")
	p.key.Presence(false) // the one in hand is not to answer
	other := p.Authenticator(o)
	p.Fill("#add-name", name)
	p.Click("form[data-step=create] .primary")
	p.Wait(fmt.Sprintf("document.querySelector(%q)", row(name)))
	return other
}

// The life of passkeys on the account page, and what it means for step-ups.
func TestAccountPage(t *testing.T) { gatewaytest.OnEachStore(t, testAccountPage) }

func testAccountPage(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("revocation_lag 0s", ""))
	p := visit(g, "alice", options{}, calm)

	// The first passkey needs no other.
	p.open(gatewaytest.Account)
	p.says("main", "You have no passkey yet")
	p.Click("button[data-do=add]")
	p.Fill("#add-name", "Laptop")
	p.Click("form[data-step=create] .primary")
	p.keeps()
	p.Wait(fmt.Sprintf("document.querySelector(%q)", row("Laptop")))
	if e := g.Audited("passkey_registered", ""); e.Action != "first_use" {
		t.Errorf("audited %+v", e)
	}
	p.says("#status", "“Laptop” has been added.")
	p.says("main", "1 of 10", "Add a second passkey", "This device only", "Never", "8 left")

	// The only one goes only with a warning that says what follows.
	p.Click(row("Laptop") + " button[data-do=remove]")
	p.says("dialog", "This is your only passkey", "one of your 8 recovery codes")
	p.Click("dialog button[data-do=close]")
	p.Wait("!document.querySelector('dialog').open")

	// Registering was no step-up.
	p.open("/keys")
	g.Audited("step_up_required", "grant_missing")
	p.panel("use")
	p.press()
	p.at("/keys")

	// A second one needs the first.
	usb := p.add("Security key", options{Transport: "usb"})
	if e := g.Audited("ceremony_finished", ""); e.Action != "step_up" {
		t.Errorf("audited %+v", e)
	}
	if e := g.Audited("ceremony_finished", ""); e.Action != "add" {
		t.Errorf("audited %+v", e)
	}
	if e := g.Audited("passkey_registered", ""); e.Action != "another" {
		t.Errorf("audited %+v", e)
	}
	p.says("main", "2 of 10")

	// Names: taken, changed.
	p.Click(row("Security key") + " button[data-do=rename]")
	p.Fill(row("Security key")+" input", "LAPTOP")
	p.Click(row("Security key") + " form .second")
	p.Wait("document.querySelector('.field-error')")
	p.says(".field-error", "name")
	g.Audited("request_refused", "name_taken")
	p.Fill(row("Security key")+" input", "Blue key")
	p.Click(row("Security key") + " form .second")
	p.Wait("document.querySelector('" + row("Blue key") + "')")
	p.says("#status", "Renamed to “Blue key”.")
	g.Audited("passkey_renamed", "")
	p.Reload()
	p.says("main", "Blue key")

	// Removing asks, and does nothing when the answer is no.
	p.Click(row("Laptop") + " button[data-do=remove]")
	p.says("dialog", "Remove Laptop?", "confirm with one of your passkeys")
	p.Click("dialog button[data-do=close]")
	p.Wait("!document.querySelector('dialog').open")

	// The grant was made with the laptop's passkey; without it, it is worth nothing.
	if status := p.fetch("/keys", "{}").Status; status != 200 {
		t.Errorf("before: %d", status)
	}
	g.Upstream.Take()
	p.Click(row("Laptop") + " button[data-do=remove]")
	p.Click("dialog [data-do=confirm-remove]")
	p.Wait("document.querySelectorAll('li[data-id]').length === 1")
	g.Audited("passkey_removed", "")
	p.says("#status", "“Laptop” has been removed.")
	p.says("main", "Add a second passkey")
	answer := p.fetch("/keys", "{}")
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 401 || got.Code != "step_up_required" || got.Reason != "grant_passkey_removed" {
		t.Errorf("with the grant of a removed passkey: %d %+v", answer.Status, got)
	}
	g.Audited("step_up_required", "grant_passkey_removed")
	g.Upstream.Untouched()

	// The other one works; the page says what happened to the first.
	p.open("/keys?again")
	p.says(".lead", "The passkey of your last confirmation has been removed.")
	p.panel("use")
	p.press()
	p.at("/keys?again")
	if len(usb.Credentials()) != 1 {
		t.Errorf("the security key holds %v", usb.Credentials())
	}
}

// Ending all step-ups ends them in every browser.
func TestLogOut(t *testing.T) { gatewaytest.OnEachStore(t, testLogOut) }

func testLogOut(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("revocation_lag 0s", ""))
	p := visit(g, "alice", options{})
	p.enrol("/keys")
	other := visit(g, "alice", options{}, calm)
	other.open("/open") // another browser, without a passkey of its own
	for _, c := range p.key.Credentials() {
		other.key.Add(c)
	}
	other.Reload()
	other.panel("use")
	other.press()
	other.at("/open")

	p.open(gatewaytest.Account)
	p.Click("button[data-do=logout]")
	p.Wait("document.querySelector('#status').textContent.includes('All confirmations have ended')")
	g.Audited("grants_revoked", "")
	if c := p.cookies(); c["stepgate"] != "" {
		t.Error("the grant cookie is still there")
	}
	answer := other.fetch("/open", "{}")
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 401 || got.Reason != "grant_revoked" {
		t.Errorf("in the other browser: %d %+v", answer.Status, got)
	}
	g.Audited("step_up_required", "grant_revoked")
}
