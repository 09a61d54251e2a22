package e2etest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// Every state of the pages that a person can reach is accessible, fits a phone, and breaks no policy.
func TestLookOfChallengePage(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", vault))
	p := visit(g, "alice", options{Synced: true, NoPresence: true}, calm)
	p.open("/servers/eu-west-1/credentials?account=42&sort=name")
	p.panel("create")
	p.look("challenge-create")
	p.press()
	p.state("waiting")
	p.look("challenge-create-waiting")
	p.cancel()
	p.failure("cancelled")
	p.look("challenge-create-cancelled")
	p.key.Presence(true)
	p.press()
	p.state("keeping")
	p.look("challenge-codes")
	p.keeps()
	p.panel("confirm")
	p.look("challenge-confirm")
	p.open("/servers")
	p.panel("use")
	p.look("challenge-use")
	p.key.Lie("isBogusSignature")
	p.press()
	p.failure("signature_invalid")
	p.look("challenge-use-failed")
	p.key.Lie()
	p.press()
	p.at("/servers")
	p.open("/vault/root")
	p.panel("add")
	p.look("challenge-add")
	p.press()
	p.panel("added")
	p.look("challenge-added")
}

func TestLookOfAccountPage(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{Synced: true}, calm)
	p.open(gatewaytest.Account)
	p.look("account-empty")
	p.register("A laptop with a name that is quite long, as people write them")
	p.look("account-one")
	p.add("Security key", options{Transport: "usb"})
	p.look("account-two")
	p.Click(row("Security key") + " button[data-do=rename]")
	p.look("account-rename")
	p.Click(row("Security key") + " button[data-do=close]")
	p.Click(row("Security key") + " button[data-do=remove]")
	p.Wait("document.querySelector('dialog').open")
	p.look("account-remove")
}

func TestLookOfRefusals(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{}, calm)
	for _, refusal := range []struct{ name, path, code, title string }{
		{"refusal-path", "/admin%2fx", "path_ambiguous", "This address is not accepted"},
		{"refusal-not-found", "/.stepgate/nothing", "not_found", "Nothing here"},
		{"refusal-demand", "/.stepgate/challenge?demand=x", "demand_invalid", "This link is no longer valid"},
		{"refusal-method", "/.stepgate/logout", "method_not_allowed", "Method not allowed"},
	} {
		p.open(refusal.path)
		p.says("main", refusal.title, "Code for support: "+refusal.code)
		g.Audited("request_refused", refusal.code)
		p.look(refusal.name)
	}
	g.Upstream.Untouched()

	nobody := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	q := visit(nobody, "", options{}, calm)
	q.open("/keys")
	q.says("main", "You are not signed in", "Sign in again, then reload this page.", "Code for support: user_missing")
	nobody.Audited("request_refused", "user_missing")
	q.look("refusal-nobody")
	nobody.Upstream.Untouched()
}
