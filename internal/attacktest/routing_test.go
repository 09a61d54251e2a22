package attacktest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// target is a request as a client library sends it only when it is told so.
type target struct {
	method, path string
	host         string            // "" for that of the client
	header       map[string]string // "" leaves one out that would be sent
	trailer      bool              // a body, with the trailer X-Stepgate-User
}

// aims sends a request as the client, who may have a grant, without tidying its path.
func (s *scene) aims(c *client, at target) (reply, error) {
	ctx, cancel := context.WithTimeout(s.Context(), gatewaytest.Patience)
	defer cancel()
	var body io.Reader
	if at.trailer {
		body = io.NopCloser(strings.NewReader("x"))
	}
	request, err := http.NewRequestWithContext(ctx, at.method, c.Origin+"/", body)
	if err != nil {
		return reply{}, err
	}
	if at.host != "" {
		request.Host = s.g.Fill(at.host)
	}
	switch request.URL.Opaque, request.URL.Path = at.path, ""; {
	case strings.HasPrefix(at.path, "//"): // an opaque one would count as an authority
		request.URL.Opaque, request.URL.Path = "", at.path
	case at.method == http.MethodConnect && at.path == "":
		request.URL.Opaque = ""
	}
	request.Header.Set("X-User", c.User)
	for name, value := range s.cookies(c) { // the client would send none to an opaque address
		request.Header.Add("Cookie", name+"="+value)
	}
	for name, value := range at.header {
		request.Header.Set(name, value)
		if value == "" {
			request.Header.Del(name)
		}
	}
	if at.trailer {
		request.Trailer = http.Header{"X-Stepgate-User": {"root"}, "X-Checksum": {"1"}}
	}
	bare := *c
	bare.HTTP = &http.Client{Transport: c.HTTP.Transport, CheckRedirect: c.HTTP.CheckRedirect}
	return bare.Do(request)
}

// aimed is an attack on the way to the upstream, by somebody without a grant.
func aimed(name, code, reason string, at target) attack {
	return attack{name: name, code: code, reason: reason, do: func(s *scene) (*client, reply) {
		c := s.visitor("carol")
		answer, err := s.aims(c, at)
		gatewaytest.Must(s, err)
		return nil, answer
	}}
}

// ambiguous are paths that two parsers could read differently. With a grant they are refused as well.
var ambiguous = map[string]string{
	"C1 two slashes": "//admin/x", "C1 two slashes before an open path": "//open", "C1 two slashes within": "/open//x", "C1 three slashes": "///admin", "C1 a dot": "/./admin/x", "C1 two dots": "/open/../admin/x",
	"C1 encoded dots": "/open/%2e%2e/admin/x", "C1 half encoded dots": "/open/.%2E/admin/x", "C1 encoded slash": "/admin%2fx", "C1 encoded slash in an open path": "/open%2f..%2fadmin", "C1 a dot at the end": "/open/.",
	"C2 a parameter": "/admin;x/y", "C2 an empty parameter": "/;/admin", "C2 dots with a parameter": "/open/..;/admin", "C2 an encoded semicolon": "/open/%3b/x", "C2 a segment that ends in a dot": "/admin.",
	"C2 ends in a space": "/admin%20", "C2 ends in a tab": "/admin%09", "C2 NUL": "/open/%00", "C2 an encoded fragment": "/admin%23", "C2 an encoded question mark": "/admin%3f", "C2 an encoded backslash": "/%5cadmin",
	"C2 an encoded backslash within": "/open%5c..%5cadmin", "C2 dots encoded twice": "/open/%252e%252e/admin", "C2 a slash encoded twice": "/open%252fx", "C2 a line break": "/open/%0d%0ax", "C2 DEL": "/open/%7f",
	"C2 not UTF-8": "/open/%ff", "C2 an overlong slash": "/open/%c0%af", "C2 overlong dots": "/open/%c0%ae%c0%ae/admin", "C2 a surrogate": "/open/%ed%a0%80", "C2 a C1 control": "/open/%c2%85",
	"C5 an encoded question mark and dots": "/open%3f/../admin", "C7 dots around the gateway's prefix": "/.stepgate/../keys", "C7 the gateway's prefix behind dots": "/open/../.stepgate/assets/x",
	"C7 a well-known path in another case": "/.well-known/WebAuthn",
}

// protected are paths and requests that look open to somebody, and are not.
var protected = map[string]target{
	"C1 a letter encoded":               {method: "GET", path: "/%61dmin/x"},
	"C1 in capitals":                    {method: "GET", path: "/ADMIN"},
	"C1 an open path's neighbour":       {method: "GET", path: "/openx"},
	"C5 an open path in the query":      {method: "GET", path: "/admin?y=/open"},
	"C5 dots in the query":              {method: "GET", path: "/admin?/../open"},
	"C5 a second question mark":         {method: "GET", path: "/admin??/open/x"},
	"C7 a slash at the end":             {method: "GET", path: "/admin/"},
	"C7 a style sheet's name":           {method: "GET", path: "/admin/x.css"},
	"C7 an icon's name":                 {method: "GET", path: "/admin/x/favicon.ico"},
	"C7 two extensions":                 {method: "GET", path: "/admin.php.css"},
	"C7 below a well-known path":        {method: "GET", path: "/.well-known/webauthn/x"},
	"C7 a neighbour of our prefix":      {method: "GET", path: "/.stepgatex/assets"},
	"C7 our prefix in capitals":         {method: "GET", path: "/.STEPGATE/assets/x"},
	"C2 dots in full width":             {method: "GET", path: "/open/%EF%BC%8E%EF%BC%8E/admin"},
	"C2 a slash in full width":          {method: "GET", path: "/open/%EF%BC%8E%EF%BC%8E%EF%BC%8Fadmin"},
	"C2 a ligature that has a slash":    {method: "GET", path: "/open/%EF%BC%8E%EF%BC%8E/%E2%84%80dmin"},
	"C2 a backslash in full width":      {method: "GET", path: "/open/%EF%BC%8E%EF%BC%8E%EF%BC%BCadmin"},
	"C2 a semicolon in full width":      {method: "GET", path: "/open/%EF%BC%8E%EF%BC%8E%EF%BC%9B/admin"},
	"C2 escapes in full width":          {method: "GET", path: "/open/%EF%BC%85%EF%BC%92%EF%BC%A5%EF%BC%85%EF%BC%92%EF%BC%A5/admin"},
	"C2 two dots as one letter":         {method: "GET", path: "/open/%E2%80%A5%EF%B9%A8admin"},
	"C2 a space that does not break":    {method: "GET", path: "/open/x%C2%A0"},
	"C2 a dot in full width at the end": {method: "GET", path: "/open/x%EF%BC%8E"},
	"C9 the host in capitals":           {method: "GET", path: "/keys", host: "CONSOLE.example.test:$PORT"},
	"C11 X-Original-URL":                {method: "GET", path: "/keys", header: map[string]string{"X-Original-URL": "/open", "X-Rewrite-URL": "/open"}},
	"C11 X-Forwarded-Uri and more":      {method: "GET", path: "/keys", header: map[string]string{"X-Forwarded-Uri": "/open", "X-Forwarded-Prefix": "/open", "X-Forwarded-Path": "/open", "X-Replaced-Path": "/open"}},
	"C11 X-Forwarded-Host":              {method: "GET", path: "/keys", header: map[string]string{"X-Forwarded-Host": "aws.example.test", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "443", "Forwarded": "host=aws.example.test"}},
	"C12 POST":                          {method: "POST", path: "/keys"},
	"C12 a method override":             {method: "POST", path: "/keys", header: map[string]string{"X-HTTP-Method-Override": "GET", "X-Method-Override": "OPTIONS"}},
	"C12 _method":                       {method: "POST", path: "/keys?_method=GET"},
	"C12 HEAD":                          {method: "HEAD", path: "/keys"},
	"C12 an unknown method":             {method: "FOO", path: "/keys"},
	"C12 PURGE":                         {method: "PURGE", path: "/keys"},
	"C12 PROPFIND":                      {method: "PROPFIND", path: "/keys"},
	"C14 a preflight":                   {method: "OPTIONS", path: "/keys", header: map[string]string{"Origin": "https://evil.test", "Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "x-user"}},
	"D1 our own headers":                {method: "GET", path: "/keys", header: map[string]string{"X-Stepgate-User": "carol", "X-Stepgate-Level": "attested", "X-Stepgate-Time": "2099-01-01T00:00:00Z"}},
	"C23 a cache that is offered":       {method: "GET", path: "/keys", header: map[string]string{"If-None-Match": "*", "If-Modified-Since": "Thu, 01 Jan 2099 00:00:00 GMT", "Range": "bytes=0-1"}},
	"a long cookie":                     {method: "GET", path: "/keys", header: map[string]string{"Cookie": "a=" + strings.Repeat("x", 12_000)}},
	"E9 a scheme-relative referrer":     {method: "GET", path: "/keys", header: map[string]string{"Referer": "//evil.test/open", "Origin": "https://evil.test"}},
}

func TestRouting(t *testing.T) {
	var attacks []attack
	for name, path := range ambiguous {
		attacks = append(attacks, aimed(name, "path_ambiguous", "", target{method: "GET", path: path}))
	}
	attacks = append(attacks, attack{name: "C1 C2 all of them with a grant", code: "path_ambiguous", do: func(s *scene) (*client, reply) {
		c := s.insider("carol")
		var answer reply
		for name, path := range ambiguous {
			var err error
			answer, err = s.aims(c, target{method: "GET", path: path})
			gatewaytest.Must(s, err)
			if err := answer.Refused(400, "path_ambiguous"); err != nil {
				s.Errorf("%s: %v", name, err)
			}
		}
		return nil, answer
	}})
	for name, at := range protected {
		if at.method == http.MethodHead {
			continue // has no body to name a reason; see TestHead
		}
		attacks = append(attacks, attack{name: name, code: "step_up_required", reason: "grant_missing", do: func(s *scene) (*client, reply) {
			c := s.visitor("carol")
			answer, err := s.aims(c, at)
			gatewaytest.Must(s, err)
			for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "ETag", "Last-Modified", "Location"} {
				if value := answer.Header.Get(name); value != "" {
					s.Errorf("the refusal has %s: %s", name, value)
				}
			}
			if answer.Header.Get("Cache-Control") != "no-store" {
				s.Errorf("the refusal may be stored: %s", answer.Header.Get("Cache-Control"))
			}
			return c, answer
		}})
	}
	attacks = append(attacks,
		aimed("C12 TRACE", "method_refused", "", target{method: "TRACE", path: "/keys"}),
		aimed("C12 TRACE on an open route", "method_refused", "", target{method: "TRACE", path: "/open"}),
		aimed("C12 CONNECT", "method_refused", "", target{method: "CONNECT"}),
		aimed("C12 a method in lower case", "method_refused", "", target{method: "delete", path: "/keys"}),
		aimed("C12 a method in lower case on an open route", "method_refused", "", target{method: "get", path: "/open"}),
		aimed("D4 nobody", "user_missing", "", target{method: "GET", path: "/keys", header: map[string]string{"X-User": ""}}),
		aimed("B2 a grant of 12 KB", "step_up_required", "grant_unreadable", target{method: "GET", path: "/keys", header: map[string]string{"Cookie": "__Host-stepgate=" + strings.Repeat("x", 12_000)}}),
		aimed("B2 150 grants", "step_up_required", "grant_unreadable", target{method: "GET", path: "/keys", header: map[string]string{"Cookie": strings.Repeat("__Host-stepgate=x; ", 150)}}),
		attack{name: "C9 a host that is no origin", code: "origin_unknown", do: func(s *scene) (*client, reply) {
			c := s.visitor("carol")
			c.Origin = s.origin(strayHost)
			answer, err := s.aims(c, target{method: "GET", path: "/keys"})
			gatewaytest.Must(s, err)
			return nil, answer
		}},
		attack{name: "C9 a host without its port", code: "origin_unknown", do: func(s *scene) (*client, reply) {
			answer, err := s.aims(s.visitor("carol"), target{method: "GET", path: "/keys", host: consoleHost})
			gatewaytest.Must(s, err)
			return nil, answer
		}},
		stepUpNeeded("C2 a stronger route's name in full width", "grant_level", func(s *scene) (*client, reply) {
			c := s.visitor("carol")
			c.Key = authtest.New(authtest.Config{Synced: true})
			gatewaytest.Must(s, c.Register("Phone"))
			s.stepsUp(c, "/keys")
			answer, err := s.aims(c, target{method: "GET", path: "/%EF%BD%88ardware/x"})
			gatewaytest.Must(s, err)
			return c, answer
		}),
		stepUpNeeded("C9 one host in the connection, another in the request", "grant_other_origin", func(s *scene) (*client, reply) {
			c := s.insider("carol") // the grant is the console's
			answer, err := s.aims(c, target{method: "GET", path: "/keys", host: strings.TrimPrefix(s.origin(otherHost), "https://")})
			gatewaytest.Must(s, err)
			return c, answer
		}),
	)
	group{name: "routing", attacks: attacks, control: func(s *scene) {
		c := s.insider("carol")
		for _, at := range []target{
			{method: "GET", path: "/open/x"}, {method: "GET", path: "/OPEN"}, {method: "GET", path: "/open/%E6%9C%AC%E5%BD%93%EF%BC%9F"}, {method: "POST", path: "/open/a", trailer: true},
			{method: "DELETE", path: "/keys?y=%2f", trailer: true}, {method: "OPTIONS", path: "/keys"}, {method: "GET", path: "/caf%C3%A9/%20x?//..;"},
		} {
			s.g.Upstream.Take()
			answer, err := s.aims(c, at)
			gatewaytest.Must(s, err)
			gatewaytest.Must(s, answer.Expect(200))
			r := s.g.Upstream.One()
			if r.Method != at.method || r.Target != at.path {
				s.Errorf("judged was %s %s, the upstream got %s %s", at.method, at.path, r.Method, r.Target)
			}
			if len(r.Trailer["X-Stepgate-User"]) > 0 || strings.Contains(fmt.Sprint(r.Header["Cookie"]), "stepgate") {
				s.Errorf("the upstream got %+v", r)
			}
		}
	}}.run(t, http1, http2, http3_)
}

// C12: a HEAD has no body. It gets what a GET gets without one.
func TestHead(t *testing.T) {
	t.Parallel()
	g := fortress(t, gatewaytest.OnFile)
	for _, version := range []string{http1, http2, http3_} {
		s := &scene{T: t, g: g, version: version, who: plain(version)}
		answer, err := s.aims(s.visitor("carol"), protected["C12 HEAD"])
		gatewaytest.Must(t, err)
		if answer.Status != 401 || answer.Header.Get("WWW-Authenticate") == "" || answer.Grants() {
			t.Errorf("%s: %d %v", version, answer.Status, answer.Header)
		}
		g.Audited("step_up_required", "grant_missing")
		g.Upstream.Untouched()
	}
}

// Cookies beyond what servers take are refused in front of the gate, or not even sent. The upstream gets nothing.
func TestHeadersBeyondLimits(t *testing.T) {
	t.Parallel()
	g := fortress(t, gatewaytest.OnFile)
	for _, version := range []string{http1, http2, http3_} {
		s := &scene{T: t, g: g, version: version, who: plain(version)}
		for _, path := range []string{"/keys", "/open"} {
			answer, err := s.aims(s.visitor("carol"), target{method: "GET", path: path, header: map[string]string{"Cookie": "__Host-stepgate=" + strings.Repeat("x", 100_000)}})
			if err == nil && answer.Status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%s %s: %d", version, path, answer.Status)
			}
			g.Upstream.Untouched()
		}
	}
}
