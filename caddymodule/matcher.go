package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/text/unicode/norm"
)

var errEmptySet = errors.New("an empty matcher would match every request; use * if you mean that")

// checkSet refuses a matcher set that can't be meant: one that is empty, that holds a matcher without anything to
// match, or a path or method that no request has. Caddy takes them all, and a rule that never matches is worse than none:
// it reads as if it guarded something.
func checkSet(set caddy.ModuleMap) error {
	if len(set) == 0 {
		return errEmptySet
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		raw := set[name]
		if placeholder := requestPlaceholder(raw); placeholder != "" {
			return fmt.Errorf("matcher %s reads {%s}: placeholders speak of the request as it came, not as it is forwarded after a rewrite or as a WebSocket; use the matchers path, method, header and so on", name, placeholder)
		}
		if isEmptyMatcher(name, raw) {
			return fmt.Errorf("matcher %s is empty: say what it matches", name)
		}
		var err error
		switch name {
		case "not":
			err = checkNot(raw)
		case "path":
			err = checkEach(raw, func(path string) error {
				if strings.Contains(path, "{") {
					return fmt.Errorf("path %q holds a placeholder: one that is empty, or that a client writes, would match what nobody meant", path)
				}
				if strings.Contains(path, "%") { // Caddy compares escapes as they are written: /%40x/* would not match /@x/y
					return fmt.Errorf("path %q holds an escape, so it matches one spelling of that path and no other: write the character itself", path)
				}
				if normal := norm.NFKC.String(path); normal != path { // requests are judged as what they become: the rule would miss most
					return fmt.Errorf("path %q matches only what is spelled like it: write %q, which requests in either spelling match", path, normal)
				}
				if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "*") {
					return fmt.Errorf("path %q matches nothing: it must begin with / or *", path)
				}
				return nil
			})
		case "path_regexp":
			var regexp struct {
				Pattern string `json:"pattern"`
			}
			if json.Unmarshal(raw, &regexp) == nil && regexp.Pattern == "" {
				err = errors.New("path_regexp without a pattern would match every request; use * if you mean that")
			}
		case "method":
			err = checkEach(raw, func(method string) error {
				if method == "" || method != strings.ToUpper(method) {
					return fmt.Errorf("method %q matches nothing: methods are in upper case", method)
				}
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// asItCame are the placeholders whose values differ between the request as it came and as it goes on.
var asItCame = []string{
	"http.request.method", "http.request.uri", "http.request.orig_", "http.request.header.", "http.request.proto", "http.request.body",
}

// requestPlaceholder returns the first of them that a matcher's configuration holds, or "".
func requestPlaceholder(raw json.RawMessage) string {
	if !bytes.ContainsAny(raw, `{\`) {
		return "" // as in most: there is no brace, however it is written
	}
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return "" // loading the matcher says what is wrong
	}
	plain, err := json.Marshal(value) // without escapes that would hide a name
	if err != nil {
		return ""
	}
	for _, prefix := range asItCame {
		if _, after, found := strings.Cut(string(plain), "{"+prefix); found {
			rest, _, _ := strings.Cut(after, "}")
			return prefix + rest
		}
	}
	return ""
}

// checkOpenSet refuses, in an open rule, `/*`: what is left of a path like {$PREFIX}/* when the variable is not set.
func checkOpenSet(set caddy.ModuleMap) error {
	return checkEach(set["path"], func(path string) error {
		if path == "/*" || path == "//*" {
			return fmt.Errorf("path %q would open every request; use * if you mean that", path)
		}
		return nil
	})
}

func checkNot(raw json.RawMessage) error {
	var sets []caddy.ModuleMap
	if err := json.Unmarshal(raw, &sets); err != nil {
		return fmt.Errorf("reading not matcher: %w", err)
	}
	for _, set := range sets {
		if err := checkSet(set); err != nil {
			return fmt.Errorf("not: %w", err)
		}
	}
	return nil
}

func checkEach(raw json.RawMessage, check func(string) error) error {
	var values []string
	if json.Unmarshal(raw, &values) != nil {
		return nil // loading the matcher says what is wrong
	}
	for _, value := range values {
		if err := check(value); err != nil {
			return err
		}
	}
	return nil
}

// withOptions are the standard matchers that match nothing or everything as {}. To others, such as tls and file, {} means
// something.
var withOptions = []string{
	"client_ip", "header", "header_regexp", "path_regexp", "query", "remote_ip", "vars", "vars_regexp",
}

func isEmptyMatcher(name string, raw json.RawMessage) bool {
	switch strings.TrimSpace(string(raw)) {
	case "", "null", "[]", `""`:
		return true
	case "{}":
		return slices.Contains(withOptions, name)
	}
	return false
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
		// `/api/*/*` means one thing below another; its bare form would match a good deal more.
		if wild && bare != "" && !strings.Contains(bare, "*") && !slices.Contains(paths, bare) {
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
