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

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// What waiting won't mend ends the start, and the message says what will.
func TestStartOnWrongTables(t *testing.T) {
	t.Parallel()
	const command = "stepgate tables create"
	for _, test := range []struct {
		name  string
		make  func(d *gatewaytest.Tables)
		words func(g *gatewaytest.Gateway)
		says  func(d *gatewaytest.Tables) []string
	}{
		{"no table", func(*gatewaytest.Tables) {}, nil, func(d *gatewaytest.Tables) []string {
			return []string{d.Passkeys, d.Challenges, "there is no table", command}
		}},
		{"one table is missing", func(d *gatewaytest.Tables) { d.CreateWith(d.Passkeys, "pk", "sk") }, nil,
			func(d *gatewaytest.Tables) []string { return []string{d.Challenges, "there is no table", command} }},
		{"the keys have other names", func(d *gatewaytest.Tables) {
			d.CreateWith(d.Passkeys, "id", "range")
			d.CreateWith(d.Challenges, "pk", "sk")
		}, nil,
			func(d *gatewaytest.Tables) []string { return []string{d.Passkeys, "id", "range", "pk", "sk", command} }},
		{"no grant keys", func(d *gatewaytest.Tables) { d.Create() },
			func(g *gatewaytest.Gateway) {
				g.Store = strings.Replace(g.Store, "grant_keys {env.STEPGATE_GRANT_KEYS}", "", 1)
			},
			func(*gatewaytest.Tables) []string {
				return []string{"grant_keys", "stepgate keygen", "STEPGATE_GRANT_KEYS"}
			}},
		{"an empty variable", func(d *gatewaytest.Tables) { d.Create() },
			func(g *gatewaytest.Gateway) { g.Environment = append(g.Environment, "STEPGATE_GRANT_KEYS=") },
			func(*gatewaytest.Tables) []string {
				return []string{"grant_keys", "{env.STEPGATE_GRANT_KEYS}", "stepgate keygen"}
			}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := gatewaytest.Prepare(t)
			d := gatewaytest.NamedTables(t, gatewaytest.Local(t))
			test.make(d)
			g.Uses(d, d.Endpoint, gatewaytest.NewKey(g))
			if test.words != nil {
				test.words(g)
			}
			g.Configure(gatewaytest.HeaderConsole("", ""))
			out, code := g.Call("run", "--config", "Caddyfile")
			if code == 0 {
				t.Error("exit code 0")
			}
			for _, part := range test.says(d) {
				if !strings.Contains(out, part) {
					t.Errorf("%q is not in:\n%s", part, out)
				}
			}
			if g.Listens() {
				t.Error("it listens")
			}
			if test.name != "no table" {
				return
			}
			// The command that it names makes them, from the same configuration.
			if out, code := g.Call("tables", "create", "--config", "Caddyfile"); code != 0 {
				t.Fatalf("%d %s", code, out)
			}
			g.Run()
			gatewaytest.Must(t, gatewaytest.Session(gatewaytest.NewClient(t, g, "carol")))
		})
	}
}

// What waiting may mend does not: the gateway starts, serves what is open, keeps the rest closed, says why, and is well by
// itself once DynamoDB is.
func TestStartWithoutDynamoDB(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFleet(t, 5)
	healthy, late := f.Gateways[0], gatewaytest.FreePort(t)
	type state struct {
		*gatewaytest.Gateway
		name, says string
		mend       func()
	}
	states := []*state{{name: "unreachable", says: "can't be reached", mend: func() { forward(f.Tables, late) }}}
	for kind, says := range map[faulttest.Kind]string{
		faulttest.Throttle: "throttles", faulttest.AccessDenied: "access denied: these credentials may not call dynamodb:", faulttest.Hang: "did not answer in time",
	} {
		proxy := faulttest.New(t, f.Endpoint)
		lift := proxy.Inject(faulttest.Fault{Kind: kind})
		states = append(states, &state{name: kind.String(), says: says, mend: lift})
		g := f.Gateways[len(states)]
		g.Store = strings.Replace(g.Store, f.Endpoint, proxy.URL, 1)
	}
	f.Gateways[1].Store = strings.Replace(f.Gateways[1].Store, f.Endpoint, fmt.Sprintf("http://127.0.0.1:%d", late), 1)
	for i, s := range states {
		s.Gateway = f.Gateways[i+1]
	}
	f.Start(gatewaytest.HeaderConsole("revocation_lag 0s", "open /open"))
	c := gatewaytest.NewClient(t, healthy, "carol")
	gatewaytest.Must(t, gatewaytest.Session(c))
	f.Upstream().Take()

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
		with, without := c.At(s.Gateway), gatewaytest.NewClient(t, s.Gateway, "carol")
		answer, err := with.Send("GET", "/keys", nil)
		if err = errors.Join(err, answer.Unavailable()); err != nil {
			return fmt.Errorf("with a grant: %w", err)
		}
		s.Audited("request_refused", "store_unavailable")
		answer, err = with.Send("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/"})
		if err = errors.Join(err, answer.Unavailable()); err != nil {
			return fmt.Errorf("stepping up: %w", err)
		}
		s.Audited("ceremony_refused", "store_unavailable")
		answer, err = without.Send("GET", "/keys", nil) // asks nobody
		if err = errors.Join(err, answer.Refused(401, "grant_missing")); err != nil {
			return fmt.Errorf("without a grant: %w", err)
		}
		if _, err = without.Step("GET", "/open", nil, 200); err != nil {
			return err
		}
		return said(s.Gateway, s.says)
	})
	for _, r := range f.Upstream().Take() {
		if r.Target != "/open" {
			t.Errorf("reached the upstream: %s %s", r.Method, r.Target)
		}
	}

	for _, s := range states {
		s.mend()
	}
	for _, s := range states {
		c := c.At(s.Gateway)
		gatewaytest.Eventually(t, s.name+" is over", func() bool { return c.Get("/keys").Status == 200 })
		if err := gatewaytest.Recovered(c); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
	for _, s := range states {
		if s.name == faulttest.Hang.String() {
			continue // its checks take long, and come seldom
		}
		gatewaytest.Eventually(t, s.name+": the log says that all is well", func() bool { return strings.Contains(s.Log.Text(), "the tables are well again") })
	}
}

// said holds that the store's own log says something.
func said(g *gatewaytest.Gateway, what string) error {
	text := g.Log.Text()
	for line := range strings.Lines(text) {
		if strings.Contains(line, `"logger":"stepgate.stores.dynamodb"`) && strings.Contains(line, what) {
			return nil
		}
	}
	return fmt.Errorf("stepgate.stores.dynamodb does not log %q:\n%s", what, text)
}

// forward makes the DynamoDB Local of all tests appear at another port.
func forward(d *gatewaytest.Tables, port int) {
	d.T.Helper()
	target, err := url.Parse(d.Endpoint)
	gatewaytest.Must(d.T, err)
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	gatewaytest.Must(d.T, err)
	server := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}}
	d.T.Cleanup(func() { server.Close() })
	go server.Serve(listener)
}

// A reload to tables that are not there changes nothing.
func TestReloadToMissingTables(t *testing.T) {
	t.Parallel()
	g := gatewaytest.OnDynamoDB.Start(t, gatewaytest.HeaderConsole("", ""))
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, gatewaytest.Session(c))
	body, err := c.Begin(map[string]any{"return_to": "/"})
	gatewaytest.Must(t, err)

	good := g.Store
	missing := gatewaytest.NamedTables(t, gatewaytest.Local(t))
	g.Uses(missing, missing.Endpoint, "unused")
	err = g.Reload(gatewaytest.HeaderConsole("", ""))
	for _, part := range []string{missing.Passkeys, missing.Challenges, "there is no table", "stepgate tables create"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	gatewaytest.Must(t, c.Get("/keys").Expect(200))
	answer, err := c.Finish(body) // begun before
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, gatewaytest.Passes(c, answer))
	g.Audited("ceremony_finished", "")

	g.Store = good
	gatewaytest.Must(t, g.Reload(gatewaytest.HeaderConsole("max_passkeys 5", "")))
	gatewaytest.Must(t, c.Get("/keys").Expect(200))
	gatewaytest.Must(t, gatewaytest.Recovered(c))
}
