package gate_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// A client that never sends the rest of its body is answered and let go.
func TestSlowBody(t *testing.T) {
	w := newWorld(t, func(c *gate.Config) {
		c.Origins = []string{"http://localhost:8080"}
		c.BodyTimeout = 50 * time.Millisecond
	})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if _, passed := w.gate.Serve(rw, r, &gate.Request{User: "alice", Original: r.URL}); passed {
			t.Error("passed")
		}
	}))
	defer server.Close()
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_, err = io.WriteString(connection, "POST /.stepgate/logout HTTP/1.1\r\nHost: localhost:8080\r\nSec-Fetch-Site: same-origin\r\n"+
		"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	body := string(want(t, response, http.StatusRequestTimeout))
	if !strings.Contains(body, `"code":"body_timeout"`) || !response.Close {
		t.Errorf("close=%v %s", response.Close, body)
	}
	if events := w.audit.since(0); len(events) != 1 || events[0].Reason != passkey.BodyTimeout {
		t.Errorf("audited %v", events)
	}
}

// The line to add is named, with the origins that are there already.
func TestOriginHint(t *testing.T) {
	w := newWorld(t)
	alice := w.browser("alice")
	for host, line := range map[string]string{
		"New.example.com":   "`origins https://console.example.com https://aws.example.com https://new.example.com`",
		"localhost:9000":    "https://\\u003cthis host\\u003e`", // not within this RP ID
		"<script>":          "https://\\u003cthis host\\u003e`",
		"example.com:99999": "https://\\u003cthis host\\u003e`",
	} {
		body := string(want(t, alice.get("/admin", func(r *http.Request, _ *gate.Request) { r.Host = host }), http.StatusMisdirectedRequest))
		if !strings.Contains(body, line) || strings.Contains(body, "<script>") {
			t.Errorf("%s: %s", host, body)
		}
	}
}
