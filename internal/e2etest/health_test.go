package e2etest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// healthSite tells load balancers how the gateway is, without a first factor.
const healthSite = "http://health.localhost:$PORT {\n\tstepgate_health\n}\n"

const (
	ready    = `{"status":"ready"}` + "\n"
	notReady = `{"status":"not_ready","reasons":["store_unavailable"]}` + "\n"
)

// probe is a load balancer: it knows nobody.
func probe(t testing.TB, g *gateway) *client {
	c := newClient(t, g, "")
	c.origin = strings.Replace(g.url, "localhost", "health.localhost", 1)
	return c
}

// turns waits until /ready answers so, and returns how long that took.
func (c *client) turns(status int, body string) time.Duration {
	c.t.Helper()
	began := time.Now()
	eventually(c.t, fmt.Sprintf("/ready answers %d %s", status, body), func() bool {
		answer := c.get("/ready")
		return answer.status == status && string(answer.body) == body
	})
	return time.Since(began)
}

// Ready, then the store fails, then it is well again: /ready says so each time within 3 seconds, /live all the time.
func TestHealthOnDynamoDB(t *testing.T) {
	t.Parallel()
	for _, kind := range []faulttest.Kind{faulttest.Hang, faulttest.AccessDenied, faulttest.DropBefore, faulttest.Throttle} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			f := faulty{gateway: prepare(t), tables: newTables(t)}
			f.proxy = faulttest.New(t, f.endpoint)
			f.uses(f.tables, f.proxy.URL, newKey(f.gateway))
			f.configure(headerConsole("", "") + healthSite)
			f.run()
			c := probe(t, f.gateway)
			c.turns(200, ready)
			lift := f.proxy.Inject(faulttest.Fault{Kind: kind})
			if took := c.turns(503, notReady); took > 3*time.Second+noise {
				t.Errorf("not ready after %v", took)
			}
			must(t, c.get("/live").expect(200))
			answer, err := c.send("HEAD", "/ready", nil)
			must(t, err)
			if answer.status != 503 || len(answer.body) != 0 || answer.header.Get("Cache-Control") != "no-store" {
				t.Errorf("HEAD: %d %q %v", answer.status, answer.body, answer.header)
			}
			lift()
			if took := c.turns(200, ready); took > 3*time.Second+noise {
				t.Errorf("ready after %v", took)
			}
			eventually(t, "the log says so", func() bool {
				return strings.Contains(f.log.text(), `"not ready: health checks are told so"`) && strings.Contains(f.log.text(), `"ready again"`)
			})
		})
	}
}

// However often it is asked, the store is asked about once a second.
func TestHealthIsNoAmplifier(t *testing.T) {
	t.Parallel()
	f := faulty{gateway: prepare(t), tables: newTables(t)}
	f.proxy = faulttest.New(t, f.endpoint)
	f.uses(f.tables, f.proxy.URL, newKey(f.gateway))
	f.configure(headerConsole("", "") + healthSite)
	f.run()
	c := probe(t, f.gateway)
	c.turns(200, ready)
	f.proxy.Take()
	began := time.Now()
	var crowd sync.WaitGroup
	for range 20 {
		crowd.Go(func() {
			for range 50 {
				if answer, err := c.send("GET", "/ready", nil); err != nil || answer.status != 200 {
					t.Error(answer.status, err)
				}
			}
		})
	}
	crowd.Wait()
	calls, seconds := len(f.proxy.Take()), time.Since(began).Seconds()
	t.Logf("1000 probes in %.1f s made %d calls", seconds, calls)
	if calls > int(seconds)+2+4 { // and a look at the tables, which may be due
		t.Errorf("1000 probes in %.1f s made %d calls", seconds, calls)
	}
}

// A table that is gone is said by its name: waiting won't mend it. Challenges are in another table than what is read.
func TestHealthOfTables(t *testing.T) {
	t.Parallel()
	g := prepare(t)
	d := newTables(t)
	g.uses(d, d.endpoint, newKey(g))
	g.configure(headerConsole("", "") + healthSite)
	g.run()
	d.call("DeleteTable", map[string]any{"TableName": d.challenges})
	c := probe(t, g)
	c.turns(503, `{"status":"not_ready","reasons":["tables_wrong"]}`+"\n")
	d.createWith(d.challenges, "pk", "sk")
	c.turns(200, ready)
	if answer := c.get("/ready"); strings.Contains(string(answer.body), d.challenges) {
		t.Errorf("it names the table: %s", answer.body)
	}
}

// The file is cut short beneath the gateway. Only a person can mend that: it is ready once it runs on a copy.
func TestHealthOnFile(t *testing.T) {
	t.Parallel()
	g := start(t, headerConsole("", "")+healthSite)
	must(t, newClient(t, g, "carol").register("Key"))
	c := probe(t, g)
	c.turns(200, ready)
	path := filepath.Join(g.folder, "stepgate.db")
	whole, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Truncate(path, 0))
	if took := c.turns(503, notReady); took > 3*time.Second+noise {
		t.Errorf("not ready after %v", took)
	}
	must(t, c.get("/live").expect(200))
	g.stop()
	must(t, os.WriteFile(path, whole, 0o600))
	g.run()
	c.turns(200, ready)
	must(t, session(newClient(t, g, "dave")))
}

// A reload, failed or not, is no reason to send requests elsewhere.
func TestHealthDuringReloads(t *testing.T) { onEachStore(t, testHealthDuringReloads) }

func testHealthDuringReloads(t *testing.T, on store) {
	g := on.start(t, headerConsole("", "")+healthSite)
	c := probe(t, g)
	c.turns(200, ready)
	done := make(chan struct{})
	var probing sync.WaitGroup
	probing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if answer, err := c.send("GET", "/ready", nil); err != nil || answer.status != 200 {
				t.Errorf("%v %d %s", err, answer.status, answer.body)
				return
			}
		}
	})
	for i := range 3 {
		must(t, g.reload(headerConsole(fmt.Sprintf("max_passkeys %d", i+3), "")+healthSite))
		if err := g.reload(headerConsole("", "max_age never") + healthSite); err == nil {
			t.Error("a wrong configuration was loaded")
		}
	}
	close(done)
	probing.Wait()
}
