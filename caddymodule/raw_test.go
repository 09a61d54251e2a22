package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// dial opens a plain connection to the gateway, for what net/http won't send.
func (g *gateway) dial() net.Conn {
	g.t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// rawRequest returns the head of a request as it goes over the wire in HTTP/1.1, without a body.
func (b *browser) rawRequest(method, target string, changes ...func(*http.Request)) string {
	b.t.Helper()
	r := b.request("GET", "/", "", changes...)
	host := r.Host
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, host)
	_ = r.Header.Write(&head)
	return head.String() + "\r\n"
}

// raw sends bytes on a connection of their own and returns all that comes back.
func (b *browser) raw(text string) string {
	b.t.Helper()
	conn := b.g.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		b.t.Fatal(err)
	}
	return readAll(b.t, conn)
}

// rawReply sends a request head and reads one answer.
func (b *browser) rawReply(head string) reply {
	b.t.Helper()
	conn := b.g.dial()
	if _, err := io.WriteString(conn, head); err != nil {
		b.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), b.request("GET", "/", ""))
	if err != nil {
		b.t.Fatal(err)
	}
	return reply{response, readAll(b.t, response.Body)}
}

func readAll(t testing.TB, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}
