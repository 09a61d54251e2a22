package e2etest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// wouldConsole is a console in a mode, which tells its upstream what an enforced one would have done.
func wouldConsole(mode string) string {
	text := headerConsole("revocation_lag 0s", mode+"\nopen /open")
	return strings.Replace(text, "reverse_proxy $UPSTREAM", "reverse_proxy $UPSTREAM {\n\t\theader_up X-Would {http.stepgate.would}\n\t}", 1)
}

// The whole ladder, from one reload to the next, for somebody with a passkey and somebody without: nobody is stopped, then
// only those who can confirm are asked, then a day is announced, then everybody is asked.
func TestRollOut(t *testing.T) {
	onEachStore(t, func(t *testing.T, on store) {
		g := on.start(t, wouldConsole("mode report"))
		alice, bob := newClient(t, g, "alice"), newClient(t, g, "bob")
		must(t, alice.register("Key"))
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
	})
}
