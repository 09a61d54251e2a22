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
// cookies, which it returns.
func (g *Gate) scrub(r *http.Request, secure bool) cookies {
	for name := range r.Header {
		if isOwnHeader(name) {
			delete(r.Header, name)
		}
	}
	for _, name := range overrides {
		delete(r.Header, name)
	}
	if r.Trailer != nil {
		g.scrubTrailers(r)
	}
	if nominated := r.Header["Connection"]; len(nominated) > 0 {
		g.scrubConnection(r.Header, nominated)
	}
	return g.takeCookies(r.Header, secure)
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

// takeCookies removes the gate's cookies from the Cookie headers and returns the first of each kind that has the exact
// name for this origin. Names are removed whatever their case, since upstreams differ there, but only the exact one
// counts: the `__Host-` prefix protects no other spelling.
func (g *Gate) takeCookies(h http.Header, secure bool) (found cookies) {
	lines := h["Cookie"]
	changed := false
	for i := range lines {
		line, ours := lines[i], false
		for rest := line; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			name, value, _ := strings.Cut(textproto.TrimString(pair), "=")
			if !g.isOwnCookie(name) {
				continue
			}
			ours = true
			names := cookieNames(secure)
			if name == names.grant && found.grant == "" {
				found.grant = value
			}
			if name == names.ceremony && found.ceremony == "" {
				found.ceremony = value
			}
		}
		if ours {
			lines, changed = g.withoutOwnCookies(lines, i), true
		}
	}
	if changed {
		lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
		if h["Cookie"] = lines; len(lines) == 0 {
			delete(h, "Cookie")
		}
	}
	return found
}

// withoutOwnCookies returns the lines with ours taken out of line i. The slice is copied: other holders of the header
// (the access log) keep what came in.
func (g *Gate) withoutOwnCookies(lines []string, i int) []string {
	var b strings.Builder
	b.Grow(len(lines[i]))
	for rest := lines[i]; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, ";")
		pair = textproto.TrimString(pair)
		name, _, _ := strings.Cut(pair, "=")
		if pair == "" || g.isOwnCookie(name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(pair)
	}
	copied := append([]string(nil), lines...)
	copied[i] = b.String()
	return copied
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
	name = textproto.TrimString(name)
	switch len(name) {
	case len(secureNames.grant), len(secureNames.ceremony), len(localNames.grant), len(localNames.ceremony):
	default:
		return false
	}
	return strings.EqualFold(name, secureNames.grant) || strings.EqualFold(name, secureNames.ceremony) ||
		g.hasLocal && (strings.EqualFold(name, localNames.grant) || strings.EqualFold(name, localNames.ceremony))
}
