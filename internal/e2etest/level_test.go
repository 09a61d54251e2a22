package e2etest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

const vault = "protect /vault/* {\n level device_bound\n max_age 5m\n}"

// A route that demands a passkey that is not synced, and a person who has only a synced one: the page explains, lets
// them add a suitable one, and goes on.
func TestStrongerPasskeyIsNeeded(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", vault))
	p := visit(g, "alice", options{Synced: true})
	p.enrol("/keys")
	p.at("/keys")
	g.Upstream.Take()

	p.open("/vault/root")
	g.Audited("step_up_required", "grant_level")
	p.panel("add")
	p.says("main", "Another passkey is needed", "You confirmed earlier, but this needs a stronger passkey: a security key, or a passkey that stays on one device and is not synced.",
		"Confirm with a passkey you have")
	p.press()
	p.panel("added")
	if e := g.Audited("ceremony_finished", ""); e.Action != "add" {
		t.Errorf("audited %+v", e)
	}

	// Another synced one does not help, and the page says so.
	p.key.Presence(false)
	synced := p.Authenticator(options{Transport: "usb", Synced: true})
	p.Fill("section[data-panel=added] input", "Phone")
	p.press()
	p.failure("created_too_weak")
	p.says("#alert", "The new passkey is synced", "“Phone” was created, but it can be copied between devices")
	synced.Presence(false)
	p.key.Presence(true)
	p.press()
	p.panel("added")

	p.key.Presence(false)
	p.Authenticator(options{Transport: "ble"})
	p.Wait("document.querySelector('section[data-panel=added] input').value !== ''")
	p.Fill("section[data-panel=added] input", "Security key")
	p.press()
	p.at("/vault/root")
	if r := g.Upstream.One(); r.Header.Get("X-Stepgate-Level") != "device_bound" {
		t.Errorf("the upstream got %v", r.Header)
	}
	// The stronger grant does for the rest, too.
	if status := p.fetch("/keys", "{}").Status; status != 200 {
		t.Errorf("/keys: %d", status)
	}
}

// Without a passkey at all, the page says which kind to create.
func TestFirstPasskeyIsTooWeak(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", vault))
	p := visit(g, "alice", options{Synced: true})
	p.open("/vault/root")
	p.panel("create")
	p.says("section[data-panel=create]", "a security key, or a passkey that stays on one device and is not synced")
	p.press()
	p.keeps()
	p.failure("created_too_weak")
	p.says("section[data-panel=add]", "You can add one now")
	g.Upstream.Untouched()
}
