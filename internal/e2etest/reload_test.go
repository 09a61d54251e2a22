package e2etest_test

import (
	"fmt"
	"strings"
	"testing"
)

// A reload in the middle of a ceremony: what was started before it is finished after it.
func TestReloadDuringCeremony(t *testing.T) { onEachStore(t, testReloadDuringCeremony) }

func testReloadDuringCeremony(t *testing.T, on store) {
	g := on.start(t, console("", ""))
	p := g.visit("alice", options{}, calm)
	p.register("Laptop")
	p.open("/keys?x=1")
	p.panel("use") // its challenge is issued
	p.key.Presence(false)
	waiting := p.sibling("alice", calm)
	waiting.key.Presence(false)
	waiting.open("/other")
	waiting.panel("use")
	waiting.press()
	waiting.state("waiting")

	must(t, g.reload(console("", "max_age 10m")))
	p.key.Presence(true)
	p.press()
	p.at("/keys?x=1")
	g.audited("ceremony_finished", "")

	// A prompt that was open goes on being open, and can be given up and asked for anew.
	waiting.cancel()
	waiting.failure("cancelled")
	waiting.key.Set(waiting.key.Credentials()[0].CredentialID, map[string]any{"signCount": 100})
	waiting.key.Presence(true)
	waiting.press()
	waiting.at("/other")
	g.audited("ceremony_finished", "")

	// What was registered and proved before a reload holds after it.
	must(t, g.reload(console("", "max_age 11m")))
	if answer := p.fetch("/keys", "{}"); answer.Status != 200 {
		t.Errorf("after a reload: %d %s", answer.Status, answer.Body)
	}
}

// A configuration that is refused leaves everything as it was.
func TestFailedReload(t *testing.T) {
	t.Parallel()
	good := console("", "protect /keys/* {\n max_age 1h\n}")
	g := start(t, good)
	p := g.visit("alice", options{}, calm)
	p.register("Laptop")
	p.open("/keys/a")
	p.panel("use")
	for name, bad := range map[string]struct{ caddyfile, says string }{
		"an unknown word":          {console("", "pretect /keys/*"), "pretect"},
		"not built yet":            {console("", "once"), "once"},
		"a store that is a folder": {strings.Replace(good, "store file $DIR/stepgate.db", "store file $DIR", 1), "it is a folder; name a file in it"},
		"a port that is in use":    {good + fmt.Sprintf("http://localhost:%s {\n respond no\n}\n", strings.Split(g.upstream.address, ":")[1]), "address already in use"},
	} {
		err := g.reload(bad.caddyfile)
		if err == nil {
			t.Fatalf("%s: the reload succeeded", name)
		}
		if !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v, want %q in it", name, err, bad.says)
		}
		// Still closed without a grant.
		answer := newClient(t, g, "").get("/keys/a", "Authorization", basic("alice"))
		if got := problemIn(t, answer.body); answer.status != 401 || got.Reason != "grant_missing" {
			t.Errorf("%s: %d %+v", name, answer.status, got)
		}
		g.audited("step_up_required", "grant_missing")
	}
	g.upstream.untouched()
	p.press() // with the challenge from before
	p.at("/keys/a")
	g.audited("ceremony_finished", "")
	g.configure(good)
}

// The process is stopped and started: nobody is logged out, nothing is lost, and a page that was open goes on.
func TestRestart(t *testing.T) {
	t.Parallel()
	g := start(t, console("", "protect /keys/* {\n max_age 1h\n}"))
	p := g.visit("alice", options{}, calm)
	p.enrolByHand("/keys/a")
	q := g.visit("bob", options{}, calm)
	q.register("Phone")
	q.open("/keys/b")
	q.panel("use")

	g.stop()
	q.press() // with a challenge from before; the answer finds nobody
	q.failure("network")
	q.says("#alert", "The gateway can’t be reached", "try again")
	g.run()
	q.press()
	q.at("/keys/b")
	if e := g.audited("ceremony_finished", ""); e.User != "alice" {
		t.Errorf("audited %+v", e)
	}
	if e := g.audited("ceremony_finished", ""); e.User != "bob" {
		t.Errorf("audited %+v", e)
	}
	if answer := p.fetch("/keys/a", "{}"); answer.Status != 200 {
		t.Errorf("after a restart: %d %s", answer.Status, answer.Body)
	}
}

// A challenge from before a restart is good after it, once.
func TestChallengeOutlivesRestart(t *testing.T) {
	t.Parallel()
	g := start(t, headerConsole("", ""))
	c := newClient(t, g, "carol")
	must(t, c.register("Key"))
	options, err := c.step("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/a"}, 200)
	must(t, err)
	credential, err := c.key.Authenticate(options, c.origin)
	must(t, err)
	c.confide(options, credential)
	g.stop()
	g.run()
	wish := map[string]any{"return_to": "/a", "credential": rawJSON(credential)}
	_, err = c.step("POST", "/.stepgate/challenge/verify", wish, 200)
	must(t, err)
	g.audited("ceremony_finished", "")
	answer := c.post("/.stepgate/challenge/verify", wish)
	if got := problemIn(t, answer.body); answer.status != 409 || got.Code != "challenge_used" {
		t.Errorf("a second time: %d %+v", answer.status, got)
	}
	g.audited("ceremony_refused", "challenge_used")
	if answer := c.get("/a"); answer.status != 200 {
		t.Errorf("with the grant: %d %s", answer.status, answer.body)
	}
}
