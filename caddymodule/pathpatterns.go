package caddymodule

import (
	"encoding/json"
	"runtime"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// knownPaths returns which paths matcher sets can match, for [gate.Route]: nil where that is not known, or where any path
// may do. enough reports whether nothing but the path decides.
//
// It speaks of Caddy's matcher `path` only, and of patterns only that this matcher compares as they are: whole, or up to a `*`
// at the end. On Windows it compares in ways of its own.
func knownPaths(sets []caddy.ModuleMap) (paths []string, enough bool) {
	enough = true
	for _, set := range sets {
		var patterns []string
		if runtime.GOOS == "windows" || json.Unmarshal(set["path"], &patterns) != nil || len(patterns) == 0 {
			return nil, false
		}
		for _, pattern := range patterns {
			if !isKnownPattern(pattern) {
				return nil, false
			}
			paths = append(paths, strings.ToLower(pattern))
		}
		enough = enough && len(set) == 1
	}
	return paths, enough
}

// isKnownPattern reports whether a pattern is compared as it is: no placeholder, no escape, nothing that [path.Match] reads
// as anything but itself, and no doubled slash, which would have the path cleaned in another way.
func isKnownPattern(pattern string) bool {
	text, _ := strings.CutSuffix(pattern, "*")
	return !strings.ContainsAny(text, `*{%?[\`) && !strings.Contains(pattern, "//")
}
