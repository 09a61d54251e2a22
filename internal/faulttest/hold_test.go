package faulttest_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// What is held stays so until it is lifted, was or was not applied meanwhile, and then is answered or not.
func TestHold(t *testing.T) {
	for _, c := range []struct {
		fault        faulttest.Fault
		held, lifted int // requests that the backend had by then
		answered     bool
		late         bool // applied when it is lifted though its client has gone
	}{
		{fault: faulttest.Fault{Kind: faulttest.Hold}, held: 0, lifted: 1, answered: true, late: true},
		{fault: faulttest.Fault{Delay: time.Hour}, held: 0, lifted: 1, answered: true, late: true},
		{fault: faulttest.Fault{Kind: faulttest.HoldAfter}, held: 1, lifted: 1, answered: true},
		{fault: faulttest.Fault{Kind: faulttest.Hang}, held: 0, lifted: 0},
		{fault: faulttest.Fault{Kind: faulttest.HangAfter}, held: 1, lifted: 1},
	} {
		t.Run(c.fault.Kind.String(), func(t *testing.T) {
			b := newBackend(t)
			p, client := faulttest.New(t, b.URL), client(t)
			lift := p.Inject(c.fault)
			answer := later(t.Context(), client, p, "PutItem", put)
			p.Await(1)
			if n := b.took(); n != c.held || p.Waiting() != 1 {
				t.Errorf("held: %d applied, %d waiting", n, p.Waiting())
			}
			if calls := p.Calls(); len(calls) != 1 || calls[0].Status != 0 {
				t.Errorf("held: calls are %v", calls)
			}
			lift()
			g := <-answer
			if c.answered && (g.err != nil || g.status != 200) || !c.answered && !errors.Is(g.err, io.EOF) {
				t.Errorf("lifted: %d (%v)", g.status, g.err)
			}
			if n := b.took() + c.held; n != c.lifted {
				t.Errorf("lifted: %d applied, want %d", n, c.lifted)
			}
			p.Await(0)
			p.Take()

			lift = p.Inject(c.fault)
			ctx, leave := context.WithCancel(t.Context())
			answer = later(ctx, client, p, "PutItem", put)
			p.Await(1)
			b.took()
			leave()
			if g := <-answer; !errors.Is(g.err, context.Canceled) {
				t.Errorf("left: %d (%v)", g.status, g.err)
			}
			if !c.late {
				p.Await(0) // without being lifted
				lift()
				return
			}
			if n := b.took(); n != 0 || p.Waiting() != 1 {
				t.Errorf("left: %d applied, %d waiting", n, p.Waiting())
			}
			lift()
			p.Await(0)
			p.Settle()
			if calls := p.Calls(); calls[0].Backend != 200 {
				t.Fatalf("lifted without its client: %v", calls)
			}
			if n := b.took(); n != 1 {
				t.Errorf("lifted without its client: %d applied", n)
			}
		})
	}
}

// A delay passes by itself, and before any kind.
func TestDelay(t *testing.T) {
	p, c := faulttest.New(t, newBackend(t).URL), client(t)
	const delay = 50 * time.Millisecond
	for kind, status := range map[faulttest.Kind]int{faulttest.Delay: 200, faulttest.Throttle: 400} {
		lift := p.Inject(faulttest.Fault{Kind: kind, Delay: delay})
		start := time.Now()
		if g := ask(t.Context(), c, p, "PutItem", put); g.status != status {
			t.Errorf("%v: %d (%v)", kind, g.status, g.err)
		}
		if took := time.Since(start); took < delay {
			t.Errorf("%v: answered after %v", kind, took)
		}
		lift()
	}
}
