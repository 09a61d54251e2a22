package gate

import (
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// overrides are headers by which an upstream might take another method or path than the one that was judged.
var overrides = [...]string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url"}

// cookies are the gate's own cookies, as a request carried them.
type cookies struct {
	grant    string
	ceremony string
}

// scrub takes from a request what a client must not hand to the upstream, whatever the rule: copies of our headers,
// also as trailers and under spellings that some upstreams fold into them; their nominations in Connection, by which
// Caddy's reverse proxy would drop what we set (the lesson of Traefik's CVE-2024-45410); the override headers; and our
// cookies, which it notes in the exchange.
func (g *Gate) scrub(x *exchange, secure bool) {
	r := x.r
	var nominated, cookies []string
	for name, values := range r.Header { // once, and no further look at the map for what is not there
		if name == "" {
			continue
		}
		switch name[0] { // most are none of these
		case 'C':
			switch name {
			case "Cookie":
				cookies = values
			case "Connection":
				nominated = values
			}
		case 'X', 'x':
			if isOwnHeader(name) || isOverride(name) {
				delete(r.Header, name)
			}
		}
	}
	if r.Trailer != nil {
		g.scrubTrailers(r)
	}
	if len(nominated) > 0 {
		g.scrubConnection(r.Header, nominated)
	}
	if len(cookies) > 0 {
		x.cookies = g.takeCookies(r.Header, cookies, secure, &x.cookie)
	}
}

func isOverride(name string) bool {
	for i := range overrides {
		if overrides[i] == name {
			return true
		}
	}
	return false
}

// mustNotTrail reports whether a trailer would be mistaken for a header that no client may send, by an upstream that puts
// trailers among the headers and folds their names. (Of headers, Caddy drops the foldable spellings itself.)
func (g *Gate) mustNotTrail(name string) bool {
	folded := http.CanonicalHeaderKey(strings.NewReplacer("_", "-", ".", "-").Replace(name))
	return folded == "Cookie" || slices.Contains(overrides[:], folded) || g.isIdentityHeader(folded)
}

// scrubTrailers takes what no client may send out of the trailers: now, where they are announced, and once
// the body has been read, when net/http puts in what was really sent.
func (g *Gate) scrubTrailers(r *http.Request) {
	scrub := func() {
		for name := range r.Trailer {
			if isOwnHeader(name) || g.mustNotTrail(name) {
				delete(r.Trailer, name)
			}
		}
	}
	scrub()
	if r.Body != nil {
		r.Body = &trailedBody{ReadCloser: r.Body, atEnd: scrub}
	}
}

// trailedBody calls atEnd in the very Read that returns the error at the end, before anybody can look at the trailers.
type trailedBody struct {
	io.ReadCloser
	atEnd func()
}

func (b *trailedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.atEnd()
	}
	return n, err
}

func isOwnHeader(name string) bool {
	if len(name) < len(ownHeaders) || name[0]|0x20 != 'x' {
		return false
	}
	for i := range len(ownHeaders) {
		c := name[i]
		switch {
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		case c == '_' || c == '.': // CGI-like upstreams fold these into a hyphen (GHSA-f59h-q822-g45g)
			c = '-'
		}
		if c != ownHeaders[i] {
			return false
		}
	}
	return true
}

// scrubConnection drops nominations of headers that the upstream must get: ours, the cookies, and those the user and
// session come from.
func (g *Gate) scrubConnection(h http.Header, nominated []string) {
	var kept []string
	for _, line := range nominated {
		for token := range strings.SplitSeq(line, ",") {
			token = textproto.TrimString(token)
			if token == "" || isOwnHeader(token) || strings.EqualFold(token, "Cookie") || g.isIdentityHeader(token) {
				continue
			}
			kept = append(kept, token)
		}
	}
	if len(kept) == 0 {
		delete(h, "Connection")
		return
	}
	h["Connection"] = []string{strings.Join(kept, ", ")}
}

func (g *Gate) isIdentityHeader(name string) bool {
	for _, own := range g.cfg.IdentityHeaders {
		if strings.EqualFold(own, name) {
			return true
		}
	}
	return false
}

// takeCookies removes the gate's cookies from the Cookie headers, which are these lines, and returns the first of each kind that has the exact
// name for this origin. Names are removed whatever their case, since upstreams differ there, but only the exact one
// counts: the `__Host-` prefix protects no other spelling.
//
// The header's values are never changed in place: other holders of it (the access log) keep what came in. A browser sends
// one Cookie header; what is left of it goes into left.
func (g *Gate) takeCookies(h http.Header, lines []string, secure bool, left *[1]string) (found cookies) {
	rest := left[:0]
	ours := false
	for _, line := range lines {
		line, some := g.takeFrom(line, secure, &found)
		if ours = ours || some; line != "" {
			rest = append(rest, line)
		}
	}
	switch {
	case !ours:
	case len(rest) == 0:
		delete(h, "Cookie")
	default:
		h["Cookie"] = rest
	}
	return found
}

// takeFrom returns a Cookie header's value without the gate's cookies, notes those that count, and reports whether there were
// any.
func (g *Gate) takeFrom(line string, secure bool, found *cookies) (rest string, ours bool) {
	count, from, to := 0, 0, 0 // where the first one stands
	for at := 0; at < len(line); {
		end := len(line)
		if length := strings.IndexByte(line[at:], ';'); length >= 0 {
			end = at + length
		}
		if !mayBeOwnCookie(line[at:end]) {
			at = end + 1
			continue
		}
		if name, value := cut(line[at:end]); g.isOwnCookie(name) {
			if count++; count == 1 {
				from, to = at, end
			}
			names := cookieNames(secure)
			if name == names.grant && found.grant == "" {
				found.grant = value
			}
			if name == names.ceremony && found.ceremony == "" {
				found.ceremony = value
			}
		}
		at = end + 1
	}
	switch count {
	case 0:
		return line, false
	case 1: // between two others, or at an end
		for from > 0 && isBetween(line[from-1]) {
			from--
		}
		for to < len(line) && isBetween(line[to]) {
			to++
		}
		if from == 0 || to == len(line) {
			return line[:from] + line[to:], true
		}
		return line[:from] + "; " + line[to:], true
	}
	return g.withoutOwnCookies(line), true
}

// mayBeOwnCookie reports whether a pair begins as our cookies' names do. Most don't, so that no more of them is looked at.
func mayBeOwnCookie(pair string) bool {
	for i := range len(pair) {
		if c := pair[i]; !isSpace(c) {
			return c|0x20 == 's' || c == '_'
		}
	}
	return false
}

func isBetween(c byte) bool { return c == ';' || isSpace(c) }

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// cut returns name and value of a pair in a Cookie header, without the space around the pair. It is for names that are
// short: [strings.Cut] takes longer.
func cut(pair string) (name, value string) {
	for pair != "" && isSpace(pair[0]) {
		pair = pair[1:]
	}
	for pair != "" && isSpace(pair[len(pair)-1]) {
		pair = pair[:len(pair)-1]
	}
	for i := range len(pair) {
		if pair[i] == '=' {
			return pair[:i], pair[i+1:]
		}
	}
	return pair, ""
}

// withoutOwnCookies returns a Cookie header's value without any of ours.
func (g *Gate) withoutOwnCookies(line string) string {
	var b strings.Builder
	b.Grow(len(line))
	for rest := line; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, ";")
		pair = textproto.TrimString(pair)
		name, _ := cut(pair)
		if pair == "" || g.isOwnCookie(name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(pair)
	}
	return b.String()
}

// names of the gate's cookies on one kind of origin.
type names struct{ grant, ceremony string }

var (
	secureNames = names{grant: "__Host-stepgate", ceremony: "__Host-stepgate-ceremony"}
	// Browsers refuse the __Host- prefix on http://localhost, the only http origin that can be configured.
	localNames = names{grant: "stepgate", ceremony: "stepgate-ceremony"}
)

func cookieNames(secure bool) names {
	if secure {
		return secureNames
	}
	return localNames
}

func (g *Gate) isOwnCookie(name string) bool {
	for name != "" && isSpace(name[len(name)-1]) {
		name = name[:len(name)-1]
	}
	switch len(name) {
	case len(secureNames.grant):
		return strings.EqualFold(name, secureNames.grant)
	case len(secureNames.ceremony):
		return strings.EqualFold(name, secureNames.ceremony)
	case len(localNames.grant):
		return g.hasLocal && strings.EqualFold(name, localNames.grant)
	case len(localNames.ceremony):
		return g.hasLocal && strings.EqualFold(name, localNames.ceremony)
	}
	return false
}
