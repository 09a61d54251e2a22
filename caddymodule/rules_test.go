package caddymodule_test

import (
	"fmt"
	"testing"
)

// The first rule that matches decides; a rule takes from the block what it does not say; `/x/*` in protect covers /x.
func TestRules(t *testing.T) {
	g := newGateway(t)
	g.load(`http://localhost:$PORT {
	@reads {
		method GET HEAD
		path /api/*
	}
	stepgate {
		user {header.X-User}
		open /open/secret/public
		protect /open/secret/* {
			max_age 1m
		}
		open /open/* /favicon.ico
		protect {
			match {
				method DELETE
				path /api/*
			}
			level device_bound
			max_age 30s
		}
		open @reads
		protect /weak/* {
			level present
		}
		protect /two/*/* {
			level present
		}
		protect * {
			max_age 5m
		}
		level verified
		max_age 15m
	}
	` + proxy + `
}`)
	open := func(method, path string) [3]string { return [3]string{method, path, "open"} }
	protect := func(method, path, level, maxAge string) [3]string {
		return [3]string{method, path, level + " " + maxAge}
	}
	alice := g.browser("alice")
	for _, row := range [][3]string{
		open("GET", "/open/secret/public"),
		protect("GET", "/open/secret/x", "verified", "60"),
		protect("GET", "/open/secret", "verified", "60"),
		protect("GET", "/OPEN/Secret/x", "verified", "60"),
		open("GET", "/open/x"),
		open("DELETE", "/open/x"),
		protect("GET", "/open", "verified", "300"), // an open rule covers what it says and no more
		open("GET", "/favicon.ico"),
		protect("GET", "/favicon.ico/x", "verified", "300"),
		protect("DELETE", "/api/x", "device_bound", "30"),
		protect("DELETE", "/api", "device_bound", "30"),
		open("GET", "/api/x"),
		open("HEAD", "/api/x"),
		protect("POST", "/api/x", "verified", "300"),
		protect("GET", "/weak", "present", "900"),
		protect("GET", "/weak/x", "present", "900"),
		protect("GET", "/weaker", "verified", "300"),
		protect("GET", "/two/x/y", "present", "900"),
		protect("GET", "/two/x", "verified", "300"), // without a wildcard left of it only
		protect("GET", "/", "verified", "300"),
	} {
		answer := alice.do(row[0], row[1], "")
		got := "open"
		if answer.StatusCode != 200 {
			problem := parsed(t, []byte(answer.body)).(map[string]any)
			got = problem["level"].(string) + " " + fmt.Sprint(problem["max_age"])
		}
		if got != row[2] {
			t.Errorf("%s %s: %s, want %s", row[0], row[1], got, row[2])
		}
	}
	g.reached(6)
}

// A matcher that fails at a request refuses it: not matching would skip a rule that protects.
func TestFailingMatcher(t *testing.T) {
	g := newGateway(t)
	g.load(site("protect {\nmatch `int({host}) > 1`\nlevel device_bound\n}\nopen *", proxy))
	alice := g.browser("alice")
	alice.want("/x", 500, "internal")
	g.reached(0)
}

// Paths that can be read in two ways get the strictest demand where the operator lets them through at all.
func TestAmbiguousPathsStrictest(t *testing.T) {
	g := start(t, "ambiguous_paths strictest\nopen /open/*\nprotect /admin/* {\nmax_age 1m\nlevel device_bound\n}", proxy)
	alice := g.enrolled("alice")
	for _, path := range []string{"//open/x", "/open//x", "/open/a%2Fb", "/open/a;b"} {
		g.browser("").rawReply(alice.rawRequest("GET", path, with("Cookie"))).want(t, 401, "step_up_required/grant_missing")
		alice.rawReply(alice.rawRequest("GET", path)).want(t, 200, "")
		if got := g.received().RequestURI; got != path {
			t.Errorf("forwarded %s, asked for %s", got, path)
		}
	}
	alice.rawReply(alice.rawRequest("GET", "/open/%2e%2e/x")).want(t, 400, "path_ambiguous")
	g.reached(0)
}
