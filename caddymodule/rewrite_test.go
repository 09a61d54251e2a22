package caddymodule_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The gateway's prefix is recognised, and people are sent back, by the address that the client asked for, whatever was
// done to it since; the upstream sees the address as it is now, and the rules see both.
func TestRewritesHideNothing(t *testing.T) {
	for name, c := range map[string]struct {
		site      string
		prefix    string // "" is the default
		asked     string
		forwarded string
		openToday string // asked path that is open, as is what it becomes
	}{
		"uri strip_prefix":  {site: "uri strip_prefix /app\n$STEPGATE", asked: "/app/x?y=1", forwarded: "/x?y=1", openToday: "/app/open"},
		"rewrite":           {site: "@old path /old/* /.stepgate/*\nrewrite @old /new?from={uri}\n$STEPGATE", asked: "/old/x", forwarded: "/new?from=%2Fold%2Fx"},
		"rewrite of all":    {site: "@x not path /open\nrewrite @x /new\n$STEPGATE", asked: "/old/x", forwarded: "/new", openToday: "/open"},
		"try_files":         {site: "root $FOLDER\ntry_files {path} /index.html\n$STEPGATE", asked: "/client/route", forwarded: "/index.html"},
		"handle_path":       {site: "handle_path /app/* {\n$STEPGATE\n}", prefix: "/app/.stepgate", asked: "/app/x", forwarded: "/x", openToday: "/app/open"},
		"handle":            {site: "handle /sso/* {\nrespond sso\n}\nhandle {\n$STEPGATE\n}", asked: "/x", forwarded: "/x", openToday: "/open"},
		"route":             {site: "route {\n$STEPGATE\n}", asked: "/x", forwarded: "/x", openToday: "/open"},
		"method":            {site: "method POST\n$STEPGATE", asked: "/x", forwarded: "/x", openToday: "/open"},
		"a prefix of depth": {site: "$STEPGATE", prefix: "/-/gate/v1", asked: "/x", forwarded: "/x", openToday: "/open"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			if err := os.WriteFile(filepath.Join(g.folder, "index.html"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			block := "stepgate {\nuser {header.X-User}\nopen /open /app/open\n"
			if c.prefix != "" {
				block += "path " + c.prefix + "\n"
			}
			gate := block + "}\n" + proxy
			g.load("http://localhost:$PORT {\n" + strings.Replace(c.site, "$STEPGATE", gate, 1) + "\n}\n")

			alice := g.browser("alice")
			if alice.prefix = c.prefix; c.prefix == "" {
				alice.prefix = "/.stepgate"
			}
			if name == "method" { // every request is a POST to the gate, its own pages too: nothing is let through
				alice.do("GET", c.asked, "").want(t, 401, "step_up_required/grant_missing")
				alice.get("/.stepgate/status").want(t, 405, "method_not_allowed")
				return
			}
			stopped := alice.want(c.asked, 303, "", navigating)
			alice.register()
			if to := alice.follow(stopped); to != c.asked {
				t.Errorf("sent back to %s, asked for %s", to, c.asked)
			}
			g.reached(0)
			alice.want(c.asked, 200, "", navigating)
			if got := g.received().RequestURI; got != c.forwarded {
				t.Errorf("forwarded %s, want %s", got, c.forwarded)
			}
			if c.openToday != "" {
				g.browser("").want(c.openToday, 200, "")
				g.reached(1)
			}
			if status := alice.get(alice.prefix + "/status"); status.StatusCode != 200 || g.upstream.take() != nil {
				t.Errorf("status page: %d", status.StatusCode)
			}
		})
	}
}

// Where an address was rewritten, the stricter of what was asked for and what is forwarded counts: FastCGI applications
// route by the one, file servers by the other.
func TestRewrittenAddressIsJudgedTwice(t *testing.T) {
	g := newGateway(t)
	g.load(`http://localhost:$PORT {
	@in path /open/in /admin/in
	rewrite @in /open/index
	@out path /open/out
	rewrite @out /admin/index
	stepgate {
		user {header.X-User}
		open /open/*
		protect /admin/* {
			max_age 1m
		}
		max_age 15m
	}
	` + proxy + `
}`)
	alice := g.browser("alice")
	for path, maxAge := range map[string]float64{"/open/in": 0, "/admin/in": 60, "/open/out": 60, "/open/x": 0, "/x": 900} {
		answer := alice.get(path)
		var got float64
		if answer.StatusCode == 401 {
			got = parsed(t, []byte(answer.body)).(map[string]any)["max_age"].(float64)
		}
		if got != maxAge {
			t.Errorf("%s: max_age %v, want %v", path, got, maxAge)
		}
	}
	g.reached(2)
}

// The two well-known addresses need no user, and never come from the upstream.
func TestWellKnown(t *testing.T) {
	g := start(t, "", proxy)
	nobody := g.browser("")
	if got := nobody.want("/.well-known/webauthn", 200, ""); got.body != `{"origins":["`+nobody.origin+`"]}`+"\n" {
		t.Errorf("webauthn: %s", got.body)
	}
	page := nobody.origin + "/.stepgate/passkeys"
	if got := nobody.want("/.well-known/passkey-endpoints", 200, ""); got.body != `{"enroll":"`+page+`","manage":"`+page+`"}`+"\n" {
		t.Errorf("passkey-endpoints: %s", got.body)
	}
	nobody.want("/.well-known/other", 401, "user_missing")
	nobody.do("POST", "/.well-known/webauthn", "{}").want(t, 405, "method_not_allowed")
	g.reached(0)
}

// Every request meets the gate: other methods, odd paths, and what no rule speaks of.
func TestEveryRequestMeetsTheGate(t *testing.T) {
	g := start(t, "open /open", proxy)
	alice := g.browser("alice")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "BREW"} {
		if got := alice.do(method, "/anything", ""); got.StatusCode != 401 {
			t.Errorf("%s: %d", method, got.StatusCode)
		}
	}
	for target, code := range map[string]string{
		"/open/../x": "path_ambiguous", "//open": "path_ambiguous", "/open/%2e%2e/x": "path_ambiguous", "/open%2fx": "path_ambiguous",
		"/open;x": "path_ambiguous", "/open/%00": "path_ambiguous", "/x%5c..%5copen": "path_ambiguous", "*": "path_ambiguous",
	} {
		alice.rawReply(alice.rawRequest("GET", target)).want(t, 400, code)
	}
	for method, code := range map[string]string{"TRACE": "method_refused", "CONNECT": "method_refused", "get": "method_refused", "Delete": "method_refused"} {
		alice.rawReply(alice.rawRequest(method, "/open")).want(t, 405, code)
	}
	g.reached(0)
}
