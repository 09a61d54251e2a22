package gate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// demand is what a stopped request needed. It travels sealed through the client to the challenge page and back, so that
// the page, the options and the check are about the same request. It carries no authority: whoever gets hold of one can
// only step up at its level, and what that is worth is judged again at the next request.
type demand struct {
	User   string        `json:"u"` // whose it is, as a digest: nobody can hand somebody else a demand that lies
	Origin string        `json:"o"`
	Method string        `json:"m"`
	Target string        `json:"t"`           // original path and query, for display
	Return string        `json:"b,omitempty"` // where to go afterwards, a path and query on this origin; "" for Target
	Rule   string        `json:"r,omitempty"` // for whoever opens one to see why it was made
	Level  passkey.Level `json:"l"`
	MaxAge time.Duration `json:"a"`
	Reason string        `json:"w"` // why the grant did not do, for display
}

// back returns where the person goes afterwards.
func (d demand) back() string {
	if d.Return == "" {
		return d.Target
	}
	return d.Return
}

// owner is the digest of a user's name as a demand holds it.
func owner(user string) string {
	digest := passkey.DigestOf(user)
	return base64.RawURLEncoding.EncodeToString(digest[:16])
}

func (d demand) policy() policy.Demand { return policy.Demand{Level: d.Level, MaxAge: d.MaxAge} }

func (d demand) seal(s *grant.Sealer) string {
	var value bytes.Buffer
	encoder := json.NewEncoder(&value)
	encoder.SetEscapeHTML(false) // it would make each & of a query six times as long
	if err := encoder.Encode(d); err != nil {
		return "" // strings and numbers always encode
	}
	return s.Seal(value.Bytes())
}

// openDemand opens a sealed demand and holds it to this user and origin.
func openDemand(s *grant.Sealer, text, user, origin string) (demand, error) {
	var d demand
	if len(text) > 4*maxTarget {
		return demand{}, passkey.DemandInvalid
	}
	err := s.Open(text, func(value []byte) error { return json.Unmarshal(value, &d) })
	if err != nil || d.User != owner(user) || d.Origin != origin || !d.policy().Valid() {
		return demand{}, passkey.DemandInvalid
	}
	return d, nil
}

// demandFor describes a stopped request. After a navigation the person goes where they were going. After anything else
// they go back to the page that sent it: a request with a body is never repeated for them, since whoever planted it
// would have it confirmed by the victim's passkey.
func (g *Gate) demandFor(x *exchange, reason passkey.Refusal) demand {
	r, rule := x.r, x.rule
	target := x.in.Original.RequestURI()
	if len(target) > maxTarget {
		target = x.in.Original.EscapedPath()
	}
	if len(target) > maxTarget {
		target = "/"
	}
	d := demand{
		User: owner(x.user), Origin: x.origin.text, Method: r.Method, Target: target, Rule: rule.Name,
		Level: rule.Demand.Level, MaxAge: rule.Demand.MaxAge, Reason: string(reason),
	}
	if isNavigation(r) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		d.Return = returnTo(target, g.cfg.Path, g.cfg.LetDebatable)
	} else {
		d.Return = returnTo(refererPath(r, x.origin.text), g.cfg.Path, g.cfg.LetDebatable)
	}
	if d.Return == target {
		d.Return = "" // said once: the demand travels in a URL
	}
	return d
}

// refererPath returns path and query of a Referer of this very origin, else "".
func refererPath(r *http.Request, origin string) string {
	u, err := url.Parse(r.Header.Get("Referer"))
	if err != nil || u.Scheme+"://"+u.Host != origin {
		return ""
	}
	return u.RequestURI()
}

// findDemand opens the demand that a client sent back, or makes one for the path that it wants to go to.
func (g *Gate) findDemand(x *exchange, b *Backend, sealed, target string) (demand, error) {
	if sealed != "" {
		return openDemand(b.Demands, sealed, x.user, x.origin.text)
	}
	target = returnTo(target, g.cfg.Path, g.cfg.LetDebatable)
	d := demand{Origin: x.origin.text, Method: http.MethodGet, Target: target, Reason: string(passkey.GrantMissing)}
	rule, err := g.routeTo(x.r, target)
	if err != nil {
		return demand{}, err
	}
	d.Rule, d.Level, d.MaxAge = rule.Name, rule.Demand.Level, rule.Demand.MaxAge
	return d, nil
}
