package gate

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestReadPath(t *testing.T) {
	for want, paths := range map[reading][]string{
		clear: {
			"/", "/admin", "/admin/", "/a/b.c/d.tar.gz", "/.stepgate/challenge", "/.well-known/webauthn", "/a%20b/c", "/caf%C3%A9",
			"/100%25", "/100%25/x", "/~user/@x:y,z=1&2+3'(4)!*$", "/%61dmin", "/..a", "/...b/c", "/a/.hidden",
			"/%F0%9F%94%91",
		},
		debatable: {"//", "//admin", "/a//b", "/a/b//", "/admin%2Fx", "/admin%2fx", "/admin;x/y", "/;/admin", "/a%3Bb", "/a;b", "/a%3Fb", "/admin%23"},
		ambiguous: {
			"", "*", "admin", "http://x/", "?x", "/.?", "/a#b", // no path at all
			"/.", "/..", "/./admin", "/a/../b", "/a/..", "/%2e%2e/admin", "/%2E%2E", "/.%2e/x", "/a%2f..%2fb", "/a%2f..", // dot segments
			"/public/..;/admin", "/..;x", "/a/.;", // dot segments with a parameter
			`/a\b`, "/%5cadmin", "/a%5C..%5Cb", // back slashes
			"/%252e%252e/admin", "/a%252fb", "/%2525", "/a%25%32%66b", "/%2%35", "/%25u002f", // decode twice, or not at all
			"/admin%00", "/admin%09", "/a%0d%0aSet-Cookie:x", "/a%7f", "/a\x00", "/a\tb", "/%c2%85", // control characters
			"/admin.", "/admin%2e", "/admin ", "/admin%20", "/a./b", "/a%20/b", "/a.%2fb", "/a%20;b", // trailing dot or space
			"/%ff", "/%c0%ae%c0%ae/x", "/%ed%a0%80", "/a%c3", // not UTF-8
			"/%", "/%4", "/%zz", "/a%2", // broken escapes
		},
	} {
		for _, path := range paths {
			if got := readPath(path); got != want {
				t.Errorf("%q: got %d, want %d", path, got, want)
			}
			unescaped := strings.Trim(path, "abcdefghijklmnopqrstuvwxyz0123456789-_~./") == ""
			if got := isPlain(path); got != (want == clear && unescaped) {
				t.Errorf("%q: plain: %v", path, got)
			}
		}
	}
}

// decodesTwice finds what decodes once more.
var decodesTwice = regexp.MustCompile(`%([0-9A-Fa-f]{2}|[uU])`)

// secondReading is readPath read off the decoded path as a whole.
func secondReading(escaped string) reading {
	decoded, err := url.PathUnescape(escaped)
	if err != nil || !strings.HasPrefix(escaped, "/") || strings.ContainsAny(escaped, "?#") || strings.Contains(decoded, `\`) ||
		!utf8.ValidString(decoded) || strings.ContainsFunc(decoded, unicode.IsControl) || decodesTwice.MatchString(decoded) {
		return ambiguous
	}
	for segment := range strings.FieldsFuncSeq(decoded, func(r rune) bool { return strings.ContainsRune("/;?#", r) }) {
		if strings.HasSuffix(segment, ".") || strings.HasSuffix(segment, " ") {
			return ambiguous
		}
	}
	if strings.Contains(decoded, "//") || strings.ContainsAny(decoded, ";?#") || strings.Count(decoded, "/") != strings.Count(escaped, "/") {
		return debatable
	}
	return clear
}

func TestFolded(t *testing.T) {
	type form struct {
		other string
		how   reading
	}
	for decoded, want := range map[string]form{
		"/": {}, "/admin/x": {}, "/café": {}, "/名前": {}, "/\U0001F511": {},
		"/open／x": {"/open/x", clear}, "/ａdmin": {"/admin", clear}, "/ſecret": {"/secret", clear}, "/\u212Aeys": {"/Keys", clear}, "/oﬃce": {"/office", clear},
		"/cafe\u0301": {"/café", clear}, "/℀dmin": {"/a/cdmin", clear}, "/本当？": {"/本当?", clear}, "/＃1": {"/#1", clear}, "/x…y": {"/x...y", clear},
		"/open/．．／admin": {"/open/../admin", ambiguous}, "/open/．": {"/open/.", ambiguous}, "/．．": {"/..", ambiguous}, "/open/．．＼admin": {`/open/..\admin`, ambiguous},
		"/open/．．；/admin": {"/open/..;/admin", ambiguous}, "/open/；/admin": {"/open/;/admin", debatable}, "/open/％２Ｅ％２Ｅ/admin": {"/open/%2E%2E/admin", ambiguous},
		"/open/‥﹨admin": {`/open/..\admin`, ambiguous}, "/open/x\u00a0": {"/open/x ", ambiguous}, "/open/x．": {"/open/x.", ambiguous}, "/open／／x": {"/open//x", debatable},
	} {
		other, how, ok := folded(decoded)
		if got := (form{other, how}); got != want || ok != (want != form{}) {
			t.Errorf("%q: got %q, %v, %v, want %q, %v", decoded, other, how, ok, want.other, want.how)
		}
	}
}

// FuzzReadPath: readPath judges as the reading above does, and what passes as clear means the same to everyone who
// decodes, cleans and splits.
func FuzzReadPath(f *testing.F) {
	for _, seed := range []string{
		"/", "/a/b", "/a%2e%2e/b", "//a", "/a;b", "/%25%32%66", "/%c3%a9", "/a%20", "/..", "/%2e/",
		"//admin/x", "/./admin/x", "/x/../admin/x", "/%61dmin", "/%2e%2e/", "/admin%2fx", "/ADMIN", "/admin;x/y", "/;/admin", "/public/..;/admin", "/admin.", "/admin%20", "/admin%09",
		"/admin%00", "/admin%23", "/admin%3f", "/%5cadmin", `/admin\x`, "/public%3f/../admin", "/admin/", "/admin/x.css", "/%c0%af", "/%u002f", "/a%2", "*", "/a%2f.%2f", "/%2%35", "/%25/41",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		how := readPath(escaped)
		if want := secondReading(escaped); how != want {
			t.Fatalf("%q: got %d, want %d", escaped, how, want)
		}
		if isPlain(escaped) {
			if again := (&url.URL{Path: escaped}).EscapedPath(); how != clear || again != escaped {
				t.Fatalf("%q is plain, reads as %d, and goes out as %q", escaped, how, again)
			}
		}
		if how != clear {
			return
		}
		u, err := url.ParseRequestURI(escaped)
		if err != nil {
			return // net/http would not take it
		}
		if again := (&url.URL{Path: u.Path}).EscapedPath(); readPath(again) != clear {
			t.Fatalf("%q is clear, and escaped anew, as %q, it is not", escaped, again)
		}
		if cleaned := path.Clean(u.Path); cleaned != u.Path && cleaned+"/" != u.Path {
			t.Fatalf("%q cleans to %q", u.Path, cleaned)
		}
		if joined := u.JoinPath().Path; joined != u.Path {
			t.Fatalf("%q joins as %q", u.Path, joined)
		}
	})
}

func TestReturnTo(t *testing.T) {
	for target, want := range map[string]string{
		"/admin/x?y=1&z=2":              "/admin/x?y=1&z=2",
		"/a%20b?q=%2F..%2F":             "/a%20b?q=%2F..%2F",
		"/?x":                           "/?x",
		"/search?next=https://evil/":    "/search?next=https://evil/",
		"":                              "/",
		"admin":                         "/",
		"//evil":                        "/",
		"///evil":                       "/",
		`/\evil`:                        "/",
		`\\evil`:                        "/",
		"/%2f/evil":                     "/",
		"/%5cevil":                      "/",
		"/.//evil":                      "/",
		"/..//evil":                     "/",
		"https:evil":                    "/",
		"https:/evil":                   "/",
		"HTTPS://evil":                  "/",
		"http://console.test@evil":      "/",
		"https://evil#console.test":     "/",
		`https://c.test:80\@evil`:       "/",
		"javascript:alert(1)":           "/",
		"/a%0d%0aSet-Cookie:x=1":        "/",
		"/a\r\nSet-Cookie: x=1":         "/",
		"/a\u2028b":                     "/",
		"/a b":                          "/",
		"/a\x7f":                        "/",
		"/a?b#c":                        "/",
		"/a#b":                          "/",
		"/.stepgate":                    "/",
		"/.stepgate/challenge?x":        "/",
		"/.stepgate/logout":             "/",
		"/.stepgatex":                   "/.stepgatex",
		"/" + strings.Repeat("a", 5000): "/",
	} {
		if got := returnTo(target, "/.stepgate", false); got != want {
			t.Errorf("%q: got %q, want %q", target, got, want)
		}
	}
}

// Where debatable paths are let through, people come back to them too; but never to another host.
func TestReturnToDebatable(t *testing.T) {
	for target, want := range map[string]string{
		"/api%2Fx?q=1": "/api%2Fx?q=1", "/a//b": "/a//b", "/a;v=1": "/a;v=1", "/a%3Fb": "/a%3Fb",
		"//evil": "/", "///evil": "/", "/.//evil": "/", "/..;/x": "/", "/a/..%2fb": "/", "/.stepgate;x": "/.stepgate;x", "/.stepgate/;x": "/",
	} {
		if got := returnTo(target, "/.stepgate", true); got != want {
			t.Errorf("%q: got %q, want %q", target, got, want)
		}
		if got := returnTo(target, "/.stepgate", false); got != "/" {
			t.Errorf("%q where they are refused: %q", target, got)
		}
	}
}

func FuzzReturnTo(f *testing.F) {
	for _, seed := range []string{
		"/admin?x=1", "//evil", "///evil", `/\evil`, `\\evil`, "/a//b;c%2F", "/%2f/evil", "/%5cevil", "/.//evil", "/..//evil", "https:evil", "https:/evil", "HTTPS://evil",
		"http://console.test@evil", "https://console.test.evil", "https://evil#console.test", `https://console.test:80\@evil`, "/%0d%0aSet-Cookie:x=1", "/\r\nSet-Cookie:x=1", "/\u2028",
		"/.stepgate/challenge", "/.stepgate/challenge/verify", "/.stepgate/logout", "/%2estepgate/logout", "/.stepgate;x/logout", "/x?/../.stepgate", "/\t/evil", "/x#@evil", "/?//evil",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, target string, lenient bool) {
		got := returnTo(target, "/.stepgate", lenient)
		if got != target && got != "/" {
			t.Fatalf("%q became %q: neither itself nor /", target, got)
		}
		base := &url.URL{Scheme: "https", Host: "console.test", Path: "/x"}
		u, err := base.Parse(got)
		if err != nil || u.Host != "console.test" || u.Scheme != "https" || within(u.Path, "/.stepgate") {
			t.Fatalf("%q leads to %v (%v)", target, u, err)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) || strings.HasPrefix(got, "//") {
			t.Fatalf("%q leads to %q, which a browser may read as another host's", target, got)
		}
		if how := secondReading(u.EscapedPath()); how == ambiguous || how == debatable && !lenient {
			t.Fatalf("%q leads to %q, which is not let in", target, got)
		}
		if again := returnTo(got, "/.stepgate", lenient); again != got {
			t.Fatalf("%q becomes %q, then %q", target, got, again)
		}
	})
}
