package e2etest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
)

// wouldConsole is a console in a mode, which tells its upstream what an enforced one would have done.
func wouldConsole(mode string) string {
	text := gatewaytest.HeaderConsole("revocation_lag 0s", mode+"\nopen /open")
	return strings.Replace(text, "reverse_proxy $UPSTREAM", "reverse_proxy $UPSTREAM {\n\t\theader_up X-Would {http.stepgate.would}\n\t}", 1)
}

// The whole ladder, from one reload to the next, for somebody with a passkey, somebody without, and somebody who lost
// theirs: nobody is stopped, then only those who can confirm are asked, then a day is announced, then everybody is asked.
// Whoever is stuck is helped by commands, and nobody edits the store.
func TestRollOut(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := on.Start(t, wouldConsole("mode report"))
		alice, bob, dave := gatewaytest.NewClient(t, g, "alice"), gatewaytest.NewClient(t, g, "bob"), gatewaytest.NewClient(t, g, "dave")
		gatewaytest.Must(t, alice.Register("Key"))
		gatewaytest.Must(t, dave.Register("Lost soon"))
		people := filepath.Join(g.Folder, "people")
		gatewaytest.Must(t, os.WriteFile(people, []byte("alice\nbob\ndave\n"), 0o600))
		forecast := func(code int, wants ...string) {
			t.Helper()
			out, got := g.Call("forecast", "--users", people)
			for _, want := range wants {
				if got != code || !strings.Contains(out, want) {
					t.Errorf("forecast: %d, want %d and %q in:\n%s", got, code, want, out)
				}
			}
		}
		would := func(c *gatewaytest.Client, want string) {
			t.Helper()
			if answer := c.Get("/keys"); answer.Status != http.StatusOK {
				t.Fatalf("%d %s, want it let through", answer.Status, answer.Body)
			}
			if got := g.Upstream.One().Header.Get("X-Would"); got != want {
				t.Errorf("would %q, want %q", got, want)
			}
		}
		asked := func(c *gatewaytest.Client) {
			t.Helper()
			if reason := refusal(c, "/keys"); reason != "grant_missing" {
				t.Errorf("refused for %q", reason)
			}
			g.Audited("step_up_required", "grant_missing")
			g.Upstream.Untouched()
		}
		stepUp := func(c *gatewaytest.Client) {
			t.Helper()
			answer, err := c.StepUp("/keys")
			gatewaytest.Must(t, err)
			gatewaytest.Must(t, answer.Expect(http.StatusOK))
			g.Audited("ceremony_finished", "")
		}

		if out, code := g.Call("reset", "dave", "--yes"); code != 0 { // he lost his only device
			t.Fatalf("reset: %d %s", code, out)
		}
		forecast(2, "bob", "dave")

		g.Upstream.Take()
		would(alice, "step_up")
		g.Audited("would_require_step_up", "grant_missing")
		would(bob, "step_up")
		g.Audited("would_require_step_up", "grant_missing")
		would(gatewaytest.NewClient(t, g, ""), "user_missing")
		g.Audited("would_refuse", "user_missing")
		stepUp(alice)
		would(alice, "allow")

		gatewaytest.Must(t, g.Reload(wouldConsole("mode if_enrolled")))
		carol := gatewaytest.NewClient(t, g, "alice") // another browser of hers
		carol.Key = alice.Key
		asked(carol)
		would(alice, "")
		would(bob, "step_up")
		g.Audited("would_require_step_up", "grant_missing")
		would(dave, "step_up")
		g.Audited("would_require_step_up", "grant_missing")

		from := time.Now().Add(9*24*time.Hour - time.Hour).UTC()
		gatewaytest.Must(t, g.Reload(wouldConsole("enforce_from "+from.Format(time.RFC3339))))
		asked(carol)
		would(bob, "step_up")
		g.Audited("would_require_step_up", "grant_missing")
		page := bob.Get("/.stepgate/passkeys", "Sec-Fetch-Mode", "navigate", "Accept", "text/html")
		if text := string(page.Body); !strings.Contains(text, "9 days left") || !strings.Contains(text, "You have none yet") {
			t.Errorf("the account page does not count the days: %s", text)
		}

		gatewaytest.Must(t, g.Reload(wouldConsole("enforce_from 2026-01-02T03:04:05Z")))
		asked(carol)
		asked(bob)
		gatewaytest.Must(t, bob.Register("Key"))
		stepUp(bob)
		would(bob, "")
		asked(dave)
		if err := dave.Register("Another"); err == nil || !strings.Contains(err.Error(), "registration_closed") {
			t.Errorf("dave registers on his sign-in alone: %v", err)
		}
		dave.Key = authtest.New(authtest.Config{})
		options, err := dave.Step("POST", "/.stepgate/passkeys/options", map[string]any{"name": "New", "invitation": invites(g, "dave").Code}, 200)
		gatewaytest.Must(t, err)
		credential, err := dave.Key.Register(options, dave.Origin)
		gatewaytest.Must(t, err)
		_, err = dave.Step("POST", "/.stepgate/passkeys", map[string]any{"name": "New", "credential": gatewaytest.RawJSON(credential)}, 201)
		gatewaytest.Must(t, err)
		stepUp(dave)
		would(dave, "")
		forecast(0, "3 users")
	})
}
