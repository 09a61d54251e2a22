package caddymodule

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/stepgate/stepgate/internal/passkey"
)

// rules looks at a gate's rules among themselves.
func (l *linter) rules(st *site, h *handlerNode) {
	block := demandOf(h.gate.MaxAge, h.gate.Level, 15*time.Minute, passkey.Verified)
	l.age(st, h, h.place, "max_age", block.age)
	l.mode(st, h, h.place, "This block", h.gate.Mode, h.gate.EnforceFrom)
	for i, rule := range h.rules {
		l.mode(st, h, rule.place, fmt.Sprintf("Rule %d", i+1), rule.Mode, rule.From)
		mine := demandOf(rule.MaxAge, rule.Level, block.age, block.level)
		if rule.MaxAge != nil {
			l.age(st, h, rule.place, "max_age of rule "+fmt.Sprint(i+1), mine.age)
		}
		if rule.Action == "open" && isEverything(rule.Match) {
			l.foundRule("open_everything", warning, st, h, rule, "This opens every request that no rule before it protects: what is forgotten is open, not protected.",
				"Leave it out, and open what may be open by its path.")
		}
		for j, earlier := range h.rules[:i] {
			if !shadows(earlier, rule) {
				continue
			}
			theirs := demandOf(earlier.MaxAge, earlier.Level, block.age, block.level)
			before := fmt.Sprintf("Rule %d, `%s`, matches all that this one does, so this one never decides", j+1, earlier.text())
			switch {
			case rule.Action == "protect" && earlier.Action == "open":
				l.foundRule("rule_shadowed", danger, st, h, rule, before+": what it means to protect is open.", "Write it before the other.")
			case rule.Action == "protect" && (mine.level > theirs.level || mine.age < theirs.age):
				l.foundRule("rule_shadowed", danger, st, h, rule, before+": what it asks for is not asked.", "Write it before the other.")
			default:
				l.foundRule("rule_shadowed", warning, st, h, rule, before+".", "Write it before the other, or leave it out.")
			}
			break
		}
	}
}

func (l *linter) foundRule(id string, s severity, st *site, h *handlerNode, rule *ruleNode, text, fix string) {
	l.found(id, s, st, h, text, fix)
	if f := &l.findings[len(l.findings)-1]; rule.place.line != 0 {
		f.Place = rule.place.String()
	}
}

// mode notes what is not enforced, so that a roll-out is not forgotten half-way.
func (l *linter) mode(st *site, h *handlerNode, at place, what, mode, from string) {
	begins, err := time.Parse(time.RFC3339, from)
	switch {
	case mode == "report" || mode == "if_enrolled":
		what += " is not enforced for everybody: `mode " + mode + "`."
	case from != "" && err == nil && time.Now().Before(begins):
		what += " is enforced from " + from + " on."
	default:
		return
	}
	l.found("not_enforced", note, st, h, what, "Nothing during a roll-out; `mode enforce` ends it.")
	if at.line != 0 {
		l.findings[len(l.findings)-1].Place = at.String()
	}
}

type ruleDemand struct {
	age   time.Duration
	level passkey.Level
}

func demandOf(age *caddy.Duration, level string, otherAge time.Duration, otherLevel passkey.Level) ruleDemand {
	d := ruleDemand{otherAge, otherLevel}
	if age != nil {
		d.age = time.Duration(*age)
	}
	if parsed, err := passkey.ParseLevel(level); level != "" && err == nil {
		d.level = parsed
	}
	return d
}

const (
	shortAge = 10 * time.Second
	longAge  = 24 * time.Hour
)

// age looks at how old a step-up may be.
func (l *linter) age(st *site, h *handlerNode, at place, what string, age time.Duration) {
	switch {
	case age < shortAge:
		l.found("max_age_short", warning, st, h, fmt.Sprintf("%s is %s: the page that somebody confirmed for may load its parts later than that, and they are asked again at once.", what, age),
			"Give it 30s or more.")
	case age > longAge:
		l.found("max_age_long", warning, st, h, fmt.Sprintf("%s is %s: whoever takes over a browser in that time needs no passkey.", what, age), "Give it a working day (8h) at the most.")
	default:
		return
	}
	if at.line != 0 {
		l.findings[len(l.findings)-1].Place = at.String()
	}
}

// isEverything reports whether matchers match every request.
func isEverything(sets []caddy.ModuleMap) bool {
	return slices.ContainsFunc(sets, func(set caddy.ModuleMap) bool {
		if len(set) != 1 {
			return false
		}
		var paths []string
		if json.Unmarshal(orNull(set["path"]), &paths) == nil && slices.Contains(paths, "*") {
			return true
		}
		var pattern struct {
			Pattern string `json:"pattern"`
		}
		return set["path_regexp"] != nil && json.Unmarshal(set["path_regexp"], &pattern) == nil && slices.Contains([]string{".*", "^.*", "^.*$", "^/", "^/.*", "^/.*$", "/"}, pattern.Pattern)
	})
}

// shadows reports whether an earlier rule surely matches whatever a later one does.
func shadows(earlier, later *ruleNode) bool {
	for _, set := range later.Match {
		if !slices.ContainsFunc(earlier.Match, func(wide caddy.ModuleMap) bool {
			return includes(wide, set, earlier.Action == "protect")
		}) {
			return false
		}
	}
	return len(later.Match) > 0
}

// includes reports whether all that a narrow set matches a wide one matches too. In a rule that
// protects, bare, `/x/*` covers `/x`.
func includes(wide, narrow caddy.ModuleMap, bare bool) bool {
	for name, raw := range wide {
		other, there := narrow[name]
		switch name {
		case "path":
			var patterns, paths []string
			if json.Unmarshal(raw, &patterns) != nil {
				return false
			}
			if slices.Contains(patterns, "*") {
				continue
			}
			if !there || json.Unmarshal(other, &paths) != nil {
				return false
			}
			for _, path := range paths {
				if !slices.ContainsFunc(patterns, func(pattern string) bool { return includesPath(pattern, path, bare) }) {
					return false
				}
			}
		case "method":
			var methods, others []string
			if !there || json.Unmarshal(raw, &methods) != nil || json.Unmarshal(other, &others) != nil {
				return false
			}
			for _, method := range others {
				if !slices.Contains(methods, method) {
					return false
				}
			}
		default:
			if !there || string(raw) != string(other) {
				return false
			}
		}
	}
	return true
}

func includesPath(wide, narrow string, bare bool) bool {
	wide, narrow = strings.ToLower(wide), strings.ToLower(narrow)
	if wide == narrow {
		return true
	}
	stem, wild := strings.CutSuffix(wide, "*")
	if !wild || strings.Contains(stem, "*") || strings.HasPrefix(narrow, "*") {
		return false
	}
	return strings.HasPrefix(narrow, stem) || bare && stem == narrow+"/"
}
