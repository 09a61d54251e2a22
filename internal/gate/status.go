package gate

import (
	"math"
	"net/http"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// statusAnswer tells an app whether this client holds a grant: how old, how strong, until when. The times are about the
// block's own demand; Proofs hold what any other needs.
type statusAnswer struct {
	User      string          `json:"user"`
	SteppedUp bool            `json:"stepped_up"`           // the block's own demand is met
	Reason    passkey.Refusal `json:"reason,omitempty"`     // why not
	Level     string          `json:"level,omitempty"`      // of the proof that meets it
	At        *time.Time      `json:"at,omitempty"`         // when that passkey was used
	Age       *int64          `json:"age,omitempty"`        // seconds since then
	ExpiresAt *time.Time      `json:"expires_at,omitempty"` // when it is too old
	Passkey   string          `json:"passkey,omitempty"`    // short id
	Proofs    []proofStatus   `json:"proofs"`

	EnforceFrom *time.Time `json:"enforce_from,omitempty"` // when a rule that is not enforced yet will be
}

type proofStatus struct {
	Level string    `json:"level"`
	At    time.Time `json:"at"`
	Age   int64     `json:"age"`
}

func (g *Gate) status(x *exchange, b *Backend) {
	answer := statusAnswer{User: x.user, Proofs: []proofStatus{}}
	decision, known, err := g.judge(x, b, g.cfg.Default.Demand)
	if err != nil {
		g.fail(x, "reading user", err)
		return
	}
	now := g.cfg.Now()
	answer.SteppedUp, answer.Reason = decision.Allow, decision.Reason
	if decision.Allow {
		at := decision.Proof.Time()
		age, expires := int64(now.Sub(at)/time.Second), at.Add(g.cfg.Default.Demand.MaxAge)
		answer.Level, answer.At, answer.Age, answer.ExpiresAt = decision.Proof.Level.String(), &at, &age, &expires
		answer.Passkey = known.seen.short(decision.Proof.Passkey)
	}
	for _, p := range known.opened.proofs() {
		of := policy.Judge(policy.Demand{Level: p.Level, MaxAge: g.keep()}, &known.opened.grant, &known.facts, now)
		if of.Allow && of.Proof == p {
			answer.Proofs = append(answer.Proofs, proofStatus{Level: p.Level.String(), At: p.Time(), Age: int64(now.Sub(p.Time()) / time.Second)})
		}
	}
	if from := g.begins(); !from.IsZero() {
		from = from.UTC()
		answer.EnforceFrom = &from
	}
	g.writeJSON(x, http.StatusOK, answer)
}

// bearsGrant reports whether the request bears a grant of this user that was not revoked, however old.
func (g *Gate) bearsGrant(x *exchange, b *Backend) bool {
	ever := policy.Demand{Level: passkey.Present, MaxAge: math.MaxInt64}
	decision, _, err := g.judge(x, b, ever)
	return err == nil && decision.Allow
}

// logout ends all of the user's grants, on every gateway and in every browser, and clears this one's. Only a browser that
// stepped up may: whoever has no more than a stolen sign-in could end every step-up of its owner as soon as it was made.
func (g *Gate) logout(x *exchange, b *Backend, _ *strictjson.Reader) {
	party := g.party(x)
	if !x.provenBrowser(b) && !g.bearsGrant(x, b) {
		account, err := b.Ceremonies.Account(x.context(), x.user)
		switch {
		case err != nil:
			g.fail(x, "reading account", err)
			return
		case account.User.Version != 0:
			g.refuse(x, passkey.AuthorizationNeeded)
			return
		}
	}
	if x.wait = b.Limiter.take(x.user, x.in.client(), party.Browser, true, g.cfg.Now()); x.wait > 0 {
		g.refuse(x, passkey.RateLimited)
		return
	}
	err := b.Ceremonies.Revoke(x.context(), x.user)
	b.Views.Forget(x.user)
	if err != nil {
		g.refuseStored(x, "revoking grants", err)
		return
	}
	g.record(x.event(audit.GrantsRevoked))
	http.SetCookie(x.w, g.cookie(x, cookieNames(x.origin.secure).grant, "", -1))
	setPrivate(x.w.Header())
	x.w.WriteHeader(http.StatusNoContent)
}
