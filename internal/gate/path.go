package gate

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// reading says how surely two parsers read a path the same way.
type reading uint8

const (
	clear     reading = iota // one reading only
	debatable                // holds `//`, `;`, or an encoded slash, `?` or `#`: let through only where the operator says so
	ambiguous                // never let through
)

// readPath judges the escaped form of a path, as it goes out on the wire to the upstream (docs/rules.md, rule 3).
//
// The matcher, the gateway and the upstream each decode, clean and split paths in their own way; GHSA-g7pc-pc7g-h8jh,
// CVE-2025-54576 and CVE-2021-32637 are what happens when they differ. Only paths that leave no choice pass: no dot
// segments however encoded, no empty segments, no encoded or back slash, nothing that decodes twice, no path parameters,
// no control characters, valid UTF-8, no segment that ends in a dot or a space (Windows drops them).
func readPath(escaped string) reading {
	if escaped == "" || escaped[0] != '/' {
		return ambiguous // also `*` and authority form
	}
	result := clear
	ascii := true
	var last byte = '/' // the last decoded byte
	percent := 0        // how many bytes of something that would decode once more stand before this one
	for i := 1; i < len(escaped); i++ {
		c := escaped[i]
		if c == '/' {
			if last == '/' {
				result = debatable
			}
			if last == '.' || last == ' ' {
				return ambiguous
			}
			last, percent = c, 0
			continue
		}
		if c == '?' || c == '#' {
			return ambiguous // no escaped path holds them
		}
		if c == '%' {
			if i+2 >= len(escaped) || !isHex(escaped[i+1]) || !isHex(escaped[i+2]) {
				return ambiguous
			}
			c = unhex(escaped[i+1])<<4 | unhex(escaped[i+2])
			i += 2
		}
		switch {
		case c < 0x20 || c == 0x7f || c == '\\':
			return ambiguous
		case c == '/' || c == ';' || c == '?' || c == '#': // encoded, or a parameter that some parsers cut off: `/..;/`
			if last == '.' || last == ' ' {
				return ambiguous
			}
			result = debatable
		case c >= utf8.RuneSelf:
			ascii = false
		}
		switch {
		case c == '%':
			percent = 1
		case percent == 1 && (c == 'u' || c == 'U'), percent == 2 && isHex(c):
			return ambiguous // decodes twice
		case percent == 1 && isHex(c):
			percent = 2
		default:
			percent = 0
		}
		last = c
	}
	if last == '.' || last == ' ' {
		return ambiguous
	}
	if !ascii {
		decoded := unescape(escaped)
		if !utf8.ValidString(decoded) || strings.ContainsFunc(decoded, unicode.IsControl) {
			return ambiguous
		}
	}
	return result
}

// isPlain reports whether a decoded path is all letters, digits, `-`, `_`, `~`, and dots inside segments, none of which is empty:
// it is its own escaped form, clear, and in no other Unicode form. Most paths are, and this takes one look at each byte.
func isPlain(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	last := byte('/')
	for i := 1; i < len(path); i++ {
		c := path[i]
		switch {
		case plainBytes[c]:
		case c == '/' && last != '/' && last != '.':
		default:
			return false
		}
		last = c
	}
	return last != '.'
}

var plainBytes = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = strings.IndexByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~.", byte(c)) >= 0 // #nosec G115 -- below 256
	}
	return plain
}()

// folded returns what a decoded path becomes where its letters give way to their compatibility forms (Unicode NFKC): full-width
// dots and slashes, long s and ligatures to their plain ones; and how that reads. An upstream that normalises names before it
// routes, or keeps them in a file system that does, takes the one path for the other. ok is false where the two are the same.
//
// Full-width `?` and `#` count as letters, which they are in titles: nobody cuts a query off a path that was decoded and
// normalised.
func folded(decoded string) (other string, how reading, ok bool) {
	if isASCII(decoded) || norm.NFKC.IsNormalString(decoded) {
		return "", clear, false
	}
	other = norm.NFKC.String(decoded)
	letters := strings.NewReplacer("?", "_", "#", "_").Replace(other)
	return other, readPath((&url.URL{Path: letters}).EscapedPath()), true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// unescape decodes a path that readPath found well formed.
func unescape(escaped string) string {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' {
			c = unhex(escaped[i+1])<<4 | unhex(escaped[i+2])
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
