package caddymodule_test

import (
	"testing"
)

// A placeholder that is not set reaches the upstream as its own name, so ours are always set.
func TestPlaceholders(t *testing.T) {
	g := start(t, "open /open", `reverse_proxy $UPSTREAM {
	header_up X-Who "<{http.stepgate.user}>"
	header_up X-All "{http.stepgate.passkey}|{http.stepgate.level}|{http.stepgate.time}"
}`)
	nobody := g.browser("")
	nobody.want("/open", 200, "")
	got := g.received().Header
	if got.Get("X-Who") != "<>" || got.Get("X-All") != "||" {
		t.Errorf("on an open route: %q, %q", got.Get("X-Who"), got.Get("X-All"))
	}
	alice := g.enrolled("alice")
	alice.want("/protected", 200, "")
	got = g.received().Header
	want := got.Get("X-Stepgate-Passkey") + "|" + got.Get("X-Stepgate-Level") + "|" + got.Get("X-Stepgate-Time")
	if got.Get("X-Who") != "<alice>" || got.Get("X-All") != want || len(want) < 40 {
		t.Errorf("on a protected route: %q, %q, want %q", got.Get("X-Who"), got.Get("X-All"), want)
	}
}

// Placeholders are text to matchers too, and to the handlers of other sites' taste.
func TestPlaceholdersInMatchers(t *testing.T) {
	g := start(t, "open /open", `@expression expression {http.stepgate.user} == "alice" && {http.stepgate.level} == "device_bound"
@vars vars {http.stepgate.user} bob
@none expression {http.stepgate.user} == ""
map {http.stepgate.user} {role} {
	alice admin
	default none
}
respond @expression "expression {role}"
respond @vars "vars {role}"
respond @none "none {role}"`)
	for user, want := range map[string]string{"alice": "expression admin", "bob": "vars none"} {
		if got := g.enrolled(user).get("/"); got.body != want {
			t.Errorf("%s: %q, want %q", user, got.body, want)
		}
	}
	if got := g.browser("alice").get("/open"); got.body != "none none" {
		t.Errorf("on an open route: %q", got.body)
	}
}

// A user's name is data: what looks like a placeholder in it is not expanded, neither for the upstream nor on a page
// (GHSA-m2w3-8f23-hxxf).
func TestUserNamesAreNotExpanded(t *testing.T) {
	t.Setenv("SG_SECRET", "TOPSECRET")
	g := start(t, "", `reverse_proxy $UPSTREAM {
	header_up X-Who {http.stepgate.user}
}`)
	mallory := g.enrolled("{env.SG_SECRET}")
	mallory.want("/", 200, "")
	got := g.received().Header
	for _, name := range []string{"X-Who", "X-Stepgate-User"} {
		if got.Get(name) != "{env.SG_SECRET}" {
			t.Errorf("%s: %q", name, got.Get(name))
		}
	}
	mallory.want("/.stepgate/challenge?return_to=/{env.SG_SECRET}", 303, "", navigating)
}

// Hardening at site level takes our headers out, because request_header runs behind the gate. The gate removes clients'
// copies by itself; a second removal leaves the upstream without the user.
func TestRequestHeaderRunsBehindTheGate(t *testing.T) {
	g := start(t, "", "request_header -X-Stepgate-*\n"+proxy)
	alice := g.enrolled("alice")
	alice.want("/", 200, "", forged)
	for name := range g.received().Header {
		if len(name) > 10 && name[:11] == "X-Stepgate-" {
			t.Errorf("the upstream got %s", name)
		}
	}
}
