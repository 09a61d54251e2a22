package dynamostore_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// heard is a listener that keeps what its clients send.
type heard struct {
	net.Listener
	mu   sync.Mutex
	text bytes.Buffer
}

type heardConn struct {
	net.Conn
	heard *heard
}

func (h *heard) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	return heardConn{c, h}, err
}

func (c heardConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.heard.mu.Lock()
	defer c.heard.mu.Unlock()
	c.heard.text.Write(b[:n])
	return n, err
}

// A call is sent in one piece: its header is not encrypted and sent ahead of its body. TLS keeps the pieces apart.
func TestCallIsOneRecord(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"Items":[],"Count":0,"ScannedCount":0}`))
	}))
	listener := &heard{Listener: server.Listener}
	server.Listener = listener
	server.TLS = &tls.Config{MaxVersion: tls.VersionTLS12} // with TLS 1.3 the end of the handshake looks like data
	server.StartTLS()
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	t.Setenv("AWS_CA_BUNDLE", bundle)
	db, err := dynamostore.Open(t.Context(), dynamostore.Options{Endpoint: server.URL})
	must(t, err)
	_, err = db.For(rpID).Account(t.Context(), "ada")
	must(t, err)
	must(t, db.Close())

	listener.mu.Lock()
	defer listener.mu.Unlock()
	records := 0
	for text := listener.text.Bytes(); len(text) >= 5; { // kind, version, length (RFC 5246 §6.2.1)
		if text[0] == 23 {
			records++
		}
		text = text[min(5+int(binary.BigEndian.Uint16(text[3:])), len(text)):]
	}
	if records != 1 {
		t.Errorf("one call takes %d records", records)
	}
}
