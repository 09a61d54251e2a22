package gate

import (
	"net/url"
	"strings"
)

// maxTarget bounds the path and query that a demand remembers, in bytes. A longer one is forgotten: the person lands
// on `/` afterwards.
const maxTarget = 4096

// returnTo returns where a person may be sent after a step-up: a path and query on this very origin, or `/`.
//
// Every form that a browser could take for another origin falls back to `/`: `//host`, `/\host`, `https:host`, anything
// with control characters, and every path that readPath finds ambiguous, or debatable unless debatable ones are let
// through here. So do the gateway's own pages, which would loop.
func returnTo(target, prefix string, letDebatable bool) string {
	const home = "/"
	if target == "" || len(target) > maxTarget || target[0] != '/' || strings.HasPrefix(target, "//") {
		return home
	}
	for i := range len(target) {
		if c := target[i]; c <= 0x20 || c >= 0x7f || c == '\\' {
			return home // a URL on the wire is printable ASCII; whoever sends something else means no good
		}
	}
	path, _, _ := strings.Cut(target, "?")
	how := readPath(path)
	if strings.Contains(target, "#") || how == ambiguous || how == debatable && !letDebatable {
		return home
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil {
		return home
	}
	if within(u.Path, prefix) {
		return home
	}
	return target
}

// within reports whether a path is the prefix or below it.
func within(path, prefix string) bool {
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}
