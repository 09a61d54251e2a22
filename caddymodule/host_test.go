package caddymodule_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The origin is the configured one that Host names, in whatever case; what no origin has goes nowhere.
func TestHost(t *testing.T) {
	g := newGateway(t)
	g.load(strings.Replace(site("open /open", proxy), "http://localhost:$PORT", "http://:$PORT", 1))
	alice := g.enrolled("alice")
	for host, accepted := range map[string]bool{
		"localhost:$PORT": true, "LocalHost:$PORT": true, "LOCALHOST:$PORT": true,
		"localhost": false, "localhost.:$PORT": false, "localhost:1": false, "127.0.0.1:$PORT": false, "[::1]:$PORT": false,
		"localhost:$PORT:$PORT": false, "evil.localhost:$PORT": false, "localhost:0$PORT": false, "": false,
	} {
		host = g.fill(host)
		head := alice.rawRequest("GET", "/protected", withHost("*"))
		answer := alice.rawReply(strings.Replace(head, "Host: *\r\n", "Host: "+host+"\r\n", 1))
		switch {
		case accepted:
			answer.want(t, 200, "")
		case answer.StatusCode == 400 && !strings.Contains(answer.Header.Get("Content-Type"), "problem"):
			// net/http itself refused it
		default:
			answer.want(t, 421, "origin_unknown")
			if !strings.Contains(answer.body, "`origins ") {
				t.Errorf("%s: the answer does not name the line to add: %s", host, answer.body)
			}
		}
	}
	g.reached(3)
	// The target's host wins over the header's (RFC 9112 §3.2.2), here and for the upstream.
	absolute := alice.rawRequest("GET", "http://evil.example/protected")
	alice.rawReply(absolute).want(t, 421, "origin_unknown")
	g.reached(0)
	// On an open route nothing depends on the origin.
	alice.want("/open", 200, "", withHost("anything.example"))
}

// An https origin on a plain connection counts only from a peer that ends TLS for us, in the operator's word. What the
// client says about it decides nothing.
func TestTLSEndsAtALoadBalancer(t *testing.T) {
	g := newGateway(t)
	app := "rp_id example.com\norigins https://console.example.com"
	behind := strings.Replace(site("open /open", proxy), "http://localhost:$PORT", "http://:$PORT", 1)
	console := func(user string) *browser {
		b := g.browser(user)
		b.origin = "http://console.example.com"
		return b
	}
	forwarded := func(r *http.Request) {
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		r.Header.Set("Forwarded", "proto=https")
	}

	if err := g.reload(options("", app), behind); err != nil {
		t.Fatal(err)
	}
	alice := console("alice")
	alice.want("/", 421, "origin_insecure")
	alice.want("/", 421, "origin_insecure", forwarded)
	alice.want("/.stepgate/status", 421, "origin_insecure", forwarded)
	alice.want("/open", 200, "")
	if err := g.reload(options("servers {\ntrusted_proxies static 203.0.113.0/24\n}", app), behind); err != nil {
		t.Fatal(err)
	}
	alice.want("/", 421, "origin_insecure", forwarded)

	if err := g.reload(options("servers {\ntrusted_proxies static 127.0.0.1/32\n}", app), behind); err != nil {
		t.Fatal(err)
	}
	g.upstream.take()
	alice.want("/", 401, "step_up_required/grant_missing", forwarded)
	answer := alice.want("/x", 303, "", navigating)
	for _, c := range alice.get(answer.Header.Get("Location"), navigating).Cookies() {
		if c.Name != "__Host-stepgate-ceremony" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" {
			t.Errorf("cookie %v", c)
		}
	}
	// The browser is on https, as the origin says.
	alice.headers.Set("Origin", "https://console.example.com")
	alice.registerAt("https://console.example.com")
	if alice.cookies["__Host-stepgate"] == "" {
		t.Errorf("cookies %v", alice.cookies)
	}
	alice.want("/", 200, "", forwarded)
	g.reached(1)
	// The audit log names the client that the trusted proxy named.
	if lines := g.logged("step_up_required"); len(lines) == 0 || fmt.Sprint(lines[0]["client"]) != "203.0.113.9" {
		t.Errorf("audit: %v", lines)
	}
}
