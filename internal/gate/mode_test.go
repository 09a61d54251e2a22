package gate_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// inMode makes every rule of the test's gate be of this mode, from that time on.
func inMode(mode policy.Mode, from time.Time) func(*gate.Config) {
	return func(c *gate.Config) {
		c.Default.Mode, c.Default.From = mode, from
		for i := range c.Rules {
			if !c.Rules[i].Open {
				c.Rules[i].Mode, c.Rules[i].From = mode, from
			}
		}
	}
}

// spared checks that a request is let through, and what is said of it.
func (b *browser) spared(would string, kind audit.Kind, reason passkey.Refusal, send func() *http.Response) {
	t := b.w.t
	t.Helper()
	before, seen := b.w.reached(), b.w.audit.count()
	response := send()
	if b.w.reached() != before+1 {
		t.Fatalf("the upstream was not reached: %d %s", response.StatusCode, wantBody(t, response))
	}
	if got := response.Header.Get("X-Passed-Would"); got != would {
		t.Errorf("would %q, want %q", got, would)
	}
	for name := range b.w.last().Header {
		if strings.HasPrefix(name, "X-Stepgate-") {
			t.Errorf("the upstream got %s of somebody who did not step up", name)
		}
	}
	events := b.w.audit.since(seen)
	if len(events) != 1 || events[0].Kind != kind || events[0].Reason != reason {
		t.Errorf("audited %+v, want one %s for %s", events, kind, reason)
	}
}

// report: nobody is stopped, whatever is wrong, and everything is said.
func TestReport(t *testing.T) {
	w := newWorld(t, inMode(policy.Report, time.Time{}))
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	get := func(b *browser, target string, changes ...change) func() *http.Response {
		return func() *http.Response { return b.get(target, changes...) }
	}
	alice.spared("step_up", audit.WouldRequireStepUp, passkey.GrantMissing, get(alice, "/admin"))
	alice.spared("step_up", audit.WouldRequireStepUp, passkey.GrantMissing, get(alice, "/admin", navigate))
	nobody := w.browser("")
	nobody.spared("user_missing", audit.WouldRefuse, passkey.UserMissing, get(nobody, "/admin"))
	lost := w.browser("alice")
	lost.origin = "https://unknown.example.com"
	lost.spared("origin_unknown", audit.WouldRefuse, passkey.OriginUnknown, get(lost, "/admin"))
	alice.spared("path_ambiguous", audit.WouldRefuse, passkey.PathAmbiguous, get(alice, "/admin//x"))

	// People can get ready meanwhile, and what they prove is told to the upstream.
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	if r := alice.get("/admin"); r.Header.Get("X-Passed-Would") != "allow" || w.last().Header.Get(gate.HeaderUser) != "alice" {
		t.Errorf("would %q, headers %v", r.Header.Get("X-Passed-Would"), w.last().Header)
	}
	w.clock.Advance(10 * time.Minute)
	alice.spared("step_up", audit.WouldRequireStepUp, passkey.GrantStale, get(alice, "/admin"))

	// The store's failure stops nobody either.
	w.store.fail.Store(true)
	w.clock.Advance(time.Minute)
	alice.spared("store_unavailable", audit.WouldRefuse, passkey.StoreUnavailable, get(alice, "/touch"))
	w.store.fail.Store(false)
	w.down.Store(true)
	alice.spared("store_unavailable", audit.WouldRefuse, passkey.StoreUnavailable, get(alice, "/admin"))
}

// if_enrolled: only people who have a passkey are asked. What can't be found out is closed.
func TestIfEnrolled(t *testing.T) {
	w := newWorld(t, inMode(policy.IfEnrolled, time.Time{}))
	alice, bob, key := w.browser("alice"), w.browser("bob"), authtest.New(authtest.Config{})
	get := func(b *browser, target string) func() *http.Response {
		return func() *http.Response { return b.get(target) }
	}
	alice.spared("step_up", audit.WouldRequireStepUp, passkey.GrantMissing, get(alice, "/admin"))
	alice.register(key, "Key")
	alice.needsStepUp(passkey.GrantMissing, get(alice, "/admin"))
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	if r := alice.get("/admin"); r.Header.Get("X-Upstream") == "" || r.Header.Get("X-Passed-Would") != "" {
		t.Errorf("an enforced request: %v", r.Header)
	}
	bob.spared("step_up", audit.WouldRequireStepUp, passkey.GrantMissing, get(bob, "/admin"))
	bob.cookies["__Host-stepgate"] = alice.cookies["__Host-stepgate"] // somebody else's grant is none
	bob.spared("step_up", audit.WouldRequireStepUp, passkey.GrantOtherUser, get(bob, "/admin"))

	nobody := w.browser("")
	nobody.refused(http.StatusUnauthorized, passkey.UserMissing, get(nobody, "/admin"))
	alice.refused(http.StatusBadRequest, passkey.PathAmbiguous, get(alice, "/admin//x"))
	w.store.fail.Store(true)
	w.clock.Advance(time.Minute)
	bob.refused(http.StatusServiceUnavailable, passkey.StoreUnavailable, get(bob, "/admin"))
	w.store.fail.Store(false)
	w.down.Store(true)
	bob.refused(http.StatusServiceUnavailable, passkey.StoreUnavailable, get(bob, "/admin"))
}

// enforce_from: as if_enrolled until then, to the instant.
func TestEnforceFrom(t *testing.T) {
	from := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	w := newWorld(t, inMode(policy.Enforce, from))
	alice := w.browser("alice")
	get := func() *http.Response { return alice.get("/admin") }
	status := func() (answer struct {
		EnforceFrom *time.Time `json:"enforce_from"`
	}) {
		t.Helper()
		if err := json.Unmarshal(want(t, alice.get("/.stepgate/status"), http.StatusOK), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	page := func() string { return string(want(t, alice.get("/.stepgate/passkeys", navigate), http.StatusOK)) }

	alice.spared("step_up", audit.WouldRequireStepUp, passkey.GrantMissing, get)
	if at := status().EnforceFrom; at == nil || !at.Equal(from) {
		t.Errorf("status tells of %v", at)
	}
	for left, text := range map[time.Duration]string{8*24*time.Hour + 1: "9 days left", 24*time.Hour + 1: "2 days left", 24 * time.Hour: "1 day left", 1: "1 day left"} {
		w.clock.Advance(from.Add(-left).Sub(w.clock.Now()))
		if got := page(); !strings.Contains(got, text) || !strings.Contains(got, "1 December 2026, 09:00 UTC") {
			t.Errorf("%v before, the page does not say %q", left, text)
		}
		alice.spared("step_up", audit.WouldRequireStepUp, passkey.GrantMissing, get)
	}
	w.clock.Advance(from.Sub(w.clock.Now()))
	alice.needsStepUp(passkey.GrantMissing, get)
	if strings.Contains(page(), "left") || status().EnforceFrom != nil {
		t.Error("the countdown goes on")
	}
}

// Rules of several modes: each is judged by its own, and a path that two could read differently by the strictest.
func TestMixedModes(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) {
		c.Default.Mode = policy.Report
		c.LetDebatable = true
		i := slices.IndexFunc(c.Rules, func(r gate.Route) bool { return strings.HasSuffix(r.Name, "/hardware") })
		for j := range c.Rules {
			if j != i && !c.Rules[j].Open {
				c.Rules[j].Mode = policy.Report
			}
		}
	})
	alice := w.browser("alice")
	get := func(target string) func() *http.Response { return func() *http.Response { return alice.get(target) } }
	alice.spared("step_up", audit.WouldRequireStepUp, passkey.GrantMissing, get("/admin"))
	alice.needsStepUp(passkey.GrantMissing, get("/hardware"))
	alice.needsStepUp(passkey.GrantMissing, get("/hardware//x"))
	alice.refused(http.StatusBadRequest, passkey.PathAmbiguous, get("/admin/../hardware"))
}
