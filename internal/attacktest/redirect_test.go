package attacktest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// elsewhere are values of return_to that some browser or library takes for another place, or that would go round in circles.
var elsewhere = map[string]string{
	"E1 two slashes": "//evil.test", "E1 three": "///evil.test", "E1 a backslash": `/\evil.test`, "E1 two backslashes": `\\evil.test`, "E1 an encoded slash": "/%2f/evil.test",
	"E1 an encoded backslash": "/%5cevil.test", "E1 a dot": "/.//evil.test", "E1 two dots": "/..//evil.test", "E1 a tab": "/\t/evil.test", "E1 a tab before": "\t//evil.test",
	"E1 a line break": "/\n/evil.test", "E1 a space before": " //evil.test", "E1 encoded dots": "/%2e%2e//evil.test", "E1 a semicolon": "/;//evil.test", "E1 an at sign": "//x@evil.test",
	"E2 no slashes": "https:evil.test", "E2 one slash": "https:/evil.test", "E2 in capitals": "HTTPS://evil.test", "E2 another site": "https://evil.test/", "E2 userinfo": "https://" + consoleHost + "@evil.test",
	"E2 a host that begins alike": "https://" + consoleHost + ".evil.test", "E2 a fragment": "https://evil.test#" + consoleHost, "E2 a port and a backslash": "https://" + consoleHost + `:80\@evil.test`,
	"E2 this very host": "https://" + consoleHost + "/keys", "E2 javascript": "javascript:alert(1)", "E2 data": "data:text/html,x", "E2 relative": "keys", "E2 empty": "", "E2 only a query": "?x", "E2 only a fragment": "#x",
	"E4 an encoded header": "/keys%0d%0aSet-Cookie:x=1", "E4 a raw header": "/keys\r\nSet-Cookie: x=1", "E4 a line separator": "/keys\u2028x", "E4 NUL": "/keys\x00", "E4 not UTF-8": "/keys%ff",
	"E6 the page itself": "/.stepgate/challenge", "E6 the page itself with a query": "/.stepgate/challenge?return_to=/keys", "E6 the end of a step-up": "/.stepgate/challenge/verify", "E6 the log-out": "/.stepgate/logout",
	"E6 the prefix": "/.stepgate", "E6 the prefix encoded": "/%2estepgate/logout", "E6 dots around the prefix": "/x/../.stepgate/logout", "E6 of 5 KB": "/" + strings.Repeat("a", 5000),
}

// Wherever somebody wants people to end up after a step-up, it is on this origin.
func TestReturns(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := fortress(t, on)
		for _, version := range []string{http1, http2} {
			s := &scene{T: t, g: g, version: version, who: plain(version)}
			ends := func(s *scene, c *client, to string) string {
				s.Helper()
				answer := s.finished(c, s.begun(c, to))
				gatewaytest.Must(s, answer.Expect(200))
				var got struct {
					ReturnTo string `json:"return_to"`
				}
				gatewaytest.Must(s, json.Unmarshal(answer.Body, &got))
				return got.ReturnTo
			}
			if got := ends(s, s.holder("alice"), "/keys?x=1&y=%2F"); got != "/keys?x=1&y=%2F" {
				t.Fatalf("the control ends at %q", got)
			}
			for name, to := range elsewhere {
				t.Run(plain(version)+" "+name, func(t *testing.T) {
					s := &scene{T: t, g: g, version: version, who: plain(version + name)}
					c := s.holder("alice")
					if got := ends(s, c, to); got != "/" {
						t.Errorf("ends at %q", got)
					}
					// With a grant the page sends people on by itself.
					answer := s.sent(c, "GET", "/.stepgate/challenge?return_to="+url.QueryEscape(to), nil, "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
					if location := answer.Header["Location"]; answer.Status != 303 || len(location) != 1 || location[0] != "/" || len(answer.Header["X"]) > 0 {
						t.Errorf("the page answers %d and leads to %q", answer.Status, location)
					}
				})
			}
		}
	})
}

// What a demand says was said by the gateway, for this origin.
func TestForgedDemands(t *testing.T) {
	forged := func(change func(s *scene, c *client) string) func(s *scene) (*client, reply) {
		return func(s *scene) (*client, reply) {
			c := s.holder("alice")
			return c, s.sent(c, "POST", "/.stepgate/challenge/options", map[string]any{"demand": change(s, c)})
		}
	}
	var attacks []attack
	for name, change := range map[string]func(s *scene, c *client) string{
		"rubbish":            func(*scene, *client) string { return strings.Repeat("A", 200) },
		"one letter changed": func(s *scene, c *client) string { d := []byte(s.demand(c, "/keys")); d[40] ^= 1; return string(d) },
		"cut short":          func(s *scene, c *client) string { d := s.demand(c, "/keys"); return d[:len(d)-2] },
		"longer":             func(s *scene, c *client) string { return s.demand(c, "/keys") + "AAAA" },
		"padded":             func(s *scene, c *client) string { return s.demand(c, "/keys") + "=" },
		"a grant":            func(s *scene, c *client) string { return strings.TrimPrefix(s.stepsUp(c, "/keys"), "__Host-stepgate=") },
		"of another host": func(s *scene, c *client) string {
			other := s.sibling(c)
			other.Origin = s.origin(otherHost)
			return s.demand(other, "/keys")
		},
		"of 60 KB": func(*scene, *client) string { return strings.Repeat("A", 60<<10) },
	} {
		attacks = append(attacks, attack{name: "E8 a demand: " + name, code: "demand_invalid", do: forged(change)})
	}
	attacks = append(attacks,
		attack{name: "E8 begun for one demand, finished for a stronger one", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			weak, strong := s.demand(c, "/touch"), s.demand(c, "/hardware/x")
			body, err := c.Begin(map[string]any{"demand": weak})
			gatewaytest.Must(s, err)
			body["demand"] = strong
			return c, s.finished(c, body)
		}},
		attack{name: "E8 both a demand and a return_to", code: "body_malformed", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			return c, s.sent(c, "POST", "/.stepgate/challenge/options", map[string]any{"demand": s.demand(c, "/hardware/x"), "return_to": "/touch"})
		}},
		stepUpNeeded("E9 a script is never sent elsewhere", "grant_missing", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			answer := s.sent(c, "POST", "/keys", map[string]any{"x": 1}, "Accept", "application/json", "Sec-Fetch-Mode", "cors")
			if answer.Header.Get("Location") != "" || !strings.Contains(answer.Header.Get("WWW-Authenticate"), "insufficient_user_authentication") {
				s.Errorf("%v", answer.Header)
			}
			return c, answer
		}),
		stepUpNeeded("E11 forwarding headers that lead elsewhere", "grant_missing", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			answer := s.sent(c, "GET", "/keys", nil, "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "gopher", "X-Forwarded-Prefix", "//evil.test", "Forwarded", "host=evil.test",
				"X-Original-URL", "//evil.test", "X-Forwarded-Port", "1", "X-Host", "evil.test", "Referer", "https://evil.test/")
			if page := gatewaytest.ProblemIn(s, answer.Body).StepUpURL; !strings.HasPrefix(page, c.Origin+"/.stepgate/challenge?") && !strings.HasPrefix(page, "/.stepgate/challenge?") || strings.Contains(string(answer.Body), "evil") {
				s.Errorf("the step-up is at %q", page)
			}
			return c, answer
		}),
	)
	group{name: "forged demands", control: func(s *scene) {
		c := s.holder("alice")
		body, err := c.Begin(map[string]any{"demand": s.demand(c, "/hardware/x")})
		gatewaytest.Must(s, err)
		answer := s.finished(c, body)
		gatewaytest.Must(s, answer.Expect(200))
		s.passes(c, "GET", "/hardware/x")
	}, attacks: attacks}.run(t)
}

// E10: whoever can't step up is not sent round in circles.
func TestE10_NoCircles(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := fortress(t, on)
		s := &scene{T: t, g: g, version: http2, who: "e10"}
		for name, c := range map[string]*client{"without a passkey": s.visitor("alice"), "without cookies": s.holder("bob"), "with a stale grant": s.insider("carol")} {
			path := "/keys"
			switch name {
			case "without cookies":
				c.HTTP.Jar = nil
			case "with a stale grant":
				path = "/brief"
				gatewaytest.Eventually(t, "the grant is too old", func() bool { return s.sent(c, "GET", path, nil).Status == 401 })
			}
			redirects := 0
			for {
				answer := s.sent(c, "GET", path, nil, "Accept", "text/html", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
				if answer.Status == http.StatusOK {
					break
				}
				at, err := url.Parse(answer.Header.Get("Location"))
				gatewaytest.Must(t, err)
				if answer.Status != http.StatusSeeOther || at.Host != "" && at.Host != strings.TrimPrefix(c.Origin, "https://") {
					t.Fatalf("%s: %d to %s", name, answer.Status, at)
				}
				path = at.RequestURI()
				if redirects++; redirects > 2 {
					t.Fatalf("%s: %d redirects", name, redirects)
				}
			}
		}
		for _, r := range g.Upstream.Take() {
			if r.Target != "/brief" {
				t.Errorf("reached the upstream: %s", r.Target)
			}
		}
	})
}
