package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// state is what is known about the requests that come to a place in a site's routes.
type state struct {
	gated      bool // all of them met a gate
	rewritten  bool // all of them had their path replaced by a fixed one
	headerless bool // a client's X-Stepgate-* headers were removed from all of them
	narrow     bool // only some requests come here
}

// and adds what all branches of a group, of which every request takes one, left behind.
func (at state) and(branches []state) state {
	all := state{gated: true, rewritten: true, headerless: true}
	for _, branch := range branches {
		all.gated, all.rewritten, all.headerless = all.gated && branch.gated, all.rewritten && branch.rewritten, all.headerless && branch.headerless
	}
	at.gated, at.rewritten, at.headerless = at.gated || all.gated, at.rewritten || all.rewritten, at.headerless || all.headerless
	return at
}

// serving is a handler that serves something, and what comes to it.
type serving struct {
	node  *handlerNode
	state state
}

// servings lists what serves, in order. A gate in one branch says nothing of the others.
func servings(routes []*routeNode, at state, named map[string]*routeNode, depth int) (list []serving, after state) {
	groups := map[string][]state{} // what each branch of a group left behind
	whole := map[string]bool{}     // groups that some branch takes the rest of
	for _, route := range routes {
		inner := at
		conditional := len(route.sets) > 0 || route.group != ""
		inner.narrow = at.narrow || len(route.sets) > 0
		var some []serving
		some, inner = route.servings(inner, named, depth)
		list = append(list, some...)
		switch {
		case route.group != "":
			groups[route.group] = append(groups[route.group], inner)
			whole[route.group] = whole[route.group] || len(route.sets) == 0
			if whole[route.group] {
				at = at.and(groups[route.group])
			}
		case !conditional:
			inner.narrow = at.narrow
			at = inner
		}
	}
	return list, at
}

func (route *routeNode) servings(at state, named map[string]*routeNode, depth int) (list []serving, after state) {
	for _, h := range route.handlers {
		var some []serving
		switch {
		case h.gate != nil:
			at.gated = true
		case h.name == "subroute":
			some, at = servings(h.routes, at, named, depth)
		case h.name == "invoke" && depth < 20:
			if invoked := named[h.invokes()]; invoked != nil {
				some, at = servings([]*routeNode{invoked}, at, named, depth+1)
			}
		case h.name == "rewrite":
			var rewrite struct {
				URI string `json:"uri"`
			}
			if json.Unmarshal(h.raw, &rewrite) == nil && rewrite.URI != "" && !strings.Contains(rewrite.URI, "{http.request.") && !strings.Contains(rewrite.URI, "{http.matchers.") {
				at.rewritten = true
			}
		case h.name == "headers":
			_, deletes := headerChanges(h)
			at.headerless = at.headerless || covers(deletes, "X-Stepgate-User")
		case isFactor(h):
		case h.name == "reverse_proxy" || h.name == "file_server" || h.name == "static_response":
			some = []serving{{node: h, state: at}}
		}
		list = append(list, some...)
	}
	return list, at
}

// covers reports whether one of these names of headers, which may begin or end with a star, is this one.
func covers(names []string, header string) bool {
	header = strings.ToLower(header)
	return slices.ContainsFunc(names, func(name string) bool {
		name = strings.ToLower(name)
		switch {
		case strings.HasPrefix(name, "*") && strings.HasSuffix(name, "*") && len(name) > 1:
			return strings.Contains(header, strings.Trim(name, "*"))
		case strings.HasPrefix(name, "*"):
			return strings.HasSuffix(header, name[1:])
		case strings.HasSuffix(name, "*"):
			return strings.HasPrefix(header, strings.TrimSuffix(name, "*"))
		}
		return name == header
	})
}

// servesContent reports whether an answer could hold what somebody means to protect. A redirect, a status or an empty page
// does not; a fixed text stands in the configuration.
func servesContent(h *handlerNode) bool { return h.name != "static_response" }

func isFixedText(h *handlerNode) bool {
	var static struct {
		Body string `json:"body"`
	}
	_, status, to := describeAnswer(h)
	return h.name == "static_response" && json.Unmarshal(h.raw, &static) == nil && static.Body != "" && to == "" && status < 400
}

// site looks at one site.
func (l *linter) site(st *site) {
	list, _ := servings(st.routes, state{}, st.server.named, 0)
	if len(st.gates) == 0 {
		for _, sv := range list {
			if servesContent(sv.node) || isFixedText(sv.node) {
				l.found("site_ungated", note, st, nil, "This site has no stepgate block: all of it is served without a step-up.",
					"If it needs one, write `stepgate` in it, behind its first factor.")
				return
			}
		}
		return
	}
	for _, sv := range list {
		l.ungated(st, sv)
	}
	l.errorRoutes(st)
	l.probe(st)
	for _, h := range st.gates {
		l.rules(st, h)
	}
}

// ungated judges a handler that serves requests which met no gate.
func (l *linter) ungated(st *site, sv serving) {
	h := sv.node
	if sv.state.gated || !servesContent(h) && !isFixedText(h) || l.isFactorsOwn(st, h) {
		return
	}
	matched := "every request"
	if sv.state.narrow {
		matched = "the requests that it matches"
		if len(h.above) > 0 {
			matched = "requests to " + strings.Join(h.above, " and ")
		}
	}
	text := fmt.Sprintf("%s answers %s without a step-up: no stepgate block stands before it.", h.title(), matched)
	fix := "Put it behind the block, and write an `open` rule for what needs none: then one place says what is open."
	if !servesContent(h) {
		if sv.state.narrow {
			l.found("route_ungated", note, st, h, text, fix)
			return
		}
	}
	l.found("route_ungated", warning, st, h, text, fix)
}

// isFactorsOwn reports whether a proxy leads to the server that forward_auth asks: its own sign-in pages.
func (l *linter) isFactorsOwn(st *site, h *handlerNode) bool {
	if h.name != "reverse_proxy" {
		return false
	}
	var handlers []*handlerNode
	for _, route := range st.routes {
		handlers = route.list(handlers)
	}
	for _, other := range handlers {
		if other != h && isFactor(other) && other.name == "reverse_proxy" && slices.Equal(dials(other), dials(h)) {
			return true
		}
	}
	return false
}

// errorRoutes looks at what handle_errors serves: it runs on the original request, without the gate.
func (l *linter) errorRoutes(st *site) {
	routes := st.errors()
	var handlers []*handlerNode
	for _, route := range st.routes {
		handlers = route.list(handlers)
	}
	for _, h := range handlers {
		routes = append(routes, h.errors...)
	}
	for _, route := range routes {
		list, _ := servings([]*routeNode{route}, state{}, st.server.named, 0)
		for _, sv := range list {
			h := sv.node
			switch {
			case sv.state.gated || !servesContent(h):
			case !sv.state.rewritten:
				l.found("errors_serve", danger, st, h, fmt.Sprintf("Error routes run on the original request, without the gate: %s in handle_errors serves what was asked for, protected or not.", h.title()),
					"Write `rewrite * /error.html` (a page of its own) before it, or use `respond`.")
			case h.name == "reverse_proxy" && !sv.state.headerless && !dropsHeaders(h):
				l.found("errors_headers", warning, st, h, "Error routes run without the gate, so this proxy hands on a client's own X-Stepgate-* headers.",
					"Write `header_up -X-Stepgate-*` in it.")
			}
		}
	}
}

// dropsHeaders reports whether a proxy takes out a client's own X-Stepgate-* headers.
func dropsHeaders(h *handlerNode) bool {
	var proxy struct {
		Headers struct {
			Request struct {
				Delete []string `json:"delete"`
			} `json:"request"`
		} `json:"headers"`
	}
	return json.Unmarshal(h.raw, &proxy) == nil && covers(proxy.Headers.Request.Delete, "X-Stepgate-User")
}

// sameUpstream looks for upstreams that are served behind a gate here and without one there.
func (l *linter) sameUpstream() {
	gated := map[string]*site{}
	type open struct {
		st *site
		sv serving
	}
	var ungated []open
	for _, srv := range l.servers {
		for _, st := range srv.sites {
			list, _ := servings(st.routes, state{}, srv.named, 0)
			for _, sv := range list {
				for _, dial := range dials(sv.node) {
					if sv.state.gated {
						gated[dial] = st
					}
				}
				if !sv.state.gated && len(st.gates) == 0 {
					ungated = append(ungated, open{st, sv})
				}
			}
		}
	}
	for _, o := range ungated {
		for _, dial := range dials(o.sv.node) {
			if behind := gated[dial]; behind != nil {
				l.found("upstream_ungated", danger, o.st, o.sv.node, fmt.Sprintf("%s is protected at %s, and reached here without a gate.", dial, behind.name()),
					"Write a `stepgate` block here too, or let this site listen where only machines come.")
			}
		}
	}
}

// pathsIn lists all path patterns in matchers, as deep as they stand.
func pathsIn(sets []caddy.ModuleMap) (paths []string) {
	for _, set := range sets {
		var some []string
		if json.Unmarshal(orNull(set["path"]), &some) == nil {
			paths = append(paths, some...)
		}
		var not []caddy.ModuleMap
		if json.Unmarshal(orNull(set["not"]), &not) == nil {
			paths = append(paths, pathsIn(not)...)
		}
		for _, raw := range []json.RawMessage{set["expression"]} {
			for _, found := range pathCalls().FindAllStringSubmatch(string(raw), -1) {
				for quoted := range strings.SplitSeq(found[1], ",") {
					paths = append(paths, strings.Trim(strings.TrimSpace(quoted), `'"\`))
				}
			}
		}
	}
	return paths
}
