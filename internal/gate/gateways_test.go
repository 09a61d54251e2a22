package gate_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// Two gateways, and requests that go to the one and the other in turn: what one of them knows already must not make it
// send people back to the other, which sends them here.
func TestNoLoopBetweenGateways(t *testing.T) {
	w := newWorld(t)
	here, there := w.backend, w.newBackend(time.Minute)
	on := func(b *gate.Backend) { w.backend = b }
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	on(there)
	alice.passes("/admin") // its view of her is fresh from now on
	w.clock.Advance(time.Second)
	on(here)
	held := alice.cookies["__Host-stepgate"]
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
	alice.cookies["__Host-stepgate"] = held // another tab's, sent before the log-out

	alice.needsStepUp(passkey.GrantRevoked, func() *http.Response { return alice.get("/admin") })
	on(there)
	alice.passes("/admin") // within the lag, as documented
	if r := alice.get("/.stepgate/challenge?return_to=/admin", navigate); r.StatusCode != http.StatusOK {
		t.Errorf("the page of the gateway that knew less: %s, to %s", r.Status, r.Header.Get("Location"))
	}
	alice.needsStepUp(passkey.GrantRevoked, func() *http.Response { return alice.get("/admin") }) // it knows now
}

// The gateway that made a grant may have a clock that is behind, as far as clocks are let be. Its step-up counts at once
// on one whose view of the user is from before.
func TestStepUpOfAGatewayBehind(t *testing.T) {
	w := newWorld(t)
	here, there := w.backend, w.newBackend(time.Minute)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	w.backend = there
	alice.passes("/admin") // its view is of now
	w.backend = here
	w.clock.Advance(-8 * time.Second)
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	w.clock.Advance(9 * time.Second)
	w.backend = there
	alice.passes("/admin")
}

// Views age by a clock of their own, which is ahead for as long as the gateway runs once the machine's was set back. That makes
// no step-up on another gateway count late.
func TestViewsByAClockAhead(t *testing.T) {
	w := newWorld(t)
	here, there := w.backend, w.newBackend(time.Minute)
	there.Views = gate.NewViews(w.service().Account, time.Minute, gate.StoreBudget, func() time.Time { return w.clock.Now().Add(5 * time.Minute) })
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	w.backend = there
	alice.passes("/admin") // its view is of now
	w.backend = here
	w.clock.Advance(time.Second)
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	w.backend = there
	alice.passes("/admin")
}
