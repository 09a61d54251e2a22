package e2etest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/browsertest"
)

// kin is a relying party with a console within its RP ID and one on another domain, and a site for the RP ID's own host,
// which is no origin: browsers ask it for the related ones.
const kin = `{
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
		origins https://console.example.test
		related_origins https://ops.other.test
		store file $DIR/stepgate.db
		revocation_lag 0s
	}
}
(console) {
	` + gatewaytest.OwnCertificate + `
	log
	@private not path /.well-known/webauthn /.well-known/passkey-endpoints
	basic_auth @private {
		alice $2a$10$8e6FiRGYdlqGBwvSorcmIOTfaiIoTSxfV9Vg4kJsL4CljWny8qNE2
		bob $2a$10$8e6FiRGYdlqGBwvSorcmIOTfaiIoTSxfV9Vg4kJsL4CljWny8qNE2
	}
	stepgate {
		open /open
	}
	reverse_proxy $UPSTREAM
}
example.test {
	import console
}
console.example.test {
	import console
}
ops.other.test {
	import console
}
`

// signedIn has a client's requests pass basic auth.
func signedIn(c *gatewaytest.Client, user string) *gatewaytest.Client {
	c.HTTP.Transport = signed{c.HTTP.Transport, gatewaytest.Basic(user)}
	return c
}

type signed struct {
	http.RoundTripper
	as string
}

func (s signed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", s.as)
	return s.RoundTripper.RoundTrip(r)
}

// A passkey registered on one domain opens the console on another, in a real browser, as long as the configuration says so.
func TestRelatedOrigins(t *testing.T) { gatewaytest.OnEachStore(t, testRelatedOrigins) }

func testRelatedOrigins(t *testing.T, on gatewaytest.Store) {
	g := on.Prepare(t)
	g.URL = "https://console.example.test"
	caddyfile := strings.ReplaceAll(kin, "$HTTP", fmt.Sprint(gatewaytest.FreePort(t)))
	g.Configure(caddyfile)
	g.Run()
	here := fmt.Sprintf("127.0.0.1:%d", g.Port)
	browser := browsertest.Start(t, browsertest.Options{Hosts: map[string]string{"*.example.test:443": here, "example.test:443": here, "*.other.test:443": here}})
	p := newPerson(g, t, browser.Tab(t), "alice", options{}, calm)

	p.Open("https://console.example.test/keys")
	p.panel("create")
	p.press()
	p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys")
	if e := g.Audited("passkey_registered", ""); e.Host != "console.example.test" {
		t.Errorf("audited %+v", e)
	}
	g.Audited("ceremony_finished", "")
	p.confide()
	carried := p.cookies()["__Host-stepgate"]
	g.Upstream.One()

	// The other domain: no grant, the same passkey, a grant of its own.
	p.Open("https://ops.other.test/keys?x=1")
	p.panel("use")
	p.says("main", "ops.other.test/keys?x=1")
	if c := p.cookies(); c["__Host-stepgate"] != "" {
		t.Errorf("cookies before: %v", c)
	}
	g.Upstream.Untouched()
	p.press()
	p.at("/keys?x=1")
	if e := g.Audited("ceremony_finished", ""); e.Host != "ops.other.test" {
		t.Errorf("audited %+v", e)
	}
	p.confide()
	if r := g.Upstream.One(); r.Host != "ops.other.test" || r.Header.Get("X-Stepgate-User") != "alice" {
		t.Errorf("the upstream got %v", r)
	}
	g.Log.Secret("cookie", carried)

	// An administrator's link leads to either.
	links := invites(g, "bob").Links
	if len(links) != 2 || !strings.HasPrefix(links[0], "https://console.example.test/.stepgate/passkeys#") || !strings.HasPrefix(links[1], "https://ops.other.test/.stepgate/passkeys#") {
		t.Errorf("invited to %v", links)
	}

	// By hand, either's grant is refused at the other.
	c := signedIn(gatewaytest.NewClient(t, g, ""), "alice")
	for origin, grant := range map[string]string{"https://ops.other.test": carried, "https://console.example.test": p.cookies()["__Host-stepgate"]} {
		c.Origin = origin
		gatewaytest.Must(t, c.Get("/keys", "Cookie", "__Host-stepgate="+grant).Refused(401, "grant_other_origin"))
	}
	g.Upstream.Untouched()

	// Where the RP ID's host asks browsers to sign in, they refuse, and the page says so.
	gatewaytest.Must(t, g.Reload(strings.Replace(caddyfile, "@private not path /.well-known/webauthn /.well-known/passkey-endpoints", "@private path *", 1)))
	signedOut := p.cookies()["__Host-stepgate"]
	p.Call("Network.clearBrowserCookies", nil, nil)
	p.Open("https://ops.other.test/keys")
	p.panel("use")
	p.press()
	p.failure("blocked")
	p.says("#alert", "Passkeys don’t work at this address")
	g.Upstream.Untouched()

	// No longer related: the browser refuses, and so does the gateway, whatever a client says.
	gatewaytest.Must(t, g.Reload(strings.Replace(caddyfile, "related_origins https://ops.other.test", "", 1)))
	p.Open("https://ops.other.test/open")
	p.at("/open")
	g.Upstream.Take()
	for _, call := range []string{
		`get({publicKey: {rpId: "example.test", challenge: new Uint8Array(32)}})`,
		`create({publicKey: {rp: {id: "example.test", name: "x"}, challenge: new Uint8Array(32), user: {id: new Uint8Array(16), name: "u", displayName: "u"},
			pubKeyCredParams: [{type: "public-key", alg: -7}]}})`,
	} {
		if got := browsertest.Eval[string](p.Tab, `navigator.credentials.`+call+`.then(() => "allowed", (e) => e.name)`); got != "SecurityError" {
			t.Errorf("%s: %s", call, got)
		}
	}
	p.Open("https://ops.other.test/keys")
	p.says("main", "This host is not set up", "Code for support: origin_unknown", "related_origins https://ops.other.test")
	g.Audited("request_refused", "origin_unknown")
	c.Origin = "https://ops.other.test"
	gatewaytest.Must(t, c.Get("/keys", "Cookie", "__Host-stepgate="+signedOut).Refused(421, "origin_unknown"))
	answer, err := c.Send("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Refused(421, "origin_unknown"))

	// A confirmation that was made there, sent to the console's own host.
	c = signedIn(gatewaytest.NewClient(t, g, ""), "bob")
	gatewaytest.Must(t, c.Register("Key"))
	answer, err = c.StepUp("/keys", authtest.Origin("https://ops.other.test"))
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Refused(403, "origin_mismatch"))
	g.Audited("ceremony_refused", "origin_mismatch")
	g.Upstream.Untouched()
}
