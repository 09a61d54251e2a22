package faulttest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/faulttest"
)

const (
	put         = `{"TableName":"T","Item":{"k":{"S":"1"}}}`
	transaction = `{"TransactItems":[{"Put":{"TableName":"B"}},{"ConditionCheck":{"TableName":"A"}},{"Delete":{"TableName":"B"}}]}`
)

// Without a fault, requests and answers pass unchanged, on one connection.
func TestPasses(t *testing.T) {
	b := newBackend(t)
	p, c := faulttest.New(t, b.URL), client(t)
	if !strings.HasPrefix(p.URL, "http://127.0.0.1:") {
		t.Errorf("the proxy is at %s", p.URL)
	}
	peers := map[string]bool{}
	for range 3 {
		g := ask(t.Context(), c, p, "PutItem", put)
		if g.err != nil || g.status != 200 {
			t.Fatalf("status %d, %v", g.status, g.err)
		}
		g.summed(t)
		var echo struct {
			Host, Target, Body, Peer string
			Header                   http.Header
		}
		if err := json.Unmarshal([]byte(g.body), &echo); err != nil {
			t.Fatal(err)
		}
		peers[echo.Peer] = true
		if want := strings.TrimPrefix(p.URL, "http://"); echo.Host != want || echo.Body != put || echo.Target != "/" {
			t.Errorf("the backend saw %+v", echo)
		}
		want := http.Header{"X-Amz-Target": {"DynamoDB_20120810.PutItem"}, "Amz-Sdk-Request": {"attempt=2; max=3"}, "Authorization": {"AWS4-HMAC-SHA256 x"},
			"Content-Length": {fmt.Sprint(len(put))}, "User-Agent": {"Go-http-client/1.1"}}
		if diff := cmp.Diff(want, echo.Header); diff != "" {
			t.Error(diff)
		}
	}
	if len(peers) != 1 {
		t.Errorf("%d connections to the backend, want one", len(peers))
	}
	if g := ask(t.Context(), c, p, "PutItem", "refuse"); g.status != 400 {
		t.Errorf("the backend's 400 came as %d", g.status)
	}
}

// Every kind does what it says, and reaches the backend only if it says so.
func TestKinds(t *testing.T) {
	complete := func(status int, name string) func(*testing.T, got) {
		return func(t *testing.T, g got) {
			if g.err != nil || g.status != status || g.errorType() != name {
				t.Errorf("%d %s (%v), want %d %s", g.status, g.body, g.err, status, name)
			}
		}
	}
	refused := func(status int, name string) func(*testing.T, got) {
		return func(t *testing.T, g got) {
			complete(status, name)(t, g)
			g.summed(t)
			if kind := g.header.Get("Content-Type"); kind != "application/x-amz-json-1.0" || len(g.header.Get("X-Amzn-Requestid")) != 52 {
				t.Errorf("headers are %v", g.header)
			}
		}
	}
	broken := func(cause error) func(*testing.T, got) {
		return func(t *testing.T, g got) {
			if !errors.Is(g.err, cause) {
				t.Errorf("%d %q (%v), want %v", g.status, g.body, g.err, cause)
			}
		}
	}
	const before, after = false, true
	for _, c := range []struct {
		kind      faulttest.Kind
		forwarded bool
		status    int // noted in the call
		check     func(*testing.T, got)
	}{
		{faulttest.Delay, after, 200, complete(200, "")},
		{faulttest.Throttle, before, 400, refused(400, "ProvisionedThroughputExceededException")},
		{faulttest.RequestLimit, before, 400, refused(400, "ThrottlingException")},
		{faulttest.ServerError, before, 500, refused(500, "InternalServerError")},
		{faulttest.HTML503, before, 503, complete(503, "")},
		{faulttest.AccessDenied, before, 400, refused(400, "AccessDeniedException")},
		{faulttest.Expired, before, 400, refused(400, "ExpiredTokenException")},
		{faulttest.ResourceNotFound, before, 400, refused(400, "ResourceNotFoundException")},
		{faulttest.Conflict, before, 400, refused(400, "TransactionConflictException")},
		{faulttest.DropBefore, before, 0, broken(io.EOF)},
		{faulttest.DropAfter, after, 0, broken(io.EOF)},
		{faulttest.ResetBefore, before, 0, broken(syscall.ECONNRESET)},
		{faulttest.ResetAfter, after, 0, broken(syscall.ECONNRESET)},
		{faulttest.Truncate, after, 200, func(t *testing.T, g got) {
			broken(io.ErrUnexpectedEOF)(t, g)
			if g.status != 200 || g.body == "" || json.Valid([]byte(g.body)) {
				t.Errorf("%d %q", g.status, g.body)
			}
		}},
		{faulttest.Garble, after, 200, func(t *testing.T, g got) {
			complete(200, "")(t, g)
			g.summed(t)
			if g.body == "" || json.Valid([]byte(g.body)) {
				t.Errorf("%q", g.body)
			}
		}},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			b := newBackend(t)
			p, client := faulttest.New(t, b.URL), client(t)
			ask(t.Context(), client, p, "GetItem", "{}") // the connection is in use already
			b.took()
			p.Take()
			lift := p.Inject(faulttest.Fault{Operation: "PutItem", Table: "T", Kind: c.kind})
			c.check(t, ask(t.Context(), client, p, "PutItem", put))

			backend := 0
			if c.forwarded {
				backend = 200
			}
			if n := b.took(); n != backend/200 {
				t.Errorf("the backend saw %d requests", n)
			}
			calls := p.Take()
			if len(calls) != 1 || calls[0].Backend != backend || calls[0].Status != c.status || (c.status == 0) != (calls[0].Response == nil) {
				t.Errorf("calls: %v", calls)
			}

			lift()
			if g := ask(t.Context(), client, p, "PutItem", put); g.err != nil || g.status != 200 || b.took() != 1 {
				t.Errorf("lifted, still %d (%v)", g.status, g.err)
			}
		})
	}
}

// The texts that tests and operators read.
func TestTexts(t *testing.T) {
	p, c := faulttest.New(t, newBackend(t).URL), client(t)
	p.Inject(faulttest.Fault{Operation: "PutItem", Kind: faulttest.AccessDenied})
	p.Inject(faulttest.Fault{Kind: faulttest.Conflict})
	for _, c := range []struct{ got, want string }{
		{ask(t.Context(), c, p, "PutItem", put).body, `{"Message":"User: arn:aws:sts::123456789012:assumed-role/stepgate/i-0123456789abcdef0 is not authorized to perform: ` +
			`dynamodb:PutItem on resource: arn:aws:dynamodb:eu-central-1:123456789012:table/T because no identity-based policy allows the dynamodb:PutItem action",` +
			`"__type":"com.amazon.coral.service#AccessDeniedException"}`},
		{ask(t.Context(), c, p, "TransactWriteItems", transaction).body, `{"CancellationReasons":[{"Code":"TransactionConflict","Message":"Transaction is ongoing for the item"},` +
			`{"Code":"None"},{"Code":"None"}],"Message":"Transaction cancelled, please refer cancellation reasons for specific reasons [TransactionConflict, None, None]",` +
			`"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException"}`},
		{faulttest.Garble.String() + " " + faulttest.Kind(99).String(), "Garble Kind(99)"},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Error(diff)
		}
	}
}

// Which requests a fault strikes: by operation, table and body, after Skip, Count times, the first one injected alone.
func TestWhich(t *testing.T) {
	p, c := faulttest.New(t, newBackend(t).URL), client(t)
	status := func(operation, body string) int { return ask(t.Context(), c, p, operation, body).status }
	holds := func(what string, want ...int) func(got ...int) {
		return func(got ...int) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
			p.Lift()
		}
	}

	p.Inject(faulttest.Fault{Operation: "PutItem", Kind: faulttest.ServerError})
	holds("operation", 500, 200)(status("PutItem", put), status("Query", put))

	p.Inject(faulttest.Fault{Table: "A", Kind: faulttest.ServerError})
	holds("table", 200, 500, 500, 200)(status("PutItem", put), status("TransactWriteItems", transaction),
		status("BatchGetItem", `{"RequestItems":{"A":{}}}`), status("ListTables", "no JSON"))

	p.Inject(faulttest.Fault{Match: func(body []byte) bool { return strings.Contains(string(body), "secret") }, Kind: faulttest.ServerError})
	holds("body", 200, 500)(status("PutItem", put), status("PutItem", `{"secret":1}`))

	p.Inject(faulttest.Fault{Operation: "PutItem", Skip: 1, Count: 2, Kind: faulttest.ServerError})
	p.Inject(faulttest.Fault{Operation: "PutItem", Count: 1, Kind: faulttest.HTML503})
	holds("skip, count and order", 503, 500, 500, 200)(status("PutItem", put), status("PutItem", put), status("PutItem", put), status("PutItem", put))

	lift := p.Inject(faulttest.Fault{Kind: faulttest.ServerError})
	p.Inject(faulttest.Fault{Kind: faulttest.HTML503})
	lift()
	lift()
	holds("one lifted", 503)(status("PutItem", put))
	holds("all lifted", 200)(status("PutItem", put))
}

// Answers are rewritten with a checksum that fits.
func TestRewrite(t *testing.T) {
	p, c := faulttest.New(t, newBackend(t).URL), client(t)
	p.Inject(faulttest.Fault{Operation: "Query", Rewrite: func(response []byte) []byte {
		return []byte(strings.ReplaceAll(string(response), `"Body":"ask"`, `"Body":"wrong row"`))
	}})
	g := ask(t.Context(), c, p, "Query", "ask")
	if g.err != nil || g.status != 200 || !strings.Contains(g.body, "wrong row") {
		t.Errorf("%d %s (%v)", g.status, g.body, g.err)
	}
	g.summed(t)
	if calls := p.Calls(); len(calls) != 1 || string(calls[0].Response) != g.body {
		t.Errorf("calls: %v", calls)
	}
}

// Calls say what was asked, and Take forgets.
func TestCalls(t *testing.T) {
	p, c := faulttest.New(t, newBackend(t).URL), client(t)
	g := ask(t.Context(), c, p, "TransactWriteItems", transaction)
	want := []faulttest.Call{{Operation: "TransactWriteItems", Tables: []string{"A", "B"}, Attempt: 2, Request: []byte(transaction),
		Backend: 200, Status: 200, Response: []byte(g.body)}}
	for range 2 {
		if diff := cmp.Diff(want, p.Calls()); diff != "" {
			t.Error(diff)
		}
	}
	if got, want := want[0].String(), "TransactWriteItems A,B attempt 2: 200, backend 200"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if n := len(p.Take()); n != 1 || len(p.Calls()) != 0 {
		t.Errorf("took %d, left %d", n, len(p.Calls()))
	}
}

// A backend that is down looks like one that closes connections.
func TestBackendDown(t *testing.T) {
	b := newBackend(t)
	p, c := faulttest.New(t, b.URL), client(t)
	b.Close()
	if g := ask(t.Context(), c, p, "PutItem", put); !errors.Is(g.err, io.EOF) {
		t.Errorf("%d (%v)", g.status, g.err)
	}
}

// Many clients at once, faults that come and go, and in the end no goroutine is left, though requests hang.
func TestConcurrentAndClean(t *testing.T) {
	b := newBackend(t)
	before := runtime.NumGoroutine()
	t.Run("run", func(t *testing.T) {
		p, c := faulttest.New(t, b.URL), client(t)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for _, kind := range []faulttest.Kind{faulttest.Delay, faulttest.Throttle, faulttest.DropAfter, faulttest.ResetBefore} {
					lift := p.Inject(faulttest.Fault{Kind: kind, Count: 2})
					ask(t.Context(), c, p, "PutItem", put)
					p.Calls()
					lift()
				}
			})
		}
		all.Wait()
		if n := len(p.Take()); n != 80 {
			t.Errorf("%d calls", n)
		}
		for _, kind := range []faulttest.Kind{faulttest.Hang, faulttest.HangAfter, faulttest.Hold, faulttest.HoldAfter} {
			p.Inject(faulttest.Fault{Operation: kind.String(), Kind: kind})
			later(context.Background(), c, p, kind.String(), put)
		}
		p.Inject(faulttest.Fault{Operation: "Delay", Delay: time.Hour})
		later(context.Background(), c, p, "Delay", put)
		p.Await(5)
		b.took()
	})
	b.CloseClientConnections()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
		<-tick.C
	}
	if n := b.took(); n != 0 {
		t.Errorf("%d held requests were forwarded at the end", n)
	}
}
