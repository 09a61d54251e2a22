package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// What the upstream gets of a request that may pass: the user, as the gate knows them, and never the grant.
func TestUpstreamLearnsWhoAndWhen(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	alice.cookies["sid"] = "1"
	alice.want("/page?x=1", 200, "")

	got := g.received()
	if got.RequestURI != "/page?x=1" {
		t.Errorf("the upstream got %s", got.RequestURI)
	}
	if user, level := got.Header.Get("X-Stepgate-User"), got.Header.Get("X-Stepgate-Level"); user != "alice" || level != "device_bound" {
		t.Errorf("user %q, level %q", user, level)
	}
	if id := got.Header.Get("X-Stepgate-Passkey"); len(id) != 22 {
		t.Errorf("passkey %q", id)
	}
	if at, err := time.Parse(time.RFC3339, got.Header.Get("X-Stepgate-Time")); err != nil || time.Since(at) > time.Minute {
		t.Errorf("time %v, %v", at, err)
	}
	if cookie := got.Header["Cookie"]; len(cookie) != 1 || cookie[0] != "sid=1" {
		t.Errorf("Cookie %q", cookie)
	}
}

// forged are a client's own copies of our headers, in every spelling that some upstream takes for them.
func forged(r *http.Request) {
	for _, name := range []string{
		"X-Stepgate-User", "x-stepgate-level", "X_Stepgate_User", "X-STEPGATE_TIME", "X.Stepgate.Passkey", "X-Stepgate-Future",
	} {
		r.Header[name] = []string{"forged"}
	}
	r.Header["X-Original-URL"] = []string{"/forged"}
	r.Header["X-HTTP-Method-Override"] = []string{"DELETE"}
}

// A client's copies of our headers never pass, on routes of either kind (GHSA-7r4p-vjf4-gxv4 is what happens when they
// are only replaced).
func TestForgedHeadersAreRemoved(t *testing.T) {
	g := start(t, "open /open", proxy)
	alice := g.enrolled("alice")
	for path, want := range map[string]string{"/open": "", "/protected": "alice"} {
		alice.want(path, 200, "", forged)
		got := g.received().Header
		for name, values := range got {
			if strings.Contains(strings.Join(values, ","), "forged") || name == "X-Http-Method-Override" {
				t.Errorf("%s: the upstream got %s: %q", path, name, values)
			}
		}
		if user := got.Get("X-Stepgate-User"); user != want {
			t.Errorf("%s: user %q, want %q", path, user, want)
		}
	}
}

// What a client nominates in Connection the proxy would drop: our headers, the cookies, the user (Traefik's
// CVE-2024-45410). Other nominations work as before.
func TestNominationsInConnection(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	alice.cookies["sid"] = "1"
	alice.want("/", 200, "", with("Connection", "X-Stepgate-User, Cookie, X-User", "x-stepgate-time, X-Hop"), with("X-Hop", "1"))
	got := g.received().Header
	for name, want := range map[string]string{"X-Stepgate-User": "alice", "Cookie": "sid=1", "X-User": "alice", "X-Hop": ""} {
		if value := got.Get(name); value != want {
			t.Errorf("%s %q, want %q", name, value, want)
		}
	}
	if got.Get("X-Stepgate-Time") == "" {
		t.Error("no X-Stepgate-Time")
	}
}

// Trailers come after the request was judged, and Caddy's proxy hands them on as they stand when the body ends.
func TestForgedTrailersAreRemoved(t *testing.T) {
	g := start(t, "open /open", proxy)
	alice := g.enrolled("alice")
	for _, path := range []string{"/open", "/protected"} {
		for announced, trailers := range map[string][]string{"X-Stepgate-User": {"X-Stepgate-User"}, "X-Sum": {"X-Sum", "X-Stepgate-User"}} {
			raw := alice.rawRequest("POST", path, with("Trailer", announced), with("Transfer-Encoding", "chunked"), with("Connection", "close"))
			raw += "2\r\nhi\r\n0\r\n"
			for _, name := range trailers {
				raw += name + ": forged\r\n"
			}
			var got http.Header
			g.upstream.answers(func(_ http.ResponseWriter, r *http.Request) {
				readAll(t, r.Body)
				got = r.Trailer.Clone()
			})
			if answer := alice.raw(raw + "\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
				t.Fatalf("%s: %s", path, answer)
			}
			g.received()
			if value := got["X-Stepgate-User"]; value != nil {
				t.Errorf("%s, announced %s: the upstream got the trailer X-Stepgate-User: %q", path, announced, value)
			}
			if announced == "X-Sum" && got.Get("X-Sum") != "forged" {
				t.Errorf("%s: the honest trailer was lost", path)
			}
		}
	}
}
