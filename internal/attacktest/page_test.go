package attacktest_test

import (
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// What a page of the gateway must say to browsers, on every kind of answer that it writes itself.
var pageHeaders = map[string]string{
	"X-Frame-Options":              "DENY",                                                                  // G2
	"Cross-Origin-Opener-Policy":   "same-origin",                                                           // G2
	"Cross-Origin-Resource-Policy": "same-origin",                                                           // G6
	"X-Content-Type-Options":       "nosniff",                                                               // G4, G6
	"Cache-Control":                "no-store",                                                              // G4, C23
	"Referrer-Policy":              "same-origin",                                                           // G4, E12
	"Permissions-Policy":           "publickey-credentials-get=(self), publickey-credentials-create=(self)", // G4
}

// G2 to G8: no page can be framed, cached, sniffed or made to load anything that is not its own.
func TestG2_PageHeaders(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := fortress(t, on)
		s := &scene{T: t, g: g, version: http2, who: "g2"}
		c := s.insider("alice")
		fresh := s.sibling(c)
		page := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
		for name, answer := range map[string]reply{
			"the challenge page":      s.sent(fresh, "GET", "/.stepgate/challenge?return_to=/keys", nil, page...),
			"the account page":        s.sent(c, "GET", gatewaytest.Account, nil, page...),
			"the list":                s.sent(c, "GET", gatewaytest.Account, nil, "Accept", "application/json"),
			"the status":              s.sent(c, "GET", "/.stepgate/status", nil),
			"options":                 s.sent(c, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/"}),
			"a redirect":              s.sent(fresh, "GET", "/keys", nil, page...),
			"a refusal as a page":     s.sent(fresh, "GET", "/a//b", nil, page...),
			"a refused form":          s.sent(fresh, "POST", "/keys", map[string]any{}, page...),
			"a refusal as a problem":  s.sent(fresh, "GET", "/keys", nil),
			"an address there is not": s.sent(c, "GET", "/.stepgate/nothing", nil, page...),
			"nobody":                  s.sent(s.named(""), "GET", "/keys", nil, page...),
		} {
			for header, want := range pageHeaders {
				if got := strings.Join(answer.Header[header], "|"); got != want {
					t.Errorf("%s has %s %q, want %q", name, header, got, want)
				}
			}
			policy := answer.Header.Get("Content-Security-Policy")
			for _, want := range []string{"default-src 'none'", "script-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"} {
				if !strings.Contains(policy, want) {
					t.Errorf("%s: no %s in %q", name, want, policy)
				}
			}
			if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
				t.Errorf("%s allows too much: %q", name, policy)
			}
			if !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") {
				continue
			}
			text := string(answer.Body)
			for _, source := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(text, -1) { // G8
				at, err := url.Parse(html.UnescapeString(source[1]))
				if err != nil || at.Host != "" || at.Scheme != "" && at.Scheme != "data" {
					t.Errorf("%s leads to %q", name, source[1])
				}
			}
			if regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|\son[a-z]+=|<style|\sstyle=`).MatchString(strings.ReplaceAll(text, `type="application/json"`, "")) && !strings.Contains(text, "application/json") {
				t.Errorf("%s has something inline:\n%s", name, text)
			}
		}
	})
}

// G1: whatever somebody calls themselves or their passkey, or where they want to go, is text.
func TestG1_Inert(t *testing.T) {
	hostile := []string{`"><script>alert(1)</script>`, `</script><script>alert(1)</script>`, `{{.}}{{printf "%s" 7}}`, "javascript:alert(1)", `' onmouseover='alert(1)`, "<!--", "]]>", `\u003cscript\u003e`, "{env.HOME}{http.request.host}", "&lt;script&gt;"}
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := fortress(t, on)
		s := &scene{T: t, g: g, version: http2, who: "g1"}
		page := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
		for _, text := range hostile {
			c := s.named(text)
			gatewaytest.Must(t, c.Register(text))
			for _, answer := range []reply{
				s.sent(c, "GET", gatewaytest.Account, nil, page...),
				s.sent(c, "GET", "/.stepgate/challenge?return_to="+url.QueryEscape("/keys?x="+text), nil, page...),
				s.sent(c, "GET", "/.stepgate/"+url.PathEscape(text), nil, page...),
				s.sent(c, "GET", "/.stepgate/challenge?demand="+url.QueryEscape(text), nil, page...),
			} {
				body := string(answer.Body)
				for _, bad := range []string{"<script>alert", "onmouseover='", `onmouseover="`, "href=\"javascript:", "<!-- "} {
					if strings.Contains(body, bad) {
						t.Errorf("%q: the page has %q:\n%s", text, bad, body)
					}
				}
				if scripts := strings.Count(body, "<script"); scripts > 2 {
					t.Errorf("%q: the page has %d scripts", text, scripts)
				}
				if strings.Contains(text, "{env") && strings.Contains(body, g.Folder) {
					t.Errorf("%q was expanded", text)
				}
			}
			var list struct{ Passkeys []struct{ Name string } }
			gatewaytest.Must(t, json.Unmarshal(s.sent(c, "GET", gatewaytest.Account, nil, "Accept", "application/json").Body, &list))
			if len(list.Passkeys) != 1 || list.Passkeys[0].Name != text {
				t.Errorf("%q is kept as %+v", text, list.Passkeys)
			}
			s.stepsUp(c, "/keys")
			if r := s.passes(c, "GET", "/keys"); len(r.Header["X-Stepgate-User"]) != 1 {
				t.Errorf("%q: the upstream was told %q", text, r.Header["X-Stepgate-User"])
			}
		}
	})
}

// G11: what anybody may read tells the configured origins and addresses, and nothing about who reads.
func TestG11_WellKnown(t *testing.T) {
	t.Parallel()
	g := fortress(t, gatewaytest.OnFile)
	s := &scene{T: t, g: g, version: http1, who: "g11"}
	c := s.insider("alice")
	for _, path := range []string{"/.well-known/webauthn", "/.well-known/passkey-endpoints"} {
		var texts []string
		for _, reader := range []*client{s.named(""), c} {
			answer := s.sent(reader, "GET", path+"?origin=https://evil.test", nil, "X-Forwarded-Host", "evil.test", "Origin", "https://evil.test")
			gatewaytest.Must(t, answer.Expect(200))
			if len(answer.Header["Set-Cookie"]) > 0 || !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") || strings.Contains(string(answer.Body), "evil") {
				t.Errorf("%s: %v %s", path, answer.Header, answer.Body)
			}
			texts = append(texts, string(answer.Body))
		}
		if texts[0] != texts[1] {
			t.Errorf("%s tells nobody %s, and alice %s", path, texts[0], texts[1])
		}
	}
	g.Upstream.Untouched()
}
