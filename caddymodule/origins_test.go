package caddymodule_test

import (
	"fmt"
	"strings"
	"testing"
)

// Five names before the public suffix, however many origins have them.
func TestRelatedOriginsAccepted(t *testing.T) {
	for _, app := range []string{
		`{"rp_id": "example.com", "related_origins": []}`,
		`{"rp_id": "example.com", "related_origins": ["https://ops.example.org:8443"]}`,
		`{"rp_id": "example.com", "origins": ["https://console.example.com"], "related_origins": ["https://badexample.com", "https://example.com.evil.org"]}`,
		`{"rp_id": "example.com", "related_origins": ["https://a.org", "https://b.co.uk", "https://c.org", "https://d.org"]}`,
		`{"rp_id": "example.com", "related_origins": ["https://a.org", "https://x.a.org", "https://a.co.uk", "https://example.de", "https://b.org", "https://c.org", "https://d.org", "https://d.net:8443"]}`,
	} {
		if err := validate(jsonConfig(app, plainHandler)); err != nil {
			t.Errorf("%s: %v", app, err)
		}
	}
}

// explain and check know them as they know the others.
func TestExplainRelatedOrigin(t *testing.T) {
	s := shop{t, t.TempDir()}
	text := "{\n\tstepgate {\n\t\trp_id example.com\n\t\torigins https://console.example.com\n\t\trelated_origins https://ops.other.test:8443\n\t}\n}\n" +
		"console.example.com, ops.other.test {\n\tstepgate {\n\t\tuser {header.X-User}\n\t}\n\trespond hi\n}\n"
	s.write("Caddyfile", text)
	s.fails("say on which origin: https://console.example.com, https://ops.other.test:8443", "explain", "GET", "/x")
	// Nothing here listens on that port: something in front does.
	if out, problems, code := s.call("", "explain", "GET", "https://ops.other.test:8443/x", "--as", "alice"); code != 0 || !strings.Contains(out, "303 to /.stepgate/challenge") {
		t.Errorf("%d %s%s", code, out, problems)
	}
	s.write("Caddyfile", strings.Replace(text, "related_origins https://ops.other.test:8443", "", 1))
	out, problems, _ := s.call("", "explain", "GET", "https://ops.other.test/x", "--as", "alice")
	if !strings.Contains(out, "421 origin_unknown") || !strings.Contains(out, "related_origins https://ops.other.test") {
		t.Errorf("%s%s", out, problems)
	}
	out, problems, _ = s.call("", "check")
	if !strings.Contains(out, "host_without_origin") || !strings.Contains(out, "Add it: `related_origins https://ops.other.test`.") {
		t.Errorf("%s%s", out, problems)
	}
}

// A related origin is served as the others are; the list is served on every host, also on one that is no origin.
func TestRelatedOrigins(t *testing.T) {
	g := newGateway(t)
	app := "rp_id example.com\norigins https://console.example.com\nrelated_origins https://ops.other.test"
	sites := strings.Replace(site("open /open", proxy), "http://localhost:$PORT", "http://:$PORT", 1)
	if err := g.reload(options("servers {\ntrusted_proxies static 127.0.0.1/32\n}", app), sites); err != nil {
		t.Fatal(err)
	}
	at := func(origin string) *browser {
		b := g.browser("alice")
		b.origin = strings.Replace(origin, "https:", "http:", 1)
		b.headers.Set("Origin", origin)
		b.page = origin
		return b
	}
	console := at("https://console.example.com")
	console.registerAt("https://console.example.com")
	g.upstream.take()
	console.want("/", 200, "")

	ops := at("https://ops.other.test")
	ops.key = console.key
	ops.cookies = map[string]string{"__Host-stepgate": console.cookies["__Host-stepgate"]}
	ops.want("/", 401, "step_up_required/grant_other_origin")
	g.reached(1)
	ops.stepUp("/")
	ops.want("/", 200, "")
	g.reached(1)
	console.cookies = ops.cookies
	console.want("/", 401, "step_up_required/grant_other_origin")
	g.reached(0)

	for _, host := range []string{"console.example.com", "ops.other.test", "example.com", "nobody.example.net"} {
		nobody := g.browser("")
		nobody.origin = "http://" + host
		answer := nobody.want("/.well-known/webauthn", 200, "")
		if want := `{"origins":["https://console.example.com","https://ops.other.test"]}` + "\n"; answer.body != want || answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %v", host, answer.body, answer.Header)
		}
	}

	// No longer related: its grants and ceremonies have ended with it.
	if err := g.reload(options("servers {\ntrusted_proxies static 127.0.0.1/32\n}", strings.Replace(app, "related_origins https://ops.other.test", "", 1)), sites); err != nil {
		t.Fatal(err)
	}
	answer := ops.want("/", 421, "origin_unknown")
	if !strings.Contains(answer.body, "`related_origins https://ops.other.test`") {
		t.Errorf("the line to add: %s", answer.body)
	}
	ops.want("/.stepgate/status", 421, "origin_unknown")
	console.cookies = map[string]string{}
	credential, err := console.key.Authenticate([]byte(console.api("POST", "/challenge/options", `{"return_to": "/"}`, 200)), "https://ops.other.test")
	if err != nil {
		t.Fatal(err)
	}
	console.do("POST", "/.stepgate/challenge/verify", fmt.Sprintf(`{"return_to": "/", "credential": %s}`, credential)).want(t, 403, "origin_mismatch")
	if console.cookies["__Host-stepgate"] != "" {
		t.Error("a grant was set")
	}
	g.reached(0)
}
