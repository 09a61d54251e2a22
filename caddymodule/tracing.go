package caddymodule

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// tracer is the instrumentation scope of our spans.
const tracer = "github.com/stepgate/stepgate/caddymodule"

// span is one of our spans, or none: where Caddy's `tracing` directive is not on for a request, or the request is not
// sampled, there is nothing to record and nothing is made. Its attributes are from closed lists; none names a user.
type span struct{ trace.Span }

// startSpan starts a span below the request's own, with that one's provider: there is no other configuration of tracing
// than Caddy's. The context that it returns makes later spans its children.
func startSpan(ctx context.Context, about, detail string) (context.Context, span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, span{}
	}
	name := "stepgate " + about
	if detail != "" {
		name += " " + detail
	}
	ctx, started := parent.TracerProvider().Tracer(tracer).Start(ctx, name)
	return ctx, span{started}
}

func (s span) set(name, value string) {
	if s.Span != nil && value != "" {
		s.SetAttributes(attribute.String("stepgate."+name, value))
	}
}

// end ends a span with the outcome of what it was about.
func (s span) end(m *meters, refusal passkey.Refusal) {
	s.endAs(m, gate.ResultOf(refusal, ceremonyOK), refusal)
}

// endAs is end with a result. Only what the gateway could not do is an error; that somebody was refused is its work.
func (s span) endAs(m *meters, result gate.Result, refusal passkey.Refusal) {
	if s.Span == nil {
		return
	}
	s.set("result", string(result))
	s.set("reason", m.reason(refusal))
	if result == gate.Failed {
		s.SetStatus(codes.Error, m.reason(refusal))
	}
	s.End()
}

func untraced(gate.Result, passkey.Refusal) {}

// traceJudgement is a [gate.Judging].
func traceJudgement(ctx context.Context) (context.Context, func(gate.Result, passkey.Refusal)) {
	ctx, span := startSpan(ctx, "judge", "")
	if span.Span == nil {
		return ctx, untraced
	}
	return ctx, func(result gate.Result, refusal passkey.Refusal) { span.endAs(metrics, result, refusal) }
}
