package gate

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/stepgate/stepgate/internal/policy"
)

// route finds the rule that decides. A debatable path gets the strictest demand of the whole block, whatever it matches.
//
// What is matched here is not the very request that Caddy's placeholders speak of, so the edge lets no rule have any that
// say how a request was made.
//
// Where the path was rewritten on the way here, both the path that goes on and the one that the client sent are judged,
// and the stricter counts: a rewrite serves the one, but FastCGI applications route by the other (REQUEST_URI). So are
// both readings of a path with letters that have a compatibility form, see [folded].
//
// What it returns is shared: nobody may change it.
func (g *Gate) route(r *http.Request, original *url.URL, how reading) (*policy.Rule, error) {
	if how != clear {
		return &g.strictest, nil
	}
	if r.Method == http.MethodConnect { // a WebSocket over HTTP/2 or HTTP/3
		r = asForwarded(r)
	}
	rule, err := g.match(r)
	rewritten := original.Path != r.URL.Path
	if err == nil && rewritten {
		rule, err = g.stricter(rule, r, original)
	}
	if err == nil {
		rule, err = g.stricterFolded(rule, r, r.URL)
	}
	if err == nil && rewritten {
		rule, err = g.stricterFolded(rule, r, original)
	}
	return rule, err
}

// stricterFolded judges a request by the compatibility form of its path too. One that is not clear gets the strictest demand, as
// a debatable path does.
func (g *Gate) stricterFolded(rule *policy.Rule, r *http.Request, at *url.URL) (*policy.Rule, error) {
	other, how, differs := folded(at.Path)
	switch {
	case !differs:
		return rule, nil
	case how != clear:
		return &g.strictest, nil
	}
	return g.stricter(rule, r, &url.URL{Path: other, RawQuery: at.RawQuery})
}

// stricter judges a request as if it were for another address, and returns the stricter of both rules.
func (g *Gate) stricter(rule *policy.Rule, r *http.Request, at *url.URL) (*policy.Rule, error) {
	other := new(http.Request)
	*other = *r
	other.URL = at
	asOther, err := g.match(other)
	if err != nil || *asOther == *rule {
		return rule, err
	}
	strictest := rule.Strictest(*asOther)
	return &strictest, nil
}

// match finds the first rule that matches. The path must be clear.
func (g *Gate) match(r *http.Request) (*policy.Rule, error) {
	for _, i := range g.rules.candidates(strings.ToLower(r.URL.Path)) {
		route := &g.cfg.Rules[i]
		if route.Match == nil {
			return &route.Rule, nil
		}
		matched, err := route.Match(r)
		if err != nil {
			return nil, err
		}
		if matched {
			return &route.Rule, nil
		}
	}
	return &g.cfg.Default, nil
}

// routeTo finds the rule for a GET of a path on this site, for a challenge page that was opened without a demand. An
// open path has no demand of its own; the block's is as good as any.
func (g *Gate) routeTo(r *http.Request, target string) (*policy.Rule, error) {
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return &g.cfg.Default, nil
	}
	there := r.Clone(r.Context())
	there.Method, there.URL, there.RequestURI = http.MethodGet, u, target
	rule, err := g.route(there, u, readURL(u))
	if err == nil && rule.Open {
		rule = &g.cfg.Default
	}
	return rule, err
}

// Taken is how [Gate.Serve] takes a request, before it asks who sent it: for one of the gateway's own addresses, refused
// whatever the rules say, or else by the rule that decides.
type Taken struct {
	Own     bool
	Refused bool
	Rule    policy.Rule
}

// Take tells how Serve takes a request, for whoever explains a configuration without serving it.
func (g *Gate) Take(r *http.Request, original *url.URL) (Taken, error) {
	how, refusal := checkRequest(r, original)
	if refusal != "" || how == ambiguous || how == debatable && !g.cfg.LetDebatable || looksWellKnown(original.Path) {
		return Taken{Refused: true}, nil
	}
	if _, own := g.ownPath(original.Path); own {
		return Taken{Own: true}, nil
	}
	rule, err := g.route(r, original, how)
	if err != nil {
		return Taken{}, err
	}
	return Taken{Rule: *rule}, nil
}
