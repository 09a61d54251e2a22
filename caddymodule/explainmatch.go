package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
)

// Offline a request has a method and a URL. Matchers that look at nothing else are Caddy's own, provisioned and asked;
// what the others would say is a question, and both answers are followed.

// question is a matcher whose answer nobody knows offline.
type question struct {
	key  string // the same for the same matcher, wherever it stands
	text string // for people: what it asks, as a statement
}

// matcherSet is one set of matchers: all must match.
type matcherSet struct {
	known     caddyhttp.MatcherSet
	nots      [][]*matcherSet // of `not` matchers that hold a question
	file      *fileserver.MatchFile
	questions []question
	trivial   bool // nothing in it asks
}

// decidable are the matchers that look at method and URL only.
var decidable = []string{"expression", "host", "method", "not", "path", "path_regexp", "protocol", "query", "vars"}

// matcherSet loads a set of matchers.
func (s *settings) matcherSet(set caddy.ModuleMap) (*matcherSet, error) {
	loaded := &matcherSet{}
	known := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		raw := set[name]
		switch {
		case isDecided(name, raw):
			module, err := s.ctx.LoadModuleByID("http.matchers."+name, raw)
			if err != nil {
				return nil, fmt.Errorf("loading matcher %s: %w", name, err)
			}
			known[name] = module
		case name == "not":
			var sets []caddy.ModuleMap
			if err := json.Unmarshal(raw, &sets); err != nil {
				return nil, err
			}
			var not []*matcherSet
			for _, inner := range sets {
				one, err := s.matcherSet(inner)
				if err != nil {
					return nil, err
				}
				not = append(not, one)
			}
			loaded.nots = append(loaded.nots, not)
		case name == "file":
			loaded.file = new(fileserver.MatchFile)
			if err := json.Unmarshal(raw, loaded.file); err != nil {
				return nil, err
			}
		default:
			loaded.questions = append(loaded.questions, questionOf(name, raw))
		}
	}
	loaded.trivial = len(loaded.nots) == 0 && loaded.file == nil && len(loaded.questions) == 0
	if len(known) > 0 {
		var sets caddyhttp.MatcherSets
		if err := sets.FromInterface([]map[string]any{known}); err != nil {
			return nil, err
		}
		loaded.known = sets[0]
	}
	return loaded, nil
}

func isDecided(name string, raw json.RawMessage) bool {
	if !slices.Contains(decidable, name) || !knownText(string(raw)) {
		return false
	}
	switch name {
	case "not":
		var sets []caddy.ModuleMap
		if json.Unmarshal(raw, &sets) != nil {
			return false
		}
		for _, set := range sets {
			for inner, value := range set {
				if !isDecided(inner, value) {
					return false
				}
			}
		}
	case "vars":
		var values map[string][]string
		if json.Unmarshal(raw, &values) != nil {
			return false
		}
		for key := range values {
			if !strings.HasPrefix(key, "{") {
				return false // any handler may have set it
			}
		}
	case "protocol":
		var protocol string
		return json.Unmarshal(raw, &protocol) == nil && (protocol == "http" || protocol == "https")
	case "expression":
		for _, call := range calls().FindAllStringSubmatch(string(raw), -1) {
			if !slices.Contains(knownCalls, call[1]) {
				return false
			}
		}
	}
	return true
}

var (
	calls = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`([A-Za-z_]+)\s*\(`) })
	// knownCalls are CEL's functions on text, and Caddy's that look at method and URL.
	knownCalls = []string{
		"path", "path_regexp", "method", "host", "query", "protocol", "startsWith", "endsWith", "contains", "matches", "size", "int", "string", "lowerAscii",
		"upperAscii", "exists", "all", "in",
	}
	placeholder = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_.\-]*)\}`) })
)

// knownPlaceholders begin the names of those that depend on method and URL, or on this machine.
var knownPlaceholders = []string{
	"env.", "system.", "http.request.method", "http.request.host", "http.request.port", "http.request.scheme", "http.request.uri", "http.request.orig_uri",
	"http.request.orig_method", "http.regexp.", "http.matchers.file.relative",
}

// knownText reports whether all placeholders of a configuration's text are known offline.
func knownText(text string) bool {
	for _, found := range placeholder().FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(knownPlaceholders, func(known string) bool { return strings.HasPrefix(found[1], known) }) {
			return false
		}
	}
	return true
}

func questionOf(name string, raw json.RawMessage) question {
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		compact.Reset()
		compact.Write(raw)
	}
	q := question{key: name + " " + compact.String()}
	var ranges struct {
		Ranges []string `json:"ranges"`
	}
	var headers map[string][]string
	var expression struct {
		Expr string `json:"expr"`
	}
	switch name {
	case "remote_ip", "client_ip":
		if json.Unmarshal(raw, &ranges) == nil {
			who := map[string]string{"remote_ip": "the connection's address", "client_ip": "the client's address"}[name]
			q.text = who + " is in " + strings.Join(ranges.Ranges, ", ")
		}
	case "header":
		if json.Unmarshal(raw, &headers) == nil {
			var parts []string
			for _, field := range slices.Sorted(maps.Keys(headers)) {
				switch values := headers[field]; {
				case values == nil:
					parts = append(parts, "there is no header "+field)
				case len(values) == 0 || slices.Contains(values, "*"):
					parts = append(parts, "there is a header "+field)
				default:
					parts = append(parts, "the header "+field+" is "+strings.Join(values, " or "))
				}
			}
			q.text = strings.Join(parts, " and ")
		}
	case "expression":
		if json.Unmarshal(raw, &expression.Expr) == nil || json.Unmarshal(raw, &expression) == nil {
			q.text = "the expression " + expression.Expr + " holds"
		}
	}
	if q.text == "" {
		q.text = "the matcher " + name + " " + compact.String() + " matches"
	}
	return q
}

// stub puts, in the place of the matchers of a set that nobody can answer offline, one that asks.
func (s *settings) stub(set caddy.ModuleMap) (caddy.ModuleMap, error) {
	loaded, err := s.matcherSet(set)
	if err != nil || loaded.trivial {
		return set, err
	}
	key := fmt.Sprintf("%s%d", stubPrefix, len(s.stubs))
	s.stubs[key] = loaded
	stubbed := caddy.ModuleMap{"vars": json.RawMessage(`{"{` + key + `}":["yes"]}`)}
	for name, raw := range set {
		if isDecided(name, raw) && name != "vars" {
			stubbed[name] = raw
		}
	}
	return stubbed, nil
}

const stubPrefix = "explain.stub."

// placeholders answers for the stubs in the rules of a gate.
func (x *run) placeholders(key string) (any, bool) {
	set, ok := x.settings.stubs[key]
	if !ok {
		return nil, false
	}
	// The set's other matchers come first here, whatever order Caddy asks them in: no question without need.
	for _, r := range []*http.Request{x.request, x.asSent()} {
		if matched, err := x.matches(set, r); err == nil && matched {
			return "yes", true
		}
	}
	return "no", true
}

// matchesAny is Caddy's: no sets match everything.
func (x *run) matchesAny(sets []*matcherSet) (bool, error) {
	for _, set := range sets {
		matched, err := x.matches(set, x.request)
		if err != nil || matched {
			return matched, err
		}
	}
	return len(sets) == 0, nil
}

func (x *run) matches(set *matcherSet, r *http.Request) (bool, error) {
	if set.known != nil {
		matched, err := set.known.MatchWithError(r)
		if err != nil || !matched {
			return false, err
		}
	}
	for _, not := range set.nots {
		for _, inner := range not {
			matched, err := x.matches(inner, r)
			if err != nil || matched {
				return false, err
			}
		}
	}
	for _, q := range set.questions {
		if !x.ask(q) {
			return false, nil
		}
	}
	return set.file == nil || x.fileMatches(set.file), nil
}

// fileMatches follows a file matcher through its candidates: which of them exist, nobody knows here.
func (x *run) fileMatches(m *fileserver.MatchFile) bool {
	files := m.TryFiles
	if len(files) == 0 {
		files = []string{"{http.request.uri.path}"}
	}
	for i, file := range files {
		name := x.replacer.ReplaceAll(file, "")
		if strings.HasPrefix(name, "=") {
			x.fails = name[1:]
			return false
		}
		last := m.TryPolicy == "first_exist_fallback" && i == len(files)-1
		if last || x.ask(question{key: "file " + name, text: "there is a file " + name}) {
			x.replacer.Set("http.matchers.file.relative", name)
			return true
		}
	}
	return false
}
