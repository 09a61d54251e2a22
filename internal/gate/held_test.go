package gate_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// A step-up with an old cookie at hand must lead to a grant that is good: what the cookie held of another user, session or
// epoch is dropped, not carried on.
func TestStepUpReplacesAGrantOfOtherTimes(t *testing.T) {
	t.Run("another session", func(t *testing.T) {
		w := newWorld(t, func(c *gate.Config) { c.BindSession = true })
		alice, key := w.browser("alice"), authtest.New(authtest.Config{})
		alice.session = "one"
		alice.register(key, "Key")
		want(t, alice.stepUp(key, "/admin"), http.StatusOK)
		alice.session = "two"
		want(t, alice.stepUp(key, "/admin"), http.StatusOK)
		alice.passes("/admin")
	})
	t.Run("another epoch", func(t *testing.T) {
		w := newWorld(t)
		alice, key := w.browser("alice"), authtest.New(authtest.Config{})
		alice.register(key, "Key")
		want(t, alice.stepUp(key, "/admin"), http.StatusOK)
		old := alice.cookies["__Host-stepgate"]
		want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
		alice.cookies["__Host-stepgate"] = old
		want(t, alice.stepUp(key, "/admin"), http.StatusOK)
		alice.passes("/admin")
	})
	t.Run("another user", func(t *testing.T) {
		w := newWorld(t)
		alice, key := w.browser("alice"), authtest.New(authtest.Config{})
		alice.register(key, "Key")
		want(t, alice.stepUp(key, "/admin"), http.StatusOK)
		bob, bobs := w.browser("bob"), authtest.New(authtest.Config{})
		bob.register(bobs, "Key")
		bob.cookies["__Host-stepgate"] = alice.cookies["__Host-stepgate"]
		want(t, bob.stepUp(bobs, "/admin"), http.StatusOK)
		bob.passes("/admin")
		alice.cookies["__Host-stepgate"] = bob.cookies["__Host-stepgate"]
		alice.needsStepUp(passkey.GrantOtherUser, func() *http.Response { return alice.get("/admin") })
	})
}

// Blocks of one origin share their grants: what is too old for one of them may be fresh for another.
func TestBlocksShareGrants(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) { c.Longest = func() time.Duration { return 8 * time.Hour } })
	alice, key, phone := w.browser("alice"), authtest.New(authtest.Config{}), authtest.New(authtest.Config{Synced: true})
	alice.register(key, "Key")
	alice.add(key, phone, "Phone")
	want(t, alice.stepUp(key, "/hardware"), http.StatusOK)
	w.clock.Advance(time.Hour) // older than anything in this block allows
	want(t, alice.stepUp(phone, "/admin"), http.StatusOK)
	if age := alice.cookies["__Host-stepgate"].MaxAge; age != 8*3600 {
		t.Errorf("the cookie lasts %d s", age)
	}
	alice.needsStepUp(passkey.GrantStale, func() *http.Response { return alice.get("/hardware") }) // there, but too old here
	w.clock.Advance(7*time.Hour + time.Second)
	want(t, alice.stepUp(phone, "/admin"), http.StatusOK)
	alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/hardware") }) // forgotten by now
}

// All store calls of one request share one time limit.
func TestStoreBudget(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	w.clock.Advance(10 * time.Second)
	alice.passes("/admin")
	alice.get("/.stepgate/challenge?return_to=/hardware")
	want(t, alice.get("/.stepgate/passkeys"), http.StatusOK)
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
	if n := w.store.unbounded.Load(); n > 0 {
		t.Errorf("%d store calls had no time limit, or one over %s", n, gate.StoreBudget)
	}
}

// The four header values share an array; whoever adds to one must not write into the next.
func TestHeadersDoNotRunIntoEachOther(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	r := alice.passes("/admin")
	id := r.Header.Get(gate.HeaderPasskey)
	r.Header.Add(gate.HeaderUser, "added")
	if r.Header.Get(gate.HeaderPasskey) != id {
		t.Errorf("%s became %q", gate.HeaderPasskey, r.Header.Get(gate.HeaderPasskey))
	}
}

// RFC 9110 §15.5.2: a 401 says how to authenticate.
func TestEvery401HasAChallenge(t *testing.T) {
	w := newWorld(t)
	nobody := w.browser("")
	if got := nobody.get("/admin").Header.Get("WWW-Authenticate"); got != "Bearer" {
		t.Errorf("WWW-Authenticate %q", got)
	}
}

func TestSuspectedCloneIsAuditedWithItsPasskey(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{Counts: true})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	delete(alice.cookies, "__Host-stepgate")
	seen := w.audit.count()
	alice.refused(http.StatusForbidden, passkey.CounterRegressed, func() *http.Response { return alice.stepUpForRefusal(key, authtest.SignCount(1)) })
	events := w.audit.since(seen)
	if last := events[len(events)-1]; last.Kind != audit.CloneSuspected || last.Passkey != passkey.ShortID(key.Credentials()[0].ID) {
		t.Errorf("audited %+v", last)
	}
}

// stepUpForRefusal is stepUp with the credential made beforehand.
func (b *browser) stepUpForRefusal(a *authtest.Authenticator, lies ...authtest.Lie) *http.Response {
	b.w.t.Helper()
	return b.stepUp(a, "/admin", lies...)
}

// Where debatable paths are let through, people come back to the one they wanted.
func TestReturnToDebatablePath(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) { c.LetDebatable = true })
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	for _, path := range []string{"/api%2Fx?q=1", "/a//b", "/a;v=1"} {
		delete(alice.cookies, "__Host-stepgate")
		page := alice.get("/x", navigate, at(path)).Header.Get("Location")
		_, demand, _ := strings.Cut(page, "demand=")
		options := want(t, alice.post("/.stepgate/challenge/options", object{"demand": demand}), http.StatusOK)
		credential, err := key.Authenticate(options, console)
		if err != nil {
			t.Fatal(err)
		}
		answer := string(want(t, alice.post("/.stepgate/challenge/verify", object{"demand": demand, "credential": raw(credential)}), http.StatusOK))
		if !strings.Contains(answer, `"return_to":"`+path+`"`) {
			t.Errorf("%s: %s", path, answer)
		}
	}
}
