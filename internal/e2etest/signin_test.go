package e2etest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// signedInAt is what the first factor says from now on: who the person is, and when they signed in ("" for nothing).
func (p *person) signedInAt(user, at string) {
	p.t.Helper()
	headers := map[string]string{"Authorization": gatewaytest.Basic(user)}
	if at != "" {
		headers["X-Auth-Time"] = at
	}
	p.Call("Network.setExtraHTTPHeaders", map[string]any{"headers": headers}, nil)
}

// A first passkey is set up soon after signing in. The pages say so before anybody tries, and whoever is late is told what
// to do. An invitation works at any time.
func TestSignInTime(t *testing.T) { gatewaytest.OnEachStore(t, testSignInTime) }

func testSignInTime(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("registration first_use {\n\t\t\tsign_in_time {header.X-Auth-Time} within 10m\n\t\t}", ""))
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }
	p := visit(g, "alice", options{}, calm)
	closed := func(words string) {
		t.Helper()
		p.open("/keys")
		p.Wait("document.querySelector('main')?.dataset.panel === 'closed'")
		p.says("main", "Sign in again to set up your passkey", words)
		p.open("/.stepgate/passkeys")
		p.says("main", words)
		if evalBool(p, "document.querySelector('button[data-do=add]') !== null") {
			t.Error("the account page offers what is refused")
		}
		answer := p.fetch("/.stepgate/passkeys/options", `{method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}`)
		if answer.Status != 403 {
			t.Errorf("%d %s", answer.Status, answer.Body)
		}
		g.Upstream.Untouched()
	}

	closed("the sign-in did not say when that was") // no header at all
	g.Audited("ceremony_refused", "sign_in_time_missing")
	p.signedInAt("alice", "yesterday")
	closed("the sign-in did not say when that was")
	g.Audited("ceremony_refused", "sign_in_time_missing")
	p.signedInAt("alice", ago(11*time.Minute))
	closed("you signed in earlier than that")
	g.Audited("ceremony_refused", "sign_in_too_old")
	p.signedInAt("alice", fmt.Sprint(time.Now().Add(-11*time.Minute).Unix()))
	closed("you signed in earlier than that")
	g.Audited("ceremony_refused", "sign_in_too_old")

	// In time for the page, and too late for the button.
	p.signedInAt("alice", ago(time.Minute))
	p.open("/.stepgate/passkeys")
	p.Wait("document.querySelector('button[data-do=add]')?.checkVisibility()")
	p.signedInAt("alice", ago(11*time.Minute))
	p.Click("button[data-do=add]")
	p.Click("form[data-step=create] button")
	p.Wait("!document.querySelector('#alert').hidden")
	p.says("#alert", "Sign in again first", "come back to this page")
	if e := g.Audited("ceremony_refused", "sign_in_too_old"); e.Action != "first_use" || e.User != "alice" {
		t.Errorf("audited %+v", e)
	}
	if n := prompts(p, "create"); n != 0 {
		t.Errorf("the browser was asked %d times", n)
	}

	// Having signed in again. What began in time is finished, though it has become late meanwhile.
	p.signedInAt("alice", fmt.Sprint(time.Now().Unix()))
	p.open("/keys")
	p.panel("create")
	p.signedInAt("alice", ago(11*time.Minute))
	p.press()
	p.keeps()
	p.panel("confirm")
	p.press()
	g.Audited("passkey_registered", "")
	p.at("/keys")
	g.Upstream.Take()

	// Of the others nobody asks.
	bob := signedIn(gatewaytest.NewClient(t, g, ""), "bob")
	gatewaytest.Must(t, bob.Post(gatewaytest.Account+"/options", map[string]any{}).Refused(403, "sign_in_time_missing"))
	body := map[string]any{"invitation": invites(g, "bob").Code}
	options, err := bob.Step("POST", gatewaytest.Account+"/options", body, 200)
	gatewaytest.Must(t, err)
	credential, err := bob.Key.Register(options, g.URL)
	gatewaytest.Must(t, err)
	bob.Confide(options, credential)
	_, err = bob.Step("POST", gatewaytest.Account, map[string]any{"credential": gatewaytest.RawJSON(credential)}, 201)
	gatewaytest.Must(t, err)
	if answer, err := bob.StepUp("/keys"); err != nil || answer.Status != 200 || !answer.Grants() {
		t.Errorf("a step-up: %v, %d %s", err, answer.Status, answer.Body)
	}
	g.Upstream.Untouched()
}
