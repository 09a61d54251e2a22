package e2etest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// rotate gives a gateway other grant keys and reloads it, with the same configuration: that needs --force.
func rotate(f *gatewaytest.Fleet, g *gatewaytest.Gateway, keys ...string) {
	f.T.Helper()
	writeKeys(f, g, keys...)
	gatewaytest.Must(f.T, g.Reload(gatewaytest.HeaderConsole("revocation_lag 0s", ""), "--force"))
}

func writeKeys(f *gatewaytest.Fleet, g *gatewaytest.Gateway, keys ...string) {
	f.T.Helper()
	gatewaytest.Must(f.T, os.WriteFile(filepath.Join(g.Folder, "grant.keys"), []byte(strings.Join(keys, "\n")+"\n"), 0o600))
}

// A new key replaces an old one without a log-out, though gateways reload one after the other: add it behind the old one
// everywhere, put it first everywhere, and remove the old one everywhere once all grants that it sealed are too old.
func TestKeyRotationAcrossGateways(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFleet(t, 2)
	a, b := f.Gateways[0], f.Gateways[1]
	var keys []string
	for range 3 {
		key := gatewaytest.NewKey(a)
		a.Log.Secret("grant key", key)
		keys = append(keys, key)
	}
	k1, k2, k3 := keys[0], keys[1], keys[2]
	for _, g := range f.Gateways {
		g.Store = strings.Replace(g.Store, "{env.STEPGATE_GRANT_KEYS}", "{file.$DIR/grant.keys}", 1)
		writeKeys(f, g, k1)
	}
	f.Start(gatewaytest.HeaderConsole("revocation_lag 0s", ""))

	var clients []*gatewaytest.Client                   // all that stepped up so far
	waiting := map[*gatewaytest.Client]map[string]any{} // and those in the middle of it
	everybody := func(when string, old int) {           // the first old clients have lost their grants on a gateway
		t.Helper()
		for c, body := range waiting { // begun before this reload on one gateway, finished after it on the other
			answer, err := c.Finish(body)
			if err != nil || answer.Status != 200 || !answer.Grants() {
				t.Fatalf("%s: a ceremony from before the reload: %v %d %s", when, err, answer.Status, answer.Body)
			}
			clients = append(clients, c)
			delete(waiting, c)
		}
		for i, g := range f.Gateways {
			c := gatewaytest.NewClient(t, g, fmt.Sprintf("user-%d", len(clients)))
			if err := gatewaytest.Session(c); err != nil {
				t.Fatalf("%s: stepping up now: %v", when, err)
			}
			clients = append(clients, c)
			other := f.Gateways[1-i]
			d := gatewaytest.NewClient(t, g, fmt.Sprintf("late-%d", len(clients)))
			gatewaytest.Must(t, d.Register("Key"))
			body, err := d.Begin(map[string]any{"return_to": "/"})
			gatewaytest.Must(t, err)
			waiting[d.At(other)] = body
		}
		for i, c := range clients[old:] {
			for _, g := range f.Gateways {
				if answer := c.At(g).Get("/keys"); answer.Status != 200 {
					t.Fatalf("%s: client %d of %d: %d %s", when, old+i, len(clients), answer.Status, answer.Body)
				}
			}
		}
	}

	everybody("with one key", 0)
	rotate(f, a, k1, k2)
	everybody("the new key is known on one", 0)
	rotate(f, b, k1, k2)
	everybody("the new key is known on both", 0)
	rotate(f, a, k2, k1)
	everybody("one seals with the new key", 0)
	rotate(f, b, k2, k1)
	old := len(clients) // sealed with k1, as far as it goes
	everybody("both seal with the new key", 0)

	// From here on an operator waits for as long as the longest max_age. Who has an older grant then is asked again
	// anyway; here they are not that old, and see what the wait is for.
	rotate(f, a, k2)
	everybody("the old key is gone from one", old)
	rotate(f, b, k2)
	everybody("the old key is gone", old)
	for _, g := range f.Gateways {
		gatewaytest.Must(t, clients[0].At(g).Get("/keys").Refused(401, "grant_unreadable"))
		g.Audited("step_up_required", "grant_unreadable")
	}

	// Why a new key must not seal before everybody can open it.
	rotate(f, a, k3, k2)
	c := gatewaytest.NewClient(t, a, "hasty")
	gatewaytest.Must(t, gatewaytest.Session(c))
	gatewaytest.Must(t, c.Get("/keys").Expect(200))
	gatewaytest.Must(t, c.At(b).Get("/keys").Refused(401, "grant_unreadable"))
	b.Audited("step_up_required", "grant_unreadable")
	rotate(f, b, k2, k3)
	gatewaytest.Must(t, c.At(b).Get("/keys").Expect(200))
}
