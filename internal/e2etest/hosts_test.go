package e2etest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// family is a relying party with two consoles over https, and a third host that nobody configured.
const family = `{
	admin localhost:$ADMIN
	persist_config off
	default_bind 127.0.0.1
	https_port $PORT
	http_port $HTTP
	skip_install_trust
	grace_period 1s
	debug
	stepgate {
		rp_id example.test
		origins https://console.example.test https://aws.example.test
		store file $DIR/stepgate.db
	}
}
(console) {
	` + gatewaytest.OwnCertificate + `
	log
	basic_auth {
		alice $2a$10$8e6FiRGYdlqGBwvSorcmIOTfaiIoTSxfV9Vg4kJsL4CljWny8qNE2
	}
	stepgate {
		open /open
	}
	reverse_proxy $UPSTREAM
}
console.example.test {
	import console
}
aws.example.test {
	import console
}
other.example.test {
	import console
}
`

// familyBrowser starts the gateway, and a browser in which the hosts lead to it.
func familyBrowser(t *testing.T) (*gatewaytest.Gateway, *browsertest.Browser) {
	t.Helper()
	g := gatewaytest.Prepare(t)
	g.URL = "https://console.example.test"
	g.Configure(strings.ReplaceAll(family, "$HTTP", fmt.Sprint(gatewaytest.FreePort(t))))
	g.Run()
	return g, browsertest.Start(t, browsertest.Options{Hosts: map[string]string{"*.example.test:443": fmt.Sprintf("127.0.0.1:%d", g.Port)}})
}

// One passkey serves the hosts of a relying party; a step-up on one does not open the other.
func TestHostsOfOneRelyingParty(t *testing.T) {
	t.Parallel()
	g, browser := familyBrowser(t)
	p := newPerson(g, t, browser.Tab(t), "alice", options{})
	p.Open("https://console.example.test/keys?x=1")
	p.panel("create")
	p.says("main", "console.example.test/keys?x=1")
	p.press()
	p.keeps()
	p.at("/keys?x=1")
	if e := g.Audited("ceremony_finished", ""); e.Host != "console.example.test" {
		t.Errorf("audited %+v", e)
	}
	if c := p.cookies(); c["__Host-stepgate"] == "" || c["__Host-stepgate-ceremony"] == "" || len(c) != 2 {
		t.Errorf("cookies: %v", c)
	}
	p.confide()
	if r := g.Upstream.One(); r.Host != "console.example.test" || r.Header.Get("Cookie") != "" {
		t.Errorf("the upstream got %v", r)
	}

	// The other host: the same passkey, another prompt.
	p.key.Presence(false)
	p.Open("https://aws.example.test/keys")
	if e := g.Audited("step_up_required", "grant_missing"); e.Host != "aws.example.test" {
		t.Errorf("audited %+v", e)
	}
	p.cancel()
	g.Upstream.Untouched()
	p.key.Presence(true)
	p.press()
	p.at("/keys")
	if host := browsertest.Eval[string](p.Tab, "location.host"); host != "aws.example.test" {
		t.Errorf("ended on %s", host)
	}
	if e := g.Audited("ceremony_finished", ""); e.Host != "aws.example.test" {
		t.Errorf("audited %+v", e)
	}
	g.Upstream.Take()

	// A grant that is carried from one host to the other by hand is refused as such.
	mine := p.cookies()["__Host-stepgate"]
	c := gatewaytest.NewClient(t, g, "")
	c.Origin = "https://console.example.test"
	answer := c.Get("/keys", "Cookie", "__Host-stepgate="+mine, "Authorization", gatewaytest.Basic("alice"))
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 401 || got.Code != "step_up_required" || got.Reason != "grant_other_origin" {
		t.Errorf("with the grant of the other host: %d %+v", answer.Status, got)
	}
	g.Audited("step_up_required", "grant_other_origin")
	g.Upstream.Untouched()
}

// A host that is not among the origins: a page that tells an administrator what to do. Open routes work.
func TestHostThatIsNotConfigured(t *testing.T) {
	t.Parallel()
	g, browser := familyBrowser(t)
	p := newPerson(g, t, browser.Tab(t), "alice", options{})
	p.Open("https://other.example.test/open")
	p.at("/open")
	g.Upstream.Take()
	p.Open("https://other.example.test/keys")
	p.says("main", "This host is not set up", "Code for support: origin_unknown",
		"origins https://console.example.test https://aws.example.test https://other.example.test") // the very line to write
	if e := g.Audited("request_refused", "origin_unknown"); e.Host != "other.example.test" {
		t.Errorf("audited %+v", e)
	}
	answer := p.fetch("/keys", "{}")
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 421 || got.Code != "origin_unknown" {
		t.Errorf("a script got %d %+v", answer.Status, got)
	}
	g.Upstream.Untouched()
	p.look("refusal-origin-unknown")
}
