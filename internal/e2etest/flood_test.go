package e2etest_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// Somebody with a stolen sign-in floods a user from new browsers: they are told when to come again, and the user, whose
// browser has confirmed before, steps up as ever.
func TestFlood(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := on.Start(t, gatewaytest.HeaderConsole("revocation_lag 0s", ""))
		alice := gatewaytest.NewClient(t, g, "alice")
		gatewaytest.Must(t, gatewaytest.Session(alice))
		limited := 0
		for range 60 { // 30 at once from one network for one user
			thief := gatewaytest.NewClient(t, g, "alice")
			answer := thief.Post("/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
			if answer.Status != http.StatusTooManyRequests {
				continue
			}
			limited++
			wait, err := strconv.Atoi(answer.Header.Get("Retry-After"))
			if got := gatewaytest.ProblemIn(t, answer.Body); got.Code != "rate_limited" || err != nil || wait < 1 || wait > 2 || !strings.Contains(string(answer.Body), "Try again in") {
				t.Fatalf("Retry-After %q: %s", answer.Header.Get("Retry-After"), answer.Body)
			}
		}
		if limited < 20 {
			t.Errorf("%d of 60 starts were limited", limited)
		}
		answer, err := alice.StepUp("/keys")
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Expect(http.StatusOK))
	})
}

// audit require: the log's disk is full, so nothing protected goes on.
func TestAuditRequired(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		required := strings.Replace(gatewaytest.HeaderConsole("audit require\nrevocation_lag 0s", "open /open"), "debug\n",
			"debug\n\tlog audit {\n\t\toutput file /dev/full {\n\t\t\troll_disabled\n\t\t}\n\t\tinclude http.handlers.stepgate.audit\n\t}\n", 1)
		g := on.Start(t, gatewaytest.HeaderConsole("revocation_lag 0s", "open /open"))
		alice := gatewaytest.NewClient(t, g, "alice")
		gatewaytest.Must(t, gatewaytest.Session(alice))
		if answer := alice.Get("/keys"); answer.Status != http.StatusOK {
			t.Fatalf("%d %s", answer.Status, answer.Body)
		}
		gatewaytest.Must(t, g.Reload(required))
		bob := gatewaytest.NewClient(t, g, "bob")
		bob.Get("/keys") // its line is lost, and with it everybody's way in
		for range 2 {
			answer := alice.Get("/keys")
			if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != http.StatusServiceUnavailable || got.Code != "audit_unavailable" {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		}
		if answer := alice.Get("/open"); answer.Status != http.StatusOK {
			t.Errorf("an open route: %d", answer.Status)
		}
		gatewaytest.Must(t, g.Reload(gatewaytest.HeaderConsole("revocation_lag 0s", "open /open")))
		if answer := alice.Get("/keys"); answer.Status != http.StatusOK {
			t.Errorf("with another log: %d %s", answer.Status, answer.Body)
		}
	})
}
