package e2etest_test

import (
	"encoding/json"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// invites runs `stepgate invite` and returns what it prints as JSON.
func invites(g *gatewaytest.Gateway, arguments ...string) (invitation struct {
	User, Code string
	Links      []string
}) {
	g.T.Helper()
	command := g.Command(append([]string{"invite", "--json"}, arguments...)...)
	out, err := command.Output()
	if exit, failed := err.(*exec.ExitError); failed {
		g.T.Fatalf("invite: %v\n%s", err, exit.Stderr)
	}
	gatewaytest.Must(g.T, err)
	gatewaytest.Must(g.T, json.Unmarshal(out, &invitation))
	g.Log.Secret("invitation", invitation.Code)
	return invitation
}

// Somebody lost every passkey. An administrator resets them, and they are stopped; invites them, and they follow the link,
// create a passkey and are where they were going.
func TestLostPasskeys(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := on.Start(t, gatewaytest.Console("revocation_lag 0s", ""))
		p := visit(g, "alice", options{})
		p.enrol("/keys")
		out, code := g.Call("reset", "alice", "--yes")
		if code != 0 || !strings.Contains(out, "invitation") {
			t.Fatalf("reset: %d %s", code, out)
		}

		p = visit(g, "alice", options{}) // another device
		p.open("/keys")
		p.Wait("document.querySelector('main')?.dataset.panel === 'closed'")
		p.says("main", "needs an invitation")
		p.open("/.stepgate/passkeys")
		p.Click("button[data-do=invited]")
		p.Wait("!document.querySelector('form[data-step=invited]').hidden")

		invitation := invites(g, "alice", "--for", "10m")
		link, err := url.Parse(invitation.Links[0])
		gatewaytest.Must(t, err)
		p.open(link.Path + "#" + link.Fragment)
		p.Wait("document.querySelector('#invitation')?.value.length > 30")
		if evalBool(p, "location.hash !== ''") {
			t.Error("the invitation stays in the address")
		}
		p.Click("form[data-step=invited] button")
		p.Wait("!document.querySelector('form[data-step=create]').hidden")
		p.Click("form[data-step=create] button")
		p.keeps()
		p.Wait("document.querySelectorAll('li[data-id]').length === 1")
		if e := g.Audited("passkey_registered", ""); e.User != "alice" || e.Action != "first_use" {
			t.Errorf("audited %+v", e)
		}
		for e := g.Audited("passkey_registered", ""); e.Action != "invited"; e = g.Audited("passkey_registered", "") {
			t.Errorf("audited %+v", e)
		}
		p.open("/keys")
		p.at("/keys")

		// It worked once, and for her.
		try := func(p *person, code string) {
			t.Helper()
			body, err := json.Marshal(map[string]string{"name": "x", "invitation": code})
			gatewaytest.Must(t, err)
			answer := p.fetch("/.stepgate/passkeys/options", `{method: "POST", headers: {"Content-Type": "application/json"}, body: `+"`"+string(body)+"`"+`}`)
			if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 403 || got.Code != "invitation_invalid" {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		}
		try(p, invitation.Code)
		bob := visit(g, "bob", options{})
		bob.open("/.stepgate/passkeys")
		try(bob, invites(g, "alice").Code)
	})
}

// registration invite: nobody registers a first passkey on their sign-in alone.
func TestRegistrationByInvitation(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("registration invite", ""))
	p := visit(g, "bob", options{})
	p.open("/keys")
	p.Wait("document.querySelector('main')?.dataset.panel === 'closed'")
	p.says("main", "The first passkey needs an invitation")
	code := invites(g, "bob").Code
	p.Click("main a[href='/.stepgate/passkeys']")
	p.WaitPath("/.stepgate/passkeys")
	p.Click("button[data-do=invited]")
	p.Fill("#invitation", "ABCD-EFGH")
	p.Click("form[data-step=invited] button")
	p.Wait("!document.querySelector('#alert').hidden")
	p.says("#alert", "This invitation is not valid")
	g.Audited("ceremony_refused", "invitation_invalid")
	p.Fill("#invitation", strings.ToLower(code))
	p.Click("form[data-step=invited] button")
	p.Wait("!document.querySelector('form[data-step=create]').hidden")
	p.Click("form[data-step=create] button")
	p.keeps()
	p.Wait("document.querySelectorAll('li[data-id]').length === 1")
}
