package attacktest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Over HTTP/3 a WebSocket begins with CONNECT, which Caddy's proxy turns into a GET with the headers of an upgrade. Rules
// must see what goes on, not what came: quic-go's server always accepts such a CONNECT.
func TestWebSocketOverHTTP3IsJudgedAsForwarded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		rules, protocol string
		status          int
		code            string
	}{
		"protected by method":           {"protect {\nmatch {\nmethod GET\n}\n}\nopen /app/*", "websocket", 401, "step_up_required"},
		"protected by header":           {"protect {\nmatch {\nheader Upgrade websocket\n}\n}\nopen /app/*", "websocket", 401, "step_up_required"},
		"protected by header, any case": {"protect {\nmatch {\nheader_regexp Upgrade (?i)websocket\n}\n}\nopen /app/*", "websocket", 401, "step_up_required"},
		"open but for the header":       {"open {\nmatch {\npath /app/*\nnot header Upgrade websocket\n}\n}", "websocket", 401, "step_up_required"},
		"another protocol":              {"open /app/*", "connect-udp", 405, "method_refused"},
		"open":                          {"open /app/*", "websocket", 200, ""}, // the upstream answers, with whatever it likes
	} {
		t.Run(name, func(t *testing.T) {
			g := gatewaytest.Prepare(t)
			g.URL = fmt.Sprintf("https://localhost:%d", g.Port)
			g.Configure(strings.Replace(gatewaytest.Secure, "open /open /open/*", test.rules, 1))
			g.Run()
			response := connect3(t, g, "/app/socket", test.protocol)
			body, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // the stream may stay open, or be reset behind it
			if test.code == "" {
				if len(g.Upstream.Take()) != 1 {
					t.Errorf("the upstream was not reached: %d %s", response.StatusCode, body)
				}
				return
			}
			if got := gatewaytest.ProblemIn(t, body); response.StatusCode != test.status || got.Code != test.code {
				t.Errorf("got %d %s, want %d %s", response.StatusCode, body, test.status, test.code)
			}
			if reached := g.Upstream.Take(); len(reached) != 0 {
				t.Errorf("the upstream got %v", reached)
			}
		})
	}
}

// connect3 sends an extended CONNECT (RFC 9220) and returns the answer.
func connect3(t *testing.T, g *gatewaytest.Gateway, path, protocol string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), gatewaytest.Patience)
	t.Cleanup(cancel)
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h3"}}
	connection, err := quic.DialAddr(ctx, fmt.Sprintf("127.0.0.1:%d", g.Port), config, nil)
	gatewaytest.Must(t, err)
	t.Cleanup(func() { _ = connection.CloseWithError(0, "") })
	client := new(http3.Transport).NewClientConn(connection)
	select {
	case <-client.ReceivedSettings():
	case <-time.After(gatewaytest.Patience):
		t.Fatal("no settings")
	}
	stream, err := client.OpenRequestStream(ctx)
	gatewaytest.Must(t, err)
	u, err := url.Parse(g.URL + path)
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, stream.SendRequestHeader(&http.Request{
		Method: http.MethodConnect, Proto: protocol, URL: u, Host: u.Host,
		Header: http.Header{"Sec-Websocket-Version": {"13"}, "X-User": {"alice"}},
	}))
	gatewaytest.Must(t, stream.SetReadDeadline(time.Now().Add(gatewaytest.Patience)))
	response, err := stream.ReadResponse()
	gatewaytest.Must(t, err)
	return response
}
