package gate_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

const ops = "https://ops.example.org" // lies outside the RP ID

// relatedWorld is a world in which ops is a related origin.
func relatedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, func(c *gate.Config) { c.Origins = append(c.Origins, ops) })
	w.origins = append(w.origins, ops)
	w.backend = w.backendOf(ceremony.Config{}, 0)
	return w
}

// A related origin is an origin like any other: its passkeys are the same, and its grants are its own.
func TestRelatedOrigin(t *testing.T) {
	w := relatedWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Laptop")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.passes("/admin")

	elsewhere := w.browser("alice")
	elsewhere.origin = ops
	elsewhere.needsStepUp(passkey.GrantMissing, func() *http.Response { return elsewhere.get("/admin") })
	elsewhere.cookies = alice.cookies // carried there by hand
	elsewhere.needsStepUp(passkey.GrantOtherOrigin, func() *http.Response { return elsewhere.get("/admin") })
	elsewhere = w.browser("alice")
	elsewhere.origin = ops
	want(t, elsewhere.stepUp(key, "/admin"), http.StatusOK)
	elsewhere.passes("/admin")
	back := w.browser("alice")
	back.cookies = elsewhere.cookies
	back.needsStepUp(passkey.GrantOtherOrigin, func() *http.Response { return back.get("/admin") })

	// What was confirmed on one is not taken on the other.
	elsewhere.refused(http.StatusForbidden, passkey.OriginMismatch, func() *http.Response {
		return elsewhere.stepUp(key, "/admin", authtest.Origin(console))
	})
	alice.refused(http.StatusForbidden, passkey.OriginMismatch, func() *http.Response {
		return alice.stepUp(key, "/admin", authtest.Origin(ops))
	})
	// Nor is another spelling of it, which go-webauthn's own comparison takes.
	for _, spelling := range []string{ops + ":443", ops + "/", strings.ToUpper(ops), "http://ops.example.org", "https://example.org", "https://x.ops.example.org"} {
		elsewhere.refused(http.StatusForbidden, passkey.OriginMismatch, func() *http.Response {
			return elsewhere.stepUp(key, "/admin", authtest.Origin(spelling))
		})
	}
	// A page of one can't change anything at the other.
	elsewhere.refused(http.StatusForbidden, passkey.CrossSite, func() *http.Response {
		return elsewhere.post("/.stepgate/challenge/options", object{"return_to": "/admin"}, header("Sec-Fetch-Site"), header("Origin", console))
	})
}

// Without it the gate knows no such host, and a ceremony no such origin.
func TestNotRelated(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Laptop")
	elsewhere := w.browser("alice")
	elsewhere.origin = ops
	elsewhere.refused(http.StatusMisdirectedRequest, passkey.OriginUnknown, func() *http.Response { return elsewhere.get("/admin") })
	elsewhere.refused(http.StatusMisdirectedRequest, passkey.OriginUnknown, func() *http.Response {
		return elsewhere.post("/.stepgate/challenge/options", object{"return_to": "/admin"})
	})
	alice.refused(http.StatusForbidden, passkey.OriginMismatch, func() *http.Response {
		return alice.stepUp(key, "/admin", authtest.Origin(ops))
	})
	if n := w.reached(); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

// Browsers ask for the list without credentials, on the RP ID's own host, which need not be an origin.
func TestWellKnownOrigins(t *testing.T) {
	w := relatedWorld(t)
	for _, origin := range []string{console, ops, "https://" + rpID, "https://unknown.example.net"} {
		nobody := w.browser("")
		nobody.origin = origin
		for name, changes := range map[string][]change{
			"as browsers ask":             {header("Sec-Fetch-Mode", "no-cors"), header("Sec-Fetch-Site", "cross-site"), header("Accept", "*/*")},
			"in early data":               {header("Early-Data", "1")},
			"from a page of another site": {header("Origin", "https://evil.example.net")},
		} {
			n := w.audit.count()
			response := nobody.get("/.well-known/webauthn", changes...)
			var list struct{ Origins []string }
			if err := json.Unmarshal(want(t, response, http.StatusOK), &list); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{console, aws, ops}, list.Origins); diff != "" {
				t.Errorf("%s, %s: %s", origin, name, diff)
			}
			h := response.Header
			if h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" || h.Get("Location") != "" || len(response.Cookies()) != 0 {
				t.Errorf("%s, %s: headers %v", origin, name, h)
			}
			if events := w.audit.since(n); len(events) != 0 {
				t.Errorf("audited %v", events)
			}
		}
		head := nobody.do(http.MethodHead, "/.well-known/webauthn", nil)
		if body := want(t, head, http.StatusOK); len(body) != 0 || head.Header.Get("Content-Length") == "0" {
			t.Errorf("HEAD: %q, %v", body, head.Header)
		}
		nobody.refused(http.StatusMethodNotAllowed, passkey.MethodNotAllowed, func() *http.Response {
			return nobody.post("/.well-known/webauthn", object{})
		})
	}
	w.down.Store(true) // it is not asked of the store
	want(t, w.browser("").get("/.well-known/webauthn"), http.StatusOK)
	if n := w.reached(); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

func TestOriginLine(t *testing.T) {
	origins := []string{console, aws, ops}
	for host, line := range map[string]string{
		"new.example.com":      "origins " + console + " " + aws + " https://new.example.com",
		"New.Example.com:8443": "origins " + console + " " + aws + " https://new.example.com:8443",
		"example.com":          "origins " + console + " " + aws + " https://example.com",
		"example.org":          "related_origins " + ops + " https://example.org",
		"badexample.com":       "related_origins " + ops + " https://badexample.com",
		"192.0.2.1":            "origins " + console + " " + aws + " https://<this host>",
		"intranet":             "origins " + console + " " + aws + " https://<this host>",
		"localhost:8080":       "origins " + console + " " + aws + " https://<this host>",
		"*.example.com":        "origins " + console + " " + aws + " https://<this host>",
		"":                     "origins " + console + " " + aws + " https://<this host>",
	} {
		if got := gate.OriginLine(rpID, origins, host); got != line {
			t.Errorf("%q: %s, want %s", host, got, line)
		}
	}
	local := []string{"http://localhost:8080"}
	for host, line := range map[string]string{
		"localhost:9090": "origins http://localhost:8080 http://localhost:9090",
		"127.0.0.1:8080": "origins http://localhost:8080 https://<this host>",
		"example.org":    "origins http://localhost:8080 https://<this host>", // localhost has no related origins
	} {
		if got := gate.OriginLine("localhost", local, host); got != line {
			t.Errorf("%q: %s, want %s", host, got, line)
		}
	}
}

func TestRelatedLabel(t *testing.T) {
	for origin, want := range map[string]string{
		"https://example.org": "example", "https://ops.example.org": "example", "https://a.b.example.co.uk:8443": "example", "https://example.de": "example",
		"https://other.test": "other", "https://someone.github.io": "someone", "https://xn--bcher-kva.example": "xn--bcher-kva",
		"https://co.uk": "", "https://intranet": "", "https://localhost": "", "https://192.0.2.1": "", "https://192.0.2.1:8443": "", "https://ops.7": "",
		"https://ops.0x": "", "https://ops.0x1f": "", "https://a..org": "", "https://.org": "",
	} {
		got, err := gate.RelatedLabel(origin)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", origin, got, err, want)
		}
	}
}
