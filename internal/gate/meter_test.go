package gate_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// tally is a meter that remembers. Every world has one: what the kit's checks of refusals want, it wants too.
type tally struct {
	mu     sync.Mutex
	counts []count
	minted []passkey.Level
}

// count is one request.
type count struct {
	Own    bool
	Result gate.Result
	Reason passkey.Refusal
}

func (m *tally) Judged(result gate.Result, reason passkey.Refusal) {
	m.add(count{false, result, reason})
}
func (m *tally) Own(result gate.Result, reason passkey.Refusal) { m.add(count{true, result, reason}) }

func (m *tally) add(c count) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts = append(m.counts, c)
}

func (m *tally) Minted(level passkey.Level) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.minted = append(m.minted, level)
}

func (m *tally) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.counts)
}

// take returns what was counted since the last call.
func (m *tally) take() []count {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := m.counts
	m.counts = nil
	return counts
}

// refusedOnce holds that since the n-th count there is one of a refusal, the last one, with this reason.
func (m *tally) refusedOnce(t testing.TB, n int, code, reason passkey.Refusal) {
	t.Helper()
	m.mu.Lock()
	counts := slices.Clone(m.counts[n:])
	m.mu.Unlock()
	want := gate.ResultOf(code, gate.Served)
	if code == passkey.StepUpRequired {
		want = gate.StepUp
	}
	refusals := slices.DeleteFunc(slices.Clone(counts), func(c count) bool { return c.Reason == "" })
	if len(refusals) != 1 || counts[len(counts)-1] != refusals[0] || refusals[0].Result != want || refusals[0].Reason != reason {
		t.Errorf("counted as %v, want one %s %s", counts, want, reason)
	}
}

// Each request is counted once, for what became of it.
func TestCounts(t *testing.T) {
	w := newWorld(t)
	alice := w.browser("alice")
	wants := func(what string, want ...count) {
		t.Helper()
		if diff := cmp.Diff(want, w.meter.take()); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	alice.get("/open")
	wants("an open route", count{false, gate.Open, ""})
	alice.get("/admin", navigate)
	wants("a navigation without a grant", count{false, gate.StepUp, passkey.GrantMissing})
	alice.get("/.stepgate/passkeys")
	wants("the gateway's own", count{true, gate.Served, ""})
	alice.get("/.stepgate/nowhere")
	wants("nothing of the gateway's own", count{true, gate.Refused, passkey.NotFound})
	key := authtest.New(authtest.Config{})
	alice.register(key, "Key")
	w.meter.take()
	alice.stepUp(key, "/admin")
	wants("a ceremony", count{true, gate.Served, ""}, count{true, gate.Served, ""})
	if diff := cmp.Diff([]passkey.Level{passkey.DeviceBound}, w.meter.minted); diff != "" {
		t.Errorf("grants: %s", diff)
	}
	alice.passes("/admin")
	wants("an allowed request", count{false, gate.Allowed, ""})
	alice.get("/a//b")
	wants("an ambiguous path", count{false, gate.Refused, passkey.PathAmbiguous})
	w.store.fail.Store(true)
	w.backend.Views.Forget("alice")
	alice.get("/admin")
	wants("a store that is down", count{false, gate.Failed, passkey.StoreUnavailable})
	alice.get("/.stepgate/passkeys")
	wants("the gateway's own, with a store that is down", count{true, gate.Failed, passkey.StoreUnavailable})
}

// A judgement that asks the store is announced with its outcome, and no other is.
func TestJudging(t *testing.T) {
	type key struct{}
	type outcome struct {
		Result gate.Result
		Reason passkey.Refusal
	}
	var told []outcome
	asked := 0
	w := newWorld(t, func(c *gate.Config) {
		c.Judging = func(ctx context.Context) (context.Context, func(gate.Result, passkey.Refusal)) {
			asked++
			return context.WithValue(ctx, key{}, true), func(result gate.Result, reason passkey.Refusal) {
				told = append(told, outcome{result, reason})
			}
		}
	})
	marked := 0
	w.store.look = func(ctx context.Context) {
		if ctx.Value(key{}) != nil {
			marked++
		}
	}
	wants := func(what string, want ...outcome) {
		t.Helper()
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		if asked != len(want) || marked != len(want) {
			t.Errorf("%s: %d announced, %d calls of the store with their context, want %d", what, asked, marked, len(want))
		}
		told, asked, marked = nil, 0, 0
	}
	alice := w.browser("alice")
	alice.get("/open")
	alice.get("/admin")
	wants("without a grant")
	token := authtest.New(authtest.Config{})
	alice.register(token, "Key")
	alice.stepUp(token, "/admin")
	wants("a ceremony")
	alice.passes("/admin")
	wants("the first request", outcome{gate.Allowed, ""})
	alice.passes("/admin")
	alice.get("/admin", func(r *http.Request, in *gate.Request) { in.User = "" })
	wants("a view that is held")
	w.clock.Advance(7 * time.Minute)
	alice.get("/admin")
	wants("a stale grant", outcome{gate.StepUp, passkey.GrantStale})
	w.backend.Views.Forget("alice")
	w.store.fail.Store(true)
	alice.get("/admin")
	wants("a store that is down", outcome{gate.Failed, passkey.StoreUnavailable})
}

// Where people without a passkey are let through, the store is asked whether somebody has one: that is announced too.
func TestJudgingOfStrangers(t *testing.T) {
	var told []gate.Result
	w := newWorld(t, func(c *gate.Config) {
		for i := range c.Rules {
			c.Rules[i].Mode = policy.IfEnrolled
		}
		c.Judging = func(ctx context.Context) (context.Context, func(gate.Result, passkey.Refusal)) {
			return ctx, func(result gate.Result, reason passkey.Refusal) { told = append(told, result) }
		}
	})
	w.browser("alice").passes("/admin")
	w.browser("alice").passes("/admin")
	if diff := cmp.Diff([]gate.Result{gate.StepUp}, told); diff != "" {
		t.Error(diff)
	}
	want := count{false, gate.WouldStep, passkey.GrantMissing}
	if diff := cmp.Diff([]count{want, want}, w.meter.take()); diff != "" {
		t.Error(diff)
	}
}
