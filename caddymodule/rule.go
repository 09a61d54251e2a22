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

	// How strong it must be: `present`, `verified` or `device_bound`. Default: the block's.
	Level string `json:"level,omitempty"`

	// Whether the rule is enforced. Only `enforce` is built yet. Default: the block's.
	Mode string `json:"mode,omitempty"`

	// Not built yet: refused.
	Once bool `json:"once,omitempty"`
}

// provision turns the rule into the gate's form. index is its place in the block, from 0.
func (rule *Rule) provision(ctx caddy.Context, block policy.Demand, index int) (gate.Route, error) {
	name := fmt.Sprintf("rule %d", index+1)
	fail := func(err error) (gate.Route, error) {
		return gate.Route{}, fmt.Errorf("stepgate: rules[%d]: %w", index, err)
	}

	if rule.Once {
		return fail(notBuilt("once", "max_age"))
	}
	if err := checkMode(rule.Mode); err != nil {
		return fail(err)
	}
	route := gate.Route{Rule: policy.Rule{Name: name + ": " + rule.describe()}}
	var err error
	switch rule.Action {
	case "open":
		if rule.MaxAge != nil || rule.Level != "" || rule.Mode != "" {
			return fail(errors.New("an open rule demands nothing, so it takes no max_age, level or mode"))
		}
		route.Open = true
	case "protect":
		if route.Demand, err = overlay(block, rule.MaxAge, rule.Level); err != nil {
			return fail(err)
		}
	default:
		return fail(fmt.Errorf("action %q: must be open or protect", rule.Action))
	}
	if len(rule.MatchRaw) == 0 {
		return fail(errors.New("no matcher given: say which requests the rule is about"))
	}
	for _, set := range rule.MatchRaw {
		if len(set) == 0 {
			return fail(errors.New("an empty matcher would match every request; use * if you mean that"))
		}
		if rule.Action == "protect" {
			if err := coverBare(set); err != nil {
				return fail(err)
			}
		}
	}
	sets, err := loadMatchers(ctx, rule)
	if err != nil {
		return fail(err)
	}
	route.Match = func(r *http.Request) (bool, error) { return sets.AnyMatchWithError(r) }
	return route, nil
}

func loadMatchers(ctx caddy.Context, rule *Rule) (caddyhttp.MatcherSets, error) {
	loaded, err := ctx.LoadModule(rule, "MatchRaw")
	if err != nil {
		return nil, fmt.Errorf("loading matchers: %w", err)
	}
	var sets caddyhttp.MatcherSets
	if err := sets.FromInterface(loaded); err != nil {
		return nil, fmt.Errorf("loading matchers: %w", err)
	}
	return sets, nil
}

// coverBare makes `/x/*` cover `/x` too: to most upstreams both are the same page, and a rule that guards the one but
// not the other surprises everybody but the attacker.
func coverBare(set caddy.ModuleMap) error {
	raw, ok := set["path"]
	if !ok {
		return nil
	}
	var paths []string
	if err := json.Unmarshal(raw, &paths); err != nil {
		return fmt.Errorf("reading path matcher: %w", err)
	}
	for _, path := range paths {
		bare, wild := strings.CutSuffix(path, "/*")
		if wild && bare != "" && !slices.Contains(paths, bare) {
			paths = append(paths, bare)
		}
	}
	covered, err := json.Marshal(paths)
	if err != nil {
		return err
	}
	set["path"] = covered
	return nil
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
		switch d.MaxAge = time.Duration(*maxAge); {
		case d.MaxAge == 0:
			return d, errors.New("max_age 0 would let nothing pass; to ask at every request there will be `once`, which is not built yet in this version")
		case d.MaxAge < 0:
			return d, fmt.Errorf("max_age %s: must be positive", d.MaxAge)
		}
	}
	switch level {
	case "":
	case "attested":
		return d, notBuilt("level attested", "level device_bound")
	default:
		parsed, err := passkey.ParseLevel(level)
		if err != nil {
			return d, err
		}
		d.Level = parsed
	}
	return d, nil
}
