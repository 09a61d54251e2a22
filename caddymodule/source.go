package caddymodule

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// source is where a request's user or first-factor session comes from: one placeholder. The zero source is none.
type source struct {
	key         string // placeholder without braces
	header      string // canonical, if it is a request header
	cookie      string // if it is a cookie
	certificate bool   // if it is of a client certificate
}

const (
	headerPlaceholder      = "http.request.header."
	cookiePlaceholder      = "http.request.cookie."
	certificatePlaceholder = "http.request.tls.client."
)

// clientWrites reports whether a placeholder holds what a client wrote, whatever the first factor does. Of what Caddy
// says about a request, only headers (which the first factor sets) and verified client certificates can be a user.
func clientWrites(inner string) bool {
	if name, ok := strings.CutPrefix(inner, headerPlaceholder); ok {
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "Cookie", "Forwarded", "Host", "Origin", "Proxy-Authorization", "Referer", "User-Agent", "X-Forwarded-For":
			return true
		}
		return false
	}
	return strings.HasPrefix(inner, "http.request.") && !strings.HasPrefix(inner, certificatePlaceholder) ||
		strings.HasPrefix(inner, "http.regexp.") || strings.HasPrefix(inner, "http.matchers.") || inner == "http.vars.client_ip"
}

// saysNothing reports whether a placeholder is of Caddy and not of the request. As a user it would make everybody one person,
// as a session a grant would never end with it, and a clock is always fresh.
func saysNothing(inner string) bool {
	for _, prefix := range []string{"env.", "file.", "system.", "time.", "http.shutting_down", "http.time_until_shutdown"} {
		if strings.HasPrefix(inner, prefix) {
			return true
		}
	}
	return false
}

// newSource reads a placeholder. Whole and only: a text around it would let two users share a name. clientMay allows what
// a client wrote: it may name a session, since the first factor checks it, but never a user.
func newSource(placeholder string, clientMay bool) (source, error) {
	inner, ok := strings.CutPrefix(placeholder, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !ok || !closed || inner == "" || strings.ContainsAny(inner, "{}") {
		return source{}, fmt.Errorf("%q: must be exactly one placeholder, for example {http.auth.user.id} or {http.request.header.X-Auth-Request-Email}", placeholder)
	}
	if !clientMay && clientWrites(inner) {
		return source{}, fmt.Errorf("%q: clients write this themselves, so it can't say who they are; use what the first factor sets", placeholder)
	}
	if saysNothing(inner) {
		return source{}, fmt.Errorf("%q: this says nothing about who is there, since Caddy says it of everybody's requests; use what the first factor sets", placeholder)
	}
	if strings.HasPrefix(inner, "http.request.body") {
		return source{}, fmt.Errorf("%q: the gate does not read bodies", placeholder)
	}
	s := source{key: inner, certificate: strings.HasPrefix(inner, certificatePlaceholder)}
	if name, isCookie := strings.CutPrefix(inner, cookiePlaceholder); isCookie {
		if name == "" {
			return source{}, fmt.Errorf("%q: names no cookie", placeholder)
		}
		s.cookie = name
	}
	if name, isHeader := strings.CutPrefix(inner, headerPlaceholder); isHeader {
		if name == "" {
			return source{}, fmt.Errorf("%q: names no header", placeholder)
		}
		s.header = http.CanonicalHeaderKey(name)
		if strings.HasPrefix(s.header, "X-Stepgate-") {
			return source{}, fmt.Errorf("%q: the gate sets these headers itself and takes clients' copies out, so no first factor can use them", placeholder)
		}
	}
	return s, nil
}

func checkUserSource(placeholder string) error {
	_, err := newSource(placeholder, false)
	return err
}

func checkSessionSource(placeholder string) error {
	_, err := newSource(placeholder, true)
	return err
}

// read returns the value, or "" where there is none; where a header or cookie is there several times, since somebody added
// theirs to the first factor's; and where a client certificate was not verified against a CA.
func (s *source) read(r *http.Request, replacer *caddy.Replacer) string {
	switch {
	case s.key == "":
		return ""
	case s.header != "":
		if values := r.Header[s.header]; len(values) == 1 {
			return values[0]
		}
		return ""
	case s.cookie != "":
		return theCookie(r.Header["Cookie"], s.cookie)
	case s.certificate && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0):
		return ""
	}
	value, _ := replacer.GetString(s.key)
	return value
}

// theCookie returns the one cookie of this exact name, or "" when there is none, or another under any spelling of it:
// Caddy's own placeholder takes the first that is alike, and the first factor perhaps another.
func theCookie(lines []string, name string) string {
	value, found := "", 0
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			given, text, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if given = strings.TrimSpace(given); strings.EqualFold(given, name) {
				found++
				if given == name {
					value = text
				}
			}
		}
	}
	if found != 1 {
		return ""
	}
	return value
}

// headers returns the request header that the source reads, if any.
func (s *source) headers() []string {
	if s.header == "" {
		return nil
	}
	return []string{s.header}
}
