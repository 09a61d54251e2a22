package caddymodule

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// explanation is what `explain --json` prints. Names and values are stable; docs/operating.md has them.
type explanation struct {
	Method string        `json:"method"`
	URL    string        `json:"url"`
	User   string        `json:"user,omitempty"`
	Site   explainedSite `json:"site"`
	Notes  []string      `json:"notes,omitempty"`
	Cases  []explained   `json:"cases"`
	More   bool          `json:"more,omitempty"` // there are more cases than are listed
}

type explainedSite struct {
	Server string   `json:"server"`
	Listen []string `json:"listen"`
	Hosts  []string `json:"hosts,omitempty"`
	Place  string   `json:"place,omitempty"`
}

// explained is what happens under some assumptions about what nobody knows offline.
type explained struct {
	Assuming []assumption     `json:"assuming,omitempty"`
	Before   []explainedStep  `json:"before,omitempty"`
	Gate     *explainedGate   `json:"gate,omitempty"`
	Path     string           `json:"path,omitempty"` // that the gate judges, where a rewrite made it another
	Own      bool             `json:"own,omitempty"`
	Rules    []explainedRule  `json:"rules,omitempty"` // two where a rewrite made both paths count
	Demand   *explainedDemand `json:"demand,omitempty"`
	Behind   string           `json:"behind,omitempty"`
	SignedIn explainedPair    `json:"signed_in"`
	Nobody   *explainedPair   `json:"nobody,omitempty"`
	Unnamed  *explainedPair   `json:"unnamed,omitempty"` // whom the first factor lets through without naming them
	Why      string           `json:"why,omitempty"`
}

type assumption struct {
	That  string `json:"that"`
	Holds bool   `json:"holds"`
}

type explainedStep struct {
	Handler string `json:"handler"`
	Kind    string `json:"kind,omitempty"`
	Place   string `json:"place,omitempty"`
	Path    string `json:"path"`
}

type explainedGate struct {
	Place      string `json:"place,omitempty"`
	Path       string `json:"path"`
	Prefix     string `json:"prefix"`
	UserSource string `json:"user_source"`
	User       string `json:"user,omitempty"` // as the gate knows them
}

type explainedRule struct {
	Number int    `json:"number"` // from 1; 0 for the block's own demand
	Action string `json:"action"` // open or protect
	Text   string `json:"text,omitempty"`
	Place  string `json:"place,omitempty"`
}

type explainedDemand struct {
	Level  string `json:"level"`
	MaxAge int64  `json:"max_age"`                // seconds
	Mode   string `json:"mode,omitempty"`         // unless it is enforced
	From   string `json:"enforce_from,omitempty"` // when it will be
}

type explainedPair struct {
	Browser ending `json:"browser"`
	API     ending `json:"api"`
}

// maxCases bounds how many cases are followed: each question doubles them.
const maxCases = 32

// explain tells what becomes of a request.
func (s *settings) explain(method, text, user string, asUser bool) (*explanation, error) {
	u, err := s.parseTarget(method, text)
	if err != nil {
		return nil, err
	}
	srv, notes, err := s.find(u)
	if err != nil {
		return nil, err
	}
	e := &explanation{Method: method, URL: u.String(), Notes: notes, Site: explainedSite{Server: srv.name, Listen: srv.listen}}
	if asUser {
		e.User = user
	}
	st := srv.siteOf(u.Hostname())
	if st != nil {
		e.Site.Hosts, e.Site.Place = st.hosts, st.place.String()
	}
	if u.Scheme == "http" && srv.secure {
		to := ending{Result: resultRedirect, Status: http.StatusPermanentRedirect, Location: "https://" + u.Hostname() + u.RequestURI(), By: "Caddy"}
		e.Cases = []explained{{SignedIn: explainedPair{to, to}}}
		return e, nil
	}
	in := asked{server: srv, method: method, url: u, user: user}
	if !asUser {
		in.user = "somebody"
	}
	// An https origin on a plain connection counts only from a trusted proxy: from there the request is taken to come.
	in.trusted = u.Scheme == "https" && !srv.secure && srv.trustedProxies || u.Scheme == "http" && srv.trustedProxies
	if srv.trustedProxies && !srv.secure {
		e.Notes = append(e.Notes, "The request is taken to come from one of trusted_proxies. From anybody else an https origin is refused: 421 origin_insecure.")
	}
	left := maxCases
	e.Cases = s.explore(in, !asUser, map[string]bool{}, &left)
	e.More = left <= 0
	return e, nil
}

// explore follows a request, and where that depends on what nobody knows, both ways; ways that end alike are one.
func (s *settings) explore(in asked, nobody bool, answers map[string]bool, left *int) []explained {
	if *left <= 0 {
		return nil
	}
	browser, api := in, in
	browser.browser = true
	runs := []*run{s.follow(browser, answers), s.follow(api, answers)}
	if nobody {
		browser.user, api.user = "", ""
		runs = append(runs, s.follow(browser, answers), s.follow(api, answers))
		browser.unnamed, api.unnamed = true, true
		runs = append(runs, s.follow(browser, answers), s.follow(api, answers))
	}
	for _, x := range runs {
		if x.open == nil {
			continue
		}
		var ways [2][]explained
		for i, answer := range []bool{true, false} {
			with := map[string]bool{x.open.key: answer}
			for key, value := range answers {
				with[key] = value
			}
			ways[i] = s.explore(in, nobody, with, left)
		}
		if reflect.DeepEqual(ways[0], ways[1]) {
			return ways[0]
		}
		var all []explained
		for i, holds := range []bool{true, false} {
			for _, c := range ways[i] {
				c.Assuming = append([]assumption{{That: x.open.text, Holds: holds}}, c.Assuming...)
				all = append(all, c)
			}
		}
		return all
	}
	*left--
	c := runs[0].explained()
	if nobody && c.Gate != nil {
		c.Gate.User = "" // nobody's name was asked about
	}
	c.SignedIn = explainedPair{runs[0].end, runs[1].end}
	if nobody {
		c.Nobody = &explainedPair{runs[2].end, runs[3].end}
		if runs[2].end.Result == resultFactor {
			c.Unnamed = &explainedPair{runs[4].end, runs[5].end}
		}
	}
	if c.Own && c.SignedIn.Browser.Result == resultOwn {
		c.Behind = ""
	}
	return []explained{c}
}

var ruleNumbers = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?:^| \+ )(?:rule (\d+):|(default)|(strictest))`)
})

// explained is what a run tells beyond its ending.
func (x *run) explained() (c explained) {
	for _, m := range x.trail {
		if m.kind == "gate" {
			break
		}
		c.Before = append(c.Before, explainedStep{Handler: m.node.title(), Kind: m.kind, Place: m.node.place.String(), Path: m.node.path})
	}
	if x.gate == nil {
		return c
	}
	h := x.gate
	c.Gate = &explainedGate{
		Place: h.place.String(), Path: h.path, Prefix: orDefault(h.gate.Path, gate.DefaultPath), UserSource: orDefault(h.gate.User, "{http.auth.user.id}"),
	}
	c.Own, c.Behind = x.taken.Own, x.behind
	if c.Gate.User = x.user; h.gate.FoldUser {
		c.Gate.User = gate.FoldUser(x.user)
	}
	if x.judged != x.original.Path {
		c.Path = x.judged
	}
	if x.twice {
		c.Why = "A second stepgate block stands behind this one, and which of them counts nobody could tell: put one block around both routes."
	}
	switch {
	case x.end.Code == string(passkey.PathAmbiguous):
		c.Why = whyAmbiguous(x.original.EscapedPath(), h.gate.AmbiguousPaths == "strictest")
	case x.end.Code == string(passkey.MethodRefused):
		c.Why = "The gate passes on no TRACE, no plain CONNECT, and no method that is not in upper case."
	case x.end.Code == string(passkey.OriginUnknown):
		c.Why = "No origin of the configuration has this host."
	case x.end.Code == string(passkey.OriginInsecure):
		c.Why = "The origin is https, and the connection is plain HTTP from a peer that is not trusted: name the load balancer in trusted_proxies."
	}
	if x.taken.Own || x.taken.Refused {
		return c
	}
	for _, found := range ruleNumbers().FindAllStringSubmatch(x.taken.Rule.Name, -1) {
		rule := explainedRule{Action: "protect"}
		if number, err := strconv.Atoi(found[1]); err == nil && number <= len(h.rules) {
			r := h.rules[number-1]
			rule = explainedRule{Number: number, Action: r.Action, Text: r.text(), Place: r.place.String()}
		} else if found[3] != "" {
			rule.Text = "the strictest demand of the whole block (ambiguous_paths strictest)"
		} else {
			rule.Text, rule.Place = "no rule matches: the block's own demand", h.place.String()
		}
		if !slices.Contains(c.Rules, rule) {
			c.Rules = append(c.Rules, rule)
		}
	}
	if !x.taken.Rule.Open {
		d := x.taken.Rule.Demand
		c.Demand = &explainedDemand{Level: d.Level.String(), MaxAge: int64((d.MaxAge + time.Second - 1) / time.Second)}
		switch rule := x.taken.Rule; rule.ModeAt(time.Now()) {
		case policy.Report:
			c.Demand.Mode = "report"
		case policy.IfEnrolled:
			c.Demand.Mode = "if_enrolled"
			if !rule.From.IsZero() && rule.Mode == policy.Enforce {
				c.Demand.From = rule.From.UTC().Format(time.RFC3339)
			}
		}
	}
	return c
}

// text is a rule as the Caddyfile has it, or else its JSON.
func (r *ruleNode) text() string {
	if r.words != "" {
		return r.words
	}
	text := r.Action
	for _, set := range r.Match {
		if raw, err := json.Marshal(set); err == nil {
			text += " " + string(raw)
		}
	}
	return text
}

// whyAmbiguous names what in a path two parsers could read differently. The gate has judged it; this only says why.
func whyAmbiguous(path string, strictest bool) string {
	lower := strings.ToLower(path)
	decoded, err := url.PathUnescape(path)
	if err != nil {
		decoded = path
	}
	var debatable, worse []string
	for _, part := range []struct {
		there bool
		text  string
		let   bool
	}{
		{strings.Contains(path, "//"), "`//`", true},
		{strings.Contains(path, ";") || strings.Contains(lower, "%3b"), "`;`, which some upstreams cut off", true},
		{strings.Contains(lower, "%2f"), "an encoded slash (%2F)", true},
		{strings.Contains(lower, "%3f"), "an encoded question mark (%3F)", true},
		{strings.Contains(lower, "%23"), "an encoded hash (%23)", true},
		{strings.Contains(lower, "%25"), "an encoded percent sign (%25), which may decode twice", false},
		{strings.Contains(decoded, `\`), "a backslash", false},
		{strings.ContainsFunc(decoded, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '\uFFFD' }), "a control character, or no UTF-8", false},
		{slices.ContainsFunc(strings.Split(decoded, "/"), func(segment string) bool {
			return strings.HasSuffix(segment, ".") || strings.HasSuffix(segment, " ")
		}), "a part that is or ends in a dot or a space", false},
	} {
		switch {
		case part.there && part.let:
			debatable = append(debatable, part.text)
		case part.there:
			worse = append(worse, part.text)
		}
	}
	all := append(worse, debatable...)
	if len(all) == 0 {
		return "The path can be read in more than one way."
	}
	why := "The path holds " + strings.Join(all, " and ") + ": two parsers could read it differently."
	if len(worse) == 0 && !strictest {
		why += " Where a console needs that, `ambiguous_paths strictest` lets it through at the strictest demand of the block."
	}
	return why
}
