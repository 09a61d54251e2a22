package attacktest_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

type client = gatewaytest.Client
type reply = gatewaytest.Reply

// A right reply at the wrong time, by the wrong person, in the wrong place or for the wrong purpose.
func TestMisusedCeremonies(t *testing.T) {
	group{name: "misused ceremonies", control: func(s *scene) {
		stepUpWorks(s)
		addingAndRemovingWork(s)
	}, attacks: []attack{
		{name: "A1 the same reply twice", code: "challenge_used", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			body := s.begun(c, "/keys")
			gatewaytest.Must(s, s.finished(c, body).Expect(200))
			return c, s.finished(c, body)
		}},
		{name: "A2 in another browser of the same person", code: "browser_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			thief := s.sibling(c)
			s.begun(thief, "/keys") // it has a ceremony cookie of its own
			return c, s.finished(thief, s.begun(c, "/keys"))
		}},
		{name: "A2 in a client without cookies", code: "browser_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			return c, s.finished(s.sibling(c), s.begun(c, "/keys"))
		}},
		{name: "A2 in another first-factor session", code: "session_mismatch", do: func(s *scene) (*client, reply) {
			c := s.sessionHolder("alice", "one")
			body := s.begun(c, "/keys")
			return c, s.finished(inSession(c, "two"), body)
		}},
		{name: "A2 without the first-factor session", code: "session_missing", do: func(s *scene) (*client, reply) {
			c := s.sessionHolder("alice", "one")
			body := s.begun(c, "/keys")
			return c, s.finished(inSession(c, ""), body)
		}},
		{name: "A5 a challenge of A signed by B and sent by B", code: "challenge_used", do: func(s *scene) (*client, reply) {
			a, b := s.holder("alice"), s.holder("bob")
			s.begun(b, "/keys") // B has a ceremony cookie
			a.Key = b.Key
			return b, s.finished(b, s.begun(a, "/keys", authtest.Obstinate()))
		}},
		{name: "A5 a challenge of A signed by B and sent by A", code: "passkey_unknown", do: func(s *scene) (*client, reply) {
			a, b := s.holder("alice"), s.holder("bob")
			a.Key = b.Key
			return a, s.finished(a, s.begun(a, "/keys", authtest.Obstinate()))
		}},
		{name: "A6 a reply of A sent by B", code: "challenge_used", do: func(s *scene) (*client, reply) {
			a, b := s.holder("alice"), s.holder("bob")
			s.begun(b, "/keys")
			return b, s.finished(b, s.begun(a, "/keys"))
		}},
		{name: "A6 a reply of A sent by B from the same browser", code: "challenge_used", do: func(s *scene) (*client, reply) {
			a, b := s.holder("alice"), s.holder("bob")
			b.HTTP.Jar = a.HTTP.Jar
			return b, s.finished(b, s.begun(a, "/keys"))
		}},
		{name: "A10 an invented challenge", code: "challenge_used", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			mine := make([]byte, 32)
			_, _ = rand.Read(mine)
			return c, s.finished(c, s.begun(c, "/keys", authtest.Challenge(mine), authtest.BodyMember("challenge", "AAAA")))
		}},
		{name: "A10 a challenge of zeros", code: "challenge_used", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			return c, s.finished(c, s.begun(c, "/keys", authtest.Challenge(make([]byte, 32))))
		}},
		{name: "A11 a finish without a start", code: "challenge_used", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			options := fmt.Sprintf(`{"publicKey":{"challenge":%q,"rpId":%q,"userVerification":"required"}}`, strings.Repeat("A", 43), rpID)
			credential, err := c.Key.Authenticate([]byte(options), c.Origin)
			gatewaytest.Must(s, err)
			return c, s.finished(s.sibling(c), map[string]any{"return_to": "/keys", "credential": gatewaytest.RawJSON(credential)})
		}},
		{name: "A12 a registration's challenge in an authentication", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			authorization, err := c.Authorize("add", "")
			gatewaytest.Must(s, err)
			options := s.sent(c, "POST", gatewaytest.Account+"/options", map[string]any{"name": "New", "authorization": authorization})
			gatewaytest.Must(s, options.Expect(200))
			credential, err := c.Key.Authenticate(asRequest(s, options.Body), c.Origin)
			gatewaytest.Must(s, err)
			return c, s.finished(c, map[string]any{"return_to": "/keys", "credential": gatewaytest.RawJSON(credential)})
		}},
		{name: "A13 an authentication's challenge in a registration", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			options, err := c.Step("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"}, 200)
			gatewaytest.Must(s, err)
			credential, err := authtest.New(authtest.Config{}).Register(asCreation(s, options), c.Origin, authtest.Obstinate())
			gatewaytest.Must(s, err)
			return c, s.sent(c, "POST", gatewaytest.Account, map[string]any{"name": "New", "credential": gatewaytest.RawJSON(credential)})
		}},
		{name: "A15 begun for a lower level, finished for a higher one", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			body := s.begun(c, "/touch")
			body["return_to"] = "/hardware/x"
			return c, s.finished(c, body)
		}},
		{name: "A15 begun for any passkey, finished by a synced one for hardware", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c := s.visitor("alice")
			c.Key = authtest.New(authtest.Config{Synced: true})
			gatewaytest.Must(s, c.Register("Phone"))
			body := s.begun(c, "/keys")
			body["return_to"] = "/hardware/x"
			return c, s.finished(c, body)
		}},
		{name: "A16 begun on one host, signed and finished on another", code: "origin_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			body := s.begun(c, "/keys", authtest.Origin(s.origin(otherHost)))
			elsewhere := *c
			elsewhere.Origin = s.origin(otherHost)
			return c, s.sent(&elsewhere, "POST", "/.stepgate/challenge/verify", body, "Cookie", s.ceremonyCookie(c))
		}},
		{name: "A16 begun and signed on one host, finished on another", code: "origin_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			body := s.begun(c, "/keys")
			elsewhere := *c
			elsewhere.Origin = s.origin(otherHost)
			return c, s.sent(&elsewhere, "POST", "/.stepgate/challenge/verify", body, "Cookie", s.ceremonyCookie(c))
		}},
		{name: "A16 begun on a host, finished on one that is no origin", code: "origin_unknown", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			body := s.begun(c, "/keys")
			elsewhere := *c
			elsewhere.Origin = s.origin(strayHost)
			return nil, s.sent(&elsewhere, "POST", "/.stepgate/challenge/verify", body, "Cookie", s.ceremonyCookie(c))
		}},
		{name: "A28 signed by B in the name of A's passkey", code: "signature_invalid", do: func(s *scene) (*client, reply) {
			a, b := s.holder("alice"), s.holder("bob")
			id := a.Key.Credentials()[0].ID
			a.Key = b.Key
			return a, s.finished(a, s.begun(a, "/keys", authtest.Obstinate(), authtest.As(id), authtest.UserHandle(nil)))
		}},
		{name: "A29 with a passkey that was removed meanwhile", code: "passkey_unknown", do: func(s *scene) (*client, reply) {
			c, second := s.twoKeys("alice")
			body := s.begun(c, "/keys")
			s.removes(second, "Key")
			answer := s.finished(c, body)
			s.stepsUp(second, "/keys") // the other one works
			return c, answer
		}},
		{name: "A48 by somebody without a passkey", code: "no_passkey", do: func(s *scene) (*client, reply) {
			b, a := s.holder("bob"), s.visitor("alice")
			a.Key = b.Key
			return a, s.sent(a, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
		}},
		{name: "A48 by somebody without a passkey, with a challenge and a passkey of B's", code: "challenge_used", do: func(s *scene) (*client, reply) {
			b, a := s.holder("bob"), s.visitor("alice")
			a.HTTP.Jar = b.HTTP.Jar
			return a, s.finished(a, s.begun(b, "/keys"))
		}},
		{name: "A49 five wrong signatures, then the right one", code: "challenge_used", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			right := s.begun(c, "/keys")
			options := right["credential"]
			wrong := maps.Clone(right)
			wrong["credential"] = tampered(s, options)
			gatewaytest.Must(s, s.finished(c, wrong).Refused(403, "signature_invalid"))
			for range 4 {
				gatewaytest.Must(s, s.finished(c, wrong).Refused(409, "challenge_used"))
			}
			return c, s.finished(c, right)
		}},
		{name: "F2 a step-up in place of an authorization to add", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c := s.insider("alice")
			return c, s.sent(c, "POST", gatewaytest.Account+"/options", map[string]any{"name": "New", "authorization": s.begun(c, "/keys")["credential"]})
		}},
		{name: "F10 a step-up in place of an authorization to remove", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c, second := s.twoKeys("alice")
			return c, s.sent(c, "DELETE", s.passkey(second, "USB"), map[string]any{"authorization": s.begun(c, "/keys")["credential"]})
		}},
		{name: "F10 an authorization to add in place of one to remove", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c, second := s.twoKeys("alice")
			authorization, err := c.Authorize("add", "")
			gatewaytest.Must(s, err)
			return c, s.sent(c, "DELETE", s.passkey(second, "USB"), map[string]any{"authorization": authorization})
		}},
		{name: "F10 an authorization to remove one passkey used on another", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c, second := s.twoKeys("alice")
			authorization, err := c.Authorize("remove", strings.TrimPrefix(s.passkey(second, "Key"), gatewaytest.Account+"/"))
			gatewaytest.Must(s, err)
			return c, s.sent(c, "DELETE", s.passkey(second, "USB"), map[string]any{"authorization": authorization})
		}},
		{name: "F10 an authorization to remove in place of a step-up", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c, second := s.twoKeys("alice")
			authorization, err := c.Authorize("remove", strings.TrimPrefix(s.passkey(second, "USB"), gatewaytest.Account+"/"))
			gatewaytest.Must(s, err)
			return c, s.finished(c, map[string]any{"return_to": "/keys", "credential": authorization})
		}},
		{name: "F2 an authorization to add in place of a step-up", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			authorization, err := c.Authorize("add", "")
			gatewaytest.Must(s, err)
			return c, s.finished(c, map[string]any{"return_to": "/keys", "credential": authorization})
		}},
		{name: "F2 an authorization to add in place of one for recovery codes", code: "ceremony_mismatch", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			authorization, err := c.Authorize("add", "")
			gatewaytest.Must(s, err)
			return c, s.sent(c, "POST", "/.stepgate/recovery-codes", map[string]any{"authorization": authorization})
		}},
		{name: "F2 an authorization to add, twice", code: "challenge_used", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			authorization, err := c.Authorize("add", "")
			gatewaytest.Must(s, err)
			_, err = c.BeginRegistration(authtest.New(authtest.Config{}), "USB", authorization)
			gatewaytest.Must(s, err)
			return c, s.sent(c, "POST", gatewaytest.Account+"/options", map[string]any{"name": "Another", "authorization": authorization})
		}},
		{name: "A1 the same registration twice", code: "challenge_used", do: func(s *scene) (*client, reply) {
			c := s.visitor("alice")
			body, err := c.BeginRegistration(c.Key, "Key", nil)
			gatewaytest.Must(s, err)
			gatewaytest.Must(s, s.sent(c, "POST", gatewaytest.Account, body).Expect(201))
			return c, s.sent(c, "POST", gatewaytest.Account, body)
		}},
	}}.run(t)
}

// A challenge whose time is up does not work, whether or not the store still has it. Half a minute is the shortest time that
// can be configured; both stores wait it out together.
func TestExpiredCeremonies(t *testing.T) {
	t.Parallel()
	type late struct {
		*scene
		c, newcomer          *client
		stepUp, registration map[string]any
	}
	var all []late
	for _, on := range []gatewaytest.Store{gatewaytest.OnFile, gatewaytest.OnDynamoDB} {
		g := on.Prepare(t)
		g.URL = fmt.Sprintf("https://%s:%d", consoleHost, g.Port)
		g.Configure(strings.Replace(caddyfile, "revocation_lag 0s", "revocation_lag 0s\nchallenge_ttl 30s", 1))
		g.Run()
		s := &scene{T: t, g: g, version: http2, who: string(on)}
		l := late{scene: s, c: s.holder("alice"), newcomer: s.visitor("bob")}
		s.stepsUp(l.c, "/keys") // in time it works
		l.stepUp = s.begun(l.c, "/keys")
		var err error
		l.registration, err = l.newcomer.BeginRegistration(l.newcomer.Key, "Key", nil)
		gatewaytest.Must(t, err)
		all = append(all, l)
	}
	<-time.After(30 * time.Second) // the gateways' clock is the machine's
	for _, l := range all {
		for c, answer := range map[*client]reply{
			l.c: l.finished(l.c, l.stepUp), l.newcomer: l.sent(l.newcomer, "POST", gatewaytest.Account, l.registration),
		} {
			code := "challenge_expired"
			if l.g.Store != "" && gatewaytest.ProblemIn(t, answer.Body).Code == "challenge_used" {
				code = "challenge_used" // DynamoDB has swept it, as it may at any time from now on
			}
			l.refused(c, answer, code, "")
		}
	}
}

// What a client asks for beyond the demand changes nothing.
func TestA50_ClientsParameters(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		s := &scene{T: t, g: fortress(t, on), version: http2, who: "a50"}
		c := s.holder("alice")
		answer := s.raw(c, "POST", "/.stepgate/challenge/options", `{"return_to":"/keys","userVerification":"discouraged","rpId":"evil.test","challenge":"AAAA",
			"allowCredentials":[],"timeout":1,"extensions":{"appid":"https://evil.test"},"level":"present","max_age":999999,"user":"root"}`)
		gatewaytest.Must(s, answer.Expect(200))
		text := string(answer.Body)
		for _, want := range []string{`"userVerification":"required"`, `"rpId":"` + rpID + `"`, `"allowCredentials":[{`} {
			if !strings.Contains(text, want) {
				t.Errorf("no %s in %s", want, text)
			}
		}
		for _, not := range []string{"evil", "AAAA\"", "appid", "discouraged"} {
			if strings.Contains(text, not) {
				t.Errorf("%s in %s", not, text)
			}
		}
	})
}

// asRequest makes request options of creation options, for the same challenge.
func asRequest(s *scene, creation []byte) []byte {
	return fmt.Appendf(nil, `{"publicKey":{"challenge":%q,"rpId":%q,"userVerification":"required"}}`, challengeIn(s, creation), rpID)
}

// asCreation makes creation options of request options, for the same challenge.
func asCreation(s *scene, request []byte) []byte {
	return fmt.Appendf(nil, `{"publicKey":{"challenge":%q,"rp":{"id":%q},"user":{"id":"AAAA"},"pubKeyCredParams":[{"type":"public-key","alg":-7}],
		"authenticatorSelection":{"userVerification":"required"}}}`, challengeIn(s, request), rpID)
}

func challengeIn(s *scene, options []byte) string {
	_, rest, found := bytes.Cut(options, []byte(`"challenge":"`))
	challenge, _, closed := bytes.Cut(rest, []byte(`"`))
	if !found || !closed {
		s.Fatalf("no challenge in %s", options)
	}
	return string(challenge)
}
