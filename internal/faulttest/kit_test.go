package faulttest_test

import (
	"context"
	"encoding/json"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// backend stands for DynamoDB: it answers what it was asked, and remembers it.
type backend struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newBackend(t *testing.T) *backend {
	b := &backend{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.seen = append(b.seen, string(request))
		b.mu.Unlock()
		body, _ := json.Marshal(map[string]any{"Host": r.Host, "Header": r.Header, "Target": r.RequestURI, "Body": string(request), "Peer": r.RemoteAddr})
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
		if strings.Contains(string(request), "refuse") {
			w.WriteHeader(http.StatusBadRequest)
		}
		w.Write(body)
	}))
	t.Cleanup(b.Close)
	return b
}

// took returns how many requests reached the backend since the last call.
func (b *backend) took() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.seen)
	b.seen = nil
	return n
}

// client has connections of its own, and closes them.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// got is what a client has of an answer. Err is nil if it is complete.
type got struct {
	status int
	header http.Header
	body   string
	err    error
}

// ask makes one call as the AWS SDK would.
func ask(ctx context.Context, c *http.Client, p *faulttest.Proxy, operation, body string) got {
	r, err := http.NewRequestWithContext(ctx, "POST", p.URL+"/", strings.NewReader(body))
	if err != nil {
		return got{err: err}
	}
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	r.Header.Set("Amz-Sdk-Request", "attempt=2; max=3")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	answer, err := c.Do(r)
	if err != nil {
		return got{err: err}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return got{answer.StatusCode, answer.Header, string(text), err}
}

// later makes a call beside the test.
func later(ctx context.Context, c *http.Client, p *faulttest.Proxy, operation, body string) <-chan got {
	done := make(chan got, 1)
	go func() { done <- ask(ctx, c, p, operation, body) }()
	return done
}

// errorType is the name of the error in an answer, after its namespace.
func (g got) errorType() string {
	var content struct {
		Type string `json:"__type"`
	}
	_ = json.Unmarshal([]byte(g.body), &content)
	_, name, _ := strings.Cut(content.Type, "#")
	return name
}

// summed holds that the checksum fits the body.
func (g got) summed(t *testing.T) {
	t.Helper()
	if got, want := g.header.Get("X-Amz-Crc32"), strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(g.body))), 10); got != want {
		t.Errorf("X-Amz-Crc32 is %q, want %q", got, want)
	}
}
