package e2etest_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// What waiting won't mend ends the start, and the message says what will.
func TestStartOnWrongTables(t *testing.T) {
	t.Parallel()
	const command = "stepgate tables create"
	for _, test := range []struct {
		name  string
		make  func(d *tables)
		words func(g *gateway)
		says  func(d *tables) []string
	}{
		{"no table", func(*tables) {}, nil, func(d *tables) []string { return []string{d.passkeys, d.challenges, "there is no table", command} }},
		{"one table is missing", func(d *tables) { d.createWith(d.passkeys, "pk", "sk") }, nil,
			func(d *tables) []string { return []string{d.challenges, "there is no table", command} }},
		{"the keys have other names", func(d *tables) { d.createWith(d.passkeys, "id", "range"); d.createWith(d.challenges, "pk", "sk") }, nil,
			func(d *tables) []string { return []string{d.passkeys, "id", "range", "pk", "sk", command} }},
		{"no grant keys", func(d *tables) { d.create() },
			func(g *gateway) { g.store = strings.Replace(g.store, "grant_keys {env.STEPGATE_GRANT_KEYS}", "", 1) },
			func(*tables) []string { return []string{"grant_keys", "stepgate keygen", "STEPGATE_GRANT_KEYS"} }},
		{"an empty variable", func(d *tables) { d.create() },
			func(g *gateway) { g.environment = append(g.environment, "STEPGATE_GRANT_KEYS=") },
			func(*tables) []string { return []string{"grant_keys", "{env.STEPGATE_GRANT_KEYS}", "stepgate keygen"} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := prepare(t)
			d := namedTables(t, local(t))
			test.make(d)
			g.uses(d, d.endpoint, newKey(g))
			if test.words != nil {
				test.words(g)
			}
			g.configure(headerConsole("", ""))
			out, code := g.call("run", "--config", "Caddyfile")
			if code == 0 {
				t.Error("exit code 0")
			}
			for _, part := range test.says(d) {
				if !strings.Contains(out, part) {
					t.Errorf("%q is not in:\n%s", part, out)
				}
			}
			if g.listens() {
				t.Error("it listens")
			}
			if test.name != "no table" {
				return
			}
			// The command that it names makes them, from the same configuration.
			if out, code := g.call("tables", "create", "--config", "Caddyfile"); code != 0 {
				t.Fatalf("%d %s", code, out)
			}
			g.run()
			must(t, session(newClient(t, g, "carol")))
		})
	}
}

// What waiting may mend does not: the gateway starts, serves what is open, keeps the rest closed, says why, and is well by
// itself once DynamoDB is.
func TestStartWithoutDynamoDB(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 5)
	healthy, late := f.gateways[0], freePort(t)
	type state struct {
		*gateway
		name, says string
		mend       func()
	}
	states := []*state{{name: "unreachable", says: "can't be reached", mend: func() { f.forward(late) }}}
	for kind, says := range map[faulttest.Kind]string{
		faulttest.Throttle: "throttles", faulttest.AccessDenied: "access denied: these credentials may not call dynamodb:", faulttest.Hang: "did not answer in time",
	} {
		proxy := faulttest.New(t, f.endpoint)
		lift := proxy.Inject(faulttest.Fault{Kind: kind})
		states = append(states, &state{name: kind.String(), says: says, mend: lift})
		g := f.gateways[len(states)]
		g.store = strings.Replace(g.store, f.endpoint, proxy.URL, 1)
	}
	f.gateways[1].store = strings.Replace(f.gateways[1].store, f.endpoint, fmt.Sprintf("http://127.0.0.1:%d", late), 1)
	for i, s := range states {
		s.gateway = f.gateways[i+1]
	}
	f.start(headerConsole("revocation_lag 0s", "open /open"))
	c := newClient(t, healthy, "carol")
	must(t, session(c))
	f.upstream().take()

	// all looks at all of them at the same time: what is refused takes its 2.5 seconds.
	all := func(look func(s *state) error) {
		t.Helper()
		var wait sync.WaitGroup
		for _, s := range states {
			wait.Go(func() {
				if err := look(s); err != nil {
					t.Errorf("%s: %v", s.name, err)
				}
			})
		}
		wait.Wait()
	}
	all(func(s *state) error {
		with, without := c.at(s.gateway), newClient(t, s.gateway, "carol")
		answer, err := with.send("GET", "/keys", nil)
		if err = errors.Join(err, answer.unavailable()); err != nil {
			return fmt.Errorf("with a grant: %w", err)
		}
		s.audited("request_refused", "store_unavailable")
		answer, err = with.send("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/"})
		if err = errors.Join(err, answer.unavailable()); err != nil {
			return fmt.Errorf("stepping up: %w", err)
		}
		s.audited("ceremony_refused", "store_unavailable")
		answer, err = without.send("GET", "/keys", nil) // asks nobody
		if err = errors.Join(err, answer.refused(401, "grant_missing")); err != nil {
			return fmt.Errorf("without a grant: %w", err)
		}
		if _, err = without.step("GET", "/open", nil, 200); err != nil {
			return err
		}
		return s.said(s.says)
	})
	for _, r := range f.upstream().take() {
		if r.Target != "/open" {
			t.Errorf("reached the upstream: %s %s", r.Method, r.Target)
		}
	}

	for _, s := range states {
		s.mend()
	}
	for _, s := range states {
		c := c.at(s.gateway)
		eventually(t, s.name+" is over", func() bool { return c.get("/keys").status == 200 })
		if err := recovered(c); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	for _, s := range states {
		if s.name == faulttest.Hang.String() {
			continue // its checks take long, and come seldom
		}
		eventually(t, s.name+": the log says that all is well", func() bool { return strings.Contains(s.log.text(), "the tables are well again") })
	}
}

// said holds that the store's own log says something.
func (g *gateway) said(what string) error {
	text := g.log.text()
	for line := range strings.Lines(text) {
		if strings.Contains(line, `"logger":"stepgate.stores.dynamodb"`) && strings.Contains(line, what) {
			return nil
		}
	}
	return fmt.Errorf("stepgate.stores.dynamodb does not log %q:\n%s", what, text)
}

// forward makes the DynamoDB Local of all tests appear at another port.
func (d *tables) forward(port int) {
	d.t.Helper()
	target, err := url.Parse(d.endpoint)
	must(d.t, err)
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	must(d.t, err)
	server := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}}
	d.t.Cleanup(func() { server.Close() })
	go server.Serve(listener)
}

// A reload to tables that are not there changes nothing.
func TestReloadToMissingTables(t *testing.T) {
	t.Parallel()
	g := onDynamoDB.start(t, headerConsole("", ""))
	c := newClient(t, g, "carol")
	must(t, session(c))
	body, err := c.begin(map[string]any{"return_to": "/"})
	must(t, err)

	good := g.store
	missing := namedTables(t, local(t))
	g.uses(missing, missing.endpoint, "unused")
	err = g.reload(headerConsole("", ""))
	for _, part := range []string{missing.passkeys, missing.challenges, "there is no table", "stepgate tables create"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	must(t, c.get("/keys").expect(200))
	answer, err := c.finish(body) // begun before
	must(t, err)
	must(t, passes(c, answer))
	g.audited("ceremony_finished", "")

	g.store = good
	must(t, g.reload(headerConsole("max_passkeys 5", "")))
	must(t, c.get("/keys").expect(200))
	must(t, recovered(c))
}
