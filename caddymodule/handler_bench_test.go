package caddymodule_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/caddymodule"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

func init() { caddy.RegisterModule(countingStore{}) }

// countingStore is a store as another package would bring one, in the namespace stepgate.stores. It counts how often it
// is asked for an account: the only thing that a request to a protected route may ask.
type countingStore struct {
	Path string `json:"path"`
}

var accountsRead atomic.Int64

func (countingStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stepgate.stores.counting", New: func() caddy.Module { return new(countingStore) }}
}

func (*countingStore) Shared() bool { return false }

func (s *countingStore) Open(rpID string, logger *zap.Logger) (*caddymodule.OpenStore, error) {
	db, err := boltstore.Open(s.Path, boltstore.Options{NoSync: true, Logger: logger})
	if err != nil {
		return nil, err
	}
	return &caddymodule.OpenStore{
		Store: counted{db.For(rpID)}, Limiter: gate.NewLimiter(), Release: db.Close,
		Keys: func() (*grant.Keys, error) { return grant.ParseKeys(grant.NewKey()) },
	}, nil
}

type counted struct{ ceremony.Store }

func (s counted) Account(ctx context.Context, user string) (passkey.Account, error) {
	accountsRead.Add(1)
	return s.Store.Account(ctx, user)
}

// hot is a handler with some rules, of which the last decides, and a request for it as a browser sends it: a grant among other
// cookies.
type hot struct {
	handler caddyhttp.MiddlewareHandler
	header  http.Header
	url     *url.URL
	writer  http.ResponseWriter
	passed  int

	other string // the Cookie header with another grant of the same user
	turns bool   // every other request bears that one
}

func newHot(t testing.TB, rules, cookies int) *hot {
	g := newGateway(t)
	var block strings.Builder
	for i := range rules - 1 {
		fmt.Fprintf(&block, "protect /team%d/* {\nmax_age 1m\n}\n", i)
	}
	block.WriteString("protect /console/*")
	config, _, err := adapt(g.fill(strings.Replace(options("", "revocation_lag 1m"), "debug\n", "", 1) + site(block.String(), proxy)))
	if err != nil {
		t.Fatal(err)
	}
	tree := parsed(t, config).(map[string]any)
	tree["apps"].(map[string]any)["stepgate"].(map[string]any)["store"] = map[string]any{"module": "counting", "path": filepath.Join(g.folder, "counted.db")}
	if err := g.loadJSON(encoded(t, tree)); err != nil {
		t.Fatal(err)
	}
	alice := g.enrolled("alice")
	alice.want("/console/x", 200, "")

	r := alice.request("GET", "/console/x", "", with("Accept", "text/html"), with("Accept-Encoding", "gzip"), with("Accept-Language", "en"),
		with("User-Agent", "Mozilla/5.0"), with("Referer", alice.origin+"/console/"), with("Sec-Fetch-Mode", "cors"), with("Sec-Fetch-Dest", "empty"))
	line := func() string { // the grant stands before the last one
		var all []string
		for i := range cookies {
			all = append(all, fmt.Sprintf("cookie%d=0123456789abcdef", i))
		}
		return strings.Join(slices.Insert(all, max(len(all)-1, 0), "stepgate="+alice.cookies["stepgate"]), "; ")
	}
	r.Header.Set("Cookie", line())
	alice.stepUp("/console/y")
	other := line()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	h := &hot{header: r.Header, url: r.URL, writer: httptest.NewRecorder(), other: other}
	var find func(caddyhttp.RouteList)
	find = func(routes caddyhttp.RouteList) {
		for _, route := range routes {
			for _, handler := range route.Handlers {
				switch handler := handler.(type) {
				case *caddymodule.Handler:
					h.handler = handler
				case *caddyhttp.Subroute:
					find(handler.Routes)
				}
			}
		}
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		find(server.Routes)
	}
	if h.handler == nil {
		t.Fatal("no handler")
	}
	return h
}

// prepare makes a request as Caddy's server hands it to the first handler.
func (h *hot) prepare() *http.Request {
	r := &http.Request{
		Method: "GET", URL: &url.URL{Path: h.url.Path}, Host: h.url.Host, RequestURI: h.url.Path, RemoteAddr: "127.0.0.1:1",
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h.header.Clone(), Body: http.NoBody,
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), h.writer, nil)
}

// prepared is a request that can be put back as it was, without making garbage.
type prepared struct {
	request  *http.Request
	header   http.Header
	vars     map[string]any
	replacer *caddy.Replacer

	was struct {
		header   http.Header
		vars     map[string]any
		replacer caddy.Replacer
	}
}

func newPrepared(r *http.Request) *prepared {
	p := &prepared{request: r, header: r.Header}
	p.vars = r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	p.replacer = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	p.was.header, p.was.vars, p.was.replacer = maps.Clone(p.header), maps.Clone(p.vars), *p.replacer
	return p
}

func (p *prepared) restore() {
	clear(p.header)
	maps.Copy(p.header, p.was.header)
	clear(p.vars)
	maps.Copy(p.vars, p.was.vars)
	*p.replacer = p.was.replacer
}

// ServeHTTP is the next handler.
func (h *hot) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	if w == h.writer && len(r.Header["X-Stepgate-User"]) == 1 { // the very writer: who wraps one hides what it can do
		h.passed++
	}
	return nil
}

func (h *hot) serve(t testing.TB, r *http.Request) {
	if err := h.handler.ServeHTTP(h.writer, r, h); err != nil {
		t.Fatal(err)
	}
}

// An allowed request costs no call to the store while the user's view is young, and few allocations: what is known of the
// request, with the next handler's headers in it; the placeholders that speak of it; and the cookies without the grant.
func TestAllowedRequestAllocations(t *testing.T) {
	h := newHot(t, 10, 3)
	h.serve(t, h.prepare())
	before := accountsRead.Load()
	const runs = 200
	preparing := testing.AllocsPerRun(runs, func() { h.prepare() })
	all := testing.AllocsPerRun(runs, func() { h.serve(t, h.prepare()) })
	if h.passed != runs+2 { // AllocsPerRun warms up with one
		t.Fatalf("%d of %d requests passed", h.passed, runs+2)
	}
	if calls := accountsRead.Load() - before; calls != 0 {
		t.Errorf("%d calls to the store", calls)
	}
	if allocations := all - preparing; allocations > 4 {
		t.Errorf("%v allocations, want 4 at most", allocations)
	} else {
		t.Logf("%v allocations", allocations)
	}
}

// BenchmarkHandler is what an allowed request to a protected route costs: ten rules, and a grant among three other cookies
// that this user's last request bore too.
func BenchmarkHandler(b *testing.B) { newHot(b, 10, 3).bench(b) }

// BenchmarkHandlerFirst is the same for a request whose grant has to be opened: the first one of a user within the
// revocation lag, or of their other browser.
func BenchmarkHandlerFirst(b *testing.B) {
	h := newHot(b, 10, 3)
	h.turns = true
	h.bench(b)
}

// BenchmarkRules is how the cost grows with the number of rules.
func BenchmarkRules(b *testing.B) {
	for _, rules := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("N=%d", rules), func(b *testing.B) { newHot(b, rules, 3).bench(b) })
	}
}

// BenchmarkCookies is how it grows with the number of other cookies.
func BenchmarkCookies(b *testing.B) {
	for _, cookies := range []int{0, 3, 10, 30, 100} {
		b.Run(fmt.Sprintf("N=%d", cookies), func(b *testing.B) { newHot(b, 10, cookies).bench(b) })
	}
}

// bench measures the handler alone.
func (h *hot) bench(b *testing.B) {
	var requests [atATime]*prepared
	for i := range requests {
		r := h.prepare()
		if h.turns && i%2 == 1 {
			r.Header["Cookie"] = []string{h.other}
		}
		requests[i] = newPrepared(r)
	}
	inTurns(b, func(i int) { requests[i].restore() }, func(i int) { h.serve(b, requests[i].request) })
	if h.passed != b.N {
		b.Fatalf("%d of %d requests passed", h.passed, b.N)
	}
}

// atATime is how many requests a benchmark makes, and serves again and again: few, so that they are still in the processor's caches
// when their turn comes, as a request is that was just read from its connection.
const atATime = 16

// inTurns measures how long serving takes, without restoring what it left: for each of the requests, and all over again. What is
// garbage afterwards should be of serving alone. It takes the time by itself: B.StopTimer would stop the world for every few
// requests, and empty what the allocator keeps at hand, which would then be a good part of what is measured.
func inTurns(b *testing.B, restore, serve func(i int)) {
	b.Helper()
	var took time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += atATime {
		n := min(atATime, b.N-done)
		for i := range n {
			restore(i)
		}
		began := time.Now()
		for i := range n {
			serve(i)
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/op")
}
