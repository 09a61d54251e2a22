package gate

import (
	"time"

	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// protect lets a request pass if its grant meets the rule's demand.
func (g *Gate) protect(x *exchange) (Passed, bool) {
	if isEarly(x.r) {
		g.refuse(x, passkey.TooEarly)
		return Passed{}, false
	}
	if refusal := g.identify(x); refusal != "" {
		g.refuse(x, refusal)
		return Passed{}, false
	}
	backend, err := g.cfg.Backend()
	if err != nil {
		g.fail(x, "opening store", err)
		return Passed{}, false
	}
	decision, known, err := g.judge(x, backend, x.rule.Demand)
	if err != nil {
		g.fail(x, "reading user", err)
		return Passed{}, false
	}
	if !decision.Allow {
		g.requireStepUp(x, backend, decision.Reason)
		return Passed{}, false
	}
	passed := Passed{
		User:    headerSafe(x.user),
		Passkey: known.seen.short(decision.Proof.Passkey),
		Level:   decision.Proof.Level.String(),
		Time:    decision.Proof.Time().Format(time.RFC3339),
	}
	passed.setHeaders(x.r.Header)
	return passed, true
}

// evidence is what a judgement was made on. Without a readable grant it is zero.
type evidence struct {
	grant grant.Grant
	facts policy.Facts
	seen  *view
}

// judge opens the request's grant and holds it against a demand. Without a readable grant it asks the store nothing.
//
// Where the grant was made after the view of the user was read, a "revoked" or "removed" may be the view's fault
// (another gateway's step-up): then the user is read once more. Only a genuine grant can cause that read. The other
// gateway's clock may be behind, as far as clocks are let be.
func (g *Gate) judge(x *exchange, b *Backend, demanded policy.Demand) (policy.Decision, evidence, error) {
	var e evidence
	if x.cookies.grant == "" {
		return policy.Decision{Reason: passkey.GrantMissing}, e, nil
	}
	if err := e.grant.Open(b.Grants, x.cookies.grant); err != nil {
		return policy.Decision{Reason: passkey.GrantUnreadable}, e, nil
	}
	seen := b.Views.held(x.user)
	if seen != nil {
		decision := e.judge(x, demanded, seen, g.cfg.Now())
		outdated := decision.Reason == passkey.GrantRevoked || decision.Reason == passkey.GrantPasskeyRemoved
		if !outdated || e.grant.Latest() < seen.readAt.Add(-policy.MaxSkew).UnixNano() {
			return decision, e, nil
		}
	}
	decision, err := g.judgeAnew(x, b, demanded, &e, seen != nil)
	if err != nil {
		return policy.Decision{}, evidence{}, err
	}
	return decision, e, nil
}

// judgeAnew holds the grant against the user as the store has them: as it had them within the lag, or later than now.
func (g *Gate) judgeAnew(x *exchange, b *Backend, demanded policy.Demand, e *evidence, later bool) (decision policy.Decision, err error) {
	ctx := x.context()
	if g.cfg.Judging != nil {
		asking, end := g.cfg.Judging(ctx)
		defer func() { end(judged(decision, err)) }()
		ctx = asking
	}
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
	return policy.Judge(demanded, &e.grant, &e.facts, now)
}
