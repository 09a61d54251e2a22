package e2etest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// A ceremony costs two round trips at its end and one at its start; a step-up so soon after another that there is nothing new to
// write costs one each. A protected request costs none while the view of its user is younger than the lag: so an outage that is
// shorter than that is not noticed by those who stepped up.
func TestCallsOfDynamoDB(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFaulty(t, "revocation_lag 1m")
	c := gatewaytest.NewClient(t, f.Gateway, "carol")
	c.Key = authtest.New(authtest.Config{}) // it keeps no sign count
	calls := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, call := range f.Proxy.Take() {
			got = append(got, call.Operation)
		}
		slices.Sort(got) // some are made at the same time
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s calls %q, want %q", what, got, want)
		}
	}
	f.Proxy.Take() // the check at the start
	body, err := c.BeginRegistration(c.Key, "Key", nil)
	gatewaytest.Must(t, err)
	calls("starting a registration", "PutItem", "Query")
	_, err = c.Step("POST", gatewaytest.Account, body, 201)
	gatewaytest.Must(t, err)
	calls("finishing it", "DeleteItem", "Query", "TransactWriteItems")
	body, err = c.Begin(map[string]any{"return_to": "/keys"})
	gatewaytest.Must(t, err)
	calls("starting a step-up", "PutItem", "Query")
	answer, err := c.Finish(body)
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Expect(200))
	calls("finishing it", "DeleteItem", "Query", "UpdateItem")
	body, err = c.Begin(map[string]any{"return_to": "/keys"})
	gatewaytest.Must(t, err)
	calls("starting another one in the minute", "PutItem")
	answer, err = c.Finish(body)
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Expect(200))
	calls("finishing it", "DeleteItem", "Query")
	gatewaytest.Must(t, c.Get("/keys").Expect(200))
	calls("the first protected request", "Query")

	lift := f.Proxy.Inject(faulttest.Fault{Kind: faulttest.Hang})
	defer lift()
	for range 5 {
		gatewaytest.Must(t, c.Get("/keys").Expect(200))
	}
	gatewaytest.Must(t, gatewaytest.NewClient(t, f.Gateway, "carol").Get("/keys").Refused(401, "grant_missing"))
	f.Audited("step_up_required", "grant_missing")
	gatewaytest.Must(t, c.Get("/open").Expect(200))
	calls("a protected request within the lag, one without a grant, an open one")
}
