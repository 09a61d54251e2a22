package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// serving is the first argument of a process that is the upstream, or an authorizer, of a measurement.
const serving = "serve"

// serveIfAsked serves when that is what the process was started for.
func serveIfAsked(arguments []string) (served bool, _ error) {
	if len(arguments) != 4 || arguments[0] != serving {
		return false, nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	return true, serve(ctx, arguments[1], arguments[2], arguments[3])
}

// reached is what came to a server so far. Without it a table could compare a gate that lets pass with one that answers
// by itself.
type reached struct {
	Requests    int64 `json:"requests"`
	Connections int64 `json:"connections"`
	SteppedUp   int64 `json:"stepped_up"` // with the name of a user that Stepgate vouches for
}

// serve answers every request with a body, at once, until the process is told to end. A second address says what came.
func serve(ctx context.Context, address, control, body string) error {
	var requests, connections, steppedUp atomic.Int64
	answer := []byte(body)
	server := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			if r.Header.Get("X-Stepgate-User") != "" {
				steppedUp.Add(1)
			}
			if len(answer) > 0 { // else the answer has a Content-Length of 0
				w.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
				_, _ = w.Write(answer) // #nosec G705 -- a constant of the measurement
			}
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		},
	}
	counts := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(reached{requests.Load(), connections.Load(), steppedUp.Load()})
		}),
	}
	ended := make(chan error, 2)
	for at, s := range map[string]*http.Server{address: server, control: counts} {
		listener, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		go func() { ended <- s.Serve(listener) }()
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return errors.Join(server.Close(), counts.Close())
	}
}

// server is such a process.
type server struct {
	*process
	address, control string
}

// serve starts a process that answers every request with a body.
func (l *lab) serve(ctx context.Context, folder, body string) (*server, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{address: fmt.Sprintf("127.0.0.1:%d", ports[0]), control: fmt.Sprintf("127.0.0.1:%d", ports[1])}
	if s.process, err = l.start(ctx, folder, program, serving, s.address, s.control, body); err != nil {
		return nil, err
	}
	for _, port := range ports {
		if err := s.listens(port); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	return s, nil
}

var counter = &http.Client{Timeout: 10 * time.Second}

// reached asks the process what came to it.
func (s *server) reached() (r reached, _ error) {
	answer, err := counter.Get("http://" + s.control)
	if err != nil {
		return r, err
	}
	defer answer.Body.Close()
	return r, json.NewDecoder(answer.Body).Decode(&r)
}
