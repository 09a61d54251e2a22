package gate

import (
	"math"
	"net/http"
	"time"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// challengePage serves the page where a person steps up. Where the demand is met already (another tab was faster), it
// sends them on instead of asking twice.
func (g *Gate) challengePage(x *exchange, b *Backend) {
	query := x.r.URL.Query()
	if x.r.URL != x.in.Original {
		query = x.in.Original.Query() // a rewrite may have changed it
	}
	sealed := query.Get("demand")
	d, err := g.findDemand(x, b, sealed, query.Get("return_to"))
	if err != nil {
		g.refuse(x, refusalOf(err))
		return
	}
	decision, e, err := g.judge(x, b, d.policy())
	if err == nil && decision.Allow {
		// Another gateway, which sent them here, may know better than this one's view: they must not be sent to and fro.
		var seen *view
		if seen, err = b.Views.renew(x.context(), x.user); err == nil {
			decision = e.judge(x, d.policy(), seen, g.cfg.Now())
		}
	}
	if err != nil {
		g.fail(x, "reading user", err)
		return
	}
	if decision.Allow {
		setPrivate(x.w.Header())
		x.w.Header().Set("Location", d.back())
		x.w.WriteHeader(http.StatusSeeOther)
		return
	}
	account, err := b.Ceremonies.Account(x.context(), x.user)
	if err != nil {
		g.fail(x, "reading account", err)
		return
	}
	suitable, lapsed := 0, false
	for _, p := range account.Passkeys {
		switch {
		case b.Ceremonies.Reach(p) >= d.Level:
			suitable++
		case p.Reach() >= d.Level:
			lapsed = true
		}
	}
	first := g.firstUse(x, account)
	g.party(x) // the cookie is set here, so that two tabs opened together share one
	g.writePage(x, http.StatusOK, assets.Challenge{
		Common: g.common(x), Demand: sealed, ReturnTo: d.back(), Method: d.Method, Target: d.Target,
		Level: d.Level.String(), MaxAge: d.MaxAge, Because: d.Reason,
		Passkeys: len(account.Passkeys), Suitable: suitable, Lapsed: lapsed, CodesLeft: g.codesLeft(account.User), Bounded: bounded(account, d.Level), FirstUse: first.open,
		Uninvited: first.uninvited, SignIn: string(first.signIn), SignInWithin: g.cfg.SignInWithin, Timeout: g.cfg.ChallengeTTL,
	})
}

// demandOf reads which demand a request to the JSON API is about.
func (g *Gate) demandOf(x *exchange, b *Backend, body *strictjson.Reader) (demand, error) {
	sealed, target := body.OptionalText("demand"), body.OptionalText("return_to")
	if err := body.Err(); err != nil {
		return demand{}, err
	}
	if sealed != "" && target != "" { // which of the two would be left to whoever reads first
		return demand{}, passkey.BodyMalformed
	}
	return g.findDemand(x, b, sealed, target)
}

// limited refuses a ceremony start when too many were started.
func (g *Gate) limited(x *exchange, b *Backend, party ceremony.Party) bool {
	x.wait = b.Limiter.take(x.user, x.in.client(), party.Browser, x.provenBrowser(b), g.cfg.Now())
	if x.wait == 0 {
		return false
	}
	g.refuse(x, passkey.RateLimited)
	return true
}

// limitedFinish refuses a finish when too many hit no challenge that could be finished. Otherwise settle must be told how it
// ended.
//
// Each such finish costs the store a conditional delete and a read of the user's own items, which somebody with a stolen
// sign-in could have throttled. Whoever hits a live challenge uses it up, and its start was paid for: they get the token
// back.
func (g *Gate) limitedFinish(x *exchange, b *Backend, party ceremony.Party) (settle func(error), limited bool) {
	token, wait := b.Limiter.takeFinish(x.user, x.in.client(), party.Browser, x.provenBrowser(b), g.cfg.Now())
	if x.wait = wait; wait > 0 {
		g.refuse(x, passkey.RateLimited)
		return nil, true
	}
	return func(err error) {
		if err == nil || !leavesChallenge(refusalOf(err)) {
			b.Limiter.give(token, g.cfg.Now())
		}
	}, false
}

// leavesChallenge reports whether a finish that ended so may be sent again and ask the store each time. A kind that does not
// fit leaves the challenge too, an expired one is there until it is swept, and of a store that failed nobody knows.
func leavesChallenge(refusal passkey.Refusal) bool {
	switch refusal {
	case passkey.ChallengeUsed, passkey.ChallengeExpired, passkey.CeremonyMismatch, passkey.BrowserMismatch, passkey.StoreUnavailable:
		return true
	}
	return false
}

func (g *Gate) startStepUp(x *exchange, b *Backend, body *strictjson.Reader) {
	d, err := g.demandOf(x, b, body)
	if err != nil {
		g.refuse(x, refusalOf(err))
		return
	}
	party := g.party(x)
	if g.limited(x, b, party) {
		return
	}
	options, err := b.Ceremonies.Start(x.context(), party, ceremony.Purpose{Action: passkey.StepUp, Level: d.Level})
	if err != nil {
		g.refuseCeremony(x, passkey.StepUp, err)
		return
	}
	g.writeJSON(x, http.StatusOK, options)
}

// stepUpAnswer is what a finished step-up tells the page.
type stepUpAnswer struct {
	ReturnTo  string    `json:"return_to"`
	ExpiresAt time.Time `json:"expires_at"` // when the grant is too old for the route that asked
	Level     string    `json:"level"`
}

func (g *Gate) finishStepUp(x *exchange, b *Backend, body *strictjson.Reader) {
	credential := body.Raw("credential")
	d, err := g.demandOf(x, b, body)
	if err != nil {
		g.refuse(x, refusalOf(err))
		return
	}
	party := g.party(x)
	settle, limited := g.limitedFinish(x, b, party)
	if limited {
		return
	}
	proof, err := b.Ceremonies.Finish(x.context(), party, ceremony.Purpose{Action: passkey.StepUp, Level: d.Level}, credential)
	settle(err)
	if err != nil {
		g.refuseCeremony(x, passkey.StepUp, err)
		return
	}
	if !g.finished(x, b, passkey.StepUp, proof) {
		g.answer(x, passkey.AuditUnavailable) // no grant without a line that says so
		return
	}
	g.setGrant(x, b, proof)
	g.writeJSON(x, http.StatusOK, stepUpAnswer{
		ReturnTo: d.back(), ExpiresAt: proof.At.Add(d.MaxAge).UTC().Truncate(time.Second), Level: proof.Level.String(),
	})
}

// finished records a successful authentication, and reports whether that was done.
func (g *Gate) finished(x *exchange, b *Backend, action passkey.Action, proof ceremony.Proof) (recorded bool) {
	g.markBrowser(x, b)
	event := x.event(audit.CeremonyFinished)
	event.Action, event.Passkey, event.Level = action, proof.Passkey.ShortID(), proof.Level.String()
	recorded = g.record(event)
	if proof.Regress {
		event.Kind = audit.CloneSuspected
		recorded = g.record(event) && recorded
	}
	if proof.Learned {
		event.Kind, event.Level = audit.BackupLearned, b.Ceremonies.Reach(proof.Passkey).String()
		recorded = g.record(event) && recorded
	}
	return recorded
}

// setGrant adds the proof to the client's grant. What the client holds is kept only if it is the same user's, in the
// same place, session and epoch.
func (g *Gate) setGrant(x *exchange, b *Backend, proof ceremony.Proof) {
	fresh := grant.Grant{User: passkey.DigestOf(x.user), Origin: x.origin.digest, Session: x.session, Epoch: proof.Epoch}
	var held grant.Grant
	if x.cookies.grant != "" && held.Open(b.Grants, x.cookies.grant) == nil &&
		held.User == fresh.User && held.Origin == fresh.Origin && held.Session == fresh.Session && held.Epoch == fresh.Epoch {
		fresh = held
	}
	fresh.Forget(g.cfg.Now().Add(-g.keep()).UnixNano())
	fresh.Add(grant.Proof{Passkey: passkeyID(proof.Passkey.ID), Level: proof.Level, At: proof.At.UnixNano()})
	g.cfg.Meter.Minted(proof.Level)
	maxAge := int(min(seconds(g.keep()), math.MaxInt32))
	http.SetCookie(x.w, g.cookie(x, cookieNames(x.origin.secure).grant, fresh.Seal(b.Grants), maxAge))
}
