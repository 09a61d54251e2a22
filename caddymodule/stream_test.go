package caddymodule_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The gate wraps no writer and reads no body: what an upstream flushes arrives at once, and what a client sends goes on
// while it is still sending.
func TestStreamsBothWays(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	g.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
		both := http.NewResponseController(w)
		_ = both.EnableFullDuplex()
		w.Header().Set("Content-Type", "text/event-stream")
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(w, "data: %s\n", line)
			_ = both.Flush()
		}
	})
	body, send := io.Pipe()
	r := alice.request("POST", "/events", "")
	r.Body, r.ContentLength, r.GetBody = body, -1, nil
	go fmt.Fprintln(send, "one")
	answer, err := alice.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	events := bufio.NewReader(answer.Body)
	for _, want := range []string{"one", "two", "three"} {
		event, err := events.ReadString('\n')
		if err != nil || event != "data: "+want+"\n" {
			t.Fatalf("%q, %v; want %s", event, err, want)
		}
		_, _ = events.ReadString('\n')
		switch want { // the next is sent only after this one came back
		case "one":
			go fmt.Fprintln(send, "two")
		case "two":
			go fmt.Fprintln(send, "three")
		}
	}
	_ = send.Close()
}

// A large upload reaches the upstream whole.
func TestUpload(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	upload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB: more than the gate's own API would take
	var got []byte
	g.upstream.answers(func(_ http.ResponseWriter, r *http.Request) { got, _ = io.ReadAll(r.Body) })
	alice.do("PUT", "/upload", string(upload)).want(t, 200, "")
	if !bytes.Equal(got, upload) {
		t.Errorf("the upstream got %d bytes of %d", len(got), len(upload))
	}
}

// websocketEcho is an upstream that upgrades and sends back what it gets.
func websocketEcho(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			http.Error(w, "no upgrade", http.StatusTeapot)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = io.Copy(conn, buffered)
	}
}

// An upgrade passes with a grant and not without one; an upgrade to HTTP/2 never does: requests would flow past the
// gate in it (CVE-2026-32136).
func TestUpgrades(t *testing.T) {
	g := start(t, "open /open", proxy)
	alice := g.enrolled("alice")
	g.upstream.answers(websocketEcho(t))
	upgrade := func(to string) []func(*http.Request) {
		return []func(*http.Request){with("Connection", "Upgrade, X-Stepgate-User"), with("Upgrade", to), with("Sec-WebSocket-Version", "13"), with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")}
	}

	conn := g.dial()
	if _, err := io.WriteString(conn, alice.rawRequest("GET", "/ws", upgrade("websocket")...)); err != nil {
		t.Fatal(err)
	}
	both := bufio.NewReader(conn)
	response, err := http.ReadResponse(both, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", response, err)
	}
	for _, message := range []string{"ping", "again"} {
		if _, err := fmt.Fprintln(conn, message); err != nil {
			t.Fatal(err)
		}
		if back, err := both.ReadString('\n'); err != nil || back != message+"\n" {
			t.Errorf("%q, %v; want %s", back, err, message)
		}
	}
	got := g.received().Header
	if got.Get("X-Stepgate-User") != "alice" || strings.Contains(got.Get("Cookie"), "stepgate") {
		t.Errorf("the upstream got %v", got)
	}

	nobody := g.browser("alice")
	nobody.rawReply(nobody.rawRequest("GET", "/ws", upgrade("websocket")...)).want(t, 401, "step_up_required/grant_missing")
	for _, path := range []string{"/ws", "/open"} {
		for _, to := range []string{"h2c", "H2C", "websocket, h2c", "h2c/1"} {
			alice.rawReply(alice.rawRequest("GET", path, upgrade(to)...)).want(t, 400, "upgrade_refused")
		}
	}
	g.reached(0)
}
