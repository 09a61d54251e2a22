package e2etest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// What only a raw connection can send. Without a code, the server in front of the gate refuses it by itself; nothing of
// it may reach the upstream.
func TestRawRequests(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartSecure(t)
	const as = "\nHost: localhost:$PORT\nX-User: carol\nConnection: close"
	for _, test := range []struct{ name, text, code, reason string }{
		{"a method in lower case", "delete /keys HTTP/1.1" + as, "method_refused", ""},
		{"a method in lower case, open", "get /open HTTP/1.1" + as, "method_refused", ""},
		{"TRACE", "TRACE /open HTTP/1.1" + as, "method_refused", ""},
		{"CONNECT to an authority", "CONNECT localhost:$PORT HTTP/1.1" + as, "method_refused", ""},
		{"CONNECT to a path", "CONNECT /open HTTP/1.1" + as, "method_refused", ""},
		{"absolute form", "GET https://localhost:$PORT/keys HTTP/1.1" + as, "step_up_required", "grant_missing"},
		{"absolute form, ambiguous", "GET https://localhost:$PORT//open HTTP/1.1" + as, "path_ambiguous", ""},
		{"absolute form without a path", "GET https://localhost:$PORT HTTP/1.1" + as, "path_ambiguous", ""},
		{"absolute form of a host that is no origin", "GET https://127.0.0.1:$PORT/keys HTTP/1.1" + as, "origin_unknown", ""},
		{"absolute form of a host that is not served", "GET https://evil.test/keys HTTP/1.1" + as, "", ""},
		{"OPTIONS *", "OPTIONS * HTTP/1.1" + as, "", ""},
		{"GET *", "GET * HTTP/1.1" + as, "", ""},
		{"no slash", "GET open HTTP/1.1" + as, "", ""},
		{"a fragment", "GET /keys#/open HTTP/1.1" + as, "", ""},
		{"h2c", "GET /open HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "upgrade_refused", ""},
		{"h2c among others", "GET /open HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nConnection: Upgrade\nUpgrade: websocket, H2C", "upgrade_refused", ""},
		{"HTTP/2 by prior knowledge", "PRI * HTTP/2.0\n\nSM", "", ""},
		{"two hosts", "GET /open HTTP/1.1\nHost: evil.test" + as, "", ""},
		{"no host", "GET /open HTTP/1.1\nX-User: carol\nConnection: close", "", ""},
		{"a host with a user", "GET /keys HTTP/1.1\nHost: x@localhost:$PORT\nX-User: carol\nConnection: close", "", ""},
		{"a host with a dot", "GET /keys HTTP/1.1\nHost: localhost.:$PORT\nX-User: carol\nConnection: close", "", ""},
		{"a host without the port", "GET /keys HTTP/1.1\nHost: localhost\nX-User: carol\nConnection: close", "origin_unknown", ""},
		{"a space before the colon", "GET /open HTTP/1.1\nX-Stepgate-User : root" + as, "", ""},
		{"a folded header", "GET /keys HTTP/1.1\nX-Stepgate-User:\n carol" + as, "step_up_required", "grant_missing"},
		{"two users", "GET /keys HTTP/1.1\nX-User: dave" + as, "user_missing", ""},
		{"lengths that disagree", "POST /open HTTP/1.1\nContent-Length: 5\nContent-Length: 6" + as + "\n\nhello", "", ""},
	} {
		answer := g.Raw(test.text)
		g.Upstream.Untouched()
		switch {
		case test.code == "":
			if answer != nil && answer.Status < 400 && len(answer.Body) > 0 {
				t.Errorf("%s: %d %.300s", test.name, answer.Status, answer.Body)
			}
			continue
		case answer == nil:
			t.Errorf("%s: no answer", test.name)
			continue
		}
		if got := gatewaytest.ProblemIn(t, answer.Body); got.Code != test.code || got.Reason != test.reason || got.Status != answer.Status {
			t.Errorf("%s: %d %+v", test.name, answer.Status, got)
		}
		if test.reason != "" {
			g.Audited(test.code, test.reason)
		} else {
			g.Audited("request_refused", test.code)
		}
	}
}

// A client can't make the proxy drop what the gate or the first factor says, by naming it in Connection.
func TestConnectionNominations(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartSecure(t)
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, c.Register("Key"))
	answer, err := c.StepUp("/keys")
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Expect(200))
	cookie := answer.Cookie("__Host-stepgate")
	for _, nominated := range []string{
		"X-Stepgate-User, X-Stepgate-Level, X-Stepgate-Passkey, X-Stepgate-Time", "close, x-stepgate-user, X-User, Cookie",
		"X-Stepgate-User,,\tX-STEPGATE-LEVEL ,x-stepgate-passkey\nConnection: x-stepgate-time, x-user",
	} {
		text := "GET /keys HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nCookie: theme=dark; " + cookie + "\nConnection: " + nominated + "\nConnection: close"
		answer := g.Raw(text)
		if answer == nil || answer.Status != 200 {
			t.Fatalf("%s: %v", nominated, answer)
		}
		r := g.Upstream.One()
		for _, name := range []string{"X-Stepgate-User", "X-Stepgate-Level", "X-Stepgate-Passkey", "X-Stepgate-Time", "X-User", "Cookie"} {
			if len(r.Header[name]) != 1 || r.Header[name][0] == "" {
				t.Errorf("%s: the upstream got %s: %q", nominated, name, r.Header[name])
			}
		}
	}
}
