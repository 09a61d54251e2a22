package e2etest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

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
	g := gatewaytest.StartSecure(t)
	for version, transport := range gatewaytest.Transports(t, g) {
		for _, a := range attempts {
			answer, protocol, err := attempted(g, transport, a)
			if a.code == tooLong {
				g.Upstream.Untouched()
				if err == nil && answer.Status != a.status {
					t.Errorf("%s, %s: %d, want %d: %.300s", version, a.name, answer.Status, a.status, answer.Body)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, %s: %v", version, a.name, err)
				g.Upstream.Untouched()
				continue
			}
			if protocol != version {
				t.Fatalf("%s, %s: answered in %s", version, a.name, protocol)
			}
			if answer.Status != a.status {
				t.Errorf("%s, %s: %d, want %d: %.300s", version, a.name, answer.Status, a.status, answer.Body)
			}
			if a.code == "" {
				r := g.Upstream.One()
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
			g.Upstream.Untouched()
			if got := gatewaytest.ProblemIn(t, answer.Body); got.Code != a.code || got.Reason != a.reason {
				t.Errorf("%s, %s: %+v", version, a.name, got)
			}
			if a.reason != "" {
				g.Audited(a.code, a.reason)
			} else {
				g.Audited("request_refused", a.code)
			}
		}
	}
}

// attempted sends one, as carol.
func attempted(g *gatewaytest.Gateway, transport http.RoundTripper, a attempt) (gatewaytest.Reply, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var body io.Reader
	if a.trailer {
		body = io.NopCloser(strings.NewReader("x"))
	}
	request, err := http.NewRequestWithContext(ctx, a.method, fmt.Sprintf("https://127.0.0.1:%d/", g.Port), body)
	if err != nil {
		return gatewaytest.Reply{}, "", err
	}
	request.Host = fmt.Sprintf("localhost:%d", g.Port)
	if a.host != "" {
		request.Host = g.Fill(a.host)
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
		return gatewaytest.Reply{}, "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return gatewaytest.Reply{Status: answer.StatusCode, Header: answer.Header, Body: content}, answer.Proto, err
}

// With a grant, requests pass in every version, and the upstream is told by the gateway alone.
func TestProtocolsAgreeOnWhatPasses(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartSecure(t)
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, c.Register("Key"))
	answer, err := c.StepUp("/admin/x")
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Expect(200))
	cookie := answer.Cookie("__Host-stepgate")
	for version, transport := range gatewaytest.Transports(t, g) {
		answer, _, err := attempted(g, transport, attempt{method: "DELETE", path: "/admin/x?y=%2f", trailer: true, header: map[string]string{
			"Cookie": "theme=dark; " + cookie, "X-Stepgate-User": "root", "x-stepgate-passkey": "x", "X-Stepgate-Extra": "x",
		}})
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Expect(200))
		r := g.Upstream.One()
		if r.Method != "DELETE" || r.Target != "/admin/x?y=%2f" || fmt.Sprint(r.Header["X-Stepgate-User"]) != "[carol]" || len(r.Header["X-Stepgate-Passkey"][0]) != 22 ||
			r.Header["X-Stepgate-Extra"] != nil || fmt.Sprint(r.Header["Cookie"]) != "[theme=dark]" || len(r.Trailer["X-Stepgate-User"]) > 0 {
			t.Errorf("%s: the upstream got %+v", version, r)
		}
	}
}
