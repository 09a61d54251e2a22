package gate

import (
	"net/url"
	"strings"
	"testing"
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
		}
	}
}

// What passes as clear must mean the same to everyone who decodes, cleans and splits.
func FuzzReadPath(f *testing.F) {
	for _, seed := range []string{"/", "/a/b", "/a%2e%2e/b", "//a", "/a;b", "/%25%32%66", "/%c3%a9", "/a%20", "/..", "/%2e/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		how := readPath(escaped)
		if how == ambiguous {
			return
		}
		decoded, err := url.PathUnescape(escaped)
		if err != nil {
			t.Fatalf("%q passes, but does not decode", escaped)
		}
		if again, err := url.PathUnescape(decoded); err == nil && again != decoded {
			t.Fatalf("%q decodes twice", escaped)
		}
		if strings.ContainsAny(decoded, "\\\x00\r\n\t\x7f") {
			t.Fatalf("%q passes with %q", escaped, decoded)
		}
		for segment := range strings.FieldsFuncSeq(decoded, func(r rune) bool { return strings.ContainsRune("/;?#", r) }) {
			if strings.HasSuffix(segment, ".") || strings.HasSuffix(segment, " ") {
				t.Fatalf("%q passes with segment %q", escaped, segment)
			}
		}
		if how != clear {
			return
		}
		if strings.Contains(decoded, "//") || strings.ContainsAny(decoded, ";?#") {
			t.Fatalf("%q is clear", escaped)
		}
		if strings.Count(decoded, "/") != strings.Count(escaped, "/") {
			t.Fatalf("%q splits another way once decoded", escaped)
		}
		u, err := url.ParseRequestURI(escaped)
		if err == nil && u.JoinPath().Path != u.Path && u.Path != "/" && !strings.HasSuffix(u.Path, "/") {
			t.Fatalf("%q cleans to %q", u.Path, u.JoinPath().Path)
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
	for _, lenient := range []bool{true, false} {
		f.Add("/admin?x=1", lenient)
		f.Add("//evil", lenient)
		f.Add(`/\evil`, lenient)
		f.Add("/a//b;c%2F", lenient)
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
		if again := returnTo(got, "/.stepgate", lenient); again != got {
			t.Fatalf("%q becomes %q, then %q", target, got, again)
		}
	})
}
