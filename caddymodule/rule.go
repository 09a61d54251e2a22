package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// Rule says what requests of one kind need. What a rule does not say it takes from the block.
type Rule struct {
	// `open`: nothing is demanded. `protect`: a step-up is. Required.
	Action string `json:"action,omitempty"`

	// Which requests the rule is about: any of these matcher sets. In a `protect` rule, a path `/x/*` covers `/x` too.
	// Required, and no set may be empty: an empty set would match everything.
	MatchRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// How old the last step-up may be. Must be positive. Default: the block's.
	MaxAge *caddy.Duration `json:"max_age,omitempty"`

	// How strong it must be: `present`, `verified`, `device_bound` or `attested`. Default: the block's.
	Level string `json:"level,omitempty"`

	// How far the rule is enforced: `enforce`, `if_enrolled` or `report`, as for the block. Default: the block's.
	Mode string `json:"mode,omitempty"`

	// From when on it is enforced, as for the block. Default: the block's, where the rule is in the mode `enforce`.
	EnforceFrom string `json:"enforce_from,omitempty"`

	// Not built yet: refused.
	Once bool `json:"once,omitempty"`
}

// provision turns the rule into the gate's form. index is its place in the block, from 0.
func (rule *Rule) provision(ctx caddy.Context, block policy.Rule, index int) (gate.Route, error) {
	fail := func(err error) (gate.Route, error) {
		return gate.Route{}, fmt.Errorf("stepgate: rules[%d]: %w", index, err)
	}

	if rule == nil { // null in JSON
		return fail(errors.New("there is no rule"))
	}
	if rule.Once {
		return fail(notBuilt("once", "max_age"))
	}
	route := gate.Route{Rule: policy.Rule{Name: fmt.Sprintf("rule %d: %s", index+1, rule.describe())}}
	var err error
	switch rule.Action {
	case "open":
		if rule.MaxAge != nil || rule.Level != "" || rule.Mode != "" || rule.EnforceFrom != "" {
			return fail(errors.New("an open rule demands nothing, so it takes no max_age, level, mode or enforce_from"))
		}
		route.Open = true
	case "protect":
		if route.Demand, err = overlay(block.Demand, rule.MaxAge, rule.Level); err != nil {
			return fail(err)
		}
		if route.Mode, route.From, err = enforced(block, rule.Mode, rule.EnforceFrom); err != nil {
			return fail(err)
		}
	default:
		return fail(fmt.Errorf("action %q: must be open or protect", rule.Action))
	}
	if len(rule.MatchRaw) == 0 {
		return fail(errors.New("no matcher given: say which requests the rule is about"))
	}
	for _, set := range rule.MatchRaw {
		if err := checkSet(set); err != nil {
			return fail(err)
		}
		shape := coverBare
		if rule.Action == "open" {
			shape = checkOpenSet
		}
		if err := shape(set); err != nil {
			return fail(err)
		}
	}
	paths, enough := knownPaths(rule.MatchRaw)
	route.Paths = paths
	sets, err := loadMatchers(ctx, rule)
	if err != nil {
		return fail(err)
	}
	if !enough {
		route.Match = func(r *http.Request) (bool, error) { return sets.AnyMatchWithError(r) }
	}
	return route, nil
}

// describe names what a rule matches, for logs: its paths where it has any.
func (rule *Rule) describe() string {
	var parts []string
	for _, set := range rule.MatchRaw {
		var paths []string
		if json.Unmarshal(set["path"], &paths) == nil && len(paths) > 0 {
			parts = append(parts, paths...)
			continue
		}
		for matcher := range set {
			parts = append(parts, matcher)
		}
	}
	slices.Sort(parts)
	return strings.Join(append([]string{rule.Action}, parts...), " ")
}

// overlay returns a demand with what is said in its place.
func overlay(d policy.Demand, maxAge *caddy.Duration, level string) (policy.Demand, error) {
	if maxAge != nil {
		d.MaxAge = time.Duration(*maxAge)
		if err := checkMaxAge(d.MaxAge); err != nil {
			return d, fmt.Errorf("max_age: %w", err)
		}
	}
	if level != "" {
		if err := checkLevel(level); err != nil {
			return d, fmt.Errorf("level: %w", err)
		}
		d.Level, _ = passkey.ParseLevel(level)
	}
	return d, nil
}

// enforced returns how far something is enforced, and from when on: what is said, or else what the block has.
func enforced(block policy.Rule, mode, from string) (policy.Mode, time.Time, error) {
	if err := checkMode(mode); err != nil {
		return 0, time.Time{}, fmt.Errorf("mode: %w", err)
	}
	is := block.Mode
	if mode != "" {
		is = modes[mode]
	}
	switch {
	case from == "" && is == policy.Enforce:
		return is, block.From, nil
	case from == "":
		return is, time.Time{}, nil
	case is != policy.Enforce:
		return 0, time.Time{}, errors.New("enforce_from goes with `mode enforce`, which it puts off: until then it is as if_enrolled")
	}
	if err := checkEnforceFrom(from); err != nil {
		return 0, time.Time{}, fmt.Errorf("enforce_from: %w", err)
	}
	at, _ := time.Parse(time.RFC3339, from)
	return is, at, nil
}
