// Package policy decides whether a request may pass: a demand, a grant, the user's present state and the time go in;
// allow or not, with a reason, comes out.
//
// It is pure: no clock, no HTTP, no store. Whatever it does not understand it does not allow. An attacker controls, at
// most, which (genuine) grant is presented; every other input is the gateway's own.
package policy

import (
	"time"

	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
)

// MaxSkew is how far apart the clocks of two gateways may be. A proof that lies so far ahead of this gateway's clock counts
// as brand new; one further ahead is refused. It can stretch a grant by at most this much.
const MaxSkew = 10 * time.Second

// Demand is what a request needs.
type Demand struct {
	Level  passkey.Level
	MaxAge time.Duration // a proof must be younger than this
}

// Strictest returns what satisfies both demands.
func (d Demand) Strictest(other Demand) Demand {
	return Demand{Level: max(d.Level, other.Level), MaxAge: min(d.MaxAge, other.MaxAge)}
}

// Valid reports whether a demand can be met at all and demands something.
func (d Demand) Valid() bool { return d.Level.Valid() && d.MaxAge > 0 }

// Rule is one line of a site's configuration, without what it matches.
type Rule struct {
	Name   string // as the configuration spells it, for logs
	Open   bool   // nothing is demanded
	Demand Demand
	Mode   Mode      // how far it is enforced
	From   time.Time // with Enforce: when that begins; zero for "has begun"
}

// Facts are what the grant is held against.
type Facts struct {
	User    passkey.Digest
	Origin  passkey.Digest
	Session passkey.Digest
	Epoch   passkey.Epoch
	Live    []grant.PasskeyID // the passkeys that the user has now
}

// Decision is the outcome. Proof is the one that satisfied the demand; Reason says why none did.
type Decision struct {
	Allow  bool
	Reason passkey.Refusal // "" when allowed
	Proof  grant.Proof
}

// Judge holds a grant against a demand. The grant must have been opened by its sealer; the zero Grant is no grant.
//
// Reasons come in the order of the checks: whose grant it is, where and in which session and epoch it was made, then
// whether a proof in it is of a present passkey, not from the future, strong enough and recent enough.
func Judge(d Demand, g *grant.Grant, f *Facts, now time.Time) Decision {
	switch {
	case g == nil || len(g.Proofs()) == 0:
		return deny(passkey.GrantMissing)
	case !d.Valid():
		return deny(passkey.Internal)
	case g.User != f.User:
		return deny(passkey.GrantOtherUser)
	case g.Origin != f.Origin:
		return deny(passkey.GrantOtherOrigin)
	case g.Session != f.Session:
		return deny(passkey.GrantOtherSession)
	case g.Epoch != f.Epoch:
		return deny(passkey.GrantRevoked)
	}
	decision := deny(passkey.GrantPasskeyRemoved)
	for _, p := range g.Proofs() { // weakest first
		reason := judgeProof(d, p, f.Live, now)
		if reason == "" {
			return Decision{Allow: true, Proof: p}
		}
		if rank(reason) > rank(decision.Reason) {
			decision.Reason = reason
		}
	}
	return decision
}

func judgeProof(d Demand, p grant.Proof, live []grant.PasskeyID, now time.Time) passkey.Refusal {
	age := now.Sub(time.Unix(0, p.At)) // which stops at its limits, where nanoseconds would go round
	switch {
	case !isLive(p.Passkey, live):
		return passkey.GrantPasskeyRemoved
	case age < -MaxSkew:
		return passkey.GrantFromFuture
	case p.Level < d.Level:
		return passkey.GrantLevel
	case age >= d.MaxAge:
		return passkey.GrantStale
	}
	return ""
}

func isLive(id grant.PasskeyID, live []grant.PasskeyID) bool {
	for i := range live {
		if live[i] == id {
			return true
		}
	}
	return false
}

// rank orders reasons by how near the proof came, so that the reason given is the one the person can act on.
func rank(reason passkey.Refusal) int {
	switch reason {
	case passkey.GrantStale:
		return 3
	case passkey.GrantLevel:
		return 2
	case passkey.GrantFromFuture:
		return 1
	}
	return 0
}

func deny(reason passkey.Refusal) Decision { return Decision{Reason: reason} }
