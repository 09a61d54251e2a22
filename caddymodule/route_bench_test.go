package caddymodule_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// nowhere is a response that keeps its status only.
type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(status int)      { n.status = status }

// BenchmarkRoute is a request through Caddy's server to a route that answers at once: what the handler adds to the least
// that Caddy does. There is no network and no upstream, beside which it would be little.
func BenchmarkRoute(b *testing.B) {
	g := newGateway(b)
	rules := ""
	for _, path := range []string{"/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h"} {
		rules += "protect " + path + "/* {\nmax_age 1m\n}\n"
	}
	config, _, err := adapt(g.fill(strings.Replace(options("", ""), "debug\n", "", 1) + "http://localhost:$PORT {\nhandle /bare/* {\nrespond 200\n}\nhandle {\nstepgate {\nuser {header.X-User}\n" +
		rules + "open /open/*\nprotect /protected/*\n}\nrespond 200\n}\n}\n"))
	if err != nil {
		b.Fatal(err)
	}
	if err := g.loadJSON(config); err != nil {
		b.Fatal(err)
	}
	alice := g.enrolled("alice")
	alice.want("/protected/x", 200, "")
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	var server *caddyhttp.Server
	for _, server = range app.(*caddyhttp.App).Servers {
	}
	for _, variant := range []string{"bare", "open", "protected"} {
		b.Run(variant, func(b *testing.B) {
			path := "/" + variant + "/x"
			sent := alice.request("GET", path, "", with("Accept", "text/html"), with("User-Agent", "Mozilla/5.0"))
			sent.Header.Set("Cookie", "theme=dark; sid=0123456789abcdef; stepgate="+alice.cookies["stepgate"]+"; lang=en")
			var requests [atATime]*http.Request
			for i := range requests {
				requests[i] = (&http.Request{
					Method: "GET", URL: &url.URL{Path: path}, Host: sent.URL.Host, RequestURI: path, RemoteAddr: "127.0.0.1:1",
					Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: sent.Header.Clone(), Body: http.NoBody,
				}).WithContext(context.WithValue(context.Background(), http.LocalAddrContextKey, nil))
			}
			w := &nowhere{header: http.Header{}}
			inTurns(b, func(i int) {
				clear(requests[i].Header)
				maps.Copy(requests[i].Header, sent.Header)
			}, func(i int) {
				w.status = 0
				server.ServeHTTP(w, requests[i])
				if w.status != 200 {
					b.Fatalf("status %d", w.status)
				}
			})
		})
	}
}
