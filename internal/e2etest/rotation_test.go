package e2etest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rotate gives a gateway other grant keys and reloads it, with the same configuration: that needs --force.
func (f *fleet) rotate(g *gateway, keys ...string) {
	f.t.Helper()
	f.writeKeys(g, keys...)
	must(f.t, g.reload(headerConsole("revocation_lag 0s", ""), "--force"))
}

func (f *fleet) writeKeys(g *gateway, keys ...string) {
	f.t.Helper()
	must(f.t, os.WriteFile(filepath.Join(g.folder, "grant.keys"), []byte(strings.Join(keys, "\n")+"\n"), 0o600))
}

// A new key replaces an old one without a log-out, though gateways reload one after the other: add it behind the old one
// everywhere, put it first everywhere, and remove the old one everywhere once all grants that it sealed are too old.
func TestKeyRotationAcrossGateways(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2)
	a, b := f.gateways[0], f.gateways[1]
	var keys []string
	for range 3 {
		key := newKey(a)
		a.log.secret("grant key", key)
		keys = append(keys, key)
	}
	k1, k2, k3 := keys[0], keys[1], keys[2]
	for _, g := range f.gateways {
		g.store = strings.Replace(g.store, "{env.STEPGATE_GRANT_KEYS}", "{file.$DIR/grant.keys}", 1)
		f.writeKeys(g, k1)
	}
	f.start(headerConsole("revocation_lag 0s", ""))

	var clients []*client                     // all that stepped up so far
	waiting := map[*client]map[string]any{}   // and those in the middle of it
	everybody := func(when string, old int) { // the first old clients have lost their grants on a gateway
		t.Helper()
		for c, body := range waiting { // begun before this reload on one gateway, finished after it on the other
			answer, err := c.finish(body)
			if err != nil || answer.status != 200 || !answer.grants() {
				t.Fatalf("%s: a ceremony from before the reload: %v %d %s", when, err, answer.status, answer.body)
			}
			clients = append(clients, c)
			delete(waiting, c)
		}
		for i, g := range f.gateways {
			c := newClient(t, g, fmt.Sprintf("user-%d", len(clients)))
			if err := session(c); err != nil {
				t.Fatalf("%s: stepping up now: %v", when, err)
			}
			clients = append(clients, c)
			other := f.gateways[1-i]
			d := newClient(t, g, fmt.Sprintf("late-%d", len(clients)))
			must(t, d.register("Key"))
			body, err := d.begin(map[string]any{"return_to": "/"})
			must(t, err)
			waiting[d.at(other)] = body
		}
		for i, c := range clients[old:] {
			for _, g := range f.gateways {
				if answer := c.at(g).get("/keys"); answer.status != 200 {
					t.Fatalf("%s: client %d of %d: %d %s", when, old+i, len(clients), answer.status, answer.body)
				}
			}
		}
	}

	everybody("with one key", 0)
	f.rotate(a, k1, k2)
	everybody("the new key is known on one", 0)
	f.rotate(b, k1, k2)
	everybody("the new key is known on both", 0)
	f.rotate(a, k2, k1)
	everybody("one seals with the new key", 0)
	f.rotate(b, k2, k1)
	old := len(clients) // sealed with k1, as far as it goes
	everybody("both seal with the new key", 0)

	// From here on an operator waits for as long as the longest max_age. Who has an older grant then is asked again
	// anyway; here they are not that old, and see what the wait is for.
	f.rotate(a, k2)
	everybody("the old key is gone from one", old)
	f.rotate(b, k2)
	everybody("the old key is gone", old)
	for _, g := range f.gateways {
		must(t, clients[0].at(g).get("/keys").refused(401, "grant_unreadable"))
		g.audited("step_up_required", "grant_unreadable")
	}

	// Why a new key must not seal before everybody can open it.
	f.rotate(a, k3, k2)
	c := newClient(t, a, "hasty")
	must(t, session(c))
	must(t, c.get("/keys").expect(200))
	must(t, c.at(b).get("/keys").refused(401, "grant_unreadable"))
	b.audited("step_up_required", "grant_unreadable")
	f.rotate(b, k2, k3)
	must(t, c.at(b).get("/keys").expect(200))
}
