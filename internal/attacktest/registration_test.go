package attacktest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// registrationWorks is the control of what follows: each algorithm that is offered, and each kind of statement.
func registrationWorks(s *scene) {
	for name, config := range map[string]authtest.Config{
		"es256": {}, "eddsa": {Algorithm: authtest.EdDSA}, "rs256": {Algorithm: authtest.RS256}, "self-attested": {Attestation: authtest.SelfAttestation},
		"certified": {Attestation: authtest.CertifiedByAnybody}, "synced": {Synced: true},
	} {
		c := s.visitor(name)
		c.Key = authtest.New(config)
		gatewaytest.Must(s, c.Register("Key"))
		s.stepsUp(c, "/keys")
		s.passes(c, "GET", "/keys")
	}
}

// Every lie about a new credential. Nothing is registered by it, and the first use is still to be had.
func TestLyingRegistrations(t *testing.T) {
	g := group{name: "lying registrations", control: registrationWorks}
	for i, test := range authtest.RefusedRegistrations(anywhere) {
		g.attacks = append(g.attacks, attack{name: test.Name, code: test.Refusal, do: func(s *scene) (*gatewaytest.Client, gatewaytest.Reply) {
			c := s.visitor("alice")
			lie := authtest.RefusedRegistrations(s.place())[i]
			body, err := c.BeginRegistration(authtest.New(lie.Config), "Key", nil, lie.Lie)
			gatewaytest.Must(s, err)
			answer := s.sent(c, "POST", gatewaytest.Account, body)
			gatewaytest.Must(s, c.Register("Key"))
			return c, answer
		}})
	}
	g.run(t)
}

// What does not parse. The challenge is left as it was.
func TestMalformedRegistrations(t *testing.T) {
	g := group{name: "malformed registrations", parsing: true, control: registrationWorks}
	for i, test := range authtest.MalformedRegistrations(anywhere) {
		if test.Name == "A42 malformed: nothing" || test.Name == "A42 malformed: truncated" || test.Name == "A42 malformed: trailing comma" {
			continue // as above
		}
		g.attacks = append(g.attacks, attack{name: test.Name, code: test.Refusal, do: func(s *scene) (*gatewaytest.Client, gatewaytest.Reply) {
			c := s.visitor("alice")
			options, err := c.Step("POST", gatewaytest.Account+"/options", map[string]any{"name": "Key"}, 200)
			gatewaytest.Must(s, err)
			credential, err := authtest.New(authtest.Config{}).Register(options, c.Origin, authtest.MalformedRegistrations(s.place())[i].Lie)
			gatewaytest.Must(s, err)
			answer := s.raw(c, "POST", gatewaytest.Account, `{"name":"Key","credential":`+string(credential)+`}`)
			honest, err := c.Key.Register(options, c.Origin)
			gatewaytest.Must(s, err)
			after := s.sent(c, "POST", gatewaytest.Account, map[string]any{"name": "Key", "credential": gatewaytest.RawJSON(honest)})
			gatewaytest.Must(s, after.Expect(201))
			return c, answer
		}})
	}
	g.run(t)
}
