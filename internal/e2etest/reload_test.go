package e2etest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// A reload in the middle of a ceremony: what was started before it is finished after it.
func TestReloadDuringCeremony(t *testing.T) { gatewaytest.OnEachStore(t, testReloadDuringCeremony) }

func testReloadDuringCeremony(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("", ""))
	p := visit(g, "alice", options{}, calm)
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

	gatewaytest.Must(t, g.Reload(gatewaytest.Console("", "max_age 10m")))
	p.key.Presence(true)
	p.press()
	p.at("/keys?x=1")
	g.Audited("ceremony_finished", "")

	// A prompt that was open goes on being open, and can be given up and asked for anew.
	waiting.cancel()
	waiting.failure("cancelled")
	waiting.key.Set(waiting.key.Credentials()[0].CredentialID, map[string]any{"signCount": 100})
	waiting.key.Presence(true)
	waiting.press()
	waiting.at("/other")
	g.Audited("ceremony_finished", "")

	// What was registered and proved before a reload holds after it.
	gatewaytest.Must(t, g.Reload(gatewaytest.Console("", "max_age 11m")))
	if answer := p.fetch("/keys", "{}"); answer.Status != 200 {
		t.Errorf("after a reload: %d %s", answer.Status, answer.Body)
	}
}

// A configuration that is refused leaves everything as it was.
func TestFailedReload(t *testing.T) {
	t.Parallel()
	good := gatewaytest.Console("", "protect /keys/* {\n max_age 1h\n}")
	g := gatewaytest.Start(t, good)
	p := visit(g, "alice", options{}, calm)
	p.register("Laptop")
	p.open("/keys/a")
	p.panel("use")
	for name, bad := range map[string]struct{ caddyfile, says string }{
		"an unknown word":          {gatewaytest.Console("", "pretect /keys/*"), "pretect"},
		"not built yet":            {gatewaytest.Console("", "once"), "once"},
		"a store that is a folder": {strings.Replace(good, "store file $DIR/stepgate.db", "store file $DIR", 1), "it is a folder; name a file in it"},
		"a port that is in use":    {good + fmt.Sprintf("http://localhost:%s {\n respond no\n}\n", strings.Split(g.Upstream.Address, ":")[1]), "address already in use"},
	} {
		err := g.Reload(bad.caddyfile)
		if err == nil {
			t.Fatalf("%s: the reload succeeded", name)
		}
		if !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v, want %q in it", name, err, bad.says)
		}
		// Still closed without a grant.
		answer := gatewaytest.NewClient(t, g, "").Get("/keys/a", "Authorization", gatewaytest.Basic("alice"))
		if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 401 || got.Reason != "grant_missing" {
			t.Errorf("%s: %d %+v", name, answer.Status, got)
		}
		g.Audited("step_up_required", "grant_missing")
	}
	g.Upstream.Untouched()
	p.press() // with the challenge from before
	p.at("/keys/a")
	g.Audited("ceremony_finished", "")
	g.Configure(good)
}

// The process is stopped and started: nobody is logged out, nothing is lost, and a page that was open goes on.
func TestRestart(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", "protect /keys/* {\n max_age 1h\n}"))
	p := visit(g, "alice", options{}, calm)
	p.enrolByHand("/keys/a")
	q := visit(g, "bob", options{}, calm)
	q.register("Phone")
	q.open("/keys/b")
	q.panel("use")

	g.Stop()
	q.press() // with a challenge from before; the answer finds nobody
	q.failure("network")
	q.says("#alert", "The gateway can’t be reached", "try again")
	g.Run()
	q.press()
	q.at("/keys/b")
	if e := g.Audited("ceremony_finished", ""); e.User != "alice" {
		t.Errorf("audited %+v", e)
	}
	if e := g.Audited("ceremony_finished", ""); e.User != "bob" {
		t.Errorf("audited %+v", e)
	}
	if answer := p.fetch("/keys/a", "{}"); answer.Status != 200 {
		t.Errorf("after a restart: %d %s", answer.Status, answer.Body)
	}
}

// A challenge from before a restart is good after it, once.
func TestChallengeOutlivesRestart(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, c.Register("Key"))
	options, err := c.Step("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/a"}, 200)
	gatewaytest.Must(t, err)
	credential, err := c.Key.Authenticate(options, c.Origin)
	gatewaytest.Must(t, err)
	c.Confide(options, credential)
	g.Stop()
	g.Run()
	wish := map[string]any{"return_to": "/a", "credential": gatewaytest.RawJSON(credential)}
	_, err = c.Step("POST", "/.stepgate/challenge/verify", wish, 200)
	gatewaytest.Must(t, err)
	g.Audited("ceremony_finished", "")
	answer := c.Post("/.stepgate/challenge/verify", wish)
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 409 || got.Code != "challenge_used" {
		t.Errorf("a second time: %d %+v", answer.Status, got)
	}
	g.Audited("ceremony_refused", "challenge_used")
	if answer := c.Get("/a"); answer.Status != 200 {
		t.Errorf("with the grant: %d %s", answer.Status, answer.Body)
	}
}
