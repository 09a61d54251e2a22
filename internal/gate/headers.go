package gate

import (
	"net/http"
	"strings"
)

// Headers that the gate sets for the upstream on allowed requests to protected routes.
const (
	HeaderUser    = "X-Stepgate-User"
	HeaderPasskey = "X-Stepgate-Passkey" // #nosec G101 -- the name of a header
	HeaderLevel   = "X-Stepgate-Level"
	HeaderTime    = "X-Stepgate-Time"
)

const ownHeaders = "x-stepgate-" // folded prefix of them all; clients may send none of these

// setHeaders tells the upstream. The four values share one array, each slice capped so that nobody appends into the
// next one's.
func (p *Passed) setHeaders(h http.Header) {
	h[HeaderUser] = p.values[0:1:1]
	h[HeaderPasskey] = p.values[1:2:2]
	h[HeaderLevel] = p.values[2:3:3]
	h[HeaderTime] = p.values[3:4:4]
}

// headerSafe returns a user's name as a header can hold it: percent-encoded where it is not printable ASCII, and % too,
// so that no two names look alike; and the spaces around it, which parsers of headers drop.
func headerSafe(user string) string {
	plain := true
	for i := range len(user) {
		if mustEscape(user, i) {
			plain = false
			break
		}
	}
	if plain {
		return user
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(user) {
		c := user[i]
		if mustEscape(user, i) {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func mustEscape(user string, i int) bool {
	c := user[i]
	return c < 0x20 || c > 0x7e || c == '%' || c == ' ' && (i == 0 || i == len(user)-1)
}
