package gate_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// An attacker who holds a synced passkey must not get to a device-bound level by first removing the security key that
// stands in the way and then adding a passkey of their own that claims as much.
func TestNoEscalationByRemoval(t *testing.T) {
	w := newWorld(t)
	alice, key, phone := w.browser("alice"), authtest.New(authtest.Config{}), authtest.New(authtest.Config{Synced: true})
	alice.register(key, "Key")
	alice.add(key, phone, "Phone")
	thief := w.browser("alice")
	options := want(t, thief.post("/.stepgate/passkeys/authorize/options", object{"action": "remove", "id": passkey.ShortID(key.Credentials()[0].ID)}), http.StatusOK)
	if _, err := phone.Authenticate(options, console); err == nil {
		t.Error("the synced passkey is offered for removing the security key")
	}
	forced, err := phone.Authenticate(options, console, authtest.Obstinate())
	if err != nil {
		t.Fatal(err)
	}
	thief.refused(http.StatusConflict, passkey.LevelUnreachable, func() *http.Response {
		return thief.send(http.MethodDelete, "/.stepgate/passkeys/"+passkey.ShortID(key.Credentials()[0].ID), object{"authorization": raw(forced)})
	})
	// The key itself may: whoever holds it could do as much anyway.
	id := passkey.ShortID(key.Credentials()[0].ID)
	authorization := alice.authorize(key, object{"action": "remove", "id": id})
	want(t, alice.send(http.MethodDelete, "/.stepgate/passkeys/"+id, object{"authorization": raw(authorization)}), http.StatusNoContent)
}

// Caddy forwards a WebSocket's CONNECT as GET, so rules about GET are about it; other protocols it forwards as CONNECT.
func TestExtendedConnectIsJudgedAsGET(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) {
		c.Rules = append([]gate.Route{{
			Rule:  policy.Rule{Name: "GET", Demand: policy.Demand{Level: passkey.DeviceBound, MaxAge: time.Second}},
			Match: func(r *http.Request) (bool, error) { return r.Method == http.MethodGet && r.URL.Path == "/socket", nil },
		}}, c.Rules...)
	})
	alice := steppedUp(w, "alice")
	w.clock.Advance(time.Minute)
	for name, connect := range map[string]change{
		"HTTP/2": func(r *http.Request, _ *gate.Request) {
			r.Method, r.Proto, r.ProtoMajor, r.Header[":protocol"] = "CONNECT", "HTTP/2.0", 2, []string{"websocket"}
		},
		"HTTP/3": func(r *http.Request, _ *gate.Request) { r.Method, r.Proto, r.ProtoMajor = "CONNECT", "websocket", 3 },
	} {
		t.Run(name, func(t *testing.T) {
			alice.needsStepUp(passkey.GrantStale, func() *http.Response { return alice.get("/socket", connect) })
			if method := alice.passes("/admin", connect).Method; method != "CONNECT" {
				t.Errorf("the request itself became %s", method)
			}
		})
	}
	// Header rules see what the upstream will: the proxy adds Upgrade and Connection.
	byHeader := newWorld(t, func(c *gate.Config) {
		c.Rules = []gate.Route{{
			Rule: policy.Rule{Name: "Upgrade", Demand: policy.Demand{Level: passkey.Verified, MaxAge: time.Minute}},
			Match: func(r *http.Request) (bool, error) {
				return r.Header.Get("Upgrade") == "websocket" && r.Header.Get("Connection") == "Upgrade" && r.Header[":protocol"] == nil, nil
			},
		}, {Rule: policy.Rule{Name: "open", Open: true}, Match: func(*http.Request) (bool, error) { return true, nil }}}
	})
	bob := byHeader.browser("bob")
	bob.needsStepUp(passkey.GrantMissing, func() *http.Response {
		return bob.get("/socket", func(r *http.Request, _ *gate.Request) { r.Method, r.Proto, r.ProtoMajor = "CONNECT", "websocket", 3 })
	})
	for name, connect := range map[string]change{
		"HTTP/2": func(r *http.Request, _ *gate.Request) {
			r.Method, r.Proto, r.ProtoMajor, r.Header[":protocol"] = "CONNECT", "HTTP/2.0", 2, []string{"connect-udp"}
		},
		"HTTP/3":             func(r *http.Request, _ *gate.Request) { r.Method, r.Proto, r.ProtoMajor = "CONNECT", "connect-udp", 3 },
		"HTTP/3 in capitals": func(r *http.Request, _ *gate.Request) { r.Method, r.Proto, r.ProtoMajor = "CONNECT", "WebSocket", 3 },
	} {
		t.Run(name+" other protocol", func(t *testing.T) {
			alice.refused(http.StatusMethodNotAllowed, passkey.MethodRefused, func() *http.Response { return alice.get("/admin", connect) })
		})
	}
}

// After a rewrite the stricter of both paths counts: some upstreams route by the one that the client sent.
func TestRewrittenPathsAreJudgedTwice(t *testing.T) {
	w := newWorld(t)
	alice, phone := w.browser("alice"), authtest.New(authtest.Config{Synced: true})
	alice.register(phone, "Phone")
	want(t, alice.stepUp(phone, "/other"), http.StatusOK)
	rewritten := func(from string) change {
		return func(_ *http.Request, in *gate.Request) { in.Original = &url.URL{Path: from} }
	}
	alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/other", rewritten("/hardware/x")) })
	alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/hardware/x", rewritten("/other")) })
	alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/open/x", rewritten("/hardware/x")) })
	alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/hardware/x", rewritten("/open/x")) })
	alice.passes("/other", rewritten("/another"))
	nobody := w.browser("")
	nobody.passes("/open/x", rewritten("/open/y"))
	nobody.refused(http.StatusUnauthorized, passkey.UserMissing, func() *http.Response { return nobody.get("/open/x", rewritten("/index")) })
}

// net/http puts trailers into the request when the body ends, long after the gate has judged it.
func TestForgedTrailersAreTakenOut(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	r := alice.passes("/open", func(r *http.Request, _ *gate.Request) {
		r.Trailer = http.Header{"X-Stepgate-User": nil, "X-Checksum": nil}
		r.Body = io.NopCloser(&endsWith{strings.NewReader("body"), func() {
			for _, name := range []string{"X-Stepgate-User", "X_stepgate_level", "X-Auth-User", "X_auth_user", "Cookie", "X-Http-Method-Override", "X.original.url"} {
				r.Trailer[name] = []string{"forged"}
			}
			r.Trailer["X-Checksum"] = []string{"1"}
		}})
	})
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != "body" {
		t.Fatalf("%q, %v", body, err)
	}
	if len(r.Trailer) != 1 || r.Trailer.Get("X-Checksum") != "1" {
		t.Errorf("trailers %v", r.Trailer)
	}
}

type endsWith struct {
	io.Reader
	atEnd func()
}

func (e *endsWith) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil {
		e.atEnd()
	}
	return n, err
}

// A matcher that exempts the well-known documents from the first factor folds case and slashes; the gate does not serve
// those spellings, so they must not go on to the upstream.
func TestLookalikesOfWellKnownPaths(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) { c.LetDebatable = true })
	alice := steppedUp(w, "alice")
	for _, path := range []string{"/.WELL-KNOWN/webauthn", "/.well-known/WebAuthn", "/.well-known/Passkey-Endpoints", "/.well-known//webauthn", "//.well-known/webauthn", "/.well-known/passkey-endpo%C4%B0nts", "/.well-%E2%84%AAnown/webauthn"} {
		alice.refused(http.StatusBadRequest, passkey.PathAmbiguous, func() *http.Response { return alice.get("/x", at(path)) })
	}
	alice.passes("/x", at("/.well-known/other"))
	alice.passes("/x", at("/x/.well-known/webauthn"))
}

// A demand is its user's: nobody can send somebody else a page that shows one thing and leads to another.
func TestDemandsAreTheUsers(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.browser("alice"), w.browser("bob")
	page := bob.get("/admin", navigate).Header.Get("Location")
	want(t, bob.get(page, navigate), http.StatusOK)
	alice.refused(http.StatusBadRequest, passkey.DemandInvalid, func() *http.Response { return alice.get(page) })
}

func TestLongTargets(t *testing.T) {
	w := newWorld(t)
	alice := w.browser("alice")
	for name, query := range map[string]string{"quotes": strings.Repeat(`"`, 4000), "ampersands": strings.Repeat("&", 4000), "too long": strings.Repeat("a", 9000)} {
		r := alice.get("/admin?"+strings.Repeat("a", 10), navigate, at("/admin?"+query))
		want(t, r, http.StatusSeeOther)
		location := r.Header.Get("Location")
		if len(location) > 12<<10 {
			t.Errorf("%s: a Location of %d bytes", name, len(location))
		}
		want(t, alice.get(location, navigate), http.StatusOK)
	}
}

// Spaces around a name would be dropped on the way, and make two users one.
func TestSpacesAroundUserNames(t *testing.T) {
	w := newWorld(t)
	for name, upstream := range map[string]string{"alice ": "alice%20", " alice": "%20alice", "a b": "a b"} {
		b := steppedUp(w, name)
		if got := b.passes("/admin").Header.Get(gate.HeaderUser); got != upstream {
			t.Errorf("%q arrives as %q", name, got)
		}
	}
}

// A passkey whose count went back is audited whatever the ceremony was for.
func TestClonesAreAuditedInEveryCeremony(t *testing.T) {
	w := newWorld(t)
	w.backend = w.warningBackend()
	alice, phone := w.browser("alice"), authtest.New(authtest.Config{Synced: true, Counts: true})
	alice.register(phone, "Phone")
	clones := func() (n int) {
		for _, event := range w.audit.since(0) {
			if event.Kind == audit.CloneSuspected {
				n++
			}
		}
		return n
	}
	want(t, alice.stepUp(phone, "/admin"), http.StatusOK)
	want(t, alice.stepUp(phone, "/admin", authtest.SignCount(1)), http.StatusOK)
	if clones() != 1 {
		t.Fatalf("%d audited after a step-up", clones())
	}
	options := want(t, alice.post("/.stepgate/passkeys/authorize/options", object{"action": "add"}), http.StatusOK)
	credential, err := phone.Authenticate(options, console, authtest.SignCount(1))
	if err != nil {
		t.Fatal(err)
	}
	want(t, alice.post("/.stepgate/passkeys/options", object{"name": "x", "authorization": raw(credential)}), http.StatusOK)
	if clones() != 2 {
		t.Errorf("%d audited after an add", clones())
	}
}

// Whoever has no more than a stolen sign-in can't end the step-ups of its owner; a browser that stepped up can.
func TestLogoutNeedsABrowserThatSteppedUp(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	thief := w.browser("alice")
	thief.refused(http.StatusForbidden, passkey.AuthorizationNeeded, func() *http.Response { return thief.post("/.stepgate/logout", object{}) })
	alice.passes("/admin")

	// The mark alone does, long after the grant is gone; so does an old grant without the mark.
	grant := alice.cookies["__Host-stepgate"]
	w.clock.Advance(24 * time.Hour)
	byGrant := w.browser("alice")
	byGrant.cookies["__Host-stepgate"] = grant
	want(t, byGrant.post("/.stepgate/logout", object{}), http.StatusNoContent)
	byGrant.cookies["__Host-stepgate"] = grant // revoked now
	byGrant.refused(http.StatusForbidden, passkey.AuthorizationNeeded, func() *http.Response { return byGrant.post("/.stepgate/logout", object{}) })
	delete(alice.cookies, "__Host-stepgate")
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
}

// What an Add authorised must not be finished once the user has a stronger passkey than the one that authorised it.
func TestPendingAddIsHeldToTheNewLevel(t *testing.T) {
	w := newWorld(t)
	alice, phone := w.browser("alice"), authtest.New(authtest.Config{Synced: true})
	alice.register(phone, "Phone")
	thief := w.browser("alice")
	authorization := thief.authorize(phone, object{"action": "add"})
	options := want(t, thief.post("/.stepgate/passkeys/options", object{"name": "x", "authorization": raw(authorization)}), http.StatusOK)
	forged, err := authtest.New(authtest.Config{}).Register(options, console)
	if err != nil {
		t.Fatal(err)
	}
	alice.add(phone, authtest.New(authtest.Config{}), "Key")
	thief.refused(http.StatusForbidden, passkey.AuthorizationNeeded, func() *http.Response {
		return thief.post("/.stepgate/passkeys", object{"credential": raw(forged), "name": "x"})
	})
}
