package attacktest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// stepUpNeeded is the refusal of a request whose grant does not do.
func stepUpNeeded(name, reason string, do func(s *scene) (*client, reply)) attack {
	return attack{name: name, code: "step_up_required", reason: reason, do: do}
}

// with is a request for a protected path with this grant and no other cookie.
func (s *scene) with(c *client, path string, cookies ...string) reply {
	s.Helper()
	bare := *c
	bare.HTTP = &http.Client{Transport: c.HTTP.Transport, CheckRedirect: c.HTTP.CheckRedirect}
	return s.sent(&bare, "GET", path, nil, "Cookie", strings.Join(cookies, "; "))
}

// A grant that is somebody else's, of another place, weaker, older, ended or damaged.
func TestMisusedGrants(t *testing.T) {
	group{name: "misused grants", control: func(s *scene) {
		c := s.holder("alice")
		grant := s.stepsUp(c, "/keys")
		gatewaytest.Must(s, s.with(c, "/keys", grant).Expect(200))
		gatewaytest.Must(s, s.with(c, "/hardware/x", "theme=dark", grant, "lang=en").Expect(200))
	}, attacks: []attack{
		stepUpNeeded("B18 a sign-in just now and no step-up", "grant_missing", func(s *scene) (*client, reply) {
			c := s.holder("alice") // registering is none either
			return c, s.sent(c, "GET", "/keys", nil)
		}),
		stepUpNeeded("B3 the grant of A with the sign-in of B", "grant_other_user", func(s *scene) (*client, reply) {
			grant := s.stepsUp(s.holder("alice"), "/keys")
			b := s.holder("bob")
			return b, s.with(b, "/keys", grant)
		}),
		stepUpNeeded("B3 the grant of A with a sign-in as A in capitals", "grant_other_user", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			grant := s.stepsUp(c, "/keys")
			c.User = strings.ToUpper(c.User)
			return c, s.with(c, "/keys", grant)
		}),
		stepUpNeeded("B4 after signing in again", "grant_other_session", func(s *scene) (*client, reply) {
			c := s.sessionHolder("alice", "one")
			s.stepsUp(c, "/keys")
			s.passes(c, "GET", "/keys")
			c = inSession(c, "two")
			return c, s.sent(c, "GET", "/keys", nil)
		}),
		{name: "B4 without a session", code: "session_missing", do: func(s *scene) (*client, reply) {
			c := s.sessionHolder("alice", "one")
			s.stepsUp(c, "/keys")
			c = inSession(c, "")
			return c, s.sent(c, "GET", "/keys", nil)
		}},
		stepUpNeeded("B5 on another host", "grant_other_origin", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			grant := s.stepsUp(c, "/keys")
			c.Origin = s.origin(otherHost)
			return c, s.with(c, "/keys", grant)
		}),
		{name: "B5 on a host that is no origin", code: "origin_unknown", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			grant := s.stepsUp(c, "/keys")
			c.Origin = s.origin(strayHost)
			return nil, s.with(c, "/keys", grant)
		}},
		stepUpNeeded("B6 presence where verification is needed", "grant_level", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			grant := s.stepsUp(c, "/touch", authtest.Clear(authtest.UV))
			gatewaytest.Must(s, s.with(c, "/touch", grant).Expect(200))
			s.g.Upstream.Take()
			return c, s.with(c, "/keys", grant)
		}),
		stepUpNeeded("B6 a synced passkey where one bound to a device is needed", "grant_level", func(s *scene) (*client, reply) {
			c := s.visitor("alice")
			c.Key = authtest.New(authtest.Config{Synced: true})
			gatewaytest.Must(s, c.Register("Phone"))
			grant := s.stepsUp(c, "/keys")
			return c, s.with(c, "/hardware/x", grant)
		}),
		stepUpNeeded("B8 B19 in use all the time until it is too old", "grant_stale", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			grant := s.stepsUp(c, "/brief")
			var last reply
			gatewaytest.Eventually(s, "the grant is too old", func() bool {
				last = s.with(c, "/brief", grant)
				return last.Status != http.StatusOK
			})
			s.g.Upstream.Take()
			return c, last
		}),
		stepUpNeeded("B16 its passkey is removed", "grant_passkey_removed", func(s *scene) (*client, reply) {
			c, second := s.twoKeys("alice")
			grant := s.stepsUp(c, "/keys")
			s.removes(second, "Key")
			return c, s.with(c, "/keys", grant)
		}),
		stepUpNeeded("B16 an administrator revokes", "grant_revoked", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			grant := s.stepsUp(c, "/keys")
			s.administers("revoke", c.User)
			return c, s.with(c, "/keys", grant)
		}),
		stepUpNeeded("B16 an administrator deletes the user, who comes again under the name", "grant_revoked", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			grant := s.stepsUp(c, "/keys")
			s.administers("users", "delete", "--yes", c.User)
			again := s.visitor("alice")
			gatewaytest.Must(s, again.Register("Key"))
			return c, s.with(c, "/keys", grant)
		}),
		stepUpNeeded("B20 after a log-out elsewhere", "grant_revoked", func(s *scene) (*client, reply) {
			c := s.insider("alice")
			grant := "__Host-stepgate=" + s.cookies(c)["__Host-stepgate"]
			other := s.sibling(c)
			s.stepsUp(other, "/keys")
			gatewaytest.Must(s, s.sent(other, "POST", "/.stepgate/logout", map[string]any{}).Expect(204))
			return c, s.with(c, "/keys", grant)
		}),
		{name: "B20 a log-out by GET", code: "method_not_allowed", do: func(s *scene) (*client, reply) {
			c := s.insider("alice")
			answer := s.sent(c, "GET", "/.stepgate/logout", nil)
			s.passes(c, "GET", "/keys")
			return nil, answer
		}},
		{name: "B20 a log-out from a browser that never stepped up", code: "authorization_needed", do: func(s *scene) (*client, reply) {
			c := s.insider("alice")
			answer := s.sent(s.sibling(c), "POST", "/.stepgate/logout", map[string]any{})
			s.passes(c, "GET", "/keys")
			return c, answer
		}},
		stepUpNeeded("B2 empty, as a browser that was told to forget it", "grant_missing", damagedGrant(func(string) string { return "" })),
		stepUpNeeded("B2 cut short", "grant_unreadable", damagedGrant(func(v string) string { return v[:len(v)-1] })),
		stepUpNeeded("B2 longer", "grant_unreadable", damagedGrant(func(v string) string { return v + "A" })),
		stepUpNeeded("B2 padded", "grant_unreadable", damagedGrant(func(v string) string { return v + "=" })),
		stepUpNeeded("B2 twice over", "grant_unreadable", damagedGrant(func(v string) string { return v + v })),
		stepUpNeeded("B2 in another base64", "grant_unreadable", damagedGrant(func(v string) string {
			raw, _ := base64.RawURLEncoding.DecodeString(v)
			return base64.StdEncoding.EncodeToString(raw)
		})),
		stepUpNeeded("B2 quoted", "grant_unreadable", damagedGrant(func(v string) string { return `"` + v + `"` })),
		stepUpNeeded("B2 of 7 KB", "grant_unreadable", damagedGrant(func(v string) string { return strings.Repeat("A", 7000) })),
		stepUpNeeded("B2 a demand in its place", "grant_unreadable", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			return c, s.with(c, "/keys", "__Host-stepgate="+s.demand(c, "/keys"))
		}),
		stepUpNeeded("B2 the browser's mark in its place", "grant_unreadable", func(s *scene) (*client, reply) {
			c := s.insider("alice")
			return c, s.with(c, "/keys", "__Host-stepgate="+s.cookies(c)["__Host-stepgate-ceremony"])
		}),
		stepUpNeeded("B2 under the name that http://localhost has", "grant_missing", renamedGrant("stepgate")),
		stepUpNeeded("B2 under a name in another case", "grant_missing", renamedGrant("__host-stepgate")),
		stepUpNeeded("B2 under a name with another prefix", "grant_missing", renamedGrant("__Secure-stepgate")),
		stepUpNeeded("B2 in the value of another cookie", "grant_missing", renamedGrant("a=__Host-stepgate")),
		stepUpNeeded("B2 in a header", "grant_missing", func(s *scene) (*client, reply) {
			c := s.holder("alice")
			value := strings.TrimPrefix(s.stepsUp(c, "/keys"), "__Host-stepgate=")
			bare := s.sibling(c)
			return c, s.sent(bare, "GET", "/keys", nil, "Authorization", "Bearer "+value)
		}),
	}}.run(t)
}

func damagedGrant(change func(value string) string) func(s *scene) (*client, reply) {
	return func(s *scene) (*client, reply) {
		c := s.holder("alice")
		value := strings.TrimPrefix(s.stepsUp(c, "/keys"), "__Host-stepgate=")
		return c, s.with(c, "/keys", "__Host-stepgate="+change(value))
	}
}

func renamedGrant(name string) func(s *scene) (*client, reply) {
	return func(s *scene) (*client, reply) {
		c := s.holder("alice")
		value := strings.TrimPrefix(s.stepsUp(c, "/keys"), "__Host-stepgate=")
		return c, s.with(c, "/keys", name+"="+value)
	}
}

// Not one bit of a grant can be changed.
func TestB2_EveryBitOfAGrant(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		s := &scene{T: t, g: fortress(t, on), version: http1, who: "b2"}
		c := s.holder("alice")
		value := strings.TrimPrefix(s.stepsUp(c, "/keys"), "__Host-stepgate=")
		gatewaytest.Must(t, s.with(c, "/keys", "__Host-stepgate="+value).Expect(200))
		s.g.Upstream.Take()
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		for i := range value {
			for bit := range 6 {
				changed := []byte(value)
				changed[i] = letters[strings.IndexByte(letters, value[i])^(1<<bit)]
				if err := s.with(c, "/keys", "__Host-stepgate="+string(changed)).Refused(401, "grant_unreadable"); err != nil {
					t.Errorf("letter %d, bit %d: %v", i, bit, err)
				}
			}
		}
		s.g.Upstream.Untouched()
	})
}

// A gateway with other keys opens nobody's grant, and its own grants open nothing elsewhere.
func TestB5_GrantOfAnotherInstance(t *testing.T) {
	t.Parallel()
	s := &scene{T: t, g: fortress(t, gatewaytest.OnFile), version: http2, who: "here"}
	other := &scene{T: t, g: fortress(t, gatewaytest.OnFile), version: http2, who: "here"}
	there := other.holder("alice")
	grant := other.stepsUp(there, "/keys")
	here := s.holder("alice")
	s.stepsUp(here, "/keys")
	s.refused(here, s.with(here, "/keys", grant), "step_up_required", "grant_unreadable")
}

// What a grant's cookie is like, that the upstream never sees it, and that it is never taken over plain HTTP.
func TestB13_GrantCookie(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		s := &scene{T: t, g: fortress(t, on), version: http2, who: "b13"}
		c := s.holder("alice")
		c.HTTP.Jar = nil
		body := s.sent(c, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
		gatewaytest.Must(t, body.Expect(200))
		mark := body.Cookie("__Host-stepgate-ceremony")
		credential, err := c.Key.Authenticate(body.Body, c.Origin)
		gatewaytest.Must(t, err)
		// B11: a grant that was there before, whoever put it there, does not survive.
		planted := "__Host-stepgate=planted"
		answer := s.sent(c, "POST", "/.stepgate/challenge/verify", map[string]any{"return_to": "/keys", "credential": gatewaytest.RawJSON(credential)}, "Cookie", mark+"; "+planted)
		gatewaytest.Must(t, answer.Expect(200))
		for _, line := range answer.Header["Set-Cookie"] {
			cookie, err := http.ParseSetCookie(line)
			gatewaytest.Must(t, err)
			if !strings.HasPrefix(cookie.Name, "__Host-") || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
				t.Errorf("a cookie is set by %s", line)
			}
		}
		grant := answer.Cookie("__Host-stepgate")
		if grant == "" || grant == planted {
			t.Fatalf("the grant is %q", grant)
		}
		gatewaytest.Must(t, s.with(c, "/keys", grant).Expect(200))
		for _, r := range s.g.Upstream.Take() { // B14
			if text := fmt.Sprint(r); strings.Contains(text, strings.TrimPrefix(grant, "__Host-stepgate=")) || strings.Contains(text, "stepgate-ceremony") {
				t.Errorf("the upstream got %s", text)
			}
		}
	})
}
