package gate

import (
	"context"
	"maps"
	"slices"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// Result is how the gate dealt with a request. The list is closed: it labels metrics.
type Result string

// The results. Served is only for the gateway's own addresses, Open, Allowed and StepUp only for all others.
const (
	Open    Result = "open"    // let through by an open rule
	Allowed Result = "allowed" // let through to a protected route
	StepUp  Result = "step_up" // must step up first; the reason is what was wrong with the grant
	Served  Result = "served"  // answered by the gateway itself
	Refused Result = "refused" // the reason says why
	Failed  Result = "error"   // the gateway could not find out: the reason is store_unavailable or internal

	WouldStep   Result = "would_step_up" // let through, though an enforced rule would have asked for a step-up
	WouldRefuse Result = "would_refuse"  // let through, though an enforced rule would have refused; the reason says why
)

// ResultOf returns what became of something that ended with this refusal; "" is none, and ok what that is called.
func ResultOf(refusal passkey.Refusal, ok Result) Result {
	switch refusal {
	case "":
		return ok
	case passkey.StoreUnavailable, passkey.Internal:
		return Failed
	}
	return Refused
}

// Meter counts what the gate does. Each request is counted once, the allowed ones too, so its methods must be quick, must
// not block, and should not allocate. They must be safe for concurrent use. What they are told is from closed lists
// (the results above, [Reasons], the levels), never a word of the request's.
type Meter interface {
	// Judged counts a request that was on its way to the next handler.
	Judged(result Result, reason passkey.Refusal)

	// Own counts a request for one of the gateway's own addresses.
	Own(result Result, reason passkey.Refusal)

	// Minted counts a grant.
	Minted(level passkey.Level)
}

type noMeter struct{}

func (noMeter) Judged(Result, passkey.Refusal) {}
func (noMeter) Own(Result, passkey.Refusal)    {}
func (noMeter) Minted(passkey.Level)           {}

// Judging is told that a judgement is about to ask the store, by a function that returns the context to ask with and what
// is to be called with the outcome. A judgement that asks nothing does not call it.
type Judging func(ctx context.Context) (context.Context, func(Result, passkey.Refusal))

// grantReasons are the reasons of [StepUp].
var grantReasons = []passkey.Refusal{
	passkey.GrantMissing, passkey.GrantUnreadable, passkey.GrantOtherUser, passkey.GrantOtherOrigin, passkey.GrantOtherSession,
	passkey.GrantRevoked, passkey.GrantPasskeyRemoved, passkey.GrantLevel, passkey.GrantStale, passkey.GrantFromFuture,
}

// GrantReasons returns the reasons why a request must step up: a closed list.
func GrantReasons() []passkey.Refusal { return slices.Clone(grantReasons) }

// Reasons returns every refusal there is, sorted: a closed list.
func Reasons() []passkey.Refusal {
	return slices.Sorted(slices.Values(slices.AppendSeq(GrantReasons(), maps.Keys(answers))))
}

// count tells the meter what became of a request.
func (g *Gate) count(x *exchange, passed bool) {
	switch {
	case x.own:
		g.cfg.Meter.Own(ResultOf(x.refused, Served), x.refused)
	case passed && x.rule.Open:
		g.cfg.Meter.Judged(Open, "")
	case passed && !x.spared:
		g.cfg.Meter.Judged(Allowed, "")
	case passed && x.lacking:
		g.cfg.Meter.Judged(WouldStep, x.refused)
	case passed:
		g.cfg.Meter.Judged(WouldRefuse, x.refused)
	case x.lacking:
		g.cfg.Meter.Judged(StepUp, x.refused)
	default:
		g.cfg.Meter.Judged(ResultOf(x.refused, Failed), x.refused)
	}
}

// judged is the outcome of a judgement in the meter's words.
func judged(decision policy.Decision, err error) (Result, passkey.Refusal) {
	switch {
	case err != nil:
		return Failed, passkey.StoreUnavailable
	case decision.Allow:
		return Allowed, ""
	}
	return StepUp, decision.Reason
}
