package gate_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// audit require: what can't be recorded does not happen, and as long as nothing can be recorded nothing passes.
func TestAuditRequired(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.passes("/admin")
	held := alice.cookies["__Host-stepgate"]
	delete(alice.cookies, "__Host-stepgate")

	unavailable := func(response *http.Response) {
		t.Helper()
		body := want(t, response, http.StatusServiceUnavailable)
		if !strings.Contains(string(body), `"audit_unavailable"`) || response.Header.Get("Retry-After") == "" {
			t.Errorf("%s, Retry-After %q", body, response.Header.Get("Retry-After"))
		}
	}
	// The log fills up between the start and the finish of a ceremony: no grant.
	options := want(t, alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"}), http.StatusOK)
	credential, err := key.Authenticate(options, console)
	if err != nil {
		t.Fatal(err)
	}
	w.audit.fill(true)
	unavailable(alice.post("/.stepgate/challenge/verify", object{"return_to": "/admin", "credential": raw(credential)}))
	if alice.cookies["__Host-stepgate"] != nil {
		t.Error("a grant without a line in the log")
	}
	// From then on not even who holds a grant passes, and nothing is changed; open routes are.
	alice.cookies["__Host-stepgate"] = held
	unavailable(alice.get("/admin"))
	unavailable(alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"}))
	unavailable(alice.post("/.stepgate/logout", object{}))
	if r := alice.get("/open"); r.Header.Get("X-Upstream") == "" {
		t.Error("open routes are closed too")
	}
	// There is room again: the refusal of the next request says so, and those behind it pass.
	w.audit.fill(false)
	alice.refused(http.StatusServiceUnavailable, passkey.AuditUnavailable, func() *http.Response { return alice.get("/admin") })
	alice.passes("/admin")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
}

// Where nobody is to be stopped, a full log stops nobody.
func TestAuditRequiredReporting(t *testing.T) {
	w := newWorld(t, inMode(policy.Report, time.Time{}))
	alice := w.browser("alice")
	w.audit.fill(true)
	for range 2 {
		if r := alice.get("/admin"); r.Header.Get("X-Upstream") == "" {
			t.Errorf("stopped: %d", r.StatusCode)
		}
	}
}
