package caddymodule_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// WebSockets over HTTP/2 (RFC 8441), for those who turn them on: with a grant the upgrade reaches the upstream, without
// one nothing does. A CONNECT that asks for no protocol is refused, as over HTTP/1.
func TestExtendedConnect(t *testing.T) {
	g := newGateway(t)
	g.runBinary("GODEBUG=http2xconnect=1", options("servers {\nprotocols h1 h2c\n}", ""), site("open /open", proxy))
	g.upstream.answers(websocketEcho(t))
	alice := g.enrolled("alice")
	cookie := [2]string{"cookie", "sid=1; stepgate=" + alice.cookies["stepgate"]}
	user := [2]string{"x-user", "alice"}
	authority := [2]string{":authority", g.fill("localhost:$PORT")}
	websocket := func(path string, more ...[2]string) [][2]string {
		return append([][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", path},
			authority, {"sec-websocket-version", "13"}, user}, more...)
	}

	for name, c := range map[string]struct {
		headers [][2]string
		ok      bool
	}{
		"with a grant":       {websocket("/ws", cookie), true},
		"open":               {websocket("/open"), true},
		"without a grant":    {websocket("/ws"), false},
		"an ambiguous path":  {websocket("/open/../ws", cookie), false},
		"the gate's own":     {websocket("/.stepgate/status", cookie), false},
		"without a protocol": {[][2]string{{":method", "CONNECT"}, authority, user, cookie}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g.upstream.take()
			h2 := newHTTP2(t, g)
			h2.headers(c.headers)
			if ok := h2.status() == http2OK; ok != c.ok {
				t.Fatalf("accepted: %v, want %v", ok, c.ok)
			}
			if !c.ok {
				g.reached(0)
				return
			}
			h2.data("ping\n")
			if echo := h2.read(0x0); string(echo) != "ping\n" {
				t.Errorf("echo %q", echo)
			}
			got := g.received()
			if got.Method != "GET" || strings.Contains(got.Header.Get("Cookie"), "stepgate") {
				t.Errorf("the upstream got %s %v", got.Method, got.Header)
			}
			if who := got.Header.Get("X-Stepgate-User"); name == "with a grant" && who != "alice" {
				t.Errorf("user %q", who)
			}
		})
	}
}

// The proxy makes a GET of it, so that is what the rules must judge (docs/rules.md, rule 3).
func TestExtendedConnectIsJudgedAsForwarded(t *testing.T) {
	g := newGateway(t)
	g.runBinary("GODEBUG=http2xconnect=1", options("servers {\nprotocols h1 h2c\n}", ""),
		site("protect {\nmatch {\nmethod GET\npath /ws\n}\n}\nopen *", proxy))
	g.upstream.answers(websocketEcho(t))
	h2 := newHTTP2(t, g)
	h2.headers([][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", "/ws"},
		{":authority", g.fill("localhost:$PORT")}, {"sec-websocket-version", "13"}, {"x-user", "alice"}})
	if h2.status() == http2OK {
		t.Error("the rule for GET did not hold it")
	}
	g.reached(0)
}

// runBinary runs the real command with a configuration until the test ends.
func (g *gateway) runBinary(env, options, sites string) {
	g.t.Helper()
	path, err := binaryPath()
	if err != nil {
		g.t.Fatal(err)
	}
	config := filepath.Join(g.folder, "Caddyfile")
	text := strings.Replace(options, "output file $FOLDER/log", "output stderr\nformat json", 1) + sites
	if err := os.WriteFile(config, []byte(g.fill(text)), 0o600); err != nil {
		g.t.Fatal(err)
	}
	command := exec.Command(path, "run", "--config", config)
	command.Env = append(os.Environ(), env)
	stderr, err := command.StderrPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		g.t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "serving initial configuration") {
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, stderr)
	}()
	g.t.Cleanup(func() {
		_ = command.Process.Kill()
		<-done
		_ = command.Wait()
	})
}

// http2 is the least of a client: net/http sends no extended CONNECT. It uses stream 1 only.
type http2 struct {
	t    *testing.T
	conn net.Conn
}

const http2OK = 0x88 // `:status: 200` in the static table of RFC 7541

func newHTTP2(t *testing.T, g *gateway) *http2 {
	t.Helper()
	h := &http2{t, g.dial()}
	if _, err := io.WriteString(h.conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	h.frame(0x4, 0, 0, nil)
	settings := h.read(0x4)
	if !slices.ContainsFunc(slices.Collect(slices.Chunk(settings, 6)), func(s []byte) bool {
		return binary.BigEndian.Uint16(s) == 0x8 && binary.BigEndian.Uint32(s[2:]) == 1 // SETTINGS_ENABLE_CONNECT_PROTOCOL
	}) {
		t.Fatal("the server takes no extended CONNECT")
	}
	return h
}

func (h *http2) frame(kind, flags byte, stream uint32, payload []byte) {
	h.t.Helper()
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	head = binary.BigEndian.AppendUint32(append(head, flags), stream)
	if _, err := h.conn.Write(append(head, payload...)); err != nil {
		h.t.Fatal(err)
	}
}

// headers sends a header block of literals that are not indexed (RFC 7541 §6.2.2).
func (h *http2) headers(fields [][2]string) {
	h.t.Helper()
	var block []byte
	for _, field := range fields {
		block = append(block, 0)
		for _, text := range field {
			if n := len(text); n < 127 {
				block = append(block, byte(n))
			} else {
				block = binary.AppendUvarint(append(block, 127), uint64(n-127)) // §5.1 is the same for the rest
			}
			block = append(block, text...)
		}
	}
	h.frame(0x1, 0x4, 1, block)
}

func (h *http2) data(text string) {
	h.t.Helper()
	h.frame(0x0, 0, 1, []byte(text))
}

// status returns how the answer's header block begins: with the status.
func (h *http2) status() byte {
	h.t.Helper()
	return h.read(0x1)[0]
}

// read returns the payload of the next frame of a kind, and skips others.
func (h *http2) read(kind byte) []byte {
	h.t.Helper()
	for {
		var head [9]byte
		if _, err := io.ReadFull(h.conn, head[:]); err != nil {
			h.t.Fatal(err)
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
		if _, err := io.ReadFull(h.conn, payload); err != nil {
			h.t.Fatal(err)
		}
		if head[3] == 0x4 && head[4] == 0 {
			h.frame(0x4, 1, 0, nil) // acknowledge the settings
		}
		if head[3] == kind && head[4]&1 == 0 || head[3] == kind && kind != 0x4 {
			return payload
		}
		if head[3] == 0x3 || head[3] == 0x7 {
			h.t.Fatalf("the server gave up: frame %d %x", head[3], payload)
		}
	}
}
