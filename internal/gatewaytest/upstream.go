package gatewaytest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Received is a request as the upstream got it.
type Received struct {
	Method, Target, Host, Proto, Body string
	Header, Trailer                   http.Header
}

// Upstream is a process behind a gateway: it answers every request and remembers it.
type Upstream struct {
	t                testing.TB
	Address, control string
}

const upstreamVariable = "STEPGATE_E2ETEST_UPSTREAM"

// newUpstream starts one. It ends when its standard input does, so that it never outlives the tests.
func newUpstream(t testing.TB) *Upstream {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), upstreamVariable+"=1", promptly)
	process.Stderr = os.Stderr
	input, err := process.StdinPipe()
	Must(t, err)
	output, err := process.StdoutPipe()
	Must(t, err)
	Must(t, process.Start())
	t.Cleanup(func() {
		input.Close()
		if err := process.Wait(); err != nil {
			t.Errorf("upstream: %v", err)
		}
	})
	u := &Upstream{t: t}
	line, err := bufio.NewReader(output).ReadString('\n')
	Must(t, err)
	if _, err := fmt.Sscan(line, &u.Address, &u.control); err != nil {
		t.Fatalf("upstream says %q: %v", line, err)
	}
	return u
}

// Take returns the requests since the last call.
func (u *Upstream) Take() (list []Received) {
	u.t.Helper()
	answer, err := http.Get("http://" + u.control)
	Must(u.t, err)
	defer answer.Body.Close()
	Must(u.t, json.NewDecoder(answer.Body).Decode(&list))
	return list
}

// Untouched holds that nothing reached the upstream since the last call.
func (u *Upstream) Untouched() {
	u.t.Helper()
	for _, r := range u.Take() {
		u.t.Errorf("reached the upstream: %s %s", r.Method, r.Target)
	}
}

// One returns the one request since the last call.
func (u *Upstream) One() Received {
	u.t.Helper()
	list := u.Take()
	if len(list) != 1 {
		u.t.Fatalf("%d requests reached the upstream, want 1: %v", len(list), list)
	}
	return list[0]
}

// runUpstream is the process.
func runUpstream() {
	var mu sync.Mutex
	list := []*Received{}
	serve := func(handler http.HandlerFunc) string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go http.Serve(listener, handler)
		return listener.Addr().String()
	}
	address := serve(func(w http.ResponseWriter, r *http.Request) {
		got := &Received{Method: r.Method, Target: r.RequestURI, Host: r.Host, Proto: r.Proto, Header: r.Header}
		mu.Lock()
		list = append(list, got) // it is here, also if its body never comes
		mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		got.Body, got.Trailer = string(body), r.Trailer
		whole := *got
		mu.Unlock()
		upstreamPage(w, r, whole)
	})
	control := serve(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		json.NewEncoder(w).Encode(list)
		list = []*Received{}
	})
	fmt.Println(address, control)
	io.Copy(io.Discard, os.Stdin)
}

// upstreamPage is a console: a page with a form at /form, otherwise one that shows the request.
func upstreamPage(w http.ResponseWriter, r *http.Request, got Received) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(got)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, "<!DOCTYPE html><html lang=en><title>Console</title><link rel=icon href='data:,'><main><h1>Console</h1>")
	if strings.HasPrefix(r.URL.Path, "/form") {
		io.WriteString(w, "<form method=post action=/admin/rename><label>Name <input name=name value=web-1></label><button>Rename</button></form>")
	}
	fmt.Fprintf(w, "<pre>%s %s\n%s</pre></main>", got.Method, html.EscapeString(got.Target), html.EscapeString(got.Body))
}
