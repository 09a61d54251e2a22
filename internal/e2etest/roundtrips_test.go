package e2etest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// A ceremony costs two round trips at its end and one at its start, and a protected request none while the view of its user is
// younger than the lag: so an outage that is shorter than that is not noticed by those who stepped up.
func TestCallsOfDynamoDB(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, "revocation_lag 1m")
	c := newClient(t, f.gateway, "carol")
	calls := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, call := range f.proxy.Take() {
			got = append(got, call.Operation)
		}
		slices.Sort(got) // some are made at the same time
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s calls %q, want %q", what, got, want)
		}
	}
	f.proxy.Take() // the check at the start
	body, err := c.beginRegistration(c.key, "Key", nil)
	must(t, err)
	calls("starting a registration", "PutItem", "Query")
	_, err = c.step("POST", account, body, 201)
	must(t, err)
	calls("finishing it", "DeleteItem", "Query", "TransactWriteItems")
	body, err = c.begin(map[string]any{"return_to": "/keys"})
	must(t, err)
	calls("starting a step-up", "PutItem", "Query")
	answer, err := c.finish(body)
	must(t, err)
	must(t, answer.expect(200))
	calls("finishing it", "DeleteItem", "Query", "UpdateItem")
	must(t, c.get("/keys").expect(200))
	calls("the first protected request", "Query")

	lift := f.proxy.Inject(faulttest.Fault{Kind: faulttest.Hang})
	defer lift()
	for range 5 {
		must(t, c.get("/keys").expect(200))
	}
	must(t, newClient(t, f.gateway, "carol").get("/keys").refused(401, "grant_missing"))
	f.audited("step_up_required", "grant_missing")
	must(t, c.get("/open").expect(200))
	calls("a protected request within the lag, one without a grant, an open one")
}
