package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/text/unicode/norm"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// Segments reads a path as it goes over the wire, one segment after the other: split at the slashes first, and decoded
// then. It shares nothing with the gate, Caddy or net/url.
func Segments(escaped string) (all []string, ok bool) {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return nil, false
	}
	for _, segment := range strings.Split(rest, "/") {
		var decoded []byte
		for i := 0; i < len(segment); i++ {
			if segment[i] != '%' {
				decoded = append(decoded, segment[i])
				continue
			}
			if i+2 >= len(segment) {
				return nil, false
			}
			const digits = "0123456789abcdef"
			high, low := strings.IndexRune(digits, unicode.ToLower(rune(segment[i+1]))), strings.IndexRune(digits, unicode.ToLower(rune(segment[i+2])))
			if high < 0 || low < 0 {
				return nil, false
			}
			decoded = append(decoded, byte(high<<4|low))
			i += 2
		}
		all = append(all, string(decoded))
	}
	return all, true
}

// Unequivocal reports whether all segments are what every program takes them for: none is empty but the last, none is or ends
// like a dot segment, and none holds what some program splits, cuts or decodes once more at.
func Unequivocal(segments []string) bool {
	for i, s := range segments {
		if s == "" && i < len(segments)-1 || strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") ||
			strings.ContainsAny(s, `/\;?#`) || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			return false
		}
		if again, err := url.PathUnescape(s); err == nil && again != s {
			return false
		}
	}
	return true
}

// verdict is a pattern as an operator writes it, and what it means, segment by segment. Patterns ignore case.
type verdict struct {
	pattern string
	means   func(s []string) bool
}

// verdicts are patterns of every shape; those that a protect rule has, so that `/x/*` covers `/x`.
var verdicts = []verdict{
	{"/admin/*", func(s []string) bool { return s[0] == "admin" }},
	{"/exact", func(s []string) bool { return len(s) == 1 && s[0] == "exact" }},
	{"/a/*/b", func(s []string) bool { return len(s) == 3 && s[0] == "a" && s[2] == "b" }},
	{"/deep/er/*", func(s []string) bool { return len(s) > 1 && s[0] == "deep" && s[1] == "er" }},
	{"/caf\u00e9/*", func(s []string) bool { return s[0] == "caf\u00e9" }},
	{"/@scope/a b/*", func(s []string) bool { return len(s) > 1 && s[0] == "@scope" && s[1] == "a b" }},
	{"*.php", func(s []string) bool { return strings.HasSuffix(s[len(s)-1], ".php") }},
	{"*/secret/*", func(s []string) bool { return slices.Contains(s[:len(s)-1], "secret") }},
	{openPattern, func(s []string) bool { return s[0] == "open" }},
	{"/", func(s []string) bool { return len(s) == 1 && s[0] == "" }},
}

// folded lowers segments rune by rune, as Caddy's matcher does.
func folded(segments []string) (all []string) {
	for _, s := range segments {
		all = append(all, strings.ToLower(s))
	}
	return all
}

// routeOf makes a protect rule of a pattern, shaped and loaded as the handler does it, and returns Caddy's matcher for it beside.
func routeOf(t testing.TB, pattern string, d policy.Demand) (gate.Route, func(*http.Request) (bool, error)) {
	t.Helper()
	raw, err := json.Marshal([]string{pattern})
	if err != nil {
		t.Fatal(err)
	}
	set := caddy.ModuleMap{"path": raw}
	if err := checkSet(set); err != nil {
		t.Fatal(err)
	}
	if err := coverBare(set); err != nil {
		t.Fatal(err)
	}
	var match caddyhttp.MatchPath
	if err := json.Unmarshal(set["path"], &match); err != nil {
		t.Fatal(err)
	}
	if err := match.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	route := gate.Route{Rule: policy.Rule{Name: pattern, Demand: d}, Match: match.MatchWithError}
	paths, enough := knownPaths([]caddy.ModuleMap{set})
	if route.Paths = paths; enough {
		route.Match = nil
	}
	return route, match.MatchWithError
}

// openPattern is that of the one open rule.
const openPattern = "/open/*"

// gates returns a gate that refuses debatable paths and one that lets them through, with a rule for each pattern. The demand
// of the last is the weakest level and the longest age, so that no demand but the strictest has both its parts.
func gates(t testing.TB) (refusing, lenient *gate.Gate, strictest policy.Demand) {
	t.Helper()
	config := gate.Config{
		RPID: "example.com", Origins: []string{"https://console.example.com"}, Audit: audit.Log{Logger: zap.NewNop()},
		Backend: func() (*gate.Backend, error) { return nil, passkey.StoreUnavailable },
		Default: policy.Rule{Name: "default", Demand: policy.Demand{Level: passkey.Verified, MaxAge: time.Hour}},
	}
	for i, v := range verdicts {
		route, _ := routeOf(t, v.pattern, policy.Demand{Level: passkey.Present, MaxAge: time.Duration(i+1) * time.Minute})
		if v.pattern == "/admin/*" {
			route.Demand = policy.Demand{Level: passkey.Attested, MaxAge: 2 * time.Hour}
		}
		if v.pattern == openPattern {
			route.Rule = policy.Rule{Name: v.pattern, Open: true}
		}
		config.Rules = append(config.Rules, route)
	}
	made := func(config gate.Config) *gate.Gate {
		g, err := gate.New(config)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	lax := config
	lax.LetDebatable = true
	return made(config), made(lax), policy.Demand{Level: passkey.Attested, MaxAge: 2 * time.Minute}
}

// hostilePaths are the attack list's group C, and paths that are none.
var hostilePaths = []string{
	"/open/%EF%BC%8E%EF%BC%8E/admin/x", "/open/%EF%BC%8E%EF%BC%8E%EF%BC%8Fadmin", "/%EF%BD%81dmin/", "/admin/%E2%84%80", "/caf%65%CC%81", "/%EF%BC%8E%EF%BC%8E", "/%EF%BC%8F%EF%BC%8F",
	"/", "/admin", "/admin/", "/admin/x", "/ADMIN/x", "/exact", "/exact/", "/a/x/b", "/a/x/b/", "/a/b", "/deep/er", "/deep/er/x", "/caf%C3%A9/x", "/caf%c3%a9", "/café/x", "/CAF%C3%89/x", "/@scope/a%20b/x", "/%40scope/a%20b",
	"/x.php", "/x.php/y", "/x.PHP", "/y/secret/x", "/secret", "/secret/", "/open/x", "/open", "/%61dmin/x", "/%41dmin", "/.stepgate", "/.stepgate/status", "/%2estepgate/status", "/.stepgatex",
	"/.well-known/webauthn", "/.WELL-KNOWN/webauthn", "/.well-known/passkey-endpo%C4%B0nts", "/a/%2A/b", "/a/*/b", "/a/[x/b", "/admi%EF%BD%8E/x", "/adm%C4%B1n/x",
	"//admin/x", "/./admin/x", "/x/../admin/x", "/%2e%2e/admin", "/admin%2fx", "/admin%2Fx", "/admin;x/y", "/;/admin", "/public/..;/admin", "/admin.", "/admin%20", "/admin%09", "/admin%00", "/admin%23",
	"/admin%3f", "/%5cadmin", `/admin\x`, "/public%3f/../admin", "/%252e%252e/admin", "/%25%32%66", "/open/%ff", "/open//admin", "/open/..%2fadmin", "/%u002f", "/a%", "/a%2", "/open/a%2fb", "/%c0%af",
	"/%E2%84%AAiosk", "/open/%2e", "/open/.%2e/admin", "/open/..", "/x.php%2f", "/x.php;y", "/x%2ephp", `/open"%2fx`, `/open/%3bx^`, "/a%3f\u00e9",
}

// FuzzReadings: a path that the gate finds clear is read the same way by a reader of segments, by net/http and its mux, by
// Caddy's matcher, and by whoever cleans it or sends it on. One that is debatable is judged by the strictest demand, or
// refused; any other is refused.
func FuzzReadings(f *testing.F) {
	for _, seed := range hostilePaths {
		f.Add(seed)
	}
	refusing, lenient, strictest := gates(f)
	match := map[string]func(*http.Request) (bool, error){}
	for _, v := range verdicts {
		_, match[v.pattern] = routeOf(f, v.pattern, policy.Demand{})
	}
	mux := http.NewServeMux()
	for _, v := range append(muxVerdicts, verdict{pattern: "/{rest...}"}) {
		mux.Handle(v.pattern, http.NotFoundHandler())
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Scheme != "" || u.Host != "" || u.RawQuery != "" || u.ForceQuery {
			return // net/http refuses it, or it is more than a path
		}
		r := (&http.Request{Method: http.MethodGet, URL: u, Host: "console.example.com", RequestURI: target, Header: http.Header{}}).
			WithContext(context.WithValue(t.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
		strict, err := refusing.Take(r, u)
		if err != nil {
			t.Fatal(err)
		}
		lax, err := lenient.Take(r, u)
		if err != nil {
			t.Fatal(err)
		}
		if strict.Refused {
			if !lax.Refused && !lax.Own && (lax.Rule.Open || lax.Rule.Demand != strictest) {
				t.Fatalf("%q is debatable and judged by %+v", target, lax.Rule)
			}
			return
		}
		if diff := cmp.Diff(strict, lax); diff != "" {
			t.Fatalf("%q is clear and judged otherwise where debatable paths are let through:\n%s", target, diff)
		}

		read, ok := Segments(target)
		if !ok || !Unequivocal(read) {
			t.Fatalf("%q is clear, and its segments are %q", target, read)
		}
		whole := "/" + strings.Join(read, "/")
		for who, reading := range map[string]string{
			"net/http": u.Path, "who joins": u.JoinPath().Path,
			"Caddy": caddyhttp.CleanPath(u.Path, true), "Caddy, which keeps slashes": caddyhttp.CleanPath(u.Path, false),
		} {
			if reading != whole {
				t.Fatalf("%q reads as %q, and %s reads %q", target, whole, who, reading)
			}
		}
		if cleaned := path.Clean(u.Path); cleaned != whole && cleaned+"/" != whole {
			t.Fatalf("%q reads as %q, and cleaned it is %q", target, whole, cleaned)
		}
		sent, err := url.ParseRequestURI(u.RequestURI()) // as a proxy sends it on
		if again, ok := Segments(u.EscapedPath()); err != nil || !ok || sent.Path != whole || !slices.Equal(again, read) {
			t.Fatalf("%q goes on as %q", target, u.RequestURI())
		}
		want := "default"
		for _, v := range verdicts {
			matches := v.means(folded(read))
			if matches && want == "default" {
				want = v.pattern
			}
			if got, err := match[v.pattern](r); err != nil || got != matches {
				t.Fatalf("%q, segments %q: %s matches: %v, and Caddy says %v", target, read, v.pattern, matches, got)
			}
		}
		if normal := norm.NFKC.String(whole); normal != whole { // an upstream may normalise before it routes: then both readings count
			second, segments := "default", strings.Split(normal[1:], "/")
			for _, v := range verdicts {
				if second == "default" && v.means(folded(segments)) {
					second = v.pattern
				}
			}
			switch titles := strings.NewReplacer("?", "_", "#", "_").Replace(normal); {
			case !Unequivocal(strings.Split(titles[1:], "/")):
				if strict.Own || !strict.Refused && (strict.Rule.Open || strict.Rule.Demand != strictest) {
					t.Fatalf("%q becomes %q and is judged by %+v", target, normal, strict)
				}
				return
			case want == openPattern:
				want = second
			case second != openPattern && second != want:
				want += " + " + second
			}
		}
		own := read[0] == ".stepgate" || whole == "/.well-known/webauthn" || whole == "/.well-known/passkey-endpoints"
		if strict.Own != own || !own && strict.Rule.Name != want {
			t.Fatalf("%q is judged by %+v, want %s", target, strict, want)
		}
		want = "/{rest...}"
		for _, v := range muxVerdicts {
			if v.means(read) {
				want = v.pattern
			}
		}
		if _, got := mux.Handler(r); got != want {
			t.Fatalf("%q, segments %q: the mux serves it by %s, want %s", target, read, got, want)
		}
	})
}

// muxVerdicts are patterns of net/http's mux, of which the most specific counts: here none overlap. They heed case.
var muxVerdicts = []verdict{
	{"/{$}", func(s []string) bool { return len(s) == 1 && s[0] == "" }},
	{"/admin", func(s []string) bool { return len(s) == 1 && s[0] == "admin" }},
	{"/admin/{rest...}", func(s []string) bool { return len(s) > 1 && s[0] == "admin" }},
	{"/a/{one}/b", func(s []string) bool { return len(s) == 3 && s[0] == "a" && s[2] == "b" }},
	{"/caf\u00e9", func(s []string) bool { return len(s) == 1 && s[0] == "caf\u00e9" }},
	{"/caf\u00e9/{rest...}", func(s []string) bool { return len(s) > 1 && s[0] == "caf\u00e9" }},
}

// FuzzCookieSource: a session is named by the one cookie of its name, as net/http reads them, and by none that another
// program could take for it.
func FuzzCookieSource(f *testing.F) {
	for _, seed := range []string{"sid=1", "a=b; sid=1; c=d", "sid=1; sid=2", "SID=1", "sid=1; SID=2", "sid=1\nsid=1", "sid", "sid=", "=sid", "sid =1", "sid=\"1\"", "a=\"x; sid=1\"", ";;sid=1", "sid=1,sid=2", "\u017fid=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		for _, line := range lines {
			if !httpguts.ValidHeaderFieldValue(line) {
				return // net/http does not let it in
			}
		}
		got := theCookie(lines, "sid")
		alike := 0
		for _, c := range (&http.Request{Header: http.Header{"Cookie": lines}}).Cookies() {
			if strings.EqualFold(c.Name, "sid") {
				alike++
				if got != "" && (c.Name != "sid" || c.Value != strings.Trim(got, `"`) && c.Value != got) {
					t.Fatalf("%q names the session %q, and net/http reads %v", lines, got, c)
				}
			}
		}
		if got != "" && alike > 1 {
			t.Fatalf("%q names the session %q, and has %d cookies of that name", lines, got, alike)
		}
	})
}
