package gate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// endpointsThatChange are the gateway's own addresses that change state or start a ceremony.
var endpointsThatChange = []struct{ method, path string }{
	{"POST", "/.stepgate/challenge/options"}, {"POST", "/.stepgate/challenge/verify"}, {"POST", "/.stepgate/passkeys/authorize/options"},
	{"POST", "/.stepgate/passkeys/options"}, {"POST", "/.stepgate/passkeys"}, {"PATCH", "/.stepgate/passkeys/x"}, {"DELETE", "/.stepgate/passkeys/x"},
	{"POST", "/.stepgate/logout"},
}

func TestChangesComeFromThisOrigin(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	for _, e := range endpointsThatChange {
		for name, changes := range map[string][]change{
			"cross-site":                    {header("Sec-Fetch-Site", "cross-site")},
			"same-site":                     {header("Sec-Fetch-Site", "same-site")},
			"typed in":                      {header("Sec-Fetch-Site", "none")},
			"said twice":                    {header("Sec-Fetch-Site", "same-origin", "same-origin")},
			"neither":                       {header("Sec-Fetch-Site")},
			"null origin":                   {header("Sec-Fetch-Site"), header("Origin", "null")},
			"sibling origin":                {header("Sec-Fetch-Site"), header("Origin", aws)},
			"http origin":                   {header("Sec-Fetch-Site"), header("Origin", "http://console.example.com")},
			"origin in capitals":            {header("Sec-Fetch-Site"), header("Origin", "https://CONSOLE.example.com")},
			"fetch metadata against origin": {header("Origin", aws)},
		} {
			t.Run(e.method+e.path+" "+name, func(t *testing.T) {
				alice.refused(http.StatusForbidden, passkey.CrossSite, func() *http.Response { return alice.send(e.method, e.path, object{}, changes...) })
			})
		}
	}
	want(t, alice.post("/.stepgate/logout", object{}, header("Sec-Fetch-Site"), header("Origin", console)), http.StatusNoContent)
}

func TestBodies(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	for _, e := range endpointsThatChange {
		send := func(body io.Reader, changes ...change) func() *http.Response {
			return func() *http.Response {
				return alice.do(e.method, e.path, body, append([]change{header("Content-Type", "application/json")}, changes...)...)
			}
		}
		for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/jsonp"} {
			alice.refused(http.StatusUnsupportedMediaType, passkey.MediaType, send(strings.NewReader("{}"), header("Content-Type", media)))
		}
		alice.refused(http.StatusUnsupportedMediaType, passkey.MediaType, send(strings.NewReader("{}"), header("Content-Encoding", "gzip")))
		alice.refused(http.StatusRequestEntityTooLarge, passkey.BodyTooLarge, send(strings.NewReader(`{"x":"`+strings.Repeat("a", 64<<10)+`"}`)))
		alice.refused(http.StatusRequestEntityTooLarge, passkey.BodyTooLarge, send(io.LimitReader(endless{}, 1<<30)))
		for _, body := range []string{
			"", "x", "[]", "null", `{"a":1,"a":2}`, `{"demand":"x","Demand":"y"}`, `{"credential":{"id":1,"ID":2}}`, `{}{}`, strings.Repeat(`{"a":`, 20000),
			"{\"a\":\"\xff\"}",
		} {
			if len(body) > 64<<10 {
				body = body[:60<<10]
			}
			alice.refused(http.StatusBadRequest, passkey.BodyMalformed, send(strings.NewReader(body)))
		}
	}
	for path, bodies := range map[string][]string{
		"/.stepgate/challenge/options":          {`{"Return_To":"/x"}`, `{"demand":1}`, `{"return_to":{}}`},
		"/.stepgate/challenge/verify":           {`{"return_to":"/x"}`, `{"return_to":"/x","credential":null}`, `{"return_to":"/x","credential":"x"}`, `{"return_to":"/x","CREDENTIAL":{}}`},
		"/.stepgate/passkeys/authorize/options": {`{}`, `{"action":"step_up"}`, `{"action":"add","id":"x"}`, `{"action":"remove"}`, `{"action":"first_use"}`, `{"action":1}`},
		"/.stepgate/passkeys/options":           {`{"name":1}`, `{"name":[]}`},
		"/.stepgate/passkeys":                   {`{}`, `{"credential":null}`, `{"credential":{},"name":1}`},
	} {
		for _, body := range bodies {
			alice.refused(http.StatusBadRequest, passkey.BodyMalformed, func() *http.Response {
				return alice.do("POST", path, strings.NewReader(body), header("Content-Type", "application/json; charset=UTF-8"))
			})
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestMethodsOfOwnPaths(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	for path, allow := range map[string]string{
		"/.stepgate/challenge": "GET, HEAD", "/.stepgate/challenge/options": "POST", "/.stepgate/challenge/verify": "POST", "/.stepgate/passkeys": "GET, HEAD, POST",
		"/.stepgate/passkeys/options": "POST", "/.stepgate/passkeys/authorize/options": "POST", "/.stepgate/passkeys/x": "DELETE, PATCH",
		"/.stepgate/status": "GET, HEAD", "/.stepgate/logout": "POST", "/.well-known/webauthn": "GET, HEAD", "/.well-known/passkey-endpoints": "GET, HEAD",
		"/.stepgate/assets/x": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
			if strings.Contains(allow, method) {
				continue
			}
			alice.refused(http.StatusMethodNotAllowed, passkey.MethodNotAllowed, func() *http.Response {
				response := alice.send(method, path, object{})
				if got := response.Header.Get("Allow"); got != allow {
					t.Errorf("%s: Allow %q, want %q", path, got, allow)
				}
				return response
			})
		}
	}
	for _, path := range []string{"/.stepgate", "/.stepgate/", "/.stepgate/x", "/.stepgate/passkeys/", "/.stepgate/passkeys/a/b", "/.stepgate/assets/", "/.stepgate/assets/x.js"} {
		alice.refused(http.StatusNotFound, passkey.NotFound, func() *http.Response { return alice.get(path) })
	}
}

func TestOwnAnswersArePrivate(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	bob := w.browser("bob")
	for name, response := range map[string]*http.Response{
		"page":      alice.get("/.stepgate/challenge?return_to=/hardware/x", navigate),
		"account":   alice.get("/.stepgate/passkeys", navigate),
		"list":      alice.get("/.stepgate/passkeys"),
		"status":    alice.get("/.stepgate/status"),
		"options":   alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"}),
		"redirect":  bob.get("/admin", navigate),
		"problem":   bob.get("/admin"),
		"form":      bob.do("POST", "/admin", nil, navigate),
		"not found": alice.get("/.stepgate/x", navigate),
		"logout":    alice.post("/.stepgate/logout", object{}),
	} {
		for header, value := range map[string]string{
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin",
			"Permissions-Policy":         "publickey-credentials-get=(self), publickey-credentials-create=(self)",
		} {
			if got := response.Header.Get(header); got != value {
				t.Errorf("%s: %s is %q, want %q", name, header, got, value)
			}
		}
		policy := response.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: no %s in %q", name, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %q", name, policy)
		}
	}
}

func TestCookieAttributes(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	for _, name := range []string{"__Host-stepgate", "__Host-stepgate-ceremony"} {
		c := alice.cookies[name]
		if c == nil || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
			t.Errorf("%s: %v", name, c)
		}
	}
	if age := alice.cookies["__Host-stepgate"].MaxAge; age != 15*60 { // the longest of any rule
		t.Errorf("the grant's cookie lasts %d s", age)
	}
	if n := len(alice.cookies["__Host-stepgate"].Value); n > 400 {
		t.Errorf("the grant has %d bytes", n)
	}
}

// One challenge, finished elsewhere, twice, or too late.
func TestCeremonyBinding(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	start := func() []byte {
		t.Helper()
		options := want(t, alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"}), http.StatusOK)
		credential, err := key.Authenticate(options, console)
		if err != nil {
			t.Fatal(err)
		}
		return credential
	}
	finish := func(b *browser, credential []byte) func() *http.Response {
		return func() *http.Response {
			return b.post("/.stepgate/challenge/verify", object{"return_to": "/admin", "credential": raw(credential)})
		}
	}
	credential := start()
	thief := w.browser("alice")
	thief.refused(http.StatusForbidden, passkey.BrowserMismatch, finish(thief, credential))
	bob := w.browser("bob")
	bob.cookies = map[string]*http.Cookie{"__Host-stepgate-ceremony": alice.cookies["__Host-stepgate-ceremony"]}
	bob.refused(http.StatusConflict, passkey.ChallengeUsed, finish(bob, credential))
	want(t, finish(alice, credential)(), http.StatusOK)
	delete(alice.cookies, "__Host-stepgate")
	alice.refused(http.StatusConflict, passkey.ChallengeUsed, finish(alice, credential))

	credential = start()
	elsewhere := w.browser("alice")
	elsewhere.origin, elsewhere.cookies = aws, alice.cookies
	elsewhere.refused(http.StatusForbidden, passkey.OriginMismatch, finish(elsewhere, credential))

	credential = start()
	w.clock.Advance(5 * time.Minute)
	alice.refused(http.StatusGone, passkey.ChallengeExpired, finish(alice, credential))
	w.clock.Advance(-time.Nanosecond)
	want(t, finish(alice, credential)(), http.StatusOK)

	// Another level than the one it was started for.
	options := want(t, alice.post("/.stepgate/challenge/options", object{"return_to": "/touch"}), http.StatusOK)
	credential, err := key.Authenticate(options, console)
	if err != nil {
		t.Fatal(err)
	}
	delete(alice.cookies, "__Host-stepgate")
	alice.refused(http.StatusBadRequest, passkey.CeremonyMismatch, func() *http.Response {
		return alice.post("/.stepgate/challenge/verify", object{"return_to": "/admin", "credential": raw(credential)})
	})
}

func TestDemands(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	delete(alice.cookies, "__Host-stepgate")
	page := alice.get("/admin/x", navigate).Header.Get("Location")
	_, demand, _ := strings.Cut(page, "demand=")
	want(t, alice.post("/.stepgate/challenge/options", object{"demand": demand}), http.StatusOK)
	elsewhere := w.browser("alice")
	elsewhere.origin = aws
	for name, test := range map[string]struct {
		browser *browser
		demand  string
	}{
		"garbage": {alice, "x"}, "truncated": {alice, demand[:len(demand)-2]}, "changed": {alice, "B" + demand[1:]}, "huge": {alice, strings.Repeat("A", 50000)},
		"of another origin": {elsewhere, demand},
	} {
		t.Run(name, func(t *testing.T) {
			b := test.browser
			b.refused(http.StatusBadRequest, passkey.DemandInvalid, func() *http.Response {
				return b.post("/.stepgate/challenge/options", object{"demand": test.demand})
			})
			b.refused(http.StatusBadRequest, passkey.DemandInvalid, func() *http.Response {
				return b.get("/.stepgate/challenge?demand=" + test.demand)
			})
		})
	}
	// A grant is no demand, and a demand no grant.
	alice.cookies["__Host-stepgate"] = &http.Cookie{Name: "__Host-stepgate", Value: demand}
	alice.needsStepUp(passkey.GrantUnreadable, func() *http.Response { return alice.get("/admin") })
}

func TestManagement(t *testing.T) {
	w := newWorld(t)
	alice, key, phone := w.browser("alice"), authtest.New(authtest.Config{}), authtest.New(authtest.Config{Synced: true})
	alice.register(key, "Key")
	id := passkey.ShortID(key.Credentials()[0].ID)

	// A grant is not enough (rule 9): not to add, not to remove.
	want(t, alice.stepUp(key, "/admin"), http.StatusOK)
	alice.refused(http.StatusForbidden, passkey.AuthorizationNeeded, func() *http.Response {
		return alice.post("/.stepgate/passkeys/options", object{"name": "x"})
	})
	alice.refused(http.StatusForbidden, passkey.AuthorizationNeeded, func() *http.Response {
		return alice.send("DELETE", "/.stepgate/passkeys/"+id, object{})
	})
	alice.add(key, phone, "Phone")
	phoneID := passkey.ShortID(phone.Credentials()[0].ID)

	// An authorization is for one action and one target.
	forAdd := alice.authorize(key, object{"action": "add"})
	alice.refused(http.StatusBadRequest, passkey.CeremonyMismatch, func() *http.Response {
		return alice.send("DELETE", "/.stepgate/passkeys/"+id, object{"authorization": raw(forAdd)})
	})
	forPhone := alice.authorize(key, object{"action": "remove", "id": phoneID})
	alice.refused(http.StatusBadRequest, passkey.CeremonyMismatch, func() *http.Response {
		return alice.send("DELETE", "/.stepgate/passkeys/"+id, object{"authorization": raw(forPhone)})
	})

	// Somebody else's passkey is nobody's.
	bob := w.browser("bob")
	bob.register(authtest.New(authtest.Config{}), "Bob's")
	bob.refused(http.StatusNotFound, passkey.PasskeyUnknown, func() *http.Response {
		return bob.send("PATCH", "/.stepgate/passkeys/"+id, object{"name": "mine"})
	})
	bob.refused(http.StatusNotFound, passkey.PasskeyUnknown, func() *http.Response {
		return bob.post("/.stepgate/passkeys/authorize/options", object{"action": "remove", "id": id})
	})

	for name, code := range map[string]passkey.Refusal{
		"": passkey.NameInvalid, " ": passkey.NameInvalid, strings.Repeat("x", 65): passkey.NameInvalid, "a\u202eb": passkey.NameInvalid, "a\nb": passkey.NameInvalid,
		"PHONE": passkey.NameTaken,
	} {
		status := http.StatusBadRequest
		if code == passkey.NameTaken {
			status = http.StatusConflict
		}
		alice.refused(status, code, func() *http.Response { return alice.send("PATCH", "/.stepgate/passkeys/"+id, object{"name": name}) })
	}
	want(t, alice.send("PATCH", "/.stepgate/passkeys/"+id, object{"name": `<script>"Schlüssel" 🔑`}), http.StatusOK)
	var list struct {
		Passkeys []map[string]any `json:"passkeys"`
	}
	if err := json.Unmarshal(want(t, alice.get("/.stepgate/passkeys", header("Accept", "application/json")), http.StatusOK), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Passkeys) != 2 || list.Passkeys[0]["name"] != `<script>"Schlüssel" 🔑` || list.Passkeys[0]["id"] != id ||
		list.Passkeys[0]["level"] != "device_bound" || list.Passkeys[1]["level"] != "verified" || list.Passkeys[1]["last_used_at"] != nil ||
		list.Passkeys[0]["last_used_at"] == nil || list.Passkeys[1]["backed_up"] != true {
		t.Errorf("list %v", list.Passkeys)
	}
	page := string(want(t, alice.get("/.stepgate/passkeys", navigate), http.StatusOK))
	if strings.Contains(page, "<script>\"Schl") || !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the name is not escaped on the page")
	}

	forPhone = alice.authorize(key, object{"action": "remove", "id": phoneID})
	seen := w.audit.count()
	want(t, alice.send("DELETE", "/.stepgate/passkeys/"+phoneID, object{"authorization": raw(forPhone)}), http.StatusNoContent)
	if events := w.audit.since(seen); len(events) != 2 || events[0].Kind != audit.CeremonyFinished || events[0].Action != passkey.Remove || events[0].Passkey != id ||
		events[1].Kind != audit.PasskeyRemoved || events[1].Passkey != phoneID || events[1].User != "alice" {
		t.Errorf("audited %v", events)
	}
}

func TestFirstUseIsAudited(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	alice.add(key, authtest.New(authtest.Config{}), "Second")
	var actions []passkey.Action
	for _, event := range w.audit.since(0) {
		if event.Kind == audit.PasskeyRegistered {
			actions = append(actions, event.Action)
		}
	}
	if len(actions) != 2 || actions[0] != passkey.FirstUse || actions[1] != passkey.Another {
		t.Errorf("registrations audited as %v", actions)
	}
}

func TestLogoutWithoutPasskeysLeavesFirstUseOpen(t *testing.T) {
	w := newWorld(t)
	alice := w.browser("alice")
	want(t, alice.post("/.stepgate/logout", object{}), http.StatusNoContent)
	alice.register(authtest.New(authtest.Config{}), "Key")
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	alice, key, phone := w.browser("alice"), authtest.New(authtest.Config{}), authtest.New(authtest.Config{Synced: true})
	type status struct {
		User      string
		SteppedUp bool `json:"stepped_up"`
		Reason    string
		Level     string
		Age       int64
		ExpiresAt time.Time `json:"expires_at"`
		Proofs    []struct{ Level string }
	}
	ask := func() (s status) {
		t.Helper()
		if err := json.Unmarshal(want(t, alice.get("/.stepgate/status"), http.StatusOK), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := ask(); s.SteppedUp || s.User != "alice" || s.Reason != "grant_missing" || len(s.Proofs) != 0 {
		t.Errorf("before: %+v", s)
	}
	alice.register(key, "Key")
	alice.add(key, phone, "Phone")
	want(t, alice.stepUp(key, "/hardware"), http.StatusOK)
	w.clock.Advance(time.Minute)
	want(t, alice.stepUp(phone, "/admin"), http.StatusOK)
	w.clock.Advance(time.Minute)
	if s := ask(); !s.SteppedUp || s.Level != "verified" || s.Age != 60 || len(s.Proofs) != 2 || !s.ExpiresAt.Equal(w.clock.Now().Add(14*time.Minute)) {
		t.Errorf("after: %+v", s)
	}
}

func TestPublicPaths(t *testing.T) {
	w := newWorld(t)
	nobody := w.browser("")
	nobody.cookies["__Host-stepgate"] = &http.Cookie{Name: "__Host-stepgate", Value: "x"}
	var origins struct{ Origins []string }
	response := nobody.get("/.well-known/webauthn")
	if err := json.Unmarshal(want(t, response, http.StatusOK), &origins); err != nil || len(origins.Origins) != 2 || response.Header.Get("Content-Type") != "application/json" {
		t.Errorf("origins %v", origins)
	}
	if len(response.Cookies()) != 0 {
		t.Errorf("cookies %v", response.Cookies())
	}
	var endpoints struct{ Enroll, Manage string }
	if err := json.Unmarshal(want(t, nobody.get("/.well-known/passkey-endpoints"), http.StatusOK), &endpoints); err != nil || endpoints.Manage != console+"/.stepgate/passkeys" || endpoints.Enroll != endpoints.Manage {
		t.Errorf("endpoints %v", endpoints)
	}
	page := want(t, w.browser("alice").get("/.stepgate/passkeys", navigate), http.StatusOK)
	i := bytes.Index(page, []byte("/.stepgate/assets/"))
	if i < 0 {
		t.Fatal("the page has no assets")
	}
	asset := string(page[i : i+bytes.IndexByte(page[i:], '"')])
	response = nobody.get(asset)
	want(t, response, http.StatusOK)
	if !strings.Contains(response.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("Cache-Control %q", response.Header.Get("Cache-Control"))
	}
	want(t, nobody.get(asset, header("If-None-Match", response.Header.Get("ETag"))), http.StatusNotModified)
	want(t, nobody.do("HEAD", asset, nil), http.StatusOK)
}

// A flood in the victim's name, with the victim's own sign-in and from many addresses, leaves the victim's browser alone,
// also after a restart of the gateway and of the browser.
func TestRateLimit(t *testing.T) {
	w := newWorld(t)
	victim, key := w.browser("alice"), authtest.New(authtest.Config{})
	victim.register(key, "Key")
	want(t, victim.stepUp(key, "/admin"), http.StatusOK)
	if age := victim.cookies["__Host-stepgate-ceremony"].MaxAge; age < 30*24*3600 {
		t.Errorf("the browser's name lasts %d s", age)
	}
	w.backend.Limiter = gate.NewLimiter() // a restart
	limited := 0
	for i := range 600 {
		thief := w.browser("alice") // a new browser each time
		thief.client = fmt.Sprintf("198.51.100.%d", i%20)
		response := thief.post("/.stepgate/challenge/options", object{"return_to": "/admin"})
		if response.StatusCode == http.StatusTooManyRequests {
			limited++
			if wait := response.Header.Get("Retry-After"); wait != "1" { // five tokens a second come for the user
				t.Fatalf("Retry-After: %q", wait)
			}
		}
	}
	if limited != 300 {
		t.Errorf("%d of 600 starts were limited", limited)
	}
	want(t, victim.stepUp(key, "/admin"), http.StatusOK)
	thief := w.browser("alice")
	thief.client = "203.0.113.7"
	refuse := func(path string, body object) {
		t.Helper()
		thief.refused(http.StatusTooManyRequests, passkey.RateLimited, func() *http.Response { return thief.post(path, body) })
	}
	refuse("/.stepgate/challenge/options", object{"return_to": "/admin"})
	refuse("/.stepgate/passkeys/authorize/options", object{"action": "add"})
	refuse("/.stepgate/passkeys/options", object{"name": "x"})

	// Nobody can make up, or take along, the mark of a known browser.
	name, mark, _ := strings.Cut(victim.cookies["__Host-stepgate-ceremony"].Value, ".")
	for _, value := range []string{name, name + ".", name + "." + mark + "A", strings.Repeat("A", 43) + "." + mark} {
		thief.cookies["__Host-stepgate-ceremony"] = &http.Cookie{Name: "__Host-stepgate-ceremony", Value: value}
		refuse("/.stepgate/challenge/options", object{"return_to": "/admin"})
	}
	w.clock.Advance(10 * time.Minute)
	want(t, thief.post("/.stepgate/challenge/options", object{"return_to": "/admin"}), http.StatusOK)
}

func FuzzUserName(f *testing.F) {
	w := newWorld(f)
	for _, name := range []string{"alice", "", "a#b", "a\x00b", "\xff", "e\u0301", strings.Repeat("x", 600), "%41", "a\r\nb"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		w.t = t
		b := w.browser(name)
		before := w.reached()
		response := b.get("/admin")
		if w.reached() != before {
			t.Fatalf("%q passes", name)
		}
		switch response.StatusCode {
		case http.StatusUnauthorized, http.StatusBadRequest:
		default:
			t.Fatalf("%q: status %d", name, response.StatusCode)
		}
	})
}

func FuzzDemand(f *testing.F) {
	w := newWorld(f)
	alice := w.browser("alice")
	page := alice.get("/admin/x", navigate).Header.Get("Location")
	_, demand, _ := strings.Cut(page, "demand=")
	f.Add(demand)
	f.Add(demand + "A")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		body, err := json.Marshal(object{"demand": text, "return_to": "//evil"})
		if err != nil {
			t.Fatal(err)
		}
		w.t = t
		response := alice.do("POST", "/.stepgate/challenge/options", bytes.NewReader(body), header("Content-Type", "application/json"),
			from(text))
		switch response.StatusCode {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge: // not ours
		case http.StatusConflict: // ours: alice has no passkey
			if text != demand && text != "" && utf8.ValidString(text) {
				t.Fatalf("opened %q", text)
			}
		case http.StatusTooManyRequests:
		default:
			t.Fatalf("status %d", response.StatusCode)
		}
	})
}
