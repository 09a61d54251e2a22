package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// gateway is a Caddy with Stepgate that runs in this process as `stepgate run` would, and what stands around it.
type gateway struct {
	t        testing.TB
	port     int    // $PORT
	folder   string // $FOLDER: of the store and the log
	upstream *upstream
}

// newGateway returns a gateway that does not run yet.
func newGateway(t testing.TB) *gateway {
	t.Helper()
	g := &gateway{t: t, port: freePort(t), folder: t.TempDir(), upstream: newUpstream(t)}
	t.Cleanup(func() { // Caddy logs a handler's panic and goes on
		if text, _ := os.ReadFile(filepath.Join(g.folder, "log")); strings.Contains(string(text), "panic") {
			t.Errorf("something panicked:\n%s", text)
		}
	})
	return g
}

// start runs a gateway with one site on http://localhost:$PORT, whose first factor is the header X-User.
func start(t testing.TB, block, rest string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.load(site(block, rest))
	return g
}

// site is the Caddyfile of a site; block is what stands in its stepgate block, rest what stands around it.
func site(block, rest string) string {
	return "http://localhost:$PORT {\nstepgate {\nuser {header.X-User}\n" + block + "\n}\n" + rest + "\n}\n"
}

const proxy = "reverse_proxy $UPSTREAM"

// options are the global options of a gateway: more, and those of stepgate, for which there are defaults.
func options(more, app string) string {
	for _, line := range []string{"rp_id localhost", "origins http://localhost:$PORT", "store file $FOLDER/stepgate.db"} {
		if word, _, _ := strings.Cut(line, " "); !strings.Contains(app, word+" ") {
			app += "\n" + line
		}
	}
	return `{
	admin off
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	debug
	log {
		output file $FOLDER/log
	}
	` + more + `
	stepgate {
		` + app + `
	}
}
`
}

// load puts sites in force with the plain options, or fails the test.
func (g *gateway) load(sites string) {
	g.t.Helper()
	if err := g.reload(options("", ""), sites); err != nil {
		g.t.Fatal(err)
	}
}

// reload puts a configuration in force, or leaves the one before.
func (g *gateway) reload(options, sites string) error {
	g.t.Helper()
	config, _, err := adapt(g.fill(options + sites))
	if err != nil {
		return err
	}
	return g.loadJSON(config)
}

func (g *gateway) loadJSON(config []byte) error {
	g.t.Cleanup(func() { _ = caddy.Stop() })
	return caddy.Load(config, true)
}

// fill puts this gateway's places into a text.
func (g *gateway) fill(text string) string {
	return strings.NewReplacer("$PORT", fmt.Sprint(g.port), "$FOLDER", g.folder, "$UPSTREAM", g.upstream.address()).Replace(text)
}

// logged returns the lines of the log with this message.
func (g *gateway) logged(message string) (lines []map[string]any) {
	g.t.Helper()
	text, err := os.ReadFile(filepath.Join(g.folder, "log"))
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			lines = append(lines, entry)
		}
	}
	return lines
}

// reached holds that the upstream got n requests since the last call.
func (g *gateway) reached(n int) {
	g.t.Helper()
	if got := g.upstream.take(); len(got) != n {
		g.t.Errorf("the upstream got %d requests, want %d", len(got), n)
	}
}

// received returns the one request that the upstream got since the last call.
func (g *gateway) received() *http.Request {
	g.t.Helper()
	got := g.upstream.take()
	if len(got) != 1 {
		g.t.Fatalf("the upstream got %d requests, want 1", len(got))
	}
	return got[0]
}

// upstream is a server that remembers the requests it got.
type upstream struct {
	*httptest.Server
	mu     sync.Mutex
	got    []*http.Request
	answer http.HandlerFunc // default: 200
}

func newUpstream(t testing.TB) *upstream {
	u := new(upstream)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.got = append(u.got, r)
		answer := u.answer
		u.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		fmt.Fprint(w, "upstream")
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) address() string { return strings.TrimPrefix(u.URL, "http://") }

// answers sets what the upstream does from now on.
func (u *upstream) answers(answer http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer = answer
}

func (u *upstream) take() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}

// freePort returns a port of 127.0.0.1 that nobody listens on, below those that the system hands out by itself.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + rand.IntN(10000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}
