package gate

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// protect lets a request pass if its grant meets the rule's demand, or if the rule is not enforced for it.
func (g *Gate) protect(x *exchange, originRefusal passkey.Refusal) bool {
	mode := x.rule.Mode
	if !x.rule.From.IsZero() {
		mode = x.rule.ModeAt(g.cfg.Now())
	}
	var v verdict
	g.weigh(x, originRefusal, mode, &v)
	switch {
	case mode != policy.Report && g.muted(x):
	case v.decision.Allow:
		proof := v.decision.Proof
		x.passed.values = [...]string{headerSafe(x.user), v.known.seen.short(proof.Passkey), proof.Level.String(), v.known.opened.time(proof)}
		x.passed.setHeaders(x.r.Header)
		if mode == policy.Report {
			x.passed.would = WouldAllow
		}
		return true
	case mode == policy.Report, mode == policy.IfEnrolled && v.stranger:
		g.spare(x, &v)
		return true
	case v.err != nil:
		g.fail(x, v.doing, v.err)
	case v.refusal != "":
		g.refuse(x, v.refusal)
	default:
		g.requireStepUp(x, v.backend, v.decision.Reason)
	}
	return false
}

// verdict is what became of weighing a request: allowed, refused, a failure, or else a step-up is required.
type verdict struct {
	decision policy.Decision
	known    evidence
	backend  *Backend
	refusal  passkey.Refusal
	doing    string // what failed
	err      error
	stranger bool // the user has no passkey; only asked where it matters
}

// reportBudget is how long a request may wait for the store where the rule merely reports: nobody is to be stopped, nor
// held up for long.
const reportBudget = 500 * time.Millisecond

func (g *Gate) weigh(x *exchange, originRefusal passkey.Refusal, mode policy.Mode, v *verdict) {
	if v.refusal = originRefusal; v.refusal != "" {
		return
	}
	if isEarly(x.r) {
		v.refusal = passkey.TooEarly
		return
	}
	if v.refusal = g.identify(x); v.refusal != "" {
		return
	}
	if mode == policy.Report {
		ctx, cancel := context.WithTimeout(x.r.Context(), reportBudget)
		defer cancel()
		x.store = ctx
	}
	if v.backend, v.err = g.cfg.Backend(); v.err != nil {
		v.doing = "opening store"
		return
	}
	if v.decision, v.known, v.err = g.judge(x, v.backend, x.rule.Demand); v.err == nil && !v.decision.Allow && mode == policy.IfEnrolled {
		seen := v.backend.Views.held(x.user)
		if seen == nil {
			ctx, end := g.announce(x)
			seen, v.err = v.backend.Views.read(ctx, x.user)
			end(judged(v.decision, v.err))
		}
		v.stranger = v.err == nil && len(seen.live) == 0
	}
	if v.err != nil {
		v.doing = "reading user"
	}
}

// What an unenforced rule would have done with a request, beside refusing it for a reason.
const (
	WouldAllow  = "allow"
	WouldStepUp = "step_up"
)

// spare lets a request through that an enforced rule would have stopped, and records it.
func (g *Gate) spare(x *exchange, v *verdict) {
	x.spared = true
	event := x.event(audit.WouldRefuse)
	switch {
	case v.err != nil:
		g.cfg.Logger.Error(v.doing, zap.Error(v.err), zap.String("request_id", x.in.id()))
		x.refused = passkey.StoreUnavailable
	case v.refusal != "":
		x.refused = v.refusal
	default:
		x.lacking, x.refused = true, v.decision.Reason
		event.Kind, event.Level = audit.WouldRequireStepUp, x.rule.Demand.Level.String()
	}
	event.Reason = x.refused
	g.record(event)
	x.passed.would = string(x.refused)
	if x.lacking {
		x.passed.would = WouldStepUp
	}
}

// refuseUnlessReporting refuses what is wrong whatever the rules say, unless no rule of the block is enforced at all.
func (g *Gate) refuseUnlessReporting(x *exchange, refusal passkey.Refusal) bool {
	if g.reporting {
		g.spare(x, &verdict{refusal: refusal})
		return true
	}
	g.refuse(x, refusal)
	return false
}

// evidence is what a judgement was made on. Without a readable grant it is zero.
type evidence struct {
	opened *opened
	facts  policy.Facts
	seen   *view
}

// judge opens the request's grant and holds it against a demand. Without a readable grant it asks the store nothing.
//
// Where the grant was made after the view of the user was read, a "revoked" or "removed" may be the view's fault
// (another gateway's step-up): then the user is read once more. Only a genuine grant can cause that read. The other
// gateway's clock may be behind, as far as clocks are let be.
func (g *Gate) judge(x *exchange, b *Backend, demanded policy.Demand) (policy.Decision, evidence, error) {
	if x.cookies.grant == "" {
		return policy.Decision{Reason: passkey.GrantMissing}, evidence{}, nil
	}
	seen, now := b.Views.peek(x.user)
	grant, err := seen.open(b.Grants, x.cookies.grant)
	if err != nil {
		return policy.Decision{Reason: passkey.GrantUnreadable}, evidence{}, nil
	}
	e := evidence{opened: grant}
	if seen != nil {
		b.Views.count(Cached)
		if !b.OneClock {
			now = g.cfg.Now()
		}
		decision := e.judge(x, demanded, seen, now)
		outdated := decision.Reason == passkey.GrantRevoked || decision.Reason == passkey.GrantPasskeyRemoved
		if !outdated || e.opened.grant.Latest() < now.Add(-b.Views.age(seen)-policy.MaxSkew).UnixNano() {
			return decision, e, nil
		}
	}
	var decision policy.Decision
	decision, err = g.judgeAnew(x, b, demanded, &e, seen != nil)
	if err != nil {
		return policy.Decision{}, evidence{}, err
	}
	return decision, e, nil
}

// announce tells that a judgement is about to ask the store, and returns the context to ask with.
func (g *Gate) announce(x *exchange) (context.Context, func(Result, passkey.Refusal)) {
	if g.cfg.Judging == nil {
		return x.context(), func(Result, passkey.Refusal) {}
	}
	return g.cfg.Judging(x.context())
}

// judgeAnew holds the grant against the user as the store has them: as it had them within the lag, or later than now.
func (g *Gate) judgeAnew(x *exchange, b *Backend, demanded policy.Demand, e *evidence, later bool) (decision policy.Decision, err error) {
	ctx, end := g.announce(x)
	defer func() { end(judged(decision, err)) }()
	read := b.Views.read
	if later {
		read = b.Views.renew
	}
	seen, err := read(ctx, x.user)
	if err != nil {
		return policy.Decision{}, err
	}
	return e.judge(x, demanded, seen, g.cfg.Now()), nil
}

func (e *evidence) judge(x *exchange, demanded policy.Demand, seen *view, now time.Time) policy.Decision {
	e.seen = seen
	e.facts = policy.Facts{User: seen.user, Origin: x.origin.digest, Session: x.session, Epoch: seen.epoch, Live: seen.live}
	decision := policy.Judge(demanded, &e.opened.grant, &e.facts, now)
	if decision.Allow {
		seen.keep(e.opened)
	}
	return decision
}
