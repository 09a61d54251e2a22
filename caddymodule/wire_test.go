package caddymodule_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/textproto"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/stepgate/stepgate/caddymodule"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
)

// wire is a connection on which a client has sent all that it sends, and hung up.
type wire struct {
	net.Conn // the methods that a server does not call
	sent     *strings.Reader
	answers  bytes.Buffer
	closed   chan struct{}
	close    sync.Once
}

func (w *wire) Read(p []byte) (int, error)     { return w.sent.Read(p) }
func (w *wire) Write(p []byte) (int, error)    { return w.answers.Write(p) }
func (w *wire) Close() error                   { w.close.Do(func() { close(w.closed) }); return nil }
func (*wire) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (*wire) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 2} }
func (*wire) SetDeadline(time.Time) error      { return nil }
func (*wire) SetReadDeadline(time.Time) error  { return nil }
func (*wire) SetWriteDeadline(time.Time) error { return nil }

// wires is a listener that hands a server one wire after the other.
type wires chan *wire

func (w wires) Accept() (net.Conn, error) {
	next, ok := <-w
	if !ok {
		return nil, net.ErrClosed
	}
	return next, nil
}
func (w wires) Close() error   { return nil }
func (w wires) Addr() net.Addr { return new(net.TCPAddr) }

// testbed is a Caddy with Stepgate that is fed bytes, without a network in front of it: one site that refuses debatable
// paths, and one that lets them through.
type testbed struct {
	*gateway
	passkey string      // alice's
	held    grant.Grant // alice's, as it was made on the first site
	grants  *grant.Sealer
	sites   map[bool]*wiredSite // by whether it lets debatable paths through

	mu       sync.Mutex
	seen     []passage
	panicked string
}

type wiredSite struct {
	host  string
	wires wires
}

// passage is a request as net/http read it off the wire, and as it came to the handler behind the gate, if it did.
type passage struct {
	header  http.Header
	reached []*http.Request
}

type passageKey struct{}

// canary is what stands behind the gate: it notes who comes, with the trailers, and answers 200.
type canary struct{}

func init() {
	caddy.RegisterModule(canary{})
	httpcaddyfile.RegisterHandlerDirective("canary", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return canary{}, nil
	})
}

func (canary) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.canary", New: func() caddy.Module { return new(canary) }}
}

func (canary) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	_, _ = io.Copy(io.Discard, r.Body)
	if p, ok := r.Context().Value(passageKey{}).(*passage); ok {
		p.reached = append(p.reached, r.Clone(r.Context()))
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

const wireKey = "sgk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"

// newTestbed returns a testbed whose first factor says alice, who has a passkey bound to her device. Open is what is below
// /open/; /hard and what is below it asks for device_bound, and so does what is debatable; all else for verified.
func newTestbed(f *testing.F) *testbed {
	f.Helper()
	f.Setenv("WIRE_KEY", wireKey)
	b := &testbed{gateway: newGateway(f), sites: map[bool]*wiredSite{}}
	second := freePort(f)
	text := `{
	admin off
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	log {
		output discard
	}
	stepgate {
		rp_id localhost
		origins http://localhost:$PORT http://localhost:$SECOND
		store file $FOLDER/stepgate.db
		grant_keys {env.WIRE_KEY}
	}
}
`
	for port, paths := range map[string]string{"$PORT": "refuse", "$SECOND": "strictest"} {
		text += `http://localhost:` + port + ` {
	route {
		request_header X-User alice
		stepgate {
			user {header.X-User}
			open /open/*
			protect /hard/* {
				level device_bound
			}
			ambiguous_paths ` + paths + `
		}
		canary
	}
}
`
	}
	config, _, err := adapt(strings.ReplaceAll(b.fill(text), "$SECOND", fmt.Sprint(second)))
	if err != nil {
		f.Fatal(err)
	}
	if err := b.loadJSON(config); err != nil {
		f.Fatal(err)
	}
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		f.Fatal(err)
	}
	for lenient, port := range map[bool]int{false: b.port, true: second} {
		site := &wiredSite{host: fmt.Sprintf("localhost:%d", port), wires: make(wires)}
		b.sites[lenient] = site
		for _, server := range app.(*caddyhttp.App).Servers {
			if strings.HasSuffix(server.Listen[0], fmt.Sprintf(":%d", port)) {
				b.serve(site, server)
			}
		}
	}
	keys, err := grant.ParseKeys(wireKey)
	if err != nil {
		f.Fatal(err)
	}
	if b.grants, err = keys.Sealer(grant.ForGrant, "localhost"); err != nil {
		f.Fatal(err)
	}
	alice := b.enrolled("alice")
	if err := b.held.Open(b.grants, alice.cookies["stepgate"]); err != nil {
		f.Fatal(err)
	}
	b.passkey = passkey.ShortID(alice.key.Credentials()[0].ID)
	return b
}

// serve has a server of net/http's in front of a handler, as Caddy's own listener does.
func (b *testbed) serve(site *wiredSite, handler http.Handler) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.stepgate/logout" { // it would end the grants that the words of a text stand for
			http.NotFound(w, r)
			return
		}
		p := &passage{header: r.Header.Clone()}
		defer func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.seen = append(b.seen, *p)
			if what := recover(); what != nil && what != http.ErrAbortHandler {
				b.panicked = fmt.Sprintf("%v\n%s", what, debug.Stack())
			}
		}()
		// The wire is at its end at once, which must not look as if the client had gone away.
		handler.ServeHTTP(w, r.WithContext(context.WithValue(context.WithoutCancel(r.Context()), passageKey{}, p)))
	})}
	go func() { _ = server.Serve(site.wires) }()
	b.t.Cleanup(func() { close(site.wires) })
}

// send has a client send these bytes, and returns what it is answered and what became of each request in them.
func (b *testbed) send(t testing.TB, site *wiredSite, text string) (answers string, seen []passage) {
	t.Helper()
	w := &wire{sent: strings.NewReader(text), closed: make(chan struct{})}
	site.wires <- w
	<-w.closed
	b.mu.Lock()
	defer b.mu.Unlock()
	seen, b.seen = b.seen, nil
	if b.panicked != "" {
		t.Fatalf("%q: %s", text, b.panicked)
	}
	return w.answers.String(), seen
}

// words are the words of a text that stand for what differs from run to run. Of the grants only {strong}, a device_bound
// one, and {weak}, a verified one, are good on this site.
func (b *testbed) words(lenient bool) map[string]string {
	now, here, elsewhere := time.Now(), b.sites[lenient].host, b.sites[!lenient].host
	sealed := func(level passkey.Level, at time.Time, change func(*grant.Grant)) string {
		g := b.held
		proof := g.Proofs()[0]
		proof.Level, proof.At = level, at.UnixNano()
		g.Forget(math.MaxInt64)
		g.Add(proof)
		g.Origin = passkey.DigestOf("http://" + here)
		if change != nil {
			change(&g)
		}
		return g.Seal(b.grants)
	}
	return map[string]string{
		"{host}":      here,
		"{strong}":    sealed(passkey.DeviceBound, now, nil),
		"{weak}":      sealed(passkey.Verified, now, nil),
		"{stale}":     sealed(passkey.DeviceBound, now.Add(-time.Hour), nil),
		"{future}":    sealed(passkey.DeviceBound, now.Add(time.Hour), nil),
		"{bob}":       sealed(passkey.DeviceBound, now, func(g *grant.Grant) { g.User = passkey.DigestOf("bob") }),
		"{elsewhere}": sealed(passkey.DeviceBound, now, func(g *grant.Grant) { g.Origin = passkey.DigestOf("http://" + elsewhere) }),
		"{session}":   sealed(passkey.DeviceBound, now, func(g *grant.Grant) { g.Session = passkey.DigestOf("another") }),
		"{revoked}":   sealed(passkey.DeviceBound, now, func(g *grant.Grant) { g.Epoch = passkey.Epoch{} }),
		"{removed}": sealed(passkey.DeviceBound, now, func(g *grant.Grant) {
			g.Forget(math.MaxInt64)
			g.Add(grant.Proof{Level: passkey.DeviceBound, At: now.UnixNano()})
		}),
	}
}

// judge tells what is wrong with a request that the upstream got: it must be for an open path, or have come with a grant
// that does for its path, and holds nothing of ours but what the gate has set.
func (b *testbed) judge(came http.Header, words map[string]string, r *http.Request, lenient bool) string {
	read, ok := caddymodule.Segments(r.URL.EscapedPath())
	clear := ok && caddymodule.Unequivocal(read)
	bears := func(word string) bool {
		return slices.ContainsFunc((&http.Request{Header: came}).Cookies(), func(c *http.Cookie) bool { return c.Name == "stepgate" && c.Value == words[word] })
	}
	opened := clear && strings.EqualFold(read[0], "open") && len(read) > 1
	switch {
	case !ok || !clear && !lenient:
		return "an ambiguous path went on"
	case clear && read[0] == ".stepgate":
		return "the gateway's own path went on"
	case opened:
	case !bears("{strong}") && (!clear || strings.EqualFold(read[0], "hard") || !bears("{weak}")):
		return "a protected path was reached without a grant"
	}
	if strings.Trim(r.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" || r.Method == "TRACE" || r.Method == "CONNECT" {
		return "the method went on"
	}
	if user := r.Header["X-User"]; len(user) != 1 || user[0] != "alice" {
		return "the upstream is not told who it is"
	}
	for _, token := range strings.Split(strings.Join(r.Header["Connection"], ","), ",") {
		if folded := folding.Replace(strings.ToLower(strings.TrimSpace(token))); strings.HasPrefix(folded, "x-stepgate-") || folded == "cookie" || folded == "x-user" {
			return "a proxy would drop a header that the upstream must get"
		}
	}
	told := 0
	for name, values := range r.Header {
		switch folded := folding.Replace(strings.ToLower(name)); {
		case strings.HasPrefix(folded, "x-stepgate-"):
			told++
			if opened || len(values) != 1 || name != textproto.CanonicalMIMEHeaderKey(folded) ||
				!slices.Contains([]string{"X-Stepgate-User", "X-Stepgate-Passkey", "X-Stepgate-Level", "X-Stepgate-Time"}, name) {
				return "a client's copy of our headers went on"
			}
		case slices.Contains([]string{"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"}, folded):
			return "an override went on"
		case folded == "cookie":
			for pair := range strings.SplitSeq(strings.Join(values, ";"), ";") {
				given, _, _ := strings.Cut(pair, "=")
				if given = strings.ToLower(strings.TrimSpace(given)); strings.HasPrefix(given, "stepgate") || strings.HasPrefix(given, "__host-stepgate") {
					if rest := strings.TrimPrefix(strings.TrimPrefix(given, "__host-"), "stepgate"); rest == "" || rest == "-ceremony" {
						return "a cookie of ours went on"
					}
				}
			}
		}
	}
	if !opened && (told != 4 || r.Header.Get("X-Stepgate-User") != "alice" || r.Header.Get("X-Stepgate-Passkey") != b.passkey) {
		return "the upstream is not told who stepped up"
	}
	for name := range r.Trailer {
		if folded := folding.Replace(strings.ToLower(name)); strings.HasPrefix(folded, "x-stepgate-") || folded == "cookie" || folded == "x-user" {
			return "a trailer went on that could be taken for a header"
		}
	}
	return ""
}

// folding makes hyphens of what CGI-like upstreams fold into one.
var folding = strings.NewReplacer("_", "-", ".", "-")

var (
	// itsFault finds an answer that says that something in the gateway went wrong: only the gate's own have a policy.
	itsFault = regexp.MustCompile(`HTTP/1\.[01] 5\d\d [^\r]*\r\n([^\r]+\r\n)*Content-Security-Policy`)
	// grantSet finds a grant that is set, and not merely cleared.
	grantSet = regexp.MustCompile(`(?i)\r\nset-cookie: *(__Host-)?stepgate=[^;\r]`)
)

// spelled returns a text with the meanings of its words.
func spelled(text string, words map[string]string) string {
	for word, meaning := range words {
		text = strings.ReplaceAll(text, word, meaning)
	}
	return text
}

// passing are requests that come through, and beside them the same with a grant that is worth less.
var passing = map[string]bool{
	"GET /open/x HTTP/1.1\r\nHost: {host}\r\n\r\n":                               true,
	"GET /admin/x HTTP/1.1\r\nHost: {host}\r\nCookie: stepgate={weak}\r\n\r\n":   true,
	"GET /hard/x HTTP/1.1\r\nHost: {host}\r\nCookie: stepgate={strong}\r\n\r\n":  true,
	"GET /hard/x HTTP/1.1\r\nHost: {host}\r\nCookie: stepgate={weak}\r\n\r\n":    false,
	"GET /admin/x HTTP/1.1\r\nHost: {host}\r\n\r\n":                              false,
	"GET /admin/x HTTP/1.1\r\nHost: {host}\r\nCookie: stepgate={stale}\r\n\r\n":  false,
	"GET /admin/x HTTP/1.1\r\nHost: {host}\r\nCookie: stepgate={future}\r\n\r\n": false,
}

// FuzzWire: whatever a client sends, nothing reaches the upstream but what is open or comes with a grant that does, and
// none of our headers, cookies and overrides survives; nobody is given a grant, and nothing goes wrong in the gateway.
func FuzzWire(f *testing.F) {
	for _, seed := range attacks() {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	b := newTestbed(f)
	for text, want := range passing {
		answers, seen := b.send(f, b.sites[false], spelled(text, b.words(false)))
		if got := len(seen) == 1 && len(seen[0].reached) == 1; got != want {
			f.Fatalf("positive control: %q came through: %v\n%s", text, got, answers)
		}
	}
	f.Fuzz(func(t *testing.T, text string, lenient bool) {
		words := b.words(lenient)
		text = spelled(text, words)
		answers, seen := b.send(t, b.sites[lenient], text)
		for _, p := range seen {
			if len(p.reached) > 1 {
				t.Fatalf("%q came through %d times", text, len(p.reached))
			}
			for _, r := range p.reached {
				if wrong := b.judge(p.header, words, r, lenient); wrong != "" {
					t.Fatalf("%s\n%q became\n%s %s\n%v\n%v", wrong, text, r.Method, r.RequestURI, r.Header, r.Trailer)
				}
			}
		}
		if fault := itsFault.FindString(answers); fault != "" {
			t.Fatalf("%q\n%s", text, answers)
		}
		if grantSet.MatchString(answers) {
			t.Fatalf("%q is given a grant\n%s", text, answers)
		}
	})
}
