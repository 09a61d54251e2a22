package caddymodule

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stepgate/stepgate/internal/gate"
)

// Some findings can't be seen in the routes: they are seen in what becomes of requests. So a few are followed, for the
// paths that a site's matchers name and for one that none names.

var pathCalls = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\bpath\(([^)]*)\)`)
})

// elsewhere is a path that no configuration names.
const elsewhere = "/stepgate-check/elsewhere"

// examples returns a path below and one beside each pattern that a site's matchers and rules name.
func (st *site) examples() (paths []string) {
	seen := map[string]bool{"/": true, elsewhere: true}
	add := func(patterns []string) {
		for _, pattern := range patterns {
			if !strings.HasPrefix(pattern, "/") || strings.ContainsAny(pattern, "{}%") {
				continue
			}
			seen[strings.ReplaceAll(pattern, "*", "x")] = true
			if bare, wild := strings.CutSuffix(pattern, "/*"); wild && bare != "" && !strings.Contains(bare, "*") {
				seen[bare] = true
			}
		}
	}
	var walk func([]*routeNode)
	walk = func(routes []*routeNode) {
		for _, route := range routes {
			add(pathsIn(route.sets))
			for _, h := range route.handlers {
				walk(h.routes)
				for _, rule := range h.rules {
					add(pathsIn(rule.Match))
				}
			}
		}
	}
	walk(st.routes)
	return slices.Sorted(maps.Keys(seen))
}

// exampleHost returns a host whose requests go to a site: one that an origin names where there is one.
func (l *linter) exampleHost(st *site) string {
	for _, origin := range l.app.allOrigins() {
		if st.matches(gate.HostOf(origin)) && st.server.siteOf(gate.HostOf(origin)) == st {
			_, host, _ := strings.Cut(origin, "://")
			return host
		}
	}
	if len(st.hosts) > 0 {
		return strings.ReplaceAll(st.hosts[0], "*", "x")
	}
	return gate.HostOf(l.app.Origins[0])
}

// ways follows a request of somebody who is signed in, on each way that it can take.
func (l *linter) ways(st *site, path string, answers map[string]bool, left *int) []*run {
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil
	}
	u.Scheme, u.Host = "https", l.exampleHost(st)
	return l.waysOf(asked{server: st.server, method: http.MethodGet, url: u, user: "somebody", trusted: true}, answers, left)
}

// waysOf follows a request on each way that it can take.
func (l *linter) waysOf(in asked, answers map[string]bool, left *int) []*run {
	if *left <= 0 {
		return nil
	}
	x := l.follow(in, answers)
	if x.open == nil {
		*left--
		return []*run{x}
	}
	var all []*run
	for _, answer := range []bool{true, false} {
		with := maps.Clone(answers)
		with[x.open.key] = answer
		all = append(all, l.waysOf(in, with, left)...)
	}
	return all
}

// probe looks at what becomes of requests to a site with gates.
func (l *linter) probe(st *site) {
	reached := map[*handlerNode]bool{}                             // gates whose own pages can be reached
	var first []*handlerNode                                       // first factors that stand before some protected route
	unset := map[*handlerNode]string{}                             // gates, and a path where a client could name the user
	untimed := map[*handlerNode]bool{}                             // gates whose pages a client could tell when they signed in
	twice, moved, rewritten, unknown := false, false, false, false // unknown: some module of which nothing is known
	byPath := map[string][]*run{}
	for _, path := range st.examples() {
		left := maxCases
		byPath[path] = l.ways(st, path, map[string]bool{}, &left)
		for _, x := range byPath[path] {
			twice = twice || x.twice
			if x.gate == nil {
				continue
			}
			for _, m := range x.trail {
				if m.kind == "factor" && !slices.Contains(first, m.node) {
					first = append(first, m.node)
				}
			}
			moved = moved || x.verb != http.MethodGet
			rewritten = rewritten || x.judged != x.original.Path && !x.taken.Own
			unknown = unknown || slices.ContainsFunc(x.trail, func(m met) bool { return m.kind == "" })
			if !x.taken.Own && !x.taken.Refused && !x.taken.Rule.Open && x.clientSets(x.gate.gate.user.header) {
				unset[x.gate] = orDefault(unset[x.gate], path)
			}
		}
	}
	if twice {
		l.found("two_gates", danger, st, st.gates[len(st.gates)-1], "Some requests meet two stepgate blocks: they get 500.", "Put one block around both routes, or make the routes exclusive with `handle`.")
	}
	if moved {
		l.found("method_changed", warning, st, nil, "The method of requests is changed before the gate: its own pages and API can't be reached as they should be.",
			"Write `method` with a matcher, behind the gate.")
	}
	if rewritten {
		l.found("rewrite_before", note, st, nil, "A rewrite changes paths before the gate: the path that goes on and the one that was sent are both judged, and the stricter counts.",
			"Nothing; `stepgate explain` shows both for a URL.")
	}
	for _, h := range st.gates {
		if !unknown && len(first) == 0 && l.lacksFactor(st, h) {
			l.found("factor_missing", warning, st, h, fmt.Sprintf("Nothing before the gate says who the user is (%s): every protected request gets 401 user_missing.", orDefault(h.gate.User, "{http.auth.user.id}")),
				"Write the first factor before it (basic_auth, forward_auth, client certificates), and name in `user` what it sets.")
		}
		prefix := orDefault(h.gate.Path, gate.DefaultPath)
		left := maxCases
		covered := true
		uncovered := "" // a first factor that the prefix does not meet
		for _, x := range l.ways(st, prefix+"/challenge", map[string]bool{}, &left) {
			if x.gate != h || !x.taken.Own {
				continue
			}
			reached[h] = true
			if x.clientSets(h.gate.signIn.header) {
				untimed[h] = true
			}
			if x.clientSets(h.gate.user.header) {
				unset[h] = orDefault(unset[h], prefix+"/challenge")
			}
			for _, factor := range first {
				if !slices.ContainsFunc(x.trail, func(m met) bool { return m.node == factor }) {
					covered, uncovered = false, factor.title()
				}
			}
			if slices.ContainsFunc(x.trail, func(m met) bool { return m.kind == "factor" }) {
				covered = true
			}
		}
		switch {
		case !reached[h]:
			l.found("prefix_uncovered", warning, st, h, fmt.Sprintf("The gateway's own pages below %s never come to this block, so nobody can step up.", prefix),
				"Put the block at site level, or in a `handle` without a path.")
		case !covered:
			l.found("factor_prefix", warning, st, h, fmt.Sprintf("%s does not cover %s: there the gate knows no user, and the challenge page answers 401.", uncovered, prefix+"/*"),
				"Let the first factor see every request, or all but /.well-known/webauthn and /.well-known/passkey-endpoints.")
		}
		if path := unset[h]; path != "" {
			header := h.gate.user.header
			l.found("user_header", danger, st, h, fmt.Sprintf("On %s nothing before the gate sets or deletes %s, which names the user: a client that sends it is whoever it says.", path, header),
				fmt.Sprintf("Let the first factor run on every request (forward_auth with `copy_headers %s`), or write `request_header -%s` where it does not.", header, header))
		}
		if untimed[h] {
			header := h.gate.signIn.header
			l.found("sign_in_header", danger, st, h, fmt.Sprintf("Nothing before the gate sets or deletes %s, which says when somebody signed in: a client that sends it has signed in whenever it says.", header),
				fmt.Sprintf("Let the first factor set it on every request (forward_auth with `copy_headers %s`), or write `request_header -%s` where it does not.", header, header))
		}
	}
	l.bareTwins(st, byPath)
}

// lacksFactor reports whether a gate takes its user from a sign-in that is not there.
func (l *linter) lacksFactor(st *site, h *handlerNode) bool {
	source := h.gate.user
	return strings.HasPrefix(source.key, "http.auth.") || source.certificate && !st.server.clientAuth
}

// clientSets reports whether a header that the gate reads is one that nothing on the way sets or deletes.
func (x *run) clientSets(header string) bool {
	if header == "" {
		return false
	}
	for key := range x.answers {
		if strings.HasPrefix(key, "remote_ip ") || strings.HasPrefix(key, "client_ip ") {
			return false // only some peers come here: perhaps those that set it
		}
	}
	for _, m := range x.trail {
		if m.kind == "gate" {
			break
		}
		if covers(m.deletes, header) || slices.Contains(m.sets, header) || m.kind == "" {
			return false // set or deleted, or a module that nothing is known of
		}
	}
	return true
}

// strength orders what a request needs, for comparing: the weakest way counts.
func strength(ways []*run) int {
	least := 1 << 40
	for _, x := range ways {
		s := 0
		switch {
		case x.gate == nil && x.end.Result != resultUngated || x.taken.Refused || x.taken.Own:
			s = 1 << 30
		case x.gate == nil && x.end.Status >= 300:
			s = 1 << 30 // serves nothing
		case x.gate == nil:
			s = 0
		case x.taken.Rule.Open:
			s = 1
		default:
			d := x.taken.Rule.Demand
			s = (int(d.Level)+1)<<24 - int(min(d.MaxAge/time.Second, 1<<23))
		}
		least = min(least, s)
	}
	return least
}

// bareTwins looks for `/x/*` whose `/x` needs less.
func (l *linter) bareTwins(st *site, byPath map[string][]*run) {
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		bare, below := strings.CutSuffix(path, "/x")
		if !below || bare == "" || byPath[bare] == nil || strength(byPath[bare]) >= strength(byPath[path]) || strength(byPath[path]) >= 1<<30 {
			continue
		}
		h := byPath[path][0].gate
		l.found("bare_twin", warning, st, h, fmt.Sprintf("%s/* needs more than %s, which to most upstreams is the same page.", bare, bare),
			fmt.Sprintf("Write both: `path %s %s/*`.", bare, bare))
	}
}
