package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"
)

// The user comes from the configured source and nowhere else. A header given twice names nobody: somebody added theirs.
func TestUserHeader(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	alice.want("/", 200, "")
	for name, c := range map[string]struct {
		values []string
		code   string
		status int
	}{
		"none":          {nil, "user_missing", 401},
		"empty":         {[]string{""}, "user_missing", 401},
		"blank":         {[]string{" \t"}, "user_missing", 401},
		"twice":         {[]string{"alice", "alice"}, "user_missing", 401},
		"twice, one ''": {[]string{"alice", ""}, "user_missing", 401},
		"another":       {[]string{"bob"}, "step_up_required/grant_other_user", 401},
		"another case":  {[]string{"Alice"}, "step_up_required/grant_other_user", 401},
		"a list":        {[]string{"alice,bob"}, "step_up_required/grant_other_user", 401},
		"too long":      {[]string{strings.Repeat("a", 513)}, "user_invalid", 400},
		"not UTF-8":     {[]string{"al\xffce"}, "user_invalid", 400},
	} {
		t.Run(name, func(t *testing.T) {
			cookies := alice.cookies["stepgate"]
			alice.want("/", c.status, c.code, func(r *http.Request) { r.Header["X-User"] = c.values })
			alice.want("/.stepgate/passkeys", status(c.code), ownCode(c.code), func(r *http.Request) { r.Header["X-User"] = c.values })
			alice.cookies["stepgate"] = cookies
		})
	}
	g.reached(1)
}

// On the gate's own pages no grant is needed, so other users than the grant's are welcome.
func status(code string) int {
	switch code {
	case "user_missing":
		return 401
	case "user_invalid":
		return 400
	}
	return 200
}

func ownCode(code string) string {
	if status(code) == 200 {
		return ""
	}
	return code
}

// The default source is what basic_auth and its like fill in.
func TestBasicAuth(t *testing.T) {
	g := newGateway(t)
	g.load(`http://localhost:$PORT {
	basic_auth {
		Bob $2a$04$Yz4c4HyGGazjwOzqB.5HouQkV5YD3K7Kbj7B6ALhQ3v8zbpV/9eeS
	}
	stepgate
	` + proxy + `
}`)
	bob := g.browser("")
	bob.get("/").want(t, 401, "")
	bob.headers.Set("X-User", "Bob")
	bob.get("/.stepgate/status").want(t, 401, "") // the first factor covers the prefix too
	g.reached(0)
	bob.headers.Set("Authorization", "Basic Qm9iOnB3") // Bob:pw
	bob.register()
	bob.stepUp("/")
	bob.want("/", 200, "")
	if user := g.received().Header.Get("X-Stepgate-User"); user != "Bob" {
		t.Errorf("user %q", user)
	}
}

// forward_auth with copy_headers, as in the README: a client's own copy of the header is worth nothing.
func TestForwardAuth(t *testing.T) {
	g := newGateway(t)
	g.load(`http://localhost:$PORT {
	forward_auth $UPSTREAM {
		uri /auth
		copy_headers X-Auth-Email
	}
	stepgate {
		user {header.X-Auth-Email}
	}
	` + proxy + `
}`)
	g.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("X-Sso") {
		case "":
			w.WriteHeader(401)
		case "nameless": // signed in, but the first factor hands over no name
		default:
			w.Header().Set("X-Auth-Email", r.Header.Get("X-Sso"))
		}
	})
	alice := g.browser("")
	alice.headers.Set("X-Sso", "alice@example.com")
	alice.register()
	alice.stepUp("/")
	g.upstream.take()
	alice.want("/page", 200, "", with("X-Auth-Email", "mallory@example.com"), with("Connection", "X-Auth-Email"))
	got := g.upstream.take()
	if len(got) != 2 || got[1].Header.Get("X-Stepgate-User") != "alice@example.com" || got[1].Header.Get("X-Auth-Email") != "alice@example.com" {
		t.Fatalf("the upstream got %v", got)
	}
	alice.want("/page", 401, "user_missing", with("X-Sso", "nameless"), with("X-Auth-Email", "alice@example.com"))
	alice.get("/page", with("X-Sso", ""), with("X-Auth-Email", "alice@example.com")).want(t, 401, "")
	g.reached(2) // the two calls of forward_auth
}

// A grant is worth nothing in another first-factor session, nor where there is none.
func TestBindSession(t *testing.T) {
	g := start(t, "bind_session {cookie.sid}", proxy)
	alice := g.browser("alice")
	alice.want("/", 401, "session_missing")
	alice.want("/.stepgate/passkeys", 401, "session_missing")
	alice.cookies["sid"] = ""
	alice.want("/", 401, "session_missing")
	alice.cookies["sid"] = "1"
	alice.register()
	alice.stepUp("/")
	alice.want("/", 200, "")
	if cookie := g.received().Header.Get("Cookie"); cookie != "sid=1" {
		t.Errorf("Cookie %q", cookie)
	}
	alice.cookies["sid"] = "2"
	alice.want("/", 401, "step_up_required/grant_other_session")
	alice.cookies["sid"] = "1"
	alice.want("/", 200, "")
	// Caddy's own placeholder takes the first cookie that is alike, an upstream perhaps the last: two of them are none.
	for _, cookies := range []string{"SID=1; sid=2", "sid=2; SID=1", "sid=1; sid=2", "sid=1; sid=1", "SID=1", "Sid=1; sid=1"} {
		grant := "stepgate=" + alice.cookies["stepgate"]
		alice.want("/", 401, "session_missing", with("Cookie", grant+"; "+cookies))
	}
	delete(alice.cookies, "sid")
	alice.want("/", 401, "session_missing")
	g.reached(1)
}

// fold_user makes one user of all spellings.
func TestFoldUser(t *testing.T) {
	g := start(t, "fold_user", proxy)
	alice := g.enrolled("Alice@Example.COM")
	alice.want("/", 200, "", with("X-User", "aLICE@example.com"))
	if user := g.received().Header.Get("X-Stepgate-User"); user != "alice@example.com" {
		t.Errorf("user %q", user)
	}
}
