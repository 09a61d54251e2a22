package attacktest_test

import (
	"strings"
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
		{"C12 a method in lower case", "delete /keys HTTP/1.1" + as, "method_refused", ""},
		{"C12 a method in lower case, open", "get /open HTTP/1.1" + as, "method_refused", ""},
		{"C12 TRACE", "TRACE /open HTTP/1.1" + as, "method_refused", ""},
		{"C12 CONNECT to an authority", "CONNECT localhost:$PORT HTTP/1.1" + as, "method_refused", ""},
		{"C12 CONNECT to a path", "CONNECT /open HTTP/1.1" + as, "method_refused", ""},
		{"C9 absolute form", "GET https://localhost:$PORT/keys HTTP/1.1" + as, "step_up_required", "grant_missing"},
		{"C9 absolute form, ambiguous", "GET https://localhost:$PORT//open HTTP/1.1" + as, "path_ambiguous", ""},
		{"C9 absolute form without a path", "GET https://localhost:$PORT HTTP/1.1" + as, "path_ambiguous", ""},
		{"C9 absolute form of a host that is no origin", "GET https://127.0.0.1:$PORT/keys HTTP/1.1" + as, "origin_unknown", ""},
		{"C9 absolute form of a host that is not served", "GET https://evil.test/keys HTTP/1.1" + as, "", ""},
		{"C12 OPTIONS *", "OPTIONS * HTTP/1.1" + as, "", ""},
		{"C12 GET *", "GET * HTTP/1.1" + as, "", ""},
		{"C1 no slash", "GET open HTTP/1.1" + as, "", ""},
		{"C5 a fragment", "GET /keys#/open HTTP/1.1" + as, "", ""},
		{"C15 h2c", "GET /open HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nConnection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "upgrade_refused", ""},
		{"C15 h2c among others", "GET /open HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nConnection: Upgrade\nUpgrade: websocket, H2C", "upgrade_refused", ""},
		{"C15 HTTP/2 by prior knowledge", "PRI * HTTP/2.0\n\nSM", "", ""},
		{"C15 h2c in odd case", "GET /open HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nconnection: uPgRaDe\nupgrade: H2c", "upgrade_refused", ""},
		{"C15 h2c in a second line", "GET /open HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nConnection: Upgrade\nUpgrade: websocket\nUpgrade: h2c", "upgrade_refused", ""},
		{"C16 a WebSocket", "GET /keys HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "step_up_required", "grant_missing"},
		{"C12 a framing nobody knows", "POST /open HTTP/1.1\nTransfer-Encoding: chunked, identity" + as + "\n\n0", "", ""},
		{"C12 an obsolete version", "GET /keys HTTP/0.9" + as, "", ""},
		{"C12 HTTP/1.0", "GET /keys HTTP/1.0\nHost: localhost:$PORT\nX-User: carol", "step_up_required", "grant_missing"},
		{"C9 HTTP/1.0 without a host", "GET /keys HTTP/1.0\nX-User: carol", "", ""},
		{"C2 a raw backslash", "GET /open\\..\\admin HTTP/1.1" + as, "path_ambiguous", ""},
		{"C2 a raw backslash first", "GET \\admin HTTP/1.1" + as, "", ""},
		{"C2 a raw NUL", "GET /open\x00 HTTP/1.1" + as, "", ""},
		{"C2 a raw tab", "GET /open\tx HTTP/1.1" + as, "", ""},
		{"C2 bytes beyond ASCII", "GET /open/\xff HTTP/1.1" + as, "path_ambiguous", ""},
		{"E4 a header split", "GET /open HTTP/1.1\nX-Evil: a\rX-Stepgate-User: root" + as, "", ""},
		{"D14 NUL in a name", "GET /keys HTTP/1.1\nHost: localhost:$PORT\nX-User: ca\x00rol\nConnection: close", "", ""},
		{"C9 two hosts", "GET /open HTTP/1.1\nHost: evil.test" + as, "", ""},
		{"C9 no host", "GET /open HTTP/1.1\nX-User: carol\nConnection: close", "", ""},
		{"C9 a host with a user", "GET /keys HTTP/1.1\nHost: x@localhost:$PORT\nX-User: carol\nConnection: close", "", ""},
		{"C9 a host with a dot", "GET /keys HTTP/1.1\nHost: localhost.:$PORT\nX-User: carol\nConnection: close", "", ""},
		{"C9 a host without the port", "GET /keys HTTP/1.1\nHost: localhost\nX-User: carol\nConnection: close", "origin_unknown", ""},
		{"D1 a space before the colon", "GET /open HTTP/1.1\nX-Stepgate-User : root" + as, "", ""},
		{"D1 a folded header", "GET /keys HTTP/1.1\nX-Stepgate-User:\n carol" + as, "step_up_required", "grant_missing"},
		{"D1 two users", "GET /keys HTTP/1.1\nX-User: dave" + as, "user_missing", ""},
		{"C12 lengths that disagree", "POST /open HTTP/1.1\nContent-Length: 5\nContent-Length: 6" + as + "\n\nhello", "", ""},
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

// What hides behind the body of a request to an open route is no request: framings that disagree are settled before the gate,
// and the upstream gets one request with one framing.
func TestC12_Smuggling(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartSecure(t)
	c := gatewaytest.NewClient(t, g, "carol")
	const as = "\nHost: localhost:$PORT\nX-User: carol\n"
	for name, text := range map[string]string{
		"both framings":          "POST /open HTTP/1.1" + as + "Transfer-Encoding: chunked\nContent-Length: 4\n\n0\n\nGET /keys HTTP/1.1" + as,
		"both framings, swapped": "POST /open HTTP/1.1" + as + "Content-Length: 4\nTransfer-Encoding: chunked\n\n0\n\nGET /keys HTTP/1.1" + as,
		"chunked in odd case":    "POST /open HTTP/1.1" + as + "Transfer-Encoding: cHuNkEd\n\n0\n\nGET /keys HTTP/1.1" + as,
		"chunked after a tab":    "POST /open HTTP/1.1" + as + "Transfer-Encoding:\tchunked\n\n0\n\nGET /keys HTTP/1.1" + as,
		"chunked with a NUL":     "POST /open HTTP/1.1" + as + "Transfer-Encoding: chunked\x00\nContent-Length: 0\n\nGET /keys HTTP/1.1" + as,
		"chunked twice":          "POST /open HTTP/1.1" + as + "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\nGET /keys HTTP/1.1" + as,
		"a space in the name":    "POST /open HTTP/1.1" + as + "Transfer-Encoding : chunked\nContent-Length: 0\n\nGET /keys HTTP/1.1" + as,
		"a length with a sign":   "POST /open HTTP/1.1" + as + "Content-Length: +0\n\nGET /keys HTTP/1.1" + as,
		"two lengths in one":     "POST /open HTTP/1.1" + as + "Content-Length: 0, 0\n\nGET /keys HTTP/1.1" + as,
		"a GET with a body":      "GET /open HTTP/1.1" + as + "Content-Length: 25\n\nGET /keys HTTP/1.1" + as,
		"a chunk size with 0x":   "POST /open HTTP/1.1" + as + "Transfer-Encoding: chunked\n\n0x0\n\nGET /keys HTTP/1.1" + as,
		"a bare CR":              "POST /open HTTP/1.1" + as + "Content-Length: 0\n\r\nGET /keys HTTP/1.1" + as,
	} {
		g.Raw(text)
		gatewaytest.Must(t, c.Get("/open/after").Expect(200)) // what was left on a connection to the upstream has been read by then
		list := g.Upstream.Take()
		if len(list) == 0 || list[len(list)-1].Target != "/open/after" {
			t.Fatalf("%s: the upstream got %v", name, list)
		}
		for _, r := range list[:len(list)-1] {
			if r.Target != "/open" || len(r.Header["Transfer-Encoding"]) > 0 || strings.Contains(r.Target, "keys") {
				t.Errorf("%s: the upstream got %s %s %v", name, r.Method, r.Target, r.Header)
			}
		}
	}
}
