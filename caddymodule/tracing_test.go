package caddymodule

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// traced is a span as the tests compare it.
type traced struct {
	Name, Parent string
	Attributes   map[string]string
	Status       codes.Code
}

// recorded runs something below a span named "request" of a provider of its own, and returns the spans that it made.
func recorded(t *testing.T, sampler trace.Sampler, do func(ctx context.Context)) []traced {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := trace.NewTracerProvider(trace.WithSpanProcessor(recorder), trace.WithSampler(sampler))
	ctx, request := provider.Tracer("test").Start(t.Context(), "request")
	do(ctx)
	request.End()
	spans := map[api.SpanID]string{}
	for _, span := range recorder.Ended() {
		spans[span.SpanContext().SpanID()] = span.Name()
	}
	var list []traced
	for _, span := range recorder.Ended() {
		if span.Name() == "request" {
			continue
		}
		attributes := map[string]string{}
		for _, pair := range span.Attributes() {
			attributes[string(pair.Key)] = pair.Value.AsString()
		}
		list = append(list, traced{span.Name(), spans[span.Parent().SpanID()], attributes, span.Status().Code})
		if span.InstrumentationScope().Name != tracer {
			t.Errorf("%s is of the scope %q", span.Name(), span.InstrumentationScope().Name)
		}
	}
	return list
}

// asksStore are ceremonies that ask a store for alice, and end with an error of their own.
type asksStore struct {
	gate.Ceremonies
	store ceremony.Store
	err   error
}

func (a asksStore) Finish(ctx context.Context, _ ceremony.Party, _ ceremony.Purpose, _ []byte) (ceremony.Proof, error) {
	_, err := a.store.Account(ctx, "alice@example.com")
	return ceremony.Proof{}, errors.Join(a.err, err)
}

type empty struct{ ceremony.Store }

func (empty) Account(context.Context, string) (passkey.Account, error) { return passkey.Account{}, nil }

// A ceremony is a span, and what it asks the store are its children. A refusal is no error of ours; a store that fails is.
func TestCeremonySpans(t *testing.T) {
	finish := func(store ceremony.Store, err error) func(context.Context) {
		m := newMeters()
		watched := watchedCeremonies{asksStore{store: watchedStore{store, m}, err: err}, m}
		return func(ctx context.Context) {
			_, _ = watched.Finish(ctx, ceremony.Party{User: "alice@example.com"}, ceremony.Purpose{Action: passkey.StepUp}, nil)
		}
	}
	ceremonySpan := func(status codes.Code, outcome ...string) traced {
		span := traced{"stepgate ceremony", "request", map[string]string{
			"stepgate.step": "finish", "stepgate.kind": "authentication", "stepgate.action": "step_up", "stepgate.result": outcome[0],
		}, status}
		if len(outcome) > 1 {
			span.Attributes["stepgate.reason"] = outcome[1]
		}
		return span
	}
	storeSpan := traced{"stepgate store account", "stepgate ceremony", map[string]string{"stepgate.result": "ok"}, codes.Unset}
	failed := traced{"stepgate store account", "stepgate ceremony", map[string]string{"stepgate.result": "error", "stepgate.reason": "store_unavailable"}, codes.Error}
	for _, test := range []struct {
		name string
		do   func(context.Context)
		want []traced
	}{
		{"it succeeds", finish(empty{}, nil), []traced{storeSpan, ceremonySpan(codes.Unset, "ok")}},
		{"it is refused", finish(empty{}, passkey.SignatureInvalid), []traced{storeSpan, ceremonySpan(codes.Unset, "refused", "signature_invalid")}},
		{"the store fails", finish(unavailable{}, nil), []traced{failed, ceremonySpan(codes.Error, "error", "store_unavailable")}},
		{"a reason that is none of ours", finish(empty{}, passkey.Refusal("alice")), []traced{storeSpan, ceremonySpan(codes.Unset, "refused", "internal")}},
	} {
		if diff := cmp.Diff(test.want, recorded(t, trace.AlwaysSample(), test.do)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		if spans := recorded(t, trace.NeverSample(), test.do); len(spans) > 0 {
			t.Errorf("%s: not sampled, and there are %v", test.name, spans)
		}
	}
}

func TestJudgementSpan(t *testing.T) {
	store := watchedStore{empty{}, newMeters()}
	judge := func(result gate.Result, refusal passkey.Refusal) func(context.Context) {
		return func(ctx context.Context) {
			ctx, end := traceJudgement(ctx)
			_, _ = store.Account(ctx, "alice@example.com")
			end(result, refusal)
		}
	}
	want := []traced{
		{"stepgate store account", "stepgate judge", map[string]string{"stepgate.result": "ok"}, codes.Unset},
		{"stepgate judge", "request", map[string]string{"stepgate.result": "step_up", "stepgate.reason": "grant_stale"}, codes.Unset},
	}
	if diff := cmp.Diff(want, recorded(t, trace.AlwaysSample(), judge(gate.StepUp, passkey.GrantStale))); diff != "" {
		t.Error(diff)
	}
	want[1].Attributes, want[1].Status = map[string]string{"stepgate.result": "error", "stepgate.reason": "store_unavailable"}, codes.Error
	if diff := cmp.Diff(want, recorded(t, trace.AlwaysSample(), judge(gate.Failed, passkey.StoreUnavailable))); diff != "" {
		t.Error(diff)
	}
}

// Without a span that records, tracing costs nothing.
func TestNoSpanNoAllocation(t *testing.T) {
	m := newMeters()
	ctx := t.Context()
	if allocations := testing.AllocsPerRun(100, func() {
		ctx, span := startSpan(ctx, "store", "account")
		span.set("step", "finish")
		span.end(m, passkey.SignatureInvalid)
		_, end := traceJudgement(ctx)
		end(gate.StepUp, passkey.GrantStale)
	}); allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// What is let through is counted without an allocation.
func TestCountingAllocations(t *testing.T) {
	m := newMeters()
	if allocations := testing.AllocsPerRun(100, func() {
		m.Judged(gate.Allowed, "")
		m.Judged(gate.Open, "")
		m.viewed(gate.Cached)
	}); allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}
