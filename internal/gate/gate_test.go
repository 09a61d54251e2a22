package gate_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

func TestMainJob(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})

	alice.needsStepUp(passkey.GrantMissing, func() *http.Response { return alice.get("/admin/x") })
	alice.refused(http.StatusConflict, passkey.NoPasskey, func() *http.Response {
		return alice.post("/.stepgate/challenge/options", object{"return_to": "/admin/x"})
	})
	alice.register(key, "Key")
	alice.needsStepUp(passkey.GrantMissing, func() *http.Response { return alice.get("/admin/x") }) // registering is no step-up

	var answer struct {
		ReturnTo  string    `json:"return_to"`
		ExpiresAt time.Time `json:"expires_at"`
		Level     string
	}
	if err := json.Unmarshal(want(t, alice.stepUp(key, "/admin/x?y=1"), http.StatusOK), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.ReturnTo != "/admin/x?y=1" || answer.Level != "device_bound" || !answer.ExpiresAt.Equal(w.clock.Now().Add(5*time.Minute)) {
		t.Errorf("answer %+v", answer)
	}
	request := alice.passes("/admin/x?y=1")
	id := passkey.ShortID(key.Credentials()[0].ID)
	got := map[string][]string{}
	for _, name := range []string{gate.HeaderUser, gate.HeaderPasskey, gate.HeaderLevel, gate.HeaderTime} {
		got[name] = request.Header[name]
	}
	if diff := cmp.Diff(map[string][]string{
		gate.HeaderUser: {"alice"}, gate.HeaderPasskey: {id}, gate.HeaderLevel: {"device_bound"}, gate.HeaderTime: {"2026-11-22T12:00:00Z"},
	}, got); diff != "" {
		t.Error(diff)
	}
	if cookies := request.Header["Cookie"]; cookies != nil {
		t.Errorf("the upstream got our cookies: %q", cookies)
	}
	alice.passes("/open")
	w.clock.Advance(5*time.Minute - time.Nanosecond)
	alice.passes("/admin/x")
	w.clock.Advance(time.Nanosecond)
	alice.needsStepUp(passkey.GrantStale, func() *http.Response { return alice.get("/admin/x") })
	alice.passes("/other") // 15 minutes there
}

// Each reason why a genuine grant does not do.
func TestGrantReasons(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.browser("alice"), w.browser("bob")
	synced, key := authtest.New(authtest.Config{Synced: true}), authtest.New(authtest.Config{})
	alice.register(synced, "Phone")
	bob.register(key, "Key")
	want(t, alice.stepUp(synced, "/admin"), http.StatusOK)
	want(t, bob.stepUp(key, "/admin"), http.StatusOK)
	alice.passes("/admin")
	bob.passes("/hardware")
	grant := alice.cookies["__Host-stepgate"]

	alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/hardware") })
	bob.cookies["__Host-stepgate"] = grant
	bob.needsStepUp(passkey.GrantOtherUser, func() *http.Response { return bob.get("/admin") })
	if bob.cookies["__Host-stepgate"] != nil {
		t.Error("another user's grant was not cleared")
	}
	elsewhere := w.browser("alice")
	elsewhere.origin = aws
	elsewhere.cookies["__Host-stepgate"] = grant
	elsewhere.needsStepUp(passkey.GrantOtherOrigin, func() *http.Response { return elsewhere.get("/admin") })

	for name, value := range map[string]string{"garbage": "x", "empty value": "", "truncated": grant.Value[:50], "doubled": grant.Value + grant.Value} {
		other := w.browser("alice")
		other.cookies["__Host-stepgate"] = &http.Cookie{Name: "__Host-stepgate", Value: value}
		reason := passkey.GrantUnreadable
		if value == "" {
			reason = passkey.GrantMissing
		}
		t.Run(name, func(t *testing.T) {
			other.needsStepUp(reason, func() *http.Response { return other.get("/admin") })
		})
	}
	for _, name := range []string{"stepgate", "__host-stepgate", "__Host-Stepgate", "__Secure-stepgate", "x__Host-stepgate"} {
		other := w.browser("alice")
		other.cookies[name] = &http.Cookie{Name: name, Value: grant.Value}
		other.needsStepUp(passkey.GrantMissing, func() *http.Response { return other.get("/admin") })
	}
	w.clock.Advance(-time.Minute)
	alice.needsStepUp(passkey.GrantFromFuture, func() *http.Response { return alice.get("/admin") })
}

func TestBoundSession(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) { c.BindSession = true })
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	for _, none := range []string{"", "  "} {
		alice.session = none
		alice.refused(http.StatusUnauthorized, passkey.SessionMissing, func() *http.Response { return alice.get("/admin") })
	}
	alice.session = "one"
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.passes("/admin")
	alice.session = "two"
	alice.needsStepUp(passkey.GrantOtherSession, func() *http.Response { return alice.get("/admin") })
	alice.session = "one"
	alice.passes("/admin")

	options := want(t, alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"}), http.StatusOK)
	credential, err := key.Authenticate(options, console)
	if err != nil {
		t.Fatal(err)
	}
	alice.session = "two"
	alice.refused(http.StatusForbidden, passkey.SessionMismatch, func() *http.Response {
		return alice.post("/.stepgate/challenge/verify", object{"return_to": "/admin", "credential": raw(credential)})
	})
}

func TestRevocation(t *testing.T) {
	w := newWorld(t)
	alice, first, second := w.browser("alice"), authtest.New(authtest.Config{}), authtest.New(authtest.Config{})
	alice.register(first, "First")
	alice.add(first, second, "Second")
	want(t, alice.stepUp(second, "/admin"), http.StatusOK)
	alice.passes("/admin")

	id := passkey.ShortID(second.Credentials()[0].ID)
	authorization := alice.authorize(first, object{"action": "remove", "id": id})
	want(t, alice.send(http.MethodDelete, "/.stepgate/passkeys/"+id, object{"authorization": raw(authorization)}), http.StatusNoContent)
	alice.needsStepUp(passkey.GrantPasskeyRemoved, func() *http.Response { return alice.get("/admin") })

	want(t, alice.stepUp(first, "/admin"), http.StatusOK)
	alice.passes("/admin")
	stolen := w.browser("alice")
	stolen.cookies["__Host-stepgate"] = alice.cookies["__Host-stepgate"]
	stolen.passes("/admin")
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
	if alice.cookies["__Host-stepgate"] != nil {
		t.Error("logging out left the cookie")
	}
	stolen.needsStepUp(passkey.GrantRevoked, func() *http.Response { return stolen.get("/admin") })
	want(t, alice.stepUp(first, "/admin"), http.StatusOK)
	alice.passes("/admin")
}

// Another gateway honours a revocation within the lag, and a step-up made elsewhere at once.
func TestTwoGateways(t *testing.T) {
	w := newWorld(t)
	here := w.backend
	there := w.newBackend(5 * time.Second)
	on := func(b *gate.Backend, do func()) { w.backend = b; do(); w.backend = here }
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.passes("/admin")
	on(there, func() { alice.passes("/admin") })

	stolen := w.browser("alice")
	stolen.cookies["__Host-stepgate"] = alice.cookies["__Host-stepgate"]
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
	w.clock.Advance(5*time.Second - time.Nanosecond)
	on(there, func() { stolen.passes("/admin") }) // within the lag, as documented
	w.clock.Advance(time.Nanosecond)
	on(there, func() {
		stolen.needsStepUp(passkey.GrantRevoked, func() *http.Response { return stolen.get("/admin") })
	})

	// There, the view of alice is fresh and of the new epoch. A step-up after another logout must not wait for the lag.
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
	w.clock.Advance(time.Second)
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	on(there, func() { alice.passes("/admin") })
}

func TestNoStoreCallWithinLag(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.passes("/admin")
	before := w.store.reads.Load()
	for range 20 {
		w.clock.Advance(200 * time.Millisecond)
		alice.passes("/admin")
	}
	if n := w.store.reads.Load() - before; n != 0 {
		t.Errorf("%d store calls within the lag", n)
	}
	w.clock.Advance(time.Second + time.Nanosecond)
	alice.passes("/admin")
	if n := w.store.reads.Load() - before; n != 1 {
		t.Errorf("%d store calls after the lag, want 1", n)
	}
}

func TestLagZeroReadsEveryTime(t *testing.T) {
	w := newWorld(t)
	w.backend = w.newBackend(0)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	before := w.store.reads.Load()
	alice.passes("/admin")
	alice.passes("/admin")
	if n := w.store.reads.Load() - before; n != 2 {
		t.Errorf("%d store calls for two requests", n)
	}
}

func TestStoreDown(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.passes("/admin")
	options := want(t, alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"}), http.StatusOK)
	credential, err := key.Authenticate(options, console)
	if err != nil {
		t.Fatal(err)
	}
	unavailable := func(name string, send func() *http.Response) {
		t.Helper()
		alice.refused(http.StatusServiceUnavailable, passkey.StoreUnavailable, func() *http.Response {
			response := send()
			if response.Header.Get("Retry-After") == "" {
				t.Errorf("%s: no Retry-After", name)
			}
			return response
		})
	}
	check := func() {
		t.Helper()
		unavailable("protected", func() *http.Response { return alice.get("/admin") })
		unavailable("options", func() *http.Response {
			return alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"})
		})
		unavailable("verify", func() *http.Response {
			return alice.post("/.stepgate/challenge/verify", object{"return_to": "/admin", "credential": raw(credential)})
		})
		unavailable("account", func() *http.Response { return alice.get("/.stepgate/passkeys") })
		alice.passes("/open")
	}
	w.clock.Advance(6 * time.Second) // what was cached is too old
	w.store.fail.Store(true)
	check()
	w.store.fail.Store(false)
	w.down.Store(true)
	check()
	w.down.Store(false)
	want(t, alice.post("/.stepgate/challenge/verify", object{"return_to": "/admin", "credential": raw(credential)}), http.StatusOK)
	alice.passes("/admin")
}

// A grant that a lower level renews keeps what it had of a higher one.
func TestGrantKeepsHigherLevel(t *testing.T) {
	w := newWorld(t)
	alice, key, phone := w.browser("alice"), authtest.New(authtest.Config{}), authtest.New(authtest.Config{Synced: true})
	alice.register(key, "Key")
	alice.add(key, phone, "Phone")
	want(t, alice.stepUp(key, "/hardware"), http.StatusOK)
	w.clock.Advance(6 * time.Minute)
	alice.needsStepUp(passkey.GrantStale, func() *http.Response { return alice.get("/admin") })
	want(t, alice.stepUp(phone, "/admin"), http.StatusOK)
	if level := alice.passes("/admin").Header.Get(gate.HeaderLevel); level != "verified" {
		t.Errorf("/admin by %s", level)
	}
	if level := alice.passes("/hardware").Header.Get(gate.HeaderLevel); level != "device_bound" {
		t.Errorf("/hardware by %s", level)
	}
}

func TestPresentLevel(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/touch"), http.StatusOK)
	if level := alice.passes("/touch").Header.Get(gate.HeaderLevel); level != "present" {
		t.Errorf("level %q", level)
	}
	alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/admin") })
}

func TestLevelUnreachable(t *testing.T) {
	w := newWorld(t)
	alice, phone := w.browser("alice"), authtest.New(authtest.Config{Synced: true})
	alice.register(phone, "Phone")
	alice.refused(http.StatusConflict, passkey.LevelUnreachable, func() *http.Response {
		return alice.post("/.stepgate/challenge/options", object{"return_to": "/hardware"})
	})
	key := authtest.New(authtest.Config{})
	alice.add(phone, key, "Key")
	want(t, alice.stepUp(key, "/hardware"), http.StatusOK)
	alice.passes("/hardware")
}

func TestNavigation(t *testing.T) {
	w := newWorld(t)
	alice := w.browser("alice")
	location := func(response *http.Response) *url.URL {
		t.Helper()
		want(t, response, http.StatusSeeOther)
		u, err := url.Parse(response.Header.Get("Location"))
		if err != nil || u.IsAbs() || u.Path != "/.stepgate/challenge" || u.Query().Get("demand") == "" {
			t.Fatalf("Location %q", response.Header.Get("Location"))
		}
		return u
	}
	page := location(alice.get("/admin/x?secret=1", navigate))
	if strings.Contains(page.String(), "secret") || strings.Contains(page.String(), "admin") {
		t.Errorf("the demand is not sealed: %s", page)
	}
	location(alice.do(http.MethodHead, "/admin", nil, navigate))
	location(alice.get("/admin", header("Sec-Fetch-Site"), header("Accept", "text/html")))
	location(alice.get("/admin", header("Accept", "text/html;q=0.9, application/json;q=0.8")))
	body := string(want(t, alice.get(page.String(), navigate), http.StatusOK))
	for _, text := range []string{"/admin/x?secret=1", "alice", "passkey"} {
		if !strings.Contains(body, text) {
			t.Errorf("the challenge page does not say %q", text)
		}
	}
	// What is no top-level navigation gets no redirect.
	for name, change := range map[string]change{
		"fetch":    header("Sec-Fetch-Mode", "cors"),
		"frame":    func(r *http.Request, in *gate.Request) { navigate(r, in); r.Header.Set("Sec-Fetch-Dest", "iframe") },
		"json":     header("Accept", "application/json, text/html;q=0.5"),
		"anything": header("Accept", "*/*"),
		"no html":  header("Accept", "text/html;q=0"),
		"XMLHttpRequest": func(r *http.Request, _ *gate.Request) {
			r.Header.Set("Accept", "text/html")
			r.Header.Set("X-Requested-With", "XMLHttpRequest")
		},
	} {
		t.Run(name, func(t *testing.T) {
			alice.needsStepUp(passkey.GrantMissing, func() *http.Response {
				response := alice.get("/admin", change)
				challenge := response.Header.Get("WWW-Authenticate")
				if !strings.Contains(challenge, `error="insufficient_user_authentication"`) || !strings.Contains(challenge, `max_age="300"`) {
					t.Errorf("WWW-Authenticate: %q", challenge)
				}
				return response
			})
		})
	}
	// A form that was sent gets a page that leads on, not a redirect that would lose what was in it, nor raw JSON.
	response := alice.do(http.MethodPost, "/admin/save", strings.NewReader("a=b"), navigate, header("Referer", console+"/admin/form?id=1"))
	text := string(want(t, response, http.StatusUnauthorized))
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") || !strings.Contains(text, "/.stepgate/challenge?demand=") || !strings.Contains(text, "not carried out") {
		t.Errorf("page for a form: %.500s", text)
	}
}

// After a form, a person comes back to the page that it was on, never to the address that it was sent to.
func TestReturnAfterForm(t *testing.T) {
	for referer, want := range map[string]string{
		console + "/admin/form?id=1":   "/admin/form?id=1",
		"":                             "/",
		"https://evil.example/x":       "/",
		console + ".evil.example/x":    "/",
		aws + "/admin/form":            "/",
		console + "/.stepgate/logout":  "/",
		console + "//evil.example/":    "/",
		"http://console.example.com/x": "/",
	} {
		w := newWorld(t)
		alice, key := w.browser("alice"), authtest.New(authtest.Config{})
		alice.register(key, "Key")
		var problem struct {
			URL string `json:"step_up_url"`
		}
		if err := json.Unmarshal(wantBody(t, alice.post("/admin/delete", object{}, header("Referer", referer))), &problem); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(problem.URL)
		if err != nil || !strings.HasPrefix(problem.URL, console+"/.stepgate/challenge?demand=") {
			t.Fatalf("step_up_url %q", problem.URL)
		}
		demand := u.Query().Get("demand")
		options := wantBody(t, alice.post("/.stepgate/challenge/options", object{"demand": demand}))
		credential, err := key.Authenticate(options, console)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			ReturnTo string `json:"return_to"`
		}
		if err := json.Unmarshal(wantBody(t, alice.post("/.stepgate/challenge/verify", object{"demand": demand, "credential": raw(credential)})), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.ReturnTo != want {
			t.Errorf("Referer %q leads to %q, want %q", referer, answer.ReturnTo, want)
		}
	}
}

// Where the demand is met already, the page asks for nothing.
func TestChallengePageWhenFresh(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	page := alice.get("/admin/x", navigate).Header.Get("Location")
	want(t, alice.get(page, navigate), http.StatusOK)
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	response := alice.get(page, navigate)
	want(t, response, http.StatusSeeOther)
	if to := response.Header.Get("Location"); to != "/admin/x" {
		t.Errorf("sent to %q", to)
	}
}
