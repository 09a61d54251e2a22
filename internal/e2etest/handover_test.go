package e2etest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// The page comes from one gateway and its answer goes to another, because the first has gone: the person notices nothing.
func TestOtherGatewayFinishes(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFleet(t, 2)
	f.Start(gatewaytest.Console("", ""))
	f.Balance("lb_policy first\nlb_try_duration 10s\nlb_try_interval 20ms\nfail_duration 1s")
	a, b := f.Gateways[0], f.Gateways[1]
	p := visit(f.Balancer, "alice", options{}, calm)

	p.open("/keys?x=1")
	a.Audited("step_up_required", "grant_missing")
	p.panel("create") // its challenge is issued
	a.Stop()
	p.press()
	p.keeps()
	p.panel("confirm") // and this one's, by the other gateway
	b.Audited("passkey_registered", "")
	a.Run()
	b.Stop()
	p.press()
	p.at("/keys?x=1")
	a.Audited("ceremony_finished", "")

	// The account page, the same way.
	p.open(gatewaytest.Account)
	p.Click("button[data-do=add]")
	p.Click("form[data-step=authorize] .primary")
	p.Wait("document.querySelector('form[data-step=create]')?.checkVisibility()")
	b.Run()
	a.Stop()
	p.key.Presence(false) // the one in hand is not to answer
	p.Authenticator(options{Transport: "usb"})
	p.Fill("#add-name", "Security key")
	p.Click("form[data-step=create] .primary")
	p.Wait("document.querySelector('li[data-name=\"Security key\"]')")
	b.Audited("passkey_registered", "")
	p.Click("button[data-do=logout]")
	b.Audited("grants_revoked", "")
	a.Run()
	b.Stop()
	p.open("/keys?x=2")
	p.panel("use")
	p.press()
	p.at("/keys?x=2")
	a.Audited("ceremony_finished", "")
}
