package gate_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// steppedUp returns a browser that may pass everywhere for a while.
func steppedUp(w *world, user string) *browser {
	w.t.Helper()
	b, key := w.browser(user), authtest.New(authtest.Config{})
	b.register(key, "Key")
	want(w.t, b.stepUp(key, "/hardware"), http.StatusOK)
	b.passes("/admin")
	return b
}

// raw paths as they stand on the wire; httptest would refuse some.
func at(path string) change {
	return func(r *http.Request, in *gate.Request) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			u = &url.URL{Path: path}
		}
		r.URL.Path, r.URL.RawPath, r.URL.RawQuery = u.Path, u.RawPath, u.RawQuery
		r.RequestURI = path
		in.Original = u
	}
}

func TestAmbiguousPathsAreRefused(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	for _, path := range []string{
		"//admin/x", "/./admin/x", "/x/../admin/x", "/%2e%2e/admin", "/admin%2fx", "/open/..%2fadmin", "/open/../admin", "/open//admin",
		"/admin;x/y", "/;/admin", "/open/..;/admin", "/admin.", "/admin%20", "/admin%09", "/admin%00", "/%5cadmin", `/admin\x`, "/%252e%252e/admin",
		"/open/%ff", "*",
	} {
		t.Run(path, func(t *testing.T) {
			alice.refused(http.StatusBadRequest, passkey.PathAmbiguous, func() *http.Response { return alice.get("/x", at(path)) })
		})
	}
	// A rewrite can hide neither what came in nor what goes out.
	alice.refused(http.StatusBadRequest, passkey.PathAmbiguous, func() *http.Response {
		return alice.get("/x", func(_ *http.Request, in *gate.Request) { in.Original = &url.URL{Path: "/open/../admin"} })
	})
	alice.refused(http.StatusBadRequest, passkey.PathAmbiguous, func() *http.Response {
		return alice.get("/x", func(r *http.Request, _ *gate.Request) { r.URL.Path = "/open/../admin" })
	})
	alice.refused(http.StatusBadRequest, passkey.PathAmbiguous, func() *http.Response { return alice.get("/x", at("/.stepgate/../open")) })
}

func TestDebatablePathsAreJudgedByTheStrictest(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) { c.LetDebatable = true })
	alice, phone, key := w.browser("alice"), authtest.New(authtest.Config{Synced: true}), authtest.New(authtest.Config{})
	alice.register(phone, "Phone")
	want(t, alice.stepUp(phone, "/other"), http.StatusOK)
	alice.passes("/other")
	for _, path := range []string{"/open//x", "/open%2Fx", "/open;x", "/other//x"} {
		alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/x", at(path)) })
	}
	alice.refused(http.StatusBadRequest, passkey.PathAmbiguous, func() *http.Response { return alice.get("/x", at("/open/..%2fadmin")) })
	alice.add(phone, key, "Key")
	want(t, alice.stepUp(key, "/hardware"), http.StatusOK)
	for _, path := range []string{"/open//x", "/open%2Fx", "/open;x"} {
		alice.passes("/x", at(path))
	}
	w.clock.Advance(5 * 60e9) // /admin's maximum age is the strictest
	alice.needsStepUp(passkey.GrantStale, func() *http.Response { return alice.get("/x", at("/open//x")) })
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	for _, method := range []string{"TRACE", "CONNECT", "get", "delete", "Get", "FOO_BAR", "F00", "-X", strings.Repeat("A", 33)} {
		alice.refused(http.StatusMethodNotAllowed, passkey.MethodRefused, func() *http.Response {
			return alice.get("/open", func(r *http.Request, _ *gate.Request) { r.Method = method })
		})
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "FOO", "M-SEARCH", "VERSION-CONTROL"} {
		alice.passes("/admin", func(r *http.Request, _ *gate.Request) { r.Method = method })
		if method == "HEAD" {
			continue // its refusal has no body to read the reason from
		}
		nobody := w.browser("bob")
		nobody.needsStepUp(passkey.GrantMissing, func() *http.Response {
			return nobody.get("/admin", func(r *http.Request, _ *gate.Request) { r.Method = method })
		})
	}
	websocket := func(r *http.Request, _ *gate.Request) {
		r.Method, r.Proto, r.ProtoMajor, r.ProtoMinor = "CONNECT", "HTTP/2.0", 2, 0
		r.Header[":protocol"] = []string{"websocket"}
	}
	alice.passes("/admin", websocket)
	alice.passes("/admin", func(r *http.Request, _ *gate.Request) { r.Method, r.Proto, r.ProtoMajor = "CONNECT", "websocket", 3 })
	alice.refused(http.StatusMethodNotAllowed, passkey.MethodRefused, func() *http.Response {
		return alice.get("/admin", func(r *http.Request, _ *gate.Request) { r.Method, r.Proto, r.ProtoMajor = "CONNECT", "HTTP/3.0", 3 })
	})
	nobody := w.browser("bob")
	nobody.needsStepUp(passkey.GrantMissing, func() *http.Response { return nobody.get("/admin", websocket) })
}

func TestUpgrades(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	for _, upgrade := range [][]string{{"h2c"}, {"H2C"}, {"websocket, h2c"}, {"websocket", "h2c"}, {" h2c "}, {"h2c/1"}, {"foo,h2c,bar"}} {
		alice.refused(http.StatusBadRequest, passkey.UpgradeRefused, func() *http.Response { return alice.get("/open", header("Upgrade", upgrade...)) })
	}
	alice.passes("/admin", header("Upgrade", "websocket"), header("Connection", "Upgrade"))
	alice.needsStepUpWithout("/admin", header("Upgrade", "websocket"), header("Connection", "Upgrade"))
}

// needsStepUpWithout checks that somebody without a grant does not pass with the same request.
func (b *browser) needsStepUpWithout(target string, changes ...change) {
	b.w.t.Helper()
	other := b.w.browser("somebody else")
	other.needsStepUp(passkey.GrantMissing, func() *http.Response { return other.get(target, changes...) })
}

func TestEarlyData(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	early := func(r *http.Request, _ *gate.Request) { r.TLS = &tls.ConnectionState{} }
	alice.refused(http.StatusTooEarly, passkey.TooEarly, func() *http.Response { return alice.get("/admin", early) })
	alice.refused(http.StatusTooEarly, passkey.TooEarly, func() *http.Response { return alice.post("/.stepgate/logout", object{}, early) })
	alice.passes("/open", early)
}

func TestMatcherErrorLetsNothingPass(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	alice.refused(http.StatusInternalServerError, passkey.Internal, func() *http.Response { return alice.get("/matcher-error") })
}

// What a client may not tell the upstream, on any route.
func TestHeadersAreScrubbed(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	forged := func(r *http.Request, _ *gate.Request) {
		for _, name := range []string{
			"X-Stepgate-User", "x-stepgate-user", "X_Stepgate_User", "X.Stepgate.Level", "X-Stepgate-Anything", "X-StepGate-Time",
			"X-Http-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url",
		} {
			key := name
			if name != "x-stepgate-user" && name != "X_Stepgate_User" && name != "X.Stepgate.Level" {
				key = http.CanonicalHeaderKey(name)
			}
			r.Header[key] = []string{"forged", "twice"}
		}
		r.Trailer = http.Header{"X-Stepgate-User": nil, "X-Checksum": nil}
		r.Header["Connection"] = []string{"close, X-Stepgate-User", "x-stepgate-level,Cookie, X-Auth-User,keep-alive, X-Other"}
	}
	for _, path := range []string{"/open", "/admin"} {
		r := alice.passes(path, forged)
		for name, values := range r.Header {
			for _, value := range values {
				if value == "forged" {
					t.Errorf("%s: %s arrived", path, name)
				}
			}
		}
		if got := r.Header["Connection"]; !cmp.Equal(got, []string{"close, keep-alive, X-Other"}) {
			t.Errorf("%s: Connection %q", path, got)
		}
		if _, there := r.Trailer["X-Stepgate-User"]; there || len(r.Trailer) != 1 {
			t.Errorf("%s: trailers %v", path, r.Trailer)
		}
		if user := r.Header.Get(gate.HeaderUser); (user == "alice") != (path == "/admin") {
			t.Errorf("%s: user %q", path, user)
		}
	}
	if r := alice.passes("/open", header("Connection", "x-stepgate-user")); r.Header["Connection"] != nil {
		t.Errorf("empty Connection arrived: %q", r.Header["Connection"])
	}
}

func TestOwnCookiesStayHere(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	grant := "__Host-stepgate=" + alice.cookies["__Host-stepgate"].Value
	for name, test := range map[string]struct{ in, out []string }{
		"alone":                 {[]string{grant}, nil},
		"first":                 {[]string{grant + "; a=1; b=2"}, []string{"a=1; b=2"}},
		"between":               {[]string{"a=1; " + grant + "; b=2"}, []string{"a=1; b=2"}},
		"last, tight":           {[]string{"a=1;b=2;" + grant}, []string{"a=1;b=2"}},
		"in a line of its own":  {[]string{"a=1", grant, "b=2"}, []string{"a=1", "b=2"}},
		"twice":                 {[]string{grant + "; a=1; " + grant}, []string{"a=1"}},
		"with the other cookie": {[]string{grant + "; __Host-stepgate-ceremony=x; a=1"}, []string{"a=1"}},
		"other spellings":       {[]string{grant + "; __host-stepgate=x; a=__Host-stepgate; __HOST-STEPGATE-CEREMONY=y"}, []string{"a=__Host-stepgate"}},
		"like ours but not":     {[]string{grant + "; __Host-stepgate2=x; stepgate=y; x__Host-stepgate=z"}, []string{"__Host-stepgate2=x; stepgate=y; x__Host-stepgate=z"}},
		"no equals sign":        {[]string{grant + "; __Host-stepgate; a"}, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := alice.passes("/admin", header("Cookie", test.in...)).Header["Cookie"]; !cmp.Equal(got, test.out) {
				t.Errorf("got %q, want %q", got, test.out)
			}
			if got := alice.passes("/open", header("Cookie", test.in...)).Header["Cookie"]; !cmp.Equal(got, test.out) {
				t.Errorf("open: got %q, want %q", got, test.out)
			}
		})
	}
	untouched := []string{"a=1;b=2", "c"}
	if got := alice.passes("/open", header("Cookie", untouched...)).Header["Cookie"]; !cmp.Equal(got, untouched) {
		t.Errorf("foreign cookies were rewritten: %q", got)
	}
}

func TestUserNames(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"", " ", "\t", "\u00a0"} {
		b := w.browser(name)
		b.refused(http.StatusUnauthorized, passkey.UserMissing, func() *http.Response { return b.get("/admin") })
		b.refused(http.StatusUnauthorized, passkey.UserMissing, func() *http.Response { return b.get("/.stepgate/passkeys") })
		b.passes("/open")
	}
	for _, name := range []string{"a\r\nX-Evil: 1", "a\x00", "\xff", strings.Repeat("a", passkey.MaxUserLength+1), strings.Repeat("a", 1<<20), "a\u0085"} {
		b := w.browser(name)
		b.refused(http.StatusBadRequest, passkey.UserInvalid, func() *http.Response { return b.get("/admin") })
	}
	for name, upstream := range map[string]string{
		"alice@example.com": "alice@example.com", "Zoë": "Zo%C3%AB", "100%": "100%25", "a b": "a b", "\U0001f511": "%F0%9F%94%91",
		strings.Repeat("a", passkey.MaxUserLength): strings.Repeat("a", passkey.MaxUserLength),
	} {
		b, key := w.browser(name), authtest.New(authtest.Config{})
		b.register(key, "Key")
		want(t, b.stepUp(key, "/admin"), http.StatusOK)
		if got := b.passes("/admin").Header[gate.HeaderUser]; !cmp.Equal(got, []string{upstream}) {
			t.Errorf("%q arrives as %q", name, got)
		}
	}
}

// Names that look alike are different people, unless the sign-in ignores case.
func TestUserNamesAreDistinct(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	for _, name := range []string{"Alice", "ALICE", "alice ", "аlice", "alic\u00e9", "alice\u200b", "alice."} {
		other := w.browser(name)
		other.cookies = alice.cookies
		if other.get("/admin").Header.Get("X-Upstream") != "" {
			t.Errorf("%q passes with alice's grant", name)
		}
		alice.cookies = other.cookies
		alice = steppedUpAgain(alice)
	}
	folding := newWorld(t, func(c *gate.Config) { c.FoldUser = true })
	alice = steppedUp(folding, "Alice@Example.com")
	alice.user = "aLICE@example.COM"
	if got := alice.passes("/admin").Header.Get(gate.HeaderUser); got != "alice@example.com" {
		t.Errorf("folded to %q", got)
	}
	alice.user = "e\u0301lise"
	alice.needsStepUp(passkey.GrantOtherUser, func() *http.Response { return alice.get("/admin") })
}

// Every letter of Unicode folds to what all letters that differ in case alone fold to, and that folds to itself. Folding goes
// letter by letter, so what holds for each holds for names.
func TestFoldEveryLetter(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		folded := gate.FoldUser(string(r))
		if again := gate.FoldUser(folded); again != folded {
			t.Errorf("%U folds to %+q, and that to %+q", r, folded, again)
		}
		if other := unicode.SimpleFold(r); gate.FoldUser(string(other)) != folded {
			t.Errorf("%U and %U differ in case alone, and fold to %+q and %+q", r, other, folded, gate.FoldUser(string(other)))
		}
	}
	// The Cherokee letters came without case, so it is the capitals that they fold to (CaseFolding.txt).
	if folded := gate.FoldUser("\uab84\u13f8\u13b4"); folded != "\u13b4\u13f0\u13b4" {
		t.Errorf("Cherokee folds to %+q", folded)
	}
}

// steppedUpAgain gives a browser that lost its grant a fresh one, in a world of its own.
func steppedUpAgain(b *browser) *browser { return steppedUp(newWorld(b.w.t), b.user) }

func TestOrigins(t *testing.T) {
	w := newWorld(t)
	alice := steppedUp(w, "alice")
	host := func(host string) change { return func(r *http.Request, _ *gate.Request) { r.Host = host } }
	plain := func(trusted bool) change {
		return func(r *http.Request, in *gate.Request) { r.TLS, in.Peer = nil, peer{trusted: trusted} }
	}
	for _, same := range []string{"console.example.com", "console.example.com:443", "CONSOLE.example.COM"} {
		alice.passes("/admin", host(same))
	}
	for _, unknown := range []string{
		"", "console.example.com.", "console.example.com:8443", "example.com", "evil.example", "console.example.com.evil.example", "a@console.example.com",
		"[::1]", "127.0.0.1", "console.example.com:80", "console.example.com:",
	} {
		alice.refused(http.StatusMisdirectedRequest, passkey.OriginUnknown, func() *http.Response { return alice.get("/admin", host(unknown)) })
		alice.refused(http.StatusMisdirectedRequest, passkey.OriginUnknown, func() *http.Response { return alice.get("/.stepgate/status", host(unknown)) })
		alice.passes("/open", host(unknown))
	}
	alice.refused(http.StatusMisdirectedRequest, passkey.OriginInsecure, func() *http.Response { return alice.get("/admin", plain(false)) })
	alice.refused(http.StatusMisdirectedRequest, passkey.OriginInsecure, func() *http.Response {
		return alice.get("/admin", plain(false), header("X-Forwarded-Proto", "https"), header("Forwarded", "proto=https"))
	})
	alice.passes("/admin", plain(true))
	// A grant is of one origin, though the relying party is the same.
	alice.needsStepUp(passkey.GrantOtherOrigin, func() *http.Response { return alice.get("/admin", host("aws.example.com")) })
	// Nothing else names the origin.
	alice.refused(http.StatusMisdirectedRequest, passkey.OriginUnknown, func() *http.Response {
		return alice.get("/admin", host("evil.example"), header("X-Forwarded-Host", "console.example.com"), header("Origin", console))
	})
}

func TestConfiguredOrigins(t *testing.T) {
	for _, good := range []string{"https://example.com", "https://a.example.com:8443", "http://localhost", "http://localhost:8080", "https://localhost:1"} {
		if err := gate.CheckOrigin(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "example.com", "https://", "https://example.com/", "https://example.com/x", "http://example.com", "http://127.0.0.1", "https://EXAMPLE.com",
		"https://example.com:443", "http://localhost:80", "https://example.com.", "https://a@example.com", "https://example.com:", "https://example.com:0",
		"https://example.com:99999", "https://example.com?x", "https://example.com#x", "ftp://example.com", "HTTPS://example.com", "null", "*", "https://<script>", "https://b\u00fccher.example", "https://a b", "https://[::1]", "https://a_b.example",
		"https://example.com:08443", "https://example.com:00", "https://example.com:0443", "http://localhost:08080", "http://localhost:080", "https://example.com:65536",
	} {
		if err := gate.CheckOrigin(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	for _, bad := range []string{"", "x", "/", "/x/", "/a b", "/a//b", "/../x", "/a%20b", "/{x}", "/*", "/a;b", "/a?b"} {
		if err := gate.CheckPath(bad); err == nil {
			t.Errorf("path %q is accepted", bad)
		}
	}
}

func TestLocalhost(t *testing.T) {
	w := newWorld(t)
	config := func(c *gate.Config) { c.Origins = []string{"http://localhost:8080"} }
	local := newWorld(t, config)
	b := local.browser("alice")
	b.origin = "http://localhost:8080"
	response := b.get("/.stepgate/passkeys", navigate)
	want(t, response, http.StatusOK)
	for _, c := range response.Cookies() {
		if c.Name != "stepgate-ceremony" || c.Secure || !c.HttpOnly || c.Path != "/" {
			t.Errorf("cookie %v", c)
		}
	}
	if got := b.passes("/open", header("Cookie", "stepgate=x; a=1; stepgate-ceremony=y")).Header["Cookie"]; !cmp.Equal(got, []string{"a=1"}) {
		t.Errorf("local cookies arrived: %q", got)
	}
	// A local cookie is worth nothing on an https origin.
	alice := steppedUp(w, "alice")
	value := alice.cookies["__Host-stepgate"].Value
	alice.cookies = map[string]*http.Cookie{"stepgate": {Name: "stepgate", Value: value}}
	alice.needsStepUp(passkey.GrantMissing, func() *http.Response { return alice.get("/admin") })
}
