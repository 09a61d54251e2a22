package gate

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"github.com/stepgate/stepgate/internal/passkey"
)

// checkRequest judges method, upgrade and path: the parts of a request that an upstream may read in another way than
// the rules do. The path must be clear both as the client sent it and as the next handler gets it.
func checkRequest(r *http.Request, original *url.URL) (reading, passkey.Refusal) {
	if !plainMethod(r.Method) || r.Method == http.MethodTrace || r.Method == http.MethodConnect && !opensWebSocket(r) {
		return ambiguous, passkey.MethodRefused
	}
	if upgrade := r.Header["Upgrade"]; len(upgrade) > 0 && wantsCleartextHTTP2(upgrade) {
		return ambiguous, passkey.UpgradeRefused
	}
	how := readURL(r.URL)
	if original.Path != r.URL.Path || original.RawPath != r.URL.RawPath {
		how = max(how, readURL(original))
	}
	return how, ""
}

// readURL judges a path both as it goes out and as it came in. They differ where the client left a character unescaped that
// has to be, `/a"%2Fb`: net/url then escapes the decoded path anew, and the encoded slash goes out as any other.
func readURL(u *url.URL) reading {
	if u.RawPath == "" && isPlain(u.Path) {
		return clear
	}
	escaped := u.EscapedPath()
	how := readPath(escaped)
	if u.RawPath != "" && u.RawPath != escaped {
		how = max(how, readPath(u.RawPath))
	}
	return how
}

// plainMethod reports whether a method is an upper-case token. Methods are case-sensitive (RFC 9110 §9.1), but not to
// every upstream: `delete` must not pass a rule that says DELETE.
func plainMethod(method string) bool {
	for i := range len(method) {
		if c := method[i]; (c < 'A' || c > 'Z') && (c != '-' || i == 0) {
			return false
		}
	}
	return method != "" && len(method) <= 32
}

// opensWebSocket reports whether a CONNECT opens a WebSocket over HTTP/2 (RFC 8441) or HTTP/3 (RFC 9220): the only
// protocol that Caddy's reverse proxy translates, into a GET. Any other would leave as a plain CONNECT. A client can't
// fake it over HTTP/1: no header name may begin with a colon there.
func opensWebSocket(r *http.Request) bool {
	switch r.ProtoMajor {
	case 2:
		return len(r.Header[":protocol"]) == 1 && r.Header[":protocol"][0] == "websocket"
	case 3:
		return r.Proto == "websocket" // quic-go puts :protocol there
	}
	return false
}

// asForwarded returns a WebSocket's CONNECT as the request that Caddy's reverse proxy makes of it, for matching only.
func asForwarded(r *http.Request) *http.Request {
	upgrade := new(http.Request)
	*upgrade = *r
	upgrade.Method = http.MethodGet
	upgrade.Header = r.Header.Clone()
	upgrade.Header.Del(":protocol")
	upgrade.Header["Upgrade"], upgrade.Header["Connection"] = []string{"websocket"}, []string{"Upgrade"}
	return upgrade
}

// wantsCleartextHTTP2 reports whether an Upgrade header names h2c: behind it, requests would flow past the gate
// (CVE-2026-32136).
func wantsCleartextHTTP2(upgrade []string) bool {
	for _, line := range upgrade {
		for token := range strings.SplitSeq(line, ",") {
			protocol, _, _ := strings.Cut(textproto.TrimString(token), "/")
			if strings.EqualFold(textproto.TrimString(protocol), "h2c") {
				return true
			}
		}
	}
	return false
}

// isEarly reports whether a request came as TLS early data, which an attacker on the network can replay (RFC 8470).
func isEarly(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }

// isNavigation reports whether a person is waiting for a page in this window. Browsers say so; without their word, an
// Accept header that prefers HTML does.
func isNavigation(r *http.Request) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		// A frame is a navigation too, but the challenge page can't be framed.
		destination := r.Header.Get("Sec-Fetch-Dest")
		return mode == "navigate" && (destination == "" || destination == "document")
	}
	return r.Header.Get("X-Requested-With") == "" && prefersHTML(r.Header.Values("Accept"))
}

// prefersHTML reports whether an Accept header names HTML and puts nothing that is JSON before it. A wildcard is no
// preference: it is what scripts and tools send.
func prefersHTML(accept []string) bool {
	html, json := -1.0, -1.0
	for _, line := range accept {
		for entry := range strings.SplitSeq(line, ",") {
			mediaType, parameters, _ := strings.Cut(entry, ";")
			q := quality(parameters)
			switch mediaType = strings.ToLower(textproto.TrimString(mediaType)); {
			case mediaType == "text/html" || mediaType == "application/xhtml+xml":
				html = max(html, q)
			case mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"):
				json = max(json, q)
			}
		}
	}
	return html > 0 && html >= json
}

// quality reads the q parameter of an Accept entry; 1 where there is none. What is none of RFC 9110 §12.4.2's numbers
// counts as 0: strconv would also read infinity.
func quality(parameters string) float64 {
	for parameter := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(textproto.TrimString(parameter), "=")
		if strings.EqualFold(name, "q") {
			whole, decimals, _ := strings.Cut(value, ".")
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || whole != "0" && whole != "1" || len(decimals) > 3 || strings.Trim(decimals, "0123456789") != "" || q > 1 {
				return 0
			}
			return q
		}
	}
	return 1
}
