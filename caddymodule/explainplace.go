package caddymodule

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// Caddy's adapter turns a Caddyfile into JSON and forgets where everything stood. So the Caddyfile is read once more, by
// Caddy's own parser, with imports and variables put in, and what stands in the JSON is looked up in it: a gate by its site
// and its rules, which keep their order; other handlers by their site, name and arguments. Where two would do, neither is
// named: no line is better than a wrong one.

// place is a line of a Caddyfile; zero where it is not known.
type place struct {
	file string
	line int
}

// String returns file and line, or "".
func (p place) String() string {
	if p.line == 0 {
		return ""
	}
	return p.file + ":" + strconv.Itoa(p.line)
}

// statement is a line of a Caddyfile with its block.
type statement struct {
	place
	words []string
	above []string // paths of the handle blocks around it
	body  []*statement
}

// findPlaces notes where everything stands. What can't be found stays without a place.
func (s *settings) findPlaces(source []byte) {
	blocks, err := caddyfile.Parse(s.file, source)
	if err != nil {
		return // it was adapted, so this can't be
	}
	type siteBlock struct {
		place
		keys       []httpcaddyfile.Address
		statements []*statement
	}
	var list []siteBlock
	for _, block := range blocks {
		if len(block.Keys) == 0 || block.IsNamedRoute {
			continue
		}
		b := siteBlock{place: s.placeOf(block.Keys[0])}
		for _, key := range block.Keys {
			if address, err := httpcaddyfile.ParseAddress(key.Text); err == nil {
				b.keys = append(b.keys, address)
			}
		}
		for _, segment := range block.Segments {
			b.statements = append(b.statements, s.statements(segment)...)
		}
		list = append(list, b)
	}
	for _, server := range s.servers {
		for _, st := range server.sites {
			var all, errors []*statement
			for _, b := range list {
				if !slices.ContainsFunc(b.keys, func(key httpcaddyfile.Address) bool { return s.names(key, st) }) {
					continue
				}
				if st.place.line == 0 {
					st.place = b.place
				}
				for _, statement := range within(b.statements, nil) {
					all = append(all, statement)
					if statement.words[0] == "handle_errors" {
						errors = append(errors, within(statement.body, nil)...)
					}
				}
			}
			locate(st.routes, all)
			locate(st.errors(), errors)
		}
	}
}

// placeOf is where a token stands: beside the configuration's file, as that was named.
func (s *settings) placeOf(token caddyfile.Token) place {
	file := token.File
	if whole, err := filepath.Abs(s.file); err == nil {
		if relative, err := filepath.Rel(filepath.Dir(whole), file); err == nil && !strings.HasPrefix(relative, "..") {
			file = filepath.Join(filepath.Dir(s.file), relative)
		}
	}
	return place{file, token.Line}
}

// names reports whether a site's address in a Caddyfile is the one that became this site.
func (s *settings) names(key httpcaddyfile.Address, st *site) bool {
	if len(st.hosts) == 0 && key.Host != "" || len(st.hosts) > 0 && !slices.Contains(st.hosts, strings.ToLower(key.Host)) {
		return false
	}
	port := s.httpsPort
	if n, err := strconv.Atoi(key.Port); err == nil {
		port = n
	} else if key.Scheme == "http" {
		port = s.httpPort
	}
	return slices.Contains(st.server.ports, port)
}

// statements groups tokens into lines and blocks.
func (s *settings) statements(tokens []caddyfile.Token) (list []*statement) {
	var stack []*statement // whose blocks are open
	add := func(st *statement) {
		if len(stack) == 0 {
			list = append(list, st)
			return
		}
		top := stack[len(stack)-1]
		top.body = append(top.body, st)
	}
	var current *statement
	for i, token := range tokens {
		newLine := i == 0 || token.File != tokens[i-1].File || token.Line != tokens[i-1].Line+tokens[i-1].NumLineBreaks()
		switch {
		case token.Text == "{" && !token.Quoted() && current != nil && !newLine:
			stack = append(stack, current)
			current = nil
		case token.Text == "}" && !token.Quoted() && newLine:
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
			current = nil
		case newLine || current == nil:
			current = &statement{place: s.placeOf(token), words: []string{token.Text}}
			add(current)
		default:
			current.words = append(current.words, token.Text)
		}
	}
	return list
}

// within lists the directives of a site, also those in the blocks that hold routes.
func within(list []*statement, above []string) (all []*statement) {
	for _, st := range list {
		st.above = above
		all = append(all, st)
		switch st.words[0] {
		case "handle", "handle_path", "route":
			inner := slices.Clone(above)
			for _, word := range st.words[1:] {
				if strings.HasPrefix(word, "/") {
					inner = append(inner, word)
				}
			}
			all = append(all, within(st.body, inner)...)
		}
	}
	return all
}

// text is a statement as it was written, without the inside of its block.
func (st *statement) text() string {
	text := strings.Join(st.words, " ")
	if len(st.body) > 0 {
		text += " { … }"
	}
	return text
}

// locate finds the places of handlers among the directives of their site.
func locate(routes []*routeNode, all []*statement) {
	var handlers []*handlerNode
	for _, route := range routes {
		handlers = route.list(handlers)
	}
	for _, h := range handlers {
		if h.gate != nil {
			h.locateGate(all, handlers)
			continue
		}
		if found := h.candidates(all); len(found) == 1 {
			h.place, h.called = found[0].place, found[0].words[0]
		}
	}
}

// list appends all handlers of a route, as deep as they stand.
func (r *routeNode) list(to []*handlerNode) []*handlerNode {
	for _, h := range r.handlers {
		to = append(to, h)
		for _, inner := range h.routes {
			to = inner.list(to)
		}
	}
	return to
}

// locateGate finds a gate by its shape. Of several alike, those of one place are one; otherwise they are taken in order.
func (h *handlerNode) locateGate(all []*statement, handlers []*handlerNode) {
	var found []*statement
	for _, st := range all {
		if st.words[0] == "stepgate" && h.hasShape(st) {
			found = append(found, st)
		}
	}
	if near := filter(found, func(st *statement) bool { return slices.Equal(st.above, h.above) }); len(near) > 0 {
		found = near
	}
	if len(found) == 0 {
		return
	}
	place := found[0]
	if len(found) > 1 {
		index := 0
		for _, other := range handlers {
			if other == h {
				break
			}
			if other.gate != nil && other.hasShape(place) && slices.Equal(other.above, h.above) {
				index++
			}
		}
		if index >= len(found) {
			return
		}
		place = found[index]
	}
	h.place, h.called = place.place, "stepgate"
	for i, rule := range rulesOf(place) {
		h.rules[i].place, h.rules[i].words = rule.place, rule.text()
	}
}

func filter[T any](list []T, keep func(T) bool) (kept []T) {
	for _, element := range list {
		if keep(element) {
			kept = append(kept, element)
		}
	}
	return kept
}

func rulesOf(st *statement) []*statement {
	return filter(st.body, func(inner *statement) bool { return inner.words[0] == "open" || inner.words[0] == "protect" })
}

// hasShape reports whether a stepgate block of a Caddyfile could have become this gate.
func (h *handlerNode) hasShape(st *statement) bool {
	rules := rulesOf(st)
	if len(rules) != len(h.rules) {
		return false
	}
	for _, inner := range st.body {
		if inner.words[0] == "path" && len(inner.words) == 2 && inner.words[1] != h.gate.Path {
			return false
		}
	}
	for i, rule := range rules {
		if rule.words[0] != h.rules[i].Action {
			return false
		}
		var paths []string
		for _, word := range rule.words[1:] {
			if word == "*" || strings.HasPrefix(word, "/") {
				paths = append(paths, word)
			}
		}
		if len(paths) != len(rule.words)-1 || len(paths) == 0 {
			continue // named matchers, or a match block
		}
		var configured []string
		for _, set := range h.rules[i].Match {
			var some []string
			if json.Unmarshal(orNull(set["path"]), &some) == nil {
				configured = append(configured, some...)
			}
		}
		if !slices.Equal(paths, configured) {
			return false
		}
	}
	return true
}

// directives are the words that become a handler.
var directives = map[string][]string{
	"reverse_proxy":   {"reverse_proxy", "forward_auth", "php_fastcgi"},
	"static_response": {"respond", "redir", "abort"},
	"authentication":  {"basic_auth", "basicauth", "jwtauth", "authenticate", "authorize"},
	"rewrite":         {"rewrite", "uri", "method", "try_files", "handle_path"},
	"headers":         {"header", "request_header"},
}

// candidates are the directives that a handler may have come from: the fewest that its arguments leave.
func (h *handlerNode) candidates(all []*statement) []*statement {
	words, ok := directives[h.name]
	if !ok {
		words = []string{h.name}
	}
	found := filter(all, func(st *statement) bool {
		if h.name == "reverse_proxy" && isForwardAuth(h) != (st.words[0] == "forward_auth") {
			return false
		}
		return slices.Contains(words, st.words[0])
	})
	if near := filter(found, func(st *statement) bool { return mayStand(st, h.above) }); len(near) > 0 {
		found = near
	}
	var hints []string
	switch h.name {
	case "reverse_proxy":
		hints = dials(h)
	case "static_response":
		var static struct {
			Body    string              `json:"body"`
			Headers map[string][]string `json:"headers"`
		}
		_ = json.Unmarshal(h.raw, &static)
		hints = append(static.Headers["Location"], static.Body)
	case "rewrite":
		var rewrite struct {
			URI    string `json:"uri"`
			Method string `json:"method"`
			Prefix string `json:"strip_path_prefix"`
			Suffix string `json:"strip_path_suffix"`
		}
		_ = json.Unmarshal(h.raw, &rewrite)
		hints = []string{rewrite.URI, rewrite.Method, rewrite.Prefix, rewrite.Suffix, rewrite.Prefix + "/*"}
		if strings.HasPrefix(rewrite.URI, "{http.matchers.file.") {
			found = filter(found, func(st *statement) bool { return st.words[0] == "try_files" })
		}
	}
	if near := filter(found, func(st *statement) bool {
		return slices.ContainsFunc(st.words[1:], func(word string) bool { return word != "" && slices.Contains(hints, word) })
	}); len(near) > 0 {
		found = near
	}
	return found
}

// mayStand reports whether a directive stands under just these paths, its own among them.
func mayStand(st *statement, above []string) bool {
	paths := slices.Clone(st.above)
	for _, word := range st.words[1:] {
		if strings.HasPrefix(word, "/") && len(st.words) > 2 {
			paths = append(paths, word)
			break
		}
	}
	return slices.Equal(paths, above) || slices.Equal(st.above, above)
}

// title is what people call a handler.
func (h *handlerNode) title() string {
	name := orDefault(h.called, h.name)
	switch {
	case h.called == "" && h.name == "authentication":
		var auth struct {
			Providers map[string]json.RawMessage `json:"providers"`
		}
		_ = json.Unmarshal(h.raw, &auth)
		if _, basic := auth.Providers["http_basic"]; basic && len(auth.Providers) == 1 {
			name = "basic_auth"
		}
	case h.called == "" && h.name == "reverse_proxy" && isForwardAuth(h):
		name = "forward_auth"
	}
	if to := dials(h); len(to) > 0 {
		name = fmt.Sprintf("%s %s", name, strings.Join(to, " "))
	}
	return name
}
