package e2etest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// A configuration is loaded whose DynamoDB can't be reached: nobody listens there. It is taken, as it would be at a start. Open
// routes work, everything else is closed for that reason and nobody is let through on what the earlier store said; the way back is
// another reload, and nobody was logged out.
func TestReloadToUnreachable(t *testing.T) {
	t.Parallel()
	tables, g := gatewaytest.NewTables(t), gatewaytest.Prepare(t)
	g.Uses(tables, tables.Endpoint, gatewaytest.NewKey(g))
	there := gatewaytest.HeaderConsole("", "open /open")
	nowhere := strings.Replace(g.Fill(there), "endpoint "+tables.Endpoint, fmt.Sprintf("endpoint http://127.0.0.1:%d", gatewaytest.FreePort(t)), 1)
	g.Configure(there)
	g.Run()
	c := gatewaytest.NewClient(t, g, "alice")
	gatewaytest.Must(t, gatewaytest.Session(c))
	begun, err := c.Begin(map[string]any{"return_to": "/keys"})
	gatewaytest.Must(t, err)
	g.Upstream.Take()

	gatewaytest.Must(t, g.Reload(nowhere))
	_, err = c.Step("GET", "/open", nil, 200)
	gatewaytest.Must(t, err)
	g.Upstream.Take()
	stranger := gatewaytest.NewClient(t, g, "bob")
	var failures [4]error
	unavailable := func(place int, c *gatewaytest.Client, method, path string, body any) func() {
		return func() {
			answer, err := c.Send(method, path, body)
			failures[place] = errors.Join(err, answer.Unavailable())
		}
	}
	gatewaytest.Together( // each waits as long as a request may
		unavailable(0, c, "GET", "/keys", nil),
		unavailable(1, c, "POST", "/.stepgate/challenge/verify", begun),
		unavailable(2, c, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"}),
		unavailable(3, stranger, "POST", gatewaytest.Account+"/options", map[string]any{"name": "Key"}),
	)
	gatewaytest.Must(t, errors.Join(failures[:]...))
	gatewaytest.Must(t, g.Recorded("request_refused", "store_unavailable", "alice"))
	gatewaytest.Must(t, g.Recorded("ceremony_refused", "store_unavailable", "alice"))
	gatewaytest.Must(t, g.Reload(strings.Replace(nowhere, "grace_period 1s", "grace_period 2s", 1))) // and from one to another
	gatewaytest.Must(t, c.Get("/keys").Unavailable())
	g.Upstream.Untouched()

	gatewaytest.Must(t, g.Reload(there))
	_, err = c.Step("GET", "/keys", nil, 200)
	gatewaytest.Must(t, err)
	answer, err := c.Finish(begun) // its challenge was never consumed
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, gatewaytest.Passes(c, answer))
	gatewaytest.Must(t, c.Post("/.stepgate/challenge/verify", begun).Refused(409, "challenge_used"))
}
