package gate

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// The ceremony cookie names a browser: 32 random bytes, to which ceremonies are bound, and behind a dot, once the browser
// has finished one, a sealed mark of who did. The mark opens nothing; it tells the rate limiter a known browser from
// the flood of new ones that somebody with a stolen sign-in can make up.

// browserLength is how many random bytes name a browser.
const browserLength = 32

// browserAge is how long a browser keeps its name, in seconds: half a year.
const browserAge = 180 * 24 * 60 * 60

// party returns who takes part in a ceremony. A browser without a (well-formed) ceremony cookie gets a new one, which
// makes it a new browser: what it started before can't be finished any more.
func (g *Gate) party(x *exchange) ceremony.Party {
	name, _, _ := strings.Cut(x.cookies.ceremony, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(name)
	if err != nil || len(raw) != browserLength || len(name) != base64.RawURLEncoding.EncodedLen(browserLength) { // the decoder skips line breaks
		fresh := make([]byte, browserLength)
		_, _ = rand.Read(fresh) // never fails: it aborts the process instead
		name = base64.RawURLEncoding.EncodeToString(fresh)
		g.setBrowser(x, name)
	}
	return ceremony.Party{User: x.user, Origin: x.origin.text, Browser: passkey.DigestOf(name), Session: x.session, SignedIn: readTime(x.in.SignedIn)}
}

func (g *Gate) setBrowser(x *exchange, value string) {
	x.cookies.ceremony = value
	http.SetCookie(x.w, g.cookie(x, cookieNames(x.origin.secure).ceremony, value, browserAge))
}

// markBrowser notes in the cookie that this browser finished a ceremony for this user, and renews the cookie.
func (g *Gate) markBrowser(x *exchange, b *Backend) {
	if x.provenBrowser(b) {
		g.setBrowser(x, x.cookies.ceremony)
		return
	}
	name, _, _ := strings.Cut(x.cookies.ceremony, ".")
	g.setBrowser(x, name+"."+b.Browsers.Seal(x.mark(name)))
}

// provenBrowser reports whether the browser bears the mark of this user.
func (x *exchange) provenBrowser(b *Backend) bool {
	name, sealed, marked := strings.Cut(x.cookies.ceremony, ".")
	if !marked || len(sealed) > 256 {
		return false
	}
	return b.Browsers.Open(sealed, func(value []byte) error {
		if string(value) != string(x.mark(name)) {
			return errors.New("another browser's or user's mark")
		}
		return nil
	}) == nil
}

func (x *exchange) mark(name string) []byte {
	user, browser := passkey.DigestOf(x.user), passkey.DigestOf(name)
	return append(user[:], browser[:]...)
}

// cookie returns one of the gate's cookies. SameSite=Lax, so that a link from a chat opens the console as it did before.
func (g *Gate) cookie(x *exchange, name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: x.origin.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode} // #nosec G124 -- Secure but for http://localhost, where browsers would drop it
}
