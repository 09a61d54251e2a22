package gate

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/stepgate/stepgate/internal/passkey"
)

// origin is one configured origin.
type origin struct {
	text   string   // canonical, as browsers state it
	hosts  []string // values of Host that mean it, lower-case
	secure bool     // https
	digest passkey.Digest
}

// parseOrigin reads a canonical origin. The only http origin is localhost's: browsers treat it as secure.
func parseOrigin(text string) (*origin, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != text {
		return nil, fmt.Errorf("origin %q: must be scheme and host only, for example https://console.example.com", text)
	}
	o := &origin{text: text, secure: u.Scheme == "https", digest: passkey.DigestOf(text)}
	if !o.secure && (u.Scheme != "http" || u.Hostname() != "localhost") {
		return nil, fmt.Errorf("origin %q: must be https (or http://localhost, for development)", text)
	}
	if strings.Trim(u.Hostname(), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" && text == strings.ToLower(text) {
		return nil, fmt.Errorf("origin %q: the host must be a domain of a-z, 0-9, - and . (an internationalised one in its xn-- form)", text)
	}
	if text != strings.ToLower(text) || strings.HasSuffix(u.Hostname(), ".") {
		return nil, fmt.Errorf("origin %q: must be in lower case and without a dot at the end, as browsers send it", text)
	}
	ownPort := "443"
	if !o.secure {
		ownPort = "80"
	}
	switch port, written := u.Port(), strings.TrimLeft(u.Port(), "0"); {
	case written == ownPort || strings.HasSuffix(u.Host, ":"):
		return nil, fmt.Errorf("origin %q: leave out the port %s, as browsers do", text, ownPort)
	case port == "":
		o.hosts = []string{u.Host, u.Host + ":" + ownPort}
	default:
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, fmt.Errorf("origin %q: no such port", text)
		}
		if port != written {
			return nil, fmt.Errorf("origin %q: write %s://%s:%s, as browsers do", text, u.Scheme, u.Hostname(), written)
		}
		o.hosts = []string{u.Host}
	}
	return o, nil
}

// CheckOrigin tells whether a text can be configured as an origin.
func CheckOrigin(text string) error {
	_, err := parseOrigin(text)
	return err
}

// originOf returns the one configured origin that the request's Host names. Its scheme comes from the configuration: an
// https origin on a plain connection counts only from a peer that the operator trusts to end TLS.
func (g *Gate) originOf(r *http.Request, in *Request) (*origin, passkey.Refusal) {
	o, ok := g.origins[r.Host]
	if !ok {
		if o, ok = g.origins[lowerASCII(r.Host)]; !ok {
			return nil, passkey.OriginUnknown
		}
	}
	if o.secure && r.TLS == nil && !in.trusted() {
		return o, passkey.OriginInsecure
	}
	return o, ""
}

// lowerASCII makes A to Z small and leaves all else alone. strings.ToLower makes a k of the Kelvin sign, which no host name
// has and HTTP/2 lets through.
func lowerASCII(text string) string {
	lower := []byte(text)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c | 0x20
		}
	}
	return string(lower)
}

// FoldUser returns the form of a user's name in which a site with FoldUser knows them: the same for all names that differ in
// case alone (The Unicode Standard, D145). Folded before it is decomposed, a name with several marks on one letter would
// depend on their order.
func FoldUser(user string) string {
	return norm.NFC.String(strings.Map(foldCherokee, cases.Fold().String(norm.NFD.String(user))))
}

// foldCherokee folds Cherokee letters, to their capitals (CaseFolding.txt), where [cases.Fold] only swaps the two: golang/go
// issue 46101.
func foldCherokee(r rune) rune {
	if unicode.Is(unicode.Cherokee, r) {
		return unicode.ToUpper(r)
	}
	return r
}

// identify fills in the user and the first-factor session, or says why there is none.
func (g *Gate) identify(x *exchange) passkey.Refusal {
	user := x.in.User
	if err := passkey.CheckUser(user); err != nil {
		return refusalOf(err)
	}
	if g.cfg.FoldUser {
		if user = FoldUser(user); passkey.CheckUser(user) != nil { // it can be three times as long
			return passkey.UserInvalid
		}
	}
	x.user = user
	if g.cfg.BindSession {
		if strings.TrimSpace(x.in.Session) == "" {
			return passkey.SessionMissing
		}
		x.session = passkey.DigestOf(x.in.Session)
	}
	return ""
}

// refusalOf finds the refusal in an error; what is none is internal.
func refusalOf(err error) passkey.Refusal {
	var refusal passkey.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	return passkey.Internal
}
