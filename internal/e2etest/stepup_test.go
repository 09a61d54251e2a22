package e2etest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

type options = browsertest.AuthenticatorOptions

// When the window is over, the person is asked again and told why.
func TestAgainAfterTheWindow(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", "protect /keys/* {\n max_age 4s\n}"))
	p := visit(g, "alice", options{})
	p.enrol("/keys/a?x=1")
	p.at("/keys/a?x=1")
	if got := g.Upstream.Take(); len(got) != 1 || got[0].Target != "/keys/a?x=1" || got[0].Header.Get("X-Stepgate-User") != "alice" {
		t.Errorf("the upstream got %v", got)
	}

	gatewaytest.Eventually(t, "a script gets 401", func() bool { return p.fetch("/keys/a", "{}").Status == 401 })
	g.Audited("step_up_required", "grant_stale")
	g.Upstream.Take() // what came through before that
	answer := p.fetch("/keys/a", "{}")
	if got := gatewaytest.ProblemIn(t, answer.Body); got.Code != "step_up_required" || got.Reason != "grant_stale" || got.MaxAge != 4 || got.Level != "verified" {
		t.Errorf("a script got %+v", got)
	}
	g.Audited("step_up_required", "grant_stale")
	if status := p.fetch("/other", "{}").Status; status != 200 {
		t.Errorf("the block's own demand of 15 minutes is met, but a script got %d", status)
	}
	g.Upstream.One()

	p.key.Presence(false)
	p.open("/keys/b")
	p.says(".lead", "It has been longer than 4 seconds since you last used your passkey.")
	p.key.Presence(true)
	p.Reload()
	p.panel("use")
	p.press()
	p.at("/keys/b")
	g.Audited("ceremony_finished", "")
}

// A prompt that is cancelled, and then answered.
func TestCancelThenRetry(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{NoPresence: true})
	p.open("/keys")
	p.panel("create")
	p.press()
	p.state("waiting")
	p.Click("section:not([hidden]) .primary + .quiet")
	p.failure("cancelled")
	p.says("#alert", "Cancelled", "Nothing was changed")
	p.says("section:not([hidden]) .primary", "Try again")
	p.key.Presence(true)
	p.press()
	p.keeps()
	p.at("/keys")
	g.Audited("passkey_registered", "")
	g.Audited("ceremony_finished", "")
	if len(p.key.Credentials()) != 1 {
		t.Errorf("the authenticator holds %v", p.key.Credentials())
	}
}

// A prompt that nobody answers ends with the challenge's own time, in the page.
func TestPromptTimesOut(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", ""))
	// The page's clock runs a hundred times faster, so that the five minutes of the challenge are over soon.
	p := visit(g, "alice", options{NoPresence: true}, `const later = setTimeout; window.setTimeout = (f, ms, ...rest) => later(f, ms / 100, ...rest)`)
	p.open("/keys")
	p.panel("create")
	p.press()
	p.failure("timeout")
	p.says("#alert", "That took too long", "No passkey answered in time")
	p.key.Presence(true)
	p.press()
	p.keeps()
	p.at("/keys")
}

// What can go wrong with the passkey itself is said in plain words, and trying again works.
func TestPasskeyFailsThenRetry(t *testing.T) {
	for _, test := range []struct {
		name, code, reason, words string
		wrong, right              func(*browsertest.Authenticator)
	}{
		{"a signature that is not valid", "signature_invalid", "signature_invalid", "The passkey’s answer could not be checked",
			func(a *browsertest.Authenticator) { a.Lie("isBogusSignature") }, func(a *browsertest.Authenticator) { a.Lie() }},
		{"no user verification in the answer", "user_verification_missing", "user_verification_missing", "Your fingerprint, face or PIN was not checked",
			func(a *browsertest.Authenticator) { a.Lie("isBadUV") }, func(a *browsertest.Authenticator) { a.Lie() }},
		{"no user presence in the answer", "user_presence_missing", "user_presence_missing", "Your touch was not recorded",
			func(a *browsertest.Authenticator) { a.Lie("isBadUP") }, func(a *browsertest.Authenticator) { a.Lie() }},
		{"a wrong finger", "not_allowed", "", "Nothing was confirmed",
			func(a *browsertest.Authenticator) { a.UserVerified(false) }, func(a *browsertest.Authenticator) { a.UserVerified(true) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := gatewaytest.Start(t, gatewaytest.Console("", "protect /keys/* {\n max_age 1h\n}"))
			p := visit(g, "alice", options{}, calm)
			p.open("/keys/a")
			p.panel("create")
			p.press()
			p.keeps()
			p.panel("confirm")
			test.wrong(p.key)
			p.press()
			p.failure(test.code)
			p.says("#alert", test.words)
			if test.reason != "" {
				e := g.Audited("ceremony_refused", test.reason)
				if e.User != "alice" || e.Action != "step_up" {
					t.Errorf("audited %+v", e)
				}
				p.says("#alert", "Code for support: "+test.code)
			}
			g.Upstream.Untouched()
			if c := p.cookies(); c["stepgate"] != "" {
				t.Error("a grant was set")
			}
			test.right(p.key)
			p.press()
			p.at("/keys/a")
			g.Audited("ceremony_finished", "")
		})
	}
}
