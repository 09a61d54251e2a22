package e2etest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// secure is a console over https whose first factor is the header X-User. 127.0.0.1 is served, but is no origin.
const secure = `{
	admin localhost:$ADMIN
	persist_config off
	default_bind 127.0.0.1
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	stepgate {
		rp_id localhost
		origins https://localhost:$PORT
		store file $DIR/stepgate.db
	}
}
https://localhost:$PORT, https://127.0.0.1:$PORT {
	` + ownCertificate + `
	log
	stepgate {
		user {header.X-User}
		open /open /open/*
		protect /admin/* {
			max_age 5m
		}
	}
	reverse_proxy $UPSTREAM
}
`

func startSecure(t *testing.T) *gateway {
	t.Helper()
	g := prepare(t)
	g.url = fmt.Sprintf("https://localhost:%d", g.port)
	g.configure(secure)
	g.run()
	return g
}

// transports are the versions of HTTP that a gateway speaks, by name.
func transports(t *testing.T, g *gateway) map[string]http.RoundTripper {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", g.port)
	over := func(protocols ...string) *http.Transport {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: protocols}
		tr := &http.Transport{
			ForceAttemptHTTP2: len(protocols) > 0,
			TLSClientConfig:   config,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			},
		}
		if len(protocols) == 0 {
			tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		t.Cleanup(tr.CloseIdleConnections)
		return tr
	}
	h3 := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}}
	t.Cleanup(func() { h3.Close() })
	return map[string]http.RoundTripper{"HTTP/1.1": over(), "HTTP/2.0": over("h2"), "HTTP/3.0": h3}
}

// attempt is a request of the table below, and what must come of it.
type attempt struct {
	name, method, path string
	header             map[string]string
	host               string // $HOST unless set
	trailer            bool   // a body with the trailer X-Stepgate-User
	status             int
	code, reason       string // of the problem and, as its reason, of the audit line; "" for what passes
}

// attempts must come out alike in every version of HTTP. Those with a code may not reach the upstream.
var attempts = []attempt{
	{name: "no grant", method: "GET", path: "/keys", status: 401, code: "step_up_required", reason: "grant_missing"},
	{name: "another case", method: "GET", path: "/OPEN", status: 200},
	{name: "the gateway's own headers from a client", method: "GET", path: "/keys",
		header: map[string]string{"X-Stepgate-User": "carol", "X-Stepgate-Level": "attested", "X-Stepgate-Time": "2099-01-01T00:00:00Z"},
		status: 401, code: "step_up_required", reason: "grant_missing"},
	{name: "the same on an open route", method: "GET", path: "/open/a",
		header: map[string]string{"X-Stepgate-User": "root", "x-stepgate-level": "attested", "X_Stepgate_User": "root", "X.Stepgate.User": "root", "X-StepGate-Anything": "1"}, status: 200},
	{name: "override headers", method: "GET", path: "/open/a",
		header: map[string]string{"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/admin", "X-Rewrite-URL": "/admin"}, status: 200},
	{name: "a trailer", method: "POST", path: "/open/a", trailer: true, status: 200},
	{name: "two slashes", method: "GET", path: "//admin", status: 400, code: "path_ambiguous"},
	{name: "two slashes before an open path", method: "GET", path: "//open", status: 400, code: "path_ambiguous"},
	{name: "an encoded slash", method: "GET", path: "/admin%2fx", status: 400, code: "path_ambiguous"},
	{name: "dot segments", method: "GET", path: "/open/../admin/x", status: 400, code: "path_ambiguous"},
	{name: "encoded dot segments", method: "GET", path: "/open/%2e%2e/admin/x", status: 400, code: "path_ambiguous"},
	{name: "a path parameter", method: "GET", path: "/open/..;/admin", status: 400, code: "path_ambiguous"},
	{name: "a backslash", method: "GET", path: "/open/%5cadmin", status: 400, code: "path_ambiguous"},
	{name: "encoded twice", method: "GET", path: "/open/%252e%252e/admin", status: 400, code: "path_ambiguous"},
	{name: "NUL", method: "GET", path: "/open/%00", status: 400, code: "path_ambiguous"},
	{name: "dots around the gateway's prefix", method: "GET", path: "/.stepgate/../keys", status: 400, code: "path_ambiguous"},
	{name: "TRACE", method: "TRACE", path: "/keys", status: 405, code: "method_refused"},
	{name: "TRACE on an open route", method: "TRACE", path: "/open", status: 405, code: "method_refused"},
	{name: "CONNECT", method: "CONNECT", path: "", status: 405, code: "method_refused"},
	{name: "a method in lower case", method: "delete", path: "/keys", status: 405, code: "method_refused"},
	{name: "a host that is no origin", method: "GET", path: "/keys", host: "127.0.0.1:$PORT", status: 421, code: "origin_unknown"},
	{name: "the same on an open route", method: "GET", path: "/open", host: "127.0.0.1:$PORT", status: 200},
	{name: "a host in upper case", method: "GET", path: "/keys", host: "LOCALHOST:$PORT", status: 401, code: "step_up_required", reason: "grant_missing"},
	{name: "nobody", method: "GET", path: "/keys", header: map[string]string{"X-User": ""}, status: 401, code: "user_missing"},
	{name: "a long cookie", method: "GET", path: "/keys", header: map[string]string{"Cookie": "a=" + strings.Repeat("x", 12_000)},
		status: 401, code: "step_up_required", reason: "grant_missing"},
	{name: "a long grant", method: "GET", path: "/keys", header: map[string]string{"Cookie": "__Host-stepgate=" + strings.Repeat("x", 12_000)},
		status: 401, code: "step_up_required", reason: "grant_unreadable"},
	{name: "many cookies", method: "GET", path: "/keys", header: map[string]string{"Cookie": strings.Repeat("__Host-stepgate=x; ", 150)},
		status: 401, code: "step_up_required", reason: "grant_unreadable"},
	{name: "a cookie of 100 KB", method: "GET", path: "/keys", header: map[string]string{"Cookie": "a=" + strings.Repeat("x", 100_000)},
		status: 431, code: tooLong},
	{name: "a cookie of 100 KB on an open route", method: "GET", path: "/open", header: map[string]string{"Cookie": "__Host-stepgate=" + strings.Repeat("x", 100_000)},
		status: 431, code: tooLong},
}

// tooLong stands for a refusal by the server in front of the gate, or by a client that was told the limit.
const tooLong = "too long"

// Whatever the version of HTTP, the verdict is the same.
func TestProtocolsAgree(t *testing.T) {
	t.Parallel()
	g := startSecure(t)
	for version, transport := range transports(t, g) {
		for _, a := range attempts {
			answer, protocol, err := g.attempt(transport, a)
			if a.code == tooLong {
				g.upstream.untouched()
				if err == nil && answer.status != a.status {
					t.Errorf("%s, %s: %d, want %d: %.300s", version, a.name, answer.status, a.status, answer.body)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, %s: %v", version, a.name, err)
				g.upstream.untouched()
				continue
			}
			if protocol != version {
				t.Fatalf("%s, %s: answered in %s", version, a.name, protocol)
			}
			if answer.status != a.status {
				t.Errorf("%s, %s: %d, want %d: %.300s", version, a.name, answer.status, a.status, answer.body)
			}
			if a.code == "" {
				r := g.upstream.one()
				for name := range r.Header {
					if strings.Contains(strings.ToLower(name), "stepgate") || strings.HasPrefix(name, "X-Original") || strings.HasPrefix(name, "X-Rewrite") || strings.Contains(name, "Override") {
						t.Errorf("%s, %s: the upstream got %s: %q", version, a.name, name, r.Header[name])
					}
				}
				if len(r.Trailer["X-Stepgate-User"]) > 0 {
					t.Errorf("%s, %s: the upstream got the trailer %v", version, a.name, r.Trailer)
				}
				continue
			}
			g.upstream.untouched()
			if got := problemIn(t, answer.body); got.Code != a.code || got.Reason != a.reason {
				t.Errorf("%s, %s: %+v", version, a.name, got)
			}
			if a.reason != "" {
				g.audited(a.code, a.reason)
			} else {
				g.audited("request_refused", a.code)
			}
		}
	}
}

// attempt sends one, as carol.
func (g *gateway) attempt(transport http.RoundTripper, a attempt) (reply, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var body io.Reader
	if a.trailer {
		body = io.NopCloser(strings.NewReader("x"))
	}
	request, err := http.NewRequestWithContext(ctx, a.method, fmt.Sprintf("https://127.0.0.1:%d/", g.port), body)
	if err != nil {
		return reply{}, "", err
	}
	request.Host = fmt.Sprintf("localhost:%d", g.port)
	if a.host != "" {
		request.Host = g.fill(a.host)
	}
	request.URL.Opaque, request.URL.Path = a.path, ""
	if strings.HasPrefix(a.path, "//") { // an opaque one would count as an authority
		request.URL.Opaque, request.URL.Path = "", a.path
	}
	request.Header.Set("X-User", "carol")
	for name, value := range a.header {
		request.Header.Set(name, value)
		if value == "" {
			request.Header.Del(name)
		}
	}
	if a.trailer {
		request.Trailer = http.Header{"X-Stepgate-User": {"root"}, "X-Checksum": {"1"}}
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return reply{}, "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return reply{answer.StatusCode, answer.Header, content}, answer.Proto, err
}

// With a grant, requests pass in every version, and the upstream is told by the gateway alone.
func TestProtocolsAgreeOnWhatPasses(t *testing.T) {
	t.Parallel()
	g := startSecure(t)
	c := newClient(t, g, "carol")
	must(t, c.register("Key"))
	answer, err := c.stepUp("/admin/x")
	must(t, err)
	must(t, answer.expect(200))
	cookie := answer.cookie("__Host-stepgate")
	for version, transport := range transports(t, g) {
		answer, _, err := g.attempt(transport, attempt{method: "DELETE", path: "/admin/x?y=%2f", trailer: true, header: map[string]string{
			"Cookie": "theme=dark; " + cookie, "X-Stepgate-User": "root", "x-stepgate-passkey": "x", "X-Stepgate-Extra": "x",
		}})
		must(t, err)
		must(t, answer.expect(200))
		r := g.upstream.one()
		if r.Method != "DELETE" || r.Target != "/admin/x?y=%2f" || fmt.Sprint(r.Header["X-Stepgate-User"]) != "[carol]" || len(r.Header["X-Stepgate-Passkey"][0]) != 22 ||
			r.Header["X-Stepgate-Extra"] != nil || fmt.Sprint(r.Header["Cookie"]) != "[theme=dark]" || len(r.Trailer["X-Stepgate-User"]) > 0 {
			t.Errorf("%s: the upstream got %+v", version, r)
		}
	}
}
