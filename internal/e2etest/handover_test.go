package e2etest_test

import "testing"

// The page comes from one gateway and its answer goes to another, because the first has gone: the person notices nothing.
func TestOtherGatewayFinishes(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	f.start(console("", ""))
	f.balance("lb_policy first\nlb_try_duration 10s\nlb_try_interval 20ms\nfail_duration 1s")
	a, b := f.gateways[0], f.gateways[1]
	p := f.balancer.visit("alice", options{}, calm)

	p.open("/keys?x=1")
	a.audited("step_up_required", "grant_missing")
	p.panel("create") // its challenge is issued
	a.stop()
	p.press()
	p.keeps()
	p.panel("confirm") // and this one's, by the other gateway
	b.audited("passkey_registered", "")
	a.run()
	b.stop()
	p.press()
	p.at("/keys?x=1")
	a.audited("ceremony_finished", "")

	// The account page, the same way.
	p.open(account)
	p.Click("button[data-do=add]")
	p.Click("form[data-step=authorize] .primary")
	p.Wait("document.querySelector('form[data-step=create]')?.checkVisibility()")
	b.run()
	a.stop()
	p.key.Presence(false) // the one in hand is not to answer
	p.Authenticator(options{Transport: "usb"})
	p.Fill("#add-name", "Security key")
	p.Click("form[data-step=create] .primary")
	p.Wait("document.querySelector('li[data-name=\"Security key\"]')")
	b.audited("passkey_registered", "")
	p.Click("button[data-do=logout]")
	b.audited("grants_revoked", "")
	a.run()
	b.stop()
	p.open("/keys?x=2")
	p.panel("use")
	p.press()
	p.at("/keys?x=2")
	a.audited("ceremony_finished", "")
}
