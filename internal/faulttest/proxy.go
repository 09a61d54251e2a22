// Package faulttest is a proxy in front of DynamoDB Local that fails on demand: it delays, holds, refuses, breaks or
// rewrites the answers to chosen operations on chosen tables.
//
// DynamoDB's failures that matter come in two sorts, those before and those after a write was applied, and the client
// can't tell them apart. So every way to lose an answer exists in both, and [Proxy.Calls] says which it was. Without a
// fault a request and its answer pass unchanged but for the connection's own headers. A request that was forwarded is
// always finished, also when its client has gone.
//
// Tests that race need no sleeps: [Hold] stops a request until it is lifted, [Proxy.Await] waits until it is there.
package faulttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// Proxy is safe for concurrent use.
type Proxy struct {
	// URL is the endpoint for clients, on 127.0.0.1; other processes may use it too.
	URL string

	t         testing.TB
	backend   string
	transport *http.Transport
	end       context.Context // of the test

	mu       sync.Mutex
	faults   []*injected
	calls    []*Call
	underWay int           // requests without an end yet
	waiting  int           // those of them that are held or delayed
	changed  chan struct{} // closed when either changes
}

// New starts a proxy in front of a backend such as "http://127.0.0.1:8000". While that can't be reached it closes the
// clients' connections. It ends with the test, and so does every request that is still held.
func New(t testing.TB, backend string) *Proxy {
	end, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		t:         t,
		backend:   backend,
		transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100},
		end:       end,
		changed:   make(chan struct{}),
	}
	server := httptest.NewServer(p)
	p.URL = server.URL
	t.Cleanup(func() {
		cancel()
		server.Close() // waits for its requests
		p.transport.CloseIdleConnections()
	})
	return p
}

// ServeHTTP passes a request on as the first fault that matches it says. To end it without an answer it panics with
// [http.ErrAbortHandler], which makes the server close the connection.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	call := p.record(r, body)
	p.count(&p.underWay, 1)
	defer p.count(&p.underWay, -1)
	f := p.pick(call)
	gone := r.Context().Done()

	if f.Delay > 0 && !p.hold(f, nil, time.After(f.Delay)) {
		panic(http.ErrAbortHandler)
	}
	if made, ok := refusal(f.Fault, call); ok {
		p.send(w, call, made)
		return
	}
	switch f.Kind {
	case Hold:
		if !p.hold(f, nil, nil) {
			panic(http.ErrAbortHandler)
		}
	case Hang:
		p.hold(f, gone, nil)
		panic(http.ErrAbortHandler)
	case DropBefore:
		panic(http.ErrAbortHandler)
	case ResetBefore:
		p.reset(w)
		return
	}

	a, err := p.forward(r, body)
	if err != nil {
		if p.end.Err() == nil {
			p.t.Logf("faulttest: %s: forwarding: %v", call.Operation, err)
		}
		panic(http.ErrAbortHandler)
	}
	p.mu.Lock()
	call.Backend = a.status
	p.mu.Unlock()
	if f.Rewrite != nil {
		a = a.with(f.Rewrite(a.body))
	}

	switch f.Kind {
	case HoldAfter:
		if !p.hold(f, gone, nil) {
			panic(http.ErrAbortHandler)
		}
	case HangAfter:
		p.hold(f, gone, nil)
		panic(http.ErrAbortHandler)
	case DropAfter:
		panic(http.ErrAbortHandler)
	case ResetAfter:
		p.reset(w)
		return
	case ConditionFailedAfter:
		a = conditionFailed(f.Fault, call)
	case Garble:
		a = a.with([]byte("\x00 this is no JSON"))
		a.status = http.StatusOK
	case Truncate:
		a.cut = true
	}
	p.send(w, call, a)
}

// forward asks the backend. The context is the test's: what is under way is finished without its client.
func (p *Proxy) forward(r *http.Request, body []byte) (answer, error) {
	out, err := http.NewRequestWithContext(p.end, r.Method, p.backend+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	out.Host = r.Host // it is signed
	out.Header = r.Header.Clone()
	out.Header.Del("Connection")
	if out.Header["User-Agent"] == nil {
		out.Header.Set("User-Agent", "") // or Go would send its own
	}
	in, err := p.transport.RoundTrip(out)
	if err != nil {
		return answer{}, err
	}
	defer in.Body.Close()
	text, err := io.ReadAll(in.Body)
	if err != nil {
		return answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	in.Header.Del("Connection")
	return answer{status: in.StatusCode, header: in.Header, body: text}, nil
}

// hold keeps a request until its fault is lifted, its client has gone, enough time has passed or the test ends. It
// reports whether the request may go on. A nil channel never ends it.
func (p *Proxy) hold(f *injected, gone <-chan struct{}, enough <-chan time.Time) bool {
	p.count(&p.waiting, 1)
	defer p.count(&p.waiting, -1)
	select {
	case <-f.lifted:
		return true
	case <-enough:
		return true
	case <-gone:
	case <-p.end.Done():
	}
	return false
}

// reset closes the connection with a TCP RST.
func (p *Proxy) reset(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		p.t.Errorf("faulttest: taking over the connection: %v", err)
		return
	}
	_ = connection.(*net.TCPConn).SetLinger(0)
	_ = connection.Close()
}

func (p *Proxy) count(which *int, change int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*which += change
	close(p.changed)
	p.changed = make(chan struct{})
}

// Waiting returns how many requests are held or delayed now. One under [HoldAfter] or [HangAfter] counts from when the
// backend has answered it.
func (p *Proxy) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting
}

// patience is how long [Proxy.Await] waits for what must happen.
const patience = 20 * time.Second

// Await returns when exactly n requests are held or delayed, and fails the test if that does not come about. Call it
// from the test's goroutine.
func (p *Proxy) Await(n int) {
	p.t.Helper()
	p.await("requests to be held", &p.waiting, n)
}

// Settle returns when no request is under way any more: what was held and let go has reached the backend, also when its
// client has gone. Call it from the test's goroutine, after what holds requests was lifted.
func (p *Proxy) Settle() {
	p.t.Helper()
	p.await("requests to be under way", &p.underWay, 0)
}

func (p *Proxy) await(what string, count *int, n int) {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		p.mu.Lock()
		now, changed := *count, p.changed
		p.mu.Unlock()
		if now == n {
			return
		}
		select {
		case <-changed:
		case <-late.C:
			p.t.Fatalf("waited %v for %d %s: there are %d", patience, n, what, now)
		}
	}
}

// Inject adds a fault. Lift removes it and lets go what it holds; a second call does nothing.
func (p *Proxy) Inject(f Fault) (lift func()) {
	i := &injected{Fault: f, lifted: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, i)
	return sync.OnceFunc(func() { p.remove(func(other *injected) bool { return other == i }) })
}

// Lift lifts every fault.
func (p *Proxy) Lift() {
	p.remove(func(*injected) bool { return true })
}

func (p *Proxy) remove(which func(*injected) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = slices.DeleteFunc(p.faults, func(i *injected) bool {
		if which(i) {
			close(i.lifted)
			return true
		}
		return false
	})
}

// pick returns the first fault for a call and counts it. Without one it returns one that does nothing.
func (p *Proxy) pick(call *Call) *injected {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range p.faults {
		if i.strikes(call) {
			return i
		}
	}
	return &injected{}
}
