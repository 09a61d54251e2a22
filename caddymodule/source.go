package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// source is where a request's user or first-factor session comes from: one placeholder. The zero source is none.
type source struct {
	key    string // placeholder without braces
	header string // canonical, if it is a request header
}

const headerPlaceholder = "http.request.header."

// fromClient are placeholders that hold what a client wrote, whatever the first factor does.
var fromClient = []string{"http.request.cookie.", "http.request.uri", "http.request.orig_uri", "http.request.body", "http.request.method", "http.request.host", "http.request.remote"}

// newSource reads a placeholder. Whole and only: a text around it would let two users share a name. clientMay allows what
// a client wrote: it may name a session, since the first factor checks it, but never a user.
func newSource(placeholder string, clientMay bool) (source, error) {
	inner, ok := strings.CutPrefix(placeholder, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !ok || !closed || inner == "" || strings.ContainsAny(inner, "{}") {
		return source{}, fmt.Errorf("%q: must be exactly one placeholder, for example {http.auth.user.id} or {http.request.header.X-Auth-Request-Email}", placeholder)
	}
	if !clientMay {
		for _, prefix := range fromClient {
			if strings.HasPrefix(inner, prefix) {
				return source{}, fmt.Errorf("%q: clients write this themselves, so it can't say who they are; use what the first factor sets", placeholder)
			}
		}
	}
	s := source{key: inner}
	if name, isHeader := strings.CutPrefix(inner, headerPlaceholder); isHeader {
		if name == "" {
			return source{}, fmt.Errorf("%q: names no header", placeholder)
		}
		s.header = http.CanonicalHeaderKey(name)
	}
	return s, nil
}

// read returns the value, or "" where there is none or, for a header, several: somebody added theirs to the first
// factor's.
func (s source) read(r *http.Request, replacer *caddy.Replacer) string {
	switch {
	case s.key == "":
		return ""
	case s.header != "":
		if values := r.Header[s.header]; len(values) == 1 {
			return values[0]
		}
		return ""
	}
	value, _ := replacer.GetString(s.key)
	return value
}

// headers returns the request header that the source reads, if any.
func (s source) headers() []string {
	if s.header == "" {
		return nil
	}
	return []string{s.header}
}
