package e2etest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// healthSite tells load balancers how the gateway is, without a first factor.
const healthSite = "http://health.localhost:$PORT {\n\tstepgate_health\n}\n"

const (
	ready    = `{"status":"ready"}` + "\n"
	notReady = `{"status":"not_ready","reasons":["store_unavailable"]}` + "\n"
)

// probe is a load balancer: it knows nobody.
func probe(t testing.TB, g *gatewaytest.Gateway) *gatewaytest.Client {
	c := gatewaytest.NewClient(t, g, "")
	c.Origin = strings.Replace(g.URL, "localhost", "health.localhost", 1)
	return c
}

// turns waits until /ready answers so, and returns how long that took.
func turns(c *gatewaytest.Client, status int, body string) time.Duration {
	c.T.Helper()
	began := time.Now()
	gatewaytest.Eventually(c.T, fmt.Sprintf("/ready answers %d %s", status, body), func() bool {
		answer := c.Get("/ready")
		return answer.Status == status && string(answer.Body) == body
	})
	return time.Since(began)
}

// Ready, then the store fails, then it is well again: /ready says so each time within 3 seconds, /live all the time.
func TestHealthOnDynamoDB(t *testing.T) {
	t.Parallel()
	for _, kind := range []faulttest.Kind{faulttest.Hang, faulttest.AccessDenied, faulttest.DropBefore, faulttest.Throttle} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			f := gatewaytest.Faulty{Gateway: gatewaytest.Prepare(t), Tables: gatewaytest.NewTables(t)}
			f.Proxy = faulttest.New(t, f.Endpoint)
			f.Uses(f.Tables, f.Proxy.URL, gatewaytest.NewKey(f.Gateway))
			f.Configure(gatewaytest.HeaderConsole("", "") + healthSite)
			f.Run()
			c := probe(t, f.Gateway)
			turns(c, 200, ready)
			lift := f.Proxy.Inject(faulttest.Fault{Kind: kind})
			if took := turns(c, 503, notReady); took > 3*time.Second+noise {
				t.Errorf("not ready after %v", took)
			}
			gatewaytest.Must(t, c.Get("/live").Expect(200))
			answer, err := c.Send("HEAD", "/ready", nil)
			gatewaytest.Must(t, err)
			if answer.Status != 503 || len(answer.Body) != 0 || answer.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("HEAD: %d %q %v", answer.Status, answer.Body, answer.Header)
			}
			lift()
			if took := turns(c, 200, ready); took > 3*time.Second+noise {
				t.Errorf("ready after %v", took)
			}
			gatewaytest.Eventually(t, "the log says so", func() bool {
				return strings.Contains(f.Log.Text(), `"not ready: health checks are told so"`) && strings.Contains(f.Log.Text(), `"ready again"`)
			})
		})
	}
}

// However often it is asked, the store is asked about once a second.
func TestHealthIsNoAmplifier(t *testing.T) {
	t.Parallel()
	f := gatewaytest.Faulty{Gateway: gatewaytest.Prepare(t), Tables: gatewaytest.NewTables(t)}
	f.Proxy = faulttest.New(t, f.Endpoint)
	f.Uses(f.Tables, f.Proxy.URL, gatewaytest.NewKey(f.Gateway))
	f.Configure(gatewaytest.HeaderConsole("", "") + healthSite)
	f.Run()
	c := probe(t, f.Gateway)
	turns(c, 200, ready)
	f.Proxy.Take()
	began := time.Now()
	var crowd sync.WaitGroup
	for range 20 {
		crowd.Go(func() {
			for range 50 {
				if answer, err := c.Send("GET", "/ready", nil); err != nil || answer.Status != 200 {
					t.Error(answer.Status, err)
				}
			}
		})
	}
	crowd.Wait()
	calls, seconds := len(f.Proxy.Take()), time.Since(began).Seconds()
	t.Logf("1000 probes in %.1f s made %d calls", seconds, calls)
	if calls > int(seconds)+2+4 { // and a look at the tables, which may be due
		t.Errorf("1000 probes in %.1f s made %d calls", seconds, calls)
	}
}

// A table that is gone is said by its name: waiting won't mend it. Challenges are in another table than what is read.
func TestHealthOfTables(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Prepare(t)
	d := gatewaytest.NewTables(t)
	g.Uses(d, d.Endpoint, gatewaytest.NewKey(g))
	g.Configure(gatewaytest.HeaderConsole("", "") + healthSite)
	g.Run()
	d.Call("DeleteTable", map[string]any{"TableName": d.Challenges})
	c := probe(t, g)
	turns(c, 503, `{"status":"not_ready","reasons":["tables_wrong"]}`+"\n")
	d.CreateWith(d.Challenges, "pk", "sk")
	turns(c, 200, ready)
	if answer := c.Get("/ready"); strings.Contains(string(answer.Body), d.Challenges) {
		t.Errorf("it names the table: %s", answer.Body)
	}
}

// The file is cut short beneath the gateway. Only a person can mend that: it is ready once it runs on a copy.
func TestHealthOnFile(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", "")+healthSite)
	gatewaytest.Must(t, gatewaytest.NewClient(t, g, "carol").Register("Key"))
	c := probe(t, g)
	turns(c, 200, ready)
	path := filepath.Join(g.Folder, "stepgate.db")
	whole, err := os.ReadFile(path)
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, os.Truncate(path, 0))
	if took := turns(c, 503, notReady); took > 3*time.Second+noise {
		t.Errorf("not ready after %v", took)
	}
	gatewaytest.Must(t, c.Get("/live").Expect(200))
	g.Stop()
	gatewaytest.Must(t, os.WriteFile(path, whole, 0o600))
	g.Run()
	turns(c, 200, ready)
	gatewaytest.Must(t, gatewaytest.Session(gatewaytest.NewClient(t, g, "dave")))
}

// A reload, failed or not, is no reason to send requests elsewhere.
func TestHealthDuringReloads(t *testing.T) { gatewaytest.OnEachStore(t, testHealthDuringReloads) }

func testHealthDuringReloads(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.HeaderConsole("", "")+healthSite)
	c := probe(t, g)
	turns(c, 200, ready)
	done := make(chan struct{})
	var probing sync.WaitGroup
	probing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if answer, err := c.Send("GET", "/ready", nil); err != nil || answer.Status != 200 {
				t.Errorf("%v %d %s", err, answer.Status, answer.Body)
				return
			}
		}
	})
	for i := range 3 {
		gatewaytest.Must(t, g.Reload(gatewaytest.HeaderConsole(fmt.Sprintf("max_passkeys %d", i+3), "")+healthSite))
		if err := g.Reload(gatewaytest.HeaderConsole("", "max_age never") + healthSite); err == nil {
			t.Error("a wrong configuration was loaded")
		}
	}
	close(done)
	probing.Wait()
}
