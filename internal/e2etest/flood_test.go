package e2etest_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// Somebody with a stolen sign-in floods a user from new browsers: they are told when to come again, and the user, whose
// browser has confirmed before, steps up as ever.
func TestFlood(t *testing.T) {
	onEachStore(t, func(t *testing.T, on store) {
		g := on.start(t, headerConsole("revocation_lag 0s", ""))
		alice := newClient(t, g, "alice")
		must(t, session(alice))
		limited := 0
		for range 60 { // 30 at once from one network for one user
			thief := newClient(t, g, "alice")
			answer := thief.post("/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
			if answer.status != http.StatusTooManyRequests {
				continue
			}
			limited++
			wait, err := strconv.Atoi(answer.header.Get("Retry-After"))
			if got := problemIn(t, answer.body); got.Code != "rate_limited" || err != nil || wait < 1 || wait > 2 || !strings.Contains(string(answer.body), "Try again in") {
				t.Fatalf("Retry-After %q: %s", answer.header.Get("Retry-After"), answer.body)
			}
		}
		if limited < 20 {
			t.Errorf("%d of 60 starts were limited", limited)
		}
		answer, err := alice.stepUp("/keys")
		must(t, err)
		must(t, answer.expect(http.StatusOK))
	})
}

// audit require: the log's disk is full, so nothing protected goes on.
func TestAuditRequired(t *testing.T) {
	onEachStore(t, func(t *testing.T, on store) {
		required := strings.Replace(headerConsole("audit require\nrevocation_lag 0s", "open /open"), "debug\n",
			"debug\n\tlog audit {\n\t\toutput file /dev/full {\n\t\t\troll_disabled\n\t\t}\n\t\tinclude http.handlers.stepgate.audit\n\t}\n", 1)
		g := on.start(t, headerConsole("revocation_lag 0s", "open /open"))
		alice := newClient(t, g, "alice")
		must(t, session(alice))
		if answer := alice.get("/keys"); answer.status != http.StatusOK {
			t.Fatalf("%d %s", answer.status, answer.body)
		}
		must(t, g.reload(required))
		bob := newClient(t, g, "bob")
		bob.get("/keys") // its line is lost, and with it everybody's way in
		for range 2 {
			answer := alice.get("/keys")
			if got := problemIn(t, answer.body); answer.status != http.StatusServiceUnavailable || got.Code != "audit_unavailable" {
				t.Errorf("%d %s", answer.status, answer.body)
			}
		}
		if answer := alice.get("/open"); answer.status != http.StatusOK {
			t.Errorf("an open route: %d", answer.status)
		}
		must(t, g.reload(headerConsole("revocation_lag 0s", "open /open")))
		if answer := alice.get("/keys"); answer.status != http.StatusOK {
			t.Errorf("with another log: %d %s", answer.status, answer.body)
		}
	})
}
