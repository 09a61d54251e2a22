package caddymodule_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

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

// hot is a handler with ten rules and a request for it as a browser sends it: a grant beside three other cookies.
type hot struct {
	handler caddyhttp.MiddlewareHandler
	header  http.Header
	url     *url.URL
	writer  http.ResponseWriter
	passed  int
}

func newHot(t testing.TB) *hot {
	g := newGateway(t)
	rules := ""
	for _, path := range []string{"/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i"} {
		rules += "protect " + path + "/* {\nmax_age 1m\n}\n"
	}
	config, _, err := adapt(g.fill(strings.Replace(options("", "revocation_lag 1m"), "debug\n", "", 1) + site(rules+"protect /console/*", proxy)))
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
	r.Header.Set("Cookie", "theme=dark; sid=0123456789abcdef; stepgate="+alice.cookies["stepgate"]+"; lang=en")
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	h := &hot{header: r.Header, url: r.URL, writer: httptest.NewRecorder()}
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
	r = r.WithContext(context.Background())
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), h.writer, nil)
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

// An allowed request costs no call to the store while the user's view is young, and few allocations: the next handler's
// four headers, the placeholders that hold the same, and the cookies without the grant.
func TestAllowedRequestAllocations(t *testing.T) {
	h := newHot(t)
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
	if allocations := all - preparing; allocations > 8 {
		t.Errorf("%v allocations, want 8 at most", allocations)
	} else {
		t.Logf("%v allocations", allocations)
	}
}

func BenchmarkHandler(b *testing.B) {
	h := newHot(b)
	const batch = 256
	requests := make([]*http.Request, batch)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%batch == 0 {
			b.StopTimer()
			for j := range requests {
				requests[j] = h.prepare()
			}
			b.StartTimer()
		}
		h.serve(b, requests[i%batch])
	}
	b.StopTimer()
	if h.passed != b.N {
		b.Fatalf("%d of %d requests passed", h.passed, b.N)
	}
}
