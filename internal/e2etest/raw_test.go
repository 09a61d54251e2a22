package e2etest_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw sends bytes over TLS and returns the first answer, or nil where the connection was closed without one.
func (g *gateway) raw(text string) *reply {
	g.t.Helper()
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", fmt.Sprintf("127.0.0.1:%d", g.port),
		&tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
	must(g.t, err)
	defer connection.Close()
	must(g.t, connection.SetDeadline(time.Now().Add(patience)))
	text = strings.ReplaceAll(g.fill(text), "\n", "\r\n")
	if _, err := io.WriteString(connection, text+"\r\n\r\n"); err != nil {
		g.t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return &reply{answer.StatusCode, answer.Header, body}
}

// What only a raw connection can send. Without a code, the server in front of the gate refuses it by itself; nothing of
// it may reach the upstream.
func TestRawRequests(t *testing.T) {
	t.Parallel()
	g := startSecure(t)
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
		answer := g.raw(test.text)
		g.upstream.untouched()
		switch {
		case test.code == "":
			if answer != nil && answer.status < 400 && len(answer.body) > 0 {
				t.Errorf("%s: %d %.300s", test.name, answer.status, answer.body)
			}
			continue
		case answer == nil:
			t.Errorf("%s: no answer", test.name)
			continue
		}
		if got := problemIn(t, answer.body); got.Code != test.code || got.Reason != test.reason || got.Status != answer.status {
			t.Errorf("%s: %d %+v", test.name, answer.status, got)
		}
		if test.reason != "" {
			g.audited(test.code, test.reason)
		} else {
			g.audited("request_refused", test.code)
		}
	}
}

// A client can't make the proxy drop what the gate or the first factor says, by naming it in Connection.
func TestConnectionNominations(t *testing.T) {
	t.Parallel()
	g := startSecure(t)
	c := newClient(t, g, "carol")
	must(t, c.register("Key"))
	answer, err := c.stepUp("/keys")
	must(t, err)
	must(t, answer.expect(200))
	cookie := answer.cookie("__Host-stepgate")
	for _, nominated := range []string{
		"X-Stepgate-User, X-Stepgate-Level, X-Stepgate-Passkey, X-Stepgate-Time", "close, x-stepgate-user, X-User, Cookie",
		"X-Stepgate-User,,\tX-STEPGATE-LEVEL ,x-stepgate-passkey\nConnection: x-stepgate-time, x-user",
	} {
		text := "GET /keys HTTP/1.1\nHost: localhost:$PORT\nX-User: carol\nCookie: theme=dark; " + cookie + "\nConnection: " + nominated + "\nConnection: close"
		answer := g.raw(text)
		if answer == nil || answer.status != 200 {
			t.Fatalf("%s: %v", nominated, answer)
		}
		r := g.upstream.one()
		for _, name := range []string{"X-Stepgate-User", "X-Stepgate-Level", "X-Stepgate-Passkey", "X-Stepgate-Time", "X-User", "Cookie"} {
			if len(r.Header[name]) != 1 || r.Header[name][0] == "" {
				t.Errorf("%s: the upstream got %s: %q", nominated, name, r.Header[name])
			}
		}
	}
}
