package load_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/bench/load"
)

func request(server *httptest.Server) load.Request {
	address := strings.TrimPrefix(server.URL, "http://")
	return load.Request{Address: address, Bytes: []byte("GET /x?y HTTP/1.1\r\nHost: " + address + "\r\nX-A: b\r\n\r\n"), Body: "hello"}
}

func nothing() error { return nil }

// Each request that was sent is counted, and was answered when the run ends.
func TestRun(t *testing.T) {
	var served, sent, warm atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if r.Method == "GET" && r.URL.String() == "/x?y" && r.Header.Get("X-A") == "b" {
			sent.Add(1)
		}
		io.WriteString(w, "hello")
	}))
	defer server.Close()
	const d = 50 * time.Millisecond
	result, err := request(server).Run(t.Context(), 3, d, func() error {
		warm.Store(served.Load())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if int64(result.Requests) != served.Load() || sent.Load() != served.Load() {
		t.Errorf("%d requests, %d were served, %d of them as they should", result.Requests, served.Load(), sent.Load())
	}
	if warm.Load() < 3 || int64(result.Measured) != served.Load()-warm.Load() || len(result.Latencies) != result.Measured {
		t.Errorf("%d measured with %d latencies after %d of %d", result.Measured, len(result.Latencies), warm.Load(), served.Load())
	}
	if result.Elapsed < d || !slices.IsSorted(result.Latencies) || result.Latencies[0] <= 0 {
		t.Errorf("%v, from %v to %v", result.Elapsed, result.Latencies[0], result.Latencies[len(result.Latencies)-1])
	}
}

// Whatever is not the answer that was expected fails the run.
func TestWrongAnswers(t *testing.T) {
	for what, handler := range map[string]http.HandlerFunc{
		"a refusal": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hello", http.StatusUnauthorized) },
		"another status": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			io.WriteString(w, "hello")
		},
		"another body":   func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hallo") },
		"a shorter body": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hell") },
		"no body":        func(http.ResponseWriter, *http.Request) {},
		"no length": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
		},
		"a last answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			io.WriteString(w, "hello")
		},
		"a connection that ends": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		var served atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if served.Add(1) < 20 { // some are as they should be
				io.WriteString(w, "hello")
			} else {
				handler(w, r)
			}
		}))
		if result, err := request(server).Run(t.Context(), 2, time.Second, nothing); err == nil {
			t.Errorf("%s: %d requests", what, result.Requests)
		}
		server.Close()
	}
}

func TestRunStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if served.Add(1) == 20 {
			cancel()
		}
		io.WriteString(w, "hello")
	}))
	defer server.Close()
	if _, err := request(server).Run(ctx, 2, time.Hour, nothing); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wrong := errors.New("no clock")
	if _, err := request(server).Run(t.Context(), 2, time.Millisecond, func() error { return wrong }); !errors.Is(err, wrong) {
		t.Error(err)
	}
	server.Close()
	if _, err := request(server).Run(t.Context(), 1, 0, nothing); err == nil {
		t.Error("nobody listens")
	}
}

func TestJoin(t *testing.T) {
	one := load.Result{Requests: 3, Measured: 2, Elapsed: time.Second, Latencies: []time.Duration{10, 30}}
	two := load.Result{Requests: 4, Measured: 3, Elapsed: 2 * time.Second, Latencies: []time.Duration{20, 40, 50}}
	all := load.Join(one, two)
	if all.Requests != 7 || all.Measured != 5 || all.Elapsed != 3*time.Second {
		t.Errorf("%+v", all)
	}
	for p, want := range map[float64]time.Duration{0: 10, 0.5: 30, 0.99: 50, 1: 50} {
		if got := all.Quantile(p); got != want {
			t.Errorf("quantile %v: %v, want %v", p, got, want)
		}
	}
}
