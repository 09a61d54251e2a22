package attacktest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// named is a client for a user with just this name.
func (s *scene) named(name string) *client {
	s.Helper()
	c := s.visitor("x")
	c.User = name
	return c
}

// unlike are names that some system or other takes for the same as "josé".
var unlike = map[string]string{
	"in capitals": "JOSÉ", "decomposed": "jose\u0301", "without the accent": "jose", "with a Cyrillic o": "j\u043esé", "with a zero-width space": "jo\u200bsé",
	"with a soft hyphen": "jo\u00adsé", "in full width": "\uff4aosé", "with a dot": "josé.", "with a byte order mark": "\ufeffjosé", "long s": "jo\u017fé",
}

// Who somebody is comes from the first factor, in one spelling.
func TestIdentities(t *testing.T) {
	attacks := []attack{
		{name: "D4 nobody on a protected route", code: "user_missing", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named(""), "GET", "/keys", nil)
		}},
		{name: "D4 only spaces", code: "user_missing", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named(""), "GET", "/keys", nil, "X-User", "   ")
		}},
		{name: "D4 nobody with a stolen grant", code: "user_missing", do: func(s *scene) (*client, reply) {
			grant := s.stepsUp(s.holder("alice"), "/keys")
			return nil, s.with(s.named(""), "/keys", grant)
		}},
		{name: "D4 nobody, named by our own headers", code: "user_missing", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named(""), "GET", "/keys", nil, "X-Stepgate-User", "root", "X-Stepgate-Level", "attested")
		}},
		{name: "D4 nobody, named by other first factors' headers", code: "user_missing", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named(""), "GET", "/keys", nil, "X-Auth-User", "root", "X-Forwarded-User", "root", "Remote-User", "root", "X-Remote-User", "root", "X_User", "root")
		}},
		{name: "D5 named in a header that a proxy would add", code: "user_missing", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named(""), "GET", "/keys", nil, "X-Forwarded-For", "127.0.0.1", "X-Auth-Request-Email", "root@example.com")
		}},
		{name: "F1 nobody starts a registration", code: "user_missing", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named(""), "POST", gatewaytest.Account+"/options", map[string]any{"name": "Key"})
		}},
		{name: "F1 nobody finishes one", code: "user_missing", do: func(s *scene) (*client, reply) {
			c := s.visitor("alice")
			body, err := c.BeginRegistration(c.Key, "Key", nil)
			gatewaytest.Must(s, err)
			c.User = ""
			return nil, s.sent(c, "POST", gatewaytest.Account, body)
		}},
		{name: "D8 a name of 513 bytes", code: "user_invalid", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named(strings.Repeat("a", 513)), "GET", "/keys", nil)
		}},
		{name: "D8 a name of 10 kB", code: "user_invalid", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named(strings.Repeat("a", 10_000)), "GET", "/keys", nil)
		}},
		{name: "D14 not UTF-8", code: "user_invalid", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named("caf\xe9"), "GET", "/keys", nil)
		}},
		{name: "D14 a tab", code: "user_invalid", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named("a\tb"), "GET", "/keys", nil)
		}},
		{name: "D14 a C1 control", code: "user_invalid", do: func(s *scene) (*client, reply) {
			return nil, s.sent(s.named("a\u0085b"), "GET", "/keys", nil)
		}},
		stepUpNeeded("D11 the same name on another host", "grant_other_origin", func(s *scene) (*client, reply) {
			c := s.insider("alice")
			grant := "__Host-stepgate=" + s.cookies(c)["__Host-stepgate"]
			c.Origin = s.origin(sessionHost)
			return c, s.with(inSession(c, "one"), "/keys", grant)
		}),
	}
	for how, name := range unlike {
		attacks = append(attacks, attack{name: "D7 the same name " + how, code: "no_passkey", do: func(s *scene) (*client, reply) {
			c := s.named("josé " + s.who)
			gatewaytest.Must(s, c.Register("Key"))
			s.stepsUp(c, "/keys")
			s.passes(c, "GET", "/keys")
			c.User = name + " " + s.who
			return c, s.sent(c, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
		}})
	}
	group{name: "identities", attacks: attacks, control: func(s *scene) {
		for _, name := range []string{"josé ", strings.Repeat("a", 480), "a#b", "O'Brien <x@y.z>", "名前"} {
			c := s.named(name + s.who)
			gatewaytest.Must(s, c.Register("Key"))
			s.stepsUp(c, "/keys")
			r := s.passes(c, "GET", "/keys")
			if got := r.Header["X-Stepgate-User"]; len(got) != 1 || got[0] == "" {
				s.Errorf("%s: the upstream was told %q", name, got)
			}
		}
	}}.run(t)
}

// D1: whatever a client says of itself, the upstream hears it from the gateway alone, on open routes as on protected ones.
func TestD1_ForgedHeaders(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := fortress(t, on)
		for _, version := range []string{http1, http2, http3_} {
			s := &scene{T: t, g: g, version: version, who: plain(version)}
			c := s.insider("alice")
			for _, path := range []string{"/open/x", "/keys"} {
				request, err := http.NewRequest("GET", c.Origin+path, nil)
				gatewaytest.Must(t, err)
				request.Header = http.Header{
					"X-User": {c.User}, "X-Stepgate-User": {"root", "toor"}, "x-stepgate-user": {"root"}, "X-Stepgate-Level": {"attested"}, "X-STEPGATE-PASSKEY": {"x"},
					"X-Stepgate-Time": {"2099-01-01T00:00:00Z"}, "X_Stepgate_User": {"root"}, "X.Stepgate.User": {"root"}, "X-Stepgate-Anything": {"1"},
					"X-Original-Url": {"/admin"}, "X-Rewrite-Url": {"/admin"}, "X-Http-Method-Override": {"DELETE"}, "X-Method-Override": {"DELETE"},
				}
				g.Upstream.Take()
				answer, err := c.Do(request)
				gatewaytest.Must(t, err)
				gatewaytest.Must(t, answer.Expect(200))
				r := g.Upstream.One()
				for name, values := range r.Header {
					lower := strings.ToLower(name)
					if strings.Contains(lower, "override") || strings.Contains(lower, "original") || strings.Contains(lower, "rewrite") || strings.Contains(lower, "anything") || strings.ContainsAny(name, "_.") {
						t.Errorf("%s %s: the upstream got %s: %q", version, path, name, values)
					}
				}
				want := c.User
				if path == "/open/x" {
					want = ""
				}
				if got := strings.Join(r.Header["X-Stepgate-User"], "|"); got != want {
					t.Errorf("%s %s: the upstream was told %q, want %q", version, path, got, want)
				}
			}
		}
	})
}

// D12: whether somebody has a passkey can't be told from how the gateway refuses those who are not that person.
func TestD12_Enumeration(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		s := &scene{T: t, g: fortress(t, on), version: http2, who: "d12"}
		alice := s.holder("alice")
		s.removes(alice, "Key") // a record without passkeys
		mallory := s.holder("mallory")
		for _, body := range []map[string]any{{"name": "x", "invitation": strings.Repeat("A", 22)}, {"name": "x", "recovery_code": "0000-0000-0000-0000"}} {
			var seen []string
			for _, c := range []*client{s.visitor("nobody"), alice, mallory} {
				answer := s.sent(c, "POST", gatewaytest.Account+"/options", body)
				seen = append(seen, gatewaytest.ProblemIn(t, answer.Body).Code)
			}
			if seen[0] != seen[1] || seen[1] != seen[2] {
				t.Errorf("%v: nobody, one without and one with a passkey are told %q", body, seen)
			}
		}
		// Another person's passkey, and one that there is not, are the same to whoever asks.
		stranger := s.holder("stranger")
		theirs := s.passkey(mallory, "Key")
		for _, id := range []string{theirs, gatewaytest.Account + "/" + strings.Repeat("A", 22)} {
			gatewaytest.Must(t, s.sent(stranger, "PATCH", id, map[string]any{"name": "Mine"}).Refused(404, "passkey_unknown"))
		}
	})
}
