package e2etest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
)

// wouldConsole is a console in a mode, which tells its upstream what an enforced one would have done.
func wouldConsole(mode string) string {
	text := headerConsole("revocation_lag 0s", mode+"\nopen /open")
	return strings.Replace(text, "reverse_proxy $UPSTREAM", "reverse_proxy $UPSTREAM {\n\t\theader_up X-Would {http.stepgate.would}\n\t}", 1)
}

// The whole ladder, from one reload to the next, for somebody with a passkey, somebody without, and somebody who lost
// theirs: nobody is stopped, then only those who can confirm are asked, then a day is announced, then everybody is asked.
// Whoever is stuck is helped by commands, and nobody edits the store.
func TestRollOut(t *testing.T) {
	onEachStore(t, func(t *testing.T, on store) {
		g := on.start(t, wouldConsole("mode report"))
		alice, bob, dave := newClient(t, g, "alice"), newClient(t, g, "bob"), newClient(t, g, "dave")
		must(t, alice.register("Key"))
		must(t, dave.register("Lost soon"))
		people := filepath.Join(g.folder, "people")
		must(t, os.WriteFile(people, []byte("alice\nbob\ndave\n"), 0o600))
		forecast := func(code int, wants ...string) {
			t.Helper()
			out, got := g.call("forecast", "--users", people)
			for _, want := range wants {
				if got != code || !strings.Contains(out, want) {
					t.Errorf("forecast: %d, want %d and %q in:\n%s", got, code, want, out)
				}
			}
		}
		would := func(c *client, want string) {
			t.Helper()
			if answer := c.get("/keys"); answer.status != http.StatusOK {
				t.Fatalf("%d %s, want it let through", answer.status, answer.body)
			}
			if got := g.upstream.one().Header.Get("X-Would"); got != want {
				t.Errorf("would %q, want %q", got, want)
			}
		}
		asked := func(c *client) {
			t.Helper()
			if reason := refusal(c, "/keys"); reason != "grant_missing" {
				t.Errorf("refused for %q", reason)
			}
			g.audited("step_up_required", "grant_missing")
			g.upstream.untouched()
		}
		stepUp := func(c *client) {
			t.Helper()
			answer, err := c.stepUp("/keys")
			must(t, err)
			must(t, answer.expect(http.StatusOK))
			g.audited("ceremony_finished", "")
		}

		if out, code := g.call("reset", "dave", "--yes"); code != 0 { // he lost his only device
			t.Fatalf("reset: %d %s", code, out)
		}
		forecast(2, "bob", "dave")

		g.upstream.take()
		would(alice, "step_up")
		g.audited("would_require_step_up", "grant_missing")
		would(bob, "step_up")
		g.audited("would_require_step_up", "grant_missing")
		would(newClient(t, g, ""), "user_missing")
		g.audited("would_refuse", "user_missing")
		stepUp(alice)
		would(alice, "allow")

		must(t, g.reload(wouldConsole("mode if_enrolled")))
		carol := newClient(t, g, "alice") // another browser of hers
		carol.key = alice.key
		asked(carol)
		would(alice, "")
		would(bob, "step_up")
		g.audited("would_require_step_up", "grant_missing")
		would(dave, "step_up")
		g.audited("would_require_step_up", "grant_missing")

		from := time.Now().Add(9*24*time.Hour - time.Hour).UTC()
		must(t, g.reload(wouldConsole("enforce_from "+from.Format(time.RFC3339))))
		asked(carol)
		would(bob, "step_up")
		g.audited("would_require_step_up", "grant_missing")
		page := bob.get("/.stepgate/passkeys", "Sec-Fetch-Mode", "navigate", "Accept", "text/html")
		if text := string(page.body); !strings.Contains(text, "9 days left") || !strings.Contains(text, "You have none yet") {
			t.Errorf("the account page does not count the days: %s", text)
		}

		must(t, g.reload(wouldConsole("enforce_from 2026-01-02T03:04:05Z")))
		asked(carol)
		asked(bob)
		must(t, bob.register("Key"))
		stepUp(bob)
		would(bob, "")
		asked(dave)
		if err := dave.register("Another"); err == nil || !strings.Contains(err.Error(), "registration_closed") {
			t.Errorf("dave registers on his sign-in alone: %v", err)
		}
		dave.key = authtest.New(authtest.Config{})
		options, err := dave.step("POST", "/.stepgate/passkeys/options", map[string]any{"name": "New", "invitation": g.invites("dave").Code}, 200)
		must(t, err)
		credential, err := dave.key.Register(options, dave.origin)
		must(t, err)
		_, err = dave.step("POST", "/.stepgate/passkeys", map[string]any{"name": "New", "credential": rawJSON(credential)}, 201)
		must(t, err)
		stepUp(dave)
		would(dave, "")
		forecast(0, "3 users")
	})
}
