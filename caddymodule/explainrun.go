package caddymodule

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/stepgate/stepgate/internal/gate"
)

// asked is a request to explain.
type asked struct {
	server  *server
	method  string
	url     *url.URL
	user    string // whom the first factor names; "" for nobody
	browser bool   // a navigation; otherwise an API client
	unnamed bool   // the first factor lets them through without a name; otherwise it stops nobody's requests itself
	trusted bool   // the connection comes from a trusted proxy
}

// run follows one request through the routes, as Caddy would, under some answers to what nobody knows offline.
type run struct {
	settings *settings
	asked
	answers  map[string]bool
	open     *question // the first question without an answer
	request  *http.Request
	replacer *caddy.Replacer
	original *url.URL
	groups   map[string]bool
	fails    string // a status that a matcher ended the request with
	depth    int

	trail  []met
	gate   *handlerNode
	taken  gate.Taken
	judged string // the path that the gate got
	verb   string // the method that the gate got
	twice  bool   // a second gate stands behind the first
	end    ending
	behind string // who answers behind the gate
	after  bool   // past the gate: only behind is still looked for
}

// met is a handler on the way.
type met struct {
	node    *handlerNode
	kind    string // factor, changes, answers, or "" for one that only passes on
	sets    []string
	deletes []string
}

// ending is what a client gets.
type ending struct {
	Result   string `json:"result"`
	Status   int    `json:"status,omitempty"`
	Code     string `json:"code,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Location string `json:"location,omitempty"`
	By       string `json:"by,omitempty"`
	Hint     string `json:"hint,omitempty"`
	Would    string `json:"would,omitempty"` // what an enforced rule would have done
}

// The results of an ending. The list is closed; docs/operating.md has it.
const (
	resultPasses    = "passes"       // goes on to the handlers behind the gate
	resultChallenge = "challenge"    // is sent to the challenge page
	resultStepUp    = "step_up"      // is told to step up
	resultRefused   = "refused"      // is refused by the gate
	resultOwn       = "own"          // is served by the gate itself
	resultFactor    = "first_factor" // is answered by the first factor
	resultUngated   = "ungated"      // is answered without having met a gate
	resultRedirect  = "redirect"     // is sent to https by Caddy
)

// follow runs a request through the routes of its server.
func (s *settings) follow(in asked, answers map[string]bool) *run {
	x := &run{settings: s, asked: in, answers: answers, groups: map[string]bool{}}
	s.current = x
	// Read as net/http reads it off the wire; the URL was checked before.
	u, _ := url.ParseRequestURI(in.url.RequestURI())
	r := (&http.Request{
		Method: in.method, URL: u, RequestURI: in.url.RequestURI(), Host: in.url.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, RemoteAddr: "192.0.2.1:1",
	}).WithContext(context.Background())
	if in.server.secure {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, ServerName: in.url.Hostname(), Version: tls.VersionTLS13}
	}
	if in.browser {
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	} else {
		r.Header.Set("Accept", "application/json")
	}
	x.replacer = caddy.NewReplacer()
	x.replacer.Map(x.placeholders)
	x.request = caddyhttp.PrepareRequest(r, x.replacer, newReply(), nil)
	caddyhttp.SetVar(x.request.Context(), caddyhttp.TrustedProxyVarKey, in.trusted)
	caddyhttp.SetVar(x.request.Context(), caddyhttp.ClientIPVarKey, "192.0.2.1")
	original, _ := x.request.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	x.original = original.URL
	x.routes(in.server.routes, func() { x.answered("Caddy, with an empty page", http.StatusOK, "") })
	if in.method == http.MethodHead && x.end.Status >= 400 && x.end.Code == "" && x.gate != nil {
		// An answer to HEAD has no body to read the code from; the one to GET is the same but for that.
		in.method = http.MethodGet
		if get := s.follow(in, answers); get.end.Status == x.end.Status {
			x.end = get.end
		}
	}
	return x
}

// asSent is the request with the URL that the client sent.
func (x *run) asSent() *http.Request {
	sent := *x.request
	sent.URL = x.original
	return &sent
}

func (x *run) ask(q question) bool {
	answer, known := x.answers[q.key]
	if !known && x.open == nil {
		x.open = &q
	}
	return answer
}

// routes follows a list of routes; then is what comes behind them.
func (x *run) routes(list []*routeNode, then func()) {
	if len(list) == 0 {
		then()
		return
	}
	route, rest := list[0], func() { x.routes(list[1:], then) }
	if route.group != "" && x.groups[route.group] {
		rest()
		return
	}
	if x.after && slices.ContainsFunc(route.matchers, func(set *matcherSet) bool { return !set.trivial }) {
		return // who answers depends on what nobody knows here
	}
	matched, err := x.matchesAny(route.matchers)
	switch {
	case x.open != nil:
		return // to be followed again under either answer
	case x.fails != "":
		status, _ := strconv.Atoi(x.fails)
		x.answered("Caddy's file matcher", status, "")
		return
	case err != nil:
		x.answered("a matcher that fails: "+err.Error(), http.StatusInternalServerError, "")
		return
	case !matched:
		rest()
		return
	}
	if route.group != "" {
		x.groups[route.group] = true
	}
	if route.terminal {
		rest = func() { x.answered("Caddy, with an empty page", http.StatusOK, "") }
	}
	x.handlers(route.handlers, rest)
}

func (x *run) handlers(list []*handlerNode, then func()) {
	if len(list) == 0 {
		then()
		return
	}
	x.handler(list[0], func() { x.handlers(list[1:], then) })
}

// passing are Caddy's handlers that hand every request on.
var passing = []string{"encode", "intercept", "log_append", "push", "request_body", "templates", "tracing", "copy_response_headers"}

func (x *run) handler(h *handlerNode, next func()) {
	switch {
	case h.name == "subroute":
		x.routes(h.routes, next)
	case h.name == "invoke":
		named := x.server.named[h.invokes()]
		if x.depth++; named == nil || x.depth > 50 {
			x.answered("a named route that is missing", http.StatusInternalServerError, "")
			return
		}
		x.routes([]*routeNode{named}, next)
	case h.name == "stepgate":
		x.meet(h, next)
	case slices.Contains(changing, h.name):
		x.change(h, next)
	case slices.Contains(passing, h.name):
		next()
	case isFactor(h) && x.gate == nil:
		sets, deletes := copiedHeaders(h)
		x.trail = append(x.trail, met{node: h, kind: "factor", sets: sets, deletes: deletes})
		if x.user == "" && !x.unnamed {
			x.end = ending{Result: resultFactor, By: h.title()}
			if h.name == "authentication" {
				x.end.Status = http.StatusUnauthorized
			}
			return
		}
		next()
	case isFactor(h):
		next()
	case answersAlways(h):
		by, status, location := describeAnswer(h)
		x.trail = append(x.trail, met{node: h, kind: "answers"})
		x.answered(by, status, location)
	default: // another module's: most pass on what they don't refuse
		x.trail = append(x.trail, met{node: h})
		next()
	}
}

// change runs one of Caddy's own handlers that change a request.
func (x *run) change(h *handlerNode, next func()) {
	m := met{node: h}
	m.sets, m.deletes = headerChanges(h)
	before := x.request.Method + " " + x.request.URL.RequestURI()
	called := false
	err := x.settings.loaded[h].ServeHTTP(newReply(), x.request, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		called = true
		x.request = r
		return nil
	}))
	if x.request.Method+" "+x.request.URL.RequestURI() != before || len(m.sets)+len(m.deletes) > 0 {
		m.kind = "changes"
		x.trail = append(x.trail, m)
	}
	if err != nil || !called {
		x.answered(h.called, http.StatusInternalServerError, "")
		return
	}
	next()
}

func (x *run) answered(by string, status int, location string) {
	if x.after {
		x.behind = by
		return
	}
	x.end = ending{Result: resultUngated, Status: status, By: by, Location: location}
}
