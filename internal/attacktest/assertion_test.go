package attacktest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// anywhere stands for a scene's place where only the names of cases matter.
var anywhere = authtest.Place{RPID: rpID, Origin: "https://" + consoleHost, Other: "https://" + otherHost}

// stepUpWorks is the control of what follows.
func stepUpWorks(s *scene) {
	c := s.holder("alice")
	s.stepsUp(c, "/keys")
	if r := s.passes(c, "GET", "/keys"); r.Header.Get("X-Stepgate-User") != c.User {
		s.Errorf("the upstream was told %q", r.Header.Get("X-Stepgate-User"))
	}
}

// Every lie that an authenticator, or what sits between it and the gateway, can tell when it signs. The passkey goes on
// working.
func TestLyingAssertions(t *testing.T) {
	g := group{name: "lying assertions", control: stepUpWorks}
	for i, test := range authtest.RefusedAssertions(anywhere) {
		g.attacks = append(g.attacks, attack{name: test.Name, code: test.Refusal, do: func(s *scene) (*gatewaytest.Client, gatewaytest.Reply) {
			c := s.holder("alice")
			s.stepsUp(c, "/touch", authtest.SignCount(10))
			answer := s.finished(c, s.begun(c, "/keys", authtest.RefusedAssertions(s.place())[i].Lie))
			s.stepsUp(c, "/touch", authtest.SignCount(30))
			return c, answer
		}})
	}
	g.run(t)
}

// What does not parse. It leaves the challenge as it was: the honest reply comes after it, and succeeds.
func TestMalformedAssertions(t *testing.T) {
	g := group{name: "malformed assertions", parsing: true, control: stepUpWorks}
	for i, test := range authtest.MalformedAssertions(anywhere) {
		if test.Name == "A42 malformed: nothing" || test.Name == "A42 malformed: truncated" || test.Name == "A42 malformed: trailing comma" {
			continue // the body that holds the reply would be no JSON: TestBodies has those
		}
		g.attacks = append(g.attacks, attack{name: test.Name, code: test.Refusal, do: func(s *scene) (*gatewaytest.Client, gatewaytest.Reply) {
			c := s.holder("alice")
			options, err := c.Step("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"}, 200)
			gatewaytest.Must(s, err)
			credential, err := c.Key.Authenticate(options, c.Origin, authtest.MalformedAssertions(s.place())[i].Lie)
			gatewaytest.Must(s, err)
			answer := s.raw(c, "POST", "/.stepgate/challenge/verify", `{"return_to":"/keys","credential":`+string(credential)+`}`)
			honest, err := c.Key.Authenticate(options, c.Origin)
			gatewaytest.Must(s, err)
			after := s.finished(c, map[string]any{"return_to": "/keys", "credential": gatewaytest.RawJSON(honest)})
			gatewaytest.Must(s, after.Expect(200))
			return c, answer
		}})
	}
	g.run(t)
}

// What is odd and right must pass, or people with such devices would have the gate switched off.
func TestToleratedAssertions(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		gateway := fortress(t, on)
		for _, test := range authtest.ToleratedAssertions() {
			t.Run(test.Name, func(t *testing.T) {
				s := &scene{T: t, g: gateway, version: http2, who: plain(test.Name)}
				c := s.holder("alice")
				s.stepsUp(c, "/hardware/x", test.Lie)
				s.passes(c, "GET", "/hardware/x")
			})
		}
	})
}
