package gate

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// The fuzz targets of this file hold what reads one header to a second reading of it, written another way.

// asciiLower folds A to Z alone: what HTTP calls case-insensitive.
func asciiLower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
}

// linesOf takes a text apart into the lines of one header, and reports whether net/http lets each of them in.
func linesOf(text string) (lines []string, valid bool) {
	lines = strings.Split(text, "\n")
	return lines, !slices.ContainsFunc(lines, func(line string) bool { return !httpguts.ValidHeaderFieldValue(line) })
}

// elements returns what a header's lines list, without the space around each.
func elements(lines []string, separator string) (all []string) {
	for _, line := range lines {
		for _, element := range strings.Split(line, separator) {
			if element = strings.Trim(element, " \t"); element != "" {
				all = append(all, element)
			}
		}
	}
	return all
}

// FuzzCookies: none of our cookies is left in any spelling, all others are, in their order, and what counts is the first
// of the exact name.
func FuzzCookies(f *testing.F) {
	for _, seed := range []string{
		"a=1; __Host-stepgate=G; b=2", "__Host-stepgate=G", "__host-stepgate=G; __Host-stepgate=H", "__Host-stepgate = G", "a=1\n__Host-stepgate=G; b=2\nc=3",
		"__Host-stepgate-ceremony=c;;; ;__HOST-STEPGATE-CEREMONY=d", "stepgate=G; stepgate-ceremony=c; Stepgate=x", "__Host-stepgate", ";", "a=\"b; __Host-stepgate=G\"",
		"$Version=1; __Host-stepgate=G; $Path=/", "__Host-stepgate=G=H; x", "\t__Host-stepgate\t=\tG", "__Host-stepgate=G,__Host-stepgate=H", "\u017ftepgate=x",
	} {
		f.Add(seed, true, false)
		f.Add(seed, false, true)
	}
	f.Fuzz(func(t *testing.T, text string, secure, hasLocal bool) {
		lines, valid := linesOf(text)
		if !valid {
			return
		}
		before := slices.Clone(lines)
		header := http.Header{"Cookie": lines}
		found := (&Gate{hasLocal: hasLocal}).takeCookies(header, lines, secure, new([1]string))

		if diff := cmp.Diff(before, lines); diff != "" {
			t.Fatalf("lines that others hold too were changed:\n%s", diff)
		}
		ours := []string{"__host-stepgate", "__host-stepgate-ceremony"}
		if hasLocal {
			ours = append(ours, "stepgate", "stepgate-ceremony")
		}
		nameOf := func(pair string) string { return strings.Trim(strings.SplitN(pair, "=", 2)[0], " \t") }
		var first cookies
		want := slices.DeleteFunc(elements(before, ";"), func(pair string) bool {
			if !slices.Contains(ours, asciiLower(nameOf(pair))) {
				return false
			}
			names := cookieNames(secure)
			if value, ok := strings.CutPrefix(pair, names.grant+"="); ok && first.grant == "" {
				first.grant = value
			}
			if value, ok := strings.CutPrefix(pair, names.ceremony+"="); ok && first.ceremony == "" {
				first.ceremony = value
			}
			return true
		})
		if diff := cmp.Diff(want, elements(header["Cookie"], ";"), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("other cookies than those that are not ours (-want +got):\n%s", diff)
		}
		if found != first {
			t.Fatalf("found %+v, want %+v", found, first)
		}
		for _, c := range (&http.Request{Header: header}).Cookies() {
			if slices.Contains(ours, asciiLower(c.Name)) {
				t.Fatalf("net/http finds %s in %q", c.Name, header["Cookie"])
			}
		}
	})
}

// FuzzConnection: nothing that the upstream must get stays nominated, and every other nomination does.
func FuzzConnection(f *testing.F) {
	for _, seed := range []string{
		"close, X-Auth-User, X-Step-Up, Cookie", "Upgrade", "x-stepgate-user", "X_Stepgate.Level,keep-alive", "COOKIE\nx-auth-user", ",,", " , \t,", "X-Stepgate-", "X-Stepgate",
	} {
		f.Add(seed)
	}
	g := &Gate{cfg: Config{IdentityHeaders: []string{"X-Auth-User"}}}
	f.Fuzz(func(t *testing.T, text string) {
		lines, valid := linesOf(text)
		if !valid {
			return
		}
		header := http.Header{"Connection": lines}
		want := slices.DeleteFunc(elements(header["Connection"], ","), func(token string) bool {
			folded := strings.NewReplacer("_", "-", ".", "-").Replace(asciiLower(token))
			return strings.HasPrefix(folded, "x-stepgate-") || strings.EqualFold(token, "cookie") || strings.EqualFold(token, "x-auth-user")
		})
		g.scrubConnection(header, header["Connection"])
		if diff := cmp.Diff(want, elements(header["Connection"], ","), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("other nominations than those that may stay (-want +got):\n%s", diff)
		}
		if left, there := header["Connection"]; there && len(want) == 0 {
			t.Fatalf("an empty header is left: %q", left)
		}
	})
}

// namesH2C finds the protocol h2c in one line of Upgrade (RFC 9110 §7.8).
var namesH2C = regexp.MustCompile(`(^|,)[ \t]*[hH]2[cC][ \t]*(/|,|$)`)

func FuzzUpgrade(f *testing.F) {
	for _, seed := range []string{"h2c", "websocket, H2C", "h2c/1.0", " h2c ", "websocket\nh2c", "h2cx", "xh2c", "h2", "h2c ,", "h2c;q=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, valid := linesOf(text)
		if !valid {
			return
		}
		want := slices.ContainsFunc(lines, namesH2C.MatchString)
		if got := wantsCleartextHTTP2(lines); got != want {
			t.Fatalf("%q: %v", lines, got)
		}
	})
}

// qvalue is RFC 9110 §12.4.2's.
var qvalue = regexp.MustCompile(`^(0(\.[0-9]{0,3})?|1(\.0{0,3})?)$`)

// FuzzAccept: only somebody who names HTML, at no lower quality than JSON, gets HTML.
func FuzzAccept(f *testing.F) {
	for _, seed := range []string{
		"text/html,application/xhtml+xml,*/*;q=0.8", "*/*", "application/json", "text/html;q=0", "application/json;q=0.9, text/html;q=0.5", "text/html;q=NaN",
		"text/html;q=1e9", "text/html;q=0x1p3", "application/problem+json;q=inf, text/html", "TEXT/HTML; Q=0.5", "text/html;level=1;q=0.3\napplication/json;q=0.2", "", ";q=1", "text/html;q=-1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, valid := linesOf(text)
		if !valid {
			return
		}
		html, json := 0, -1 // thousandths
		for _, entry := range elements(lines, ",") {
			parts := strings.Split(entry, ";")
			quality := 1000
			for _, parameter := range parts[1:] {
				name, value, _ := strings.Cut(strings.Trim(parameter, " \t"), "=")
				if asciiLower(name) != "q" {
					continue
				}
				quality = 0
				if qvalue.MatchString(value) {
					q, _ := strconv.ParseFloat(value, 64)
					quality = int(q*1000 + 0.5)
				}
				break
			}
			switch name := asciiLower(strings.Trim(parts[0], " \t")); {
			case name == "text/html", name == "application/xhtml+xml":
				html = max(html, quality)
			case name == "application/json", strings.HasSuffix(name, "+json"):
				json = max(json, quality)
			}
		}
		if got, want := prefersHTML(lines), html > 0 && html >= json; got != want {
			t.Fatalf("%q: %v, and its qualities are %d and %d", lines, got, html, json)
		}
	})
}

// FuzzHost: a Host names an origin if it is its host and port but for the case of A to Z, and no other way.
func FuzzHost(f *testing.F) {
	g, err := New(Config{
		Origins: []string{"https://wiki.example.com", "https://desk.example.com:8443", "http://localhost:8080"},
		Default: policy.Rule{Demand: policy.Demand{Level: passkey.Verified, MaxAge: time.Minute}},
		Backend: func() (*Backend, error) { return nil, passkey.StoreUnavailable }, Audit: audit.Log{Logger: zap.NewNop()},
	})
	if err != nil {
		f.Fatal(err)
	}
	names := map[string]string{
		"wiki.example.com": "https://wiki.example.com", "wiki.example.com:443": "https://wiki.example.com",
		"desk.example.com:8443": "https://desk.example.com:8443", "localhost:8080": "http://localhost:8080",
	}
	for host := range names {
		f.Add(host)
	}
	for _, seed := range []string{
		"WIKI.example.com:443", "wiki.example.com.", "wiki.example.com:0443", "wiki.example.com:", "", "a@wiki.example.com", "[::1]:8080", "127.0.0.1:8080", "wiki.example.com:80",
		"desk.example.com", "des\u212a.example.com:8443", "w\u0130ki.example.com", "wiki.example.com\x00", " wiki.example.com", "xn--wiki.example.com", "wiki.example.com,desk.example.com",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, host string) {
		want, known := names[asciiLower(host)]
		got, refusal := g.originOf(&http.Request{Host: host}, &Request{Peer: trustedPeer{}})
		if known != (got != nil) || known && (got.text != want || refusal != "") || !known && refusal != passkey.OriginUnknown {
			t.Fatalf("%q: %+v, %s", host, got, refusal)
		}
	})
}

// trustedPeer is one of trusted_proxies.
type trustedPeer struct{}

func (trustedPeer) Client() string { return "" }
func (trustedPeer) Trusted() bool  { return true }

// FuzzSameOrigin: nobody passes for a page of this origin who is not said to be one, once, by every header that says where
// a request comes from.
func FuzzSameOrigin(f *testing.F) {
	const origin = "https://console.example.com"
	for _, seed := range [][2]string{
		{"same-origin", origin}, {"same-origin", ""}, {"", origin}, {"", "null"}, {"none", ""}, {"same-site", origin}, {"cross-site", origin}, {"same-origin", "https://evil.example"},
		{"same-origin\nsame-origin", origin}, {"same-origin, cross-site", ""}, {"", origin + "\n" + origin}, {"", origin + "."}, {"", "HTTPS://console.example.com"},
		{"", "http://console.example.com"}, {"", origin + ":443"}, {"Same-Origin", ""}, {" ", origin}, {"", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, site, from string) {
		r := &http.Request{Header: http.Header{}}
		if site != "" {
			r.Header["Sec-Fetch-Site"] = strings.Split(site, "\n")
		}
		if from != "" {
			r.Header["Origin"] = strings.Split(from, "\n")
		}
		want := site == "same-origin" && (from == "" || from == origin) || site == "" && from == origin
		if got := sameOrigin(r, origin); got != want {
			t.Fatalf("%q %q: %v", site, from, got)
		}
	})
}

// FuzzUserHeader: the header that the upstream gets reads back as the very name, and holds nothing that a parser of
// headers would drop or take for its end.
func FuzzUserHeader(f *testing.F) {
	for _, seed := range hostileNames {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, user string) {
		value := headerSafe(user)
		if !httpguts.ValidHeaderFieldValue(value) || strings.Trim(value, " \t") != value || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			t.Fatalf("%q goes out as %q", user, value)
		}
		if back, err := url.PathUnescape(value); err != nil || back != user {
			t.Fatalf("%q goes out as %q, which reads as %q (%v)", user, value, back, err)
		}
	})
}

// FuzzFoldUser: two names become one if Unicode says that they differ in case alone (The Unicode Standard, D145: canonical
// caseless match), and only then; and a name that was folded stays as it is, wherever it is folded again.
func FuzzFoldUser(f *testing.F) {
	caseless := func(name string) string { // folded by Go's tables, then by those of x/text for what becomes several letters
		return norm.NFD.String(cases.Fold().String(strings.Map(leastOfCase, norm.NFD.String(name))))
	}
	for _, seed := range hostileNames {
		f.Add(seed, strings.ToUpper(seed))
	}
	for _, pair := range [][2]string{{"alice", "аlice"}, {"e\u0301", "\u00c9"}, {"stra\u00dfe", "STRASSE"}, {"\u03b1\u0345\u0301", "\u0391\u0301\u0345"}, {"i", "\u0130"}, {"k", "\u212a"}, {"a\u200bb", "ab"}, {"alice.", "alice"}, {"\uab84", "\u13b4"}, {"\u13f8", "\u13f0"}} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x := &exchange{in: Request{User: a}}
		if refusal := (&Gate{cfg: Config{FoldUser: true}}).identify(x); refusal != "" {
			if x.user != "" {
				t.Fatalf("%q is refused, and known as %q", a, x.user)
			}
			return
		}
		if passkey.CheckUser(a) != nil || passkey.CheckUser(x.user) != nil {
			t.Fatalf("%q is let in as %q, which no store takes", a, x.user)
		}
		if again := FoldUser(x.user); again != x.user || x.user != FoldUser(a) {
			t.Fatalf("%q folds to %q, and that to %q", a, x.user, again)
		}
		if !utf8.ValidString(b) {
			return
		}
		if one, want := x.user == FoldUser(b), caseless(a) == caseless(b); one != want {
			t.Fatalf("%q and %q are one user: %v, want %v", a, b, one, want)
		}
	})
}

// leastOfCase returns the first of the letters that differ from one in case alone.
func leastOfCase(r rune) rune {
	least := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		least = min(least, other)
	}
	return least
}

// hostileNames are names of the attack list's group D.
var hostileNames = []string{
	"alice", "Alice", "alice@x", "ALICE@X", "", " ", " alice", "alice ", "a,b", "a#b", "a\x00b", "\xff", "a\r\nX-Evil: 1", "e\u0301", "\u00e9", "\u0430lice", "a\u200db", "%41", "a%zz",
	"alice.", "\U0001f511", "\u2028", strings.Repeat("x", 600), strings.Repeat("\u0390", 256), strings.Repeat("a#", 250),
}

// FuzzSignInTime: a time is RFC 3339 or seconds, to the letter, or unknown.
func FuzzSignInTime(f *testing.F) {
	for _, seed := range []string{
		"2026-11-22T12:00:00Z", "2026-11-22T12:00:00.123456789+01:00", "1700000000", "1700000000.5", "1700000000000", "-1", "+1", "1e9", "0x10", "", " 1700000000", "1700000000 ",
		"2026-11-22t12:00:00z", "2026-11-22 12:00:00Z", "2026-11-22T12:00:00", "2026-11-22T12:00:00,5Z", "2026-11-22T2:00:00Z", "2026-02-30T12:00:00Z", "2026-11-22T24:00:00Z",
		"2026-11-22T12:00:60Z", "2026-11-22T12:00:00+24:00", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59-23:59", "1.", ".5", "1.0000000000", "\u0661", "NaN", "0",
	} {
		f.Add(seed)
	}
	rfc3339 := regexp.MustCompile(`^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	seconds := regexp.MustCompile(`^\d{1,10}(\.\d{1,9})?$`)
	f.Fuzz(func(t *testing.T, text string) {
		got := readTime(text)
		switch {
		case seconds.MatchString(text):
			whole, fraction, _ := strings.Cut(text, ".")
			want := strings.TrimLeft(whole+fraction+strings.Repeat("0", 9-len(fraction)), "0")
			if nanoseconds := strings.TrimLeft(fmt.Sprintf("%d%09d", got.Unix(), got.Nanosecond()), "0"); nanoseconds != want {
				t.Fatalf("%q reads as %v", text, got)
			}
		case rfc3339.MatchString(text) && len(text) <= maxTime:
			want, err := time.Parse(time.RFC3339Nano, text)
			if err != nil { // there is no such day
				want = time.Time{}
			}
			if !got.Equal(want) {
				t.Fatalf("%q reads as %v, want %v", text, got, want)
			}
		case !got.IsZero():
			t.Fatalf("%q reads as %v", text, got)
		}
	})
}

// FuzzBrowser: nobody makes up the mark of a known browser, and a browser has one name only.
func FuzzBrowser(f *testing.F) {
	keys, err := grant.ParseKeys("sgk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	if err != nil {
		f.Fatal(err)
	}
	sealer, err := keys.Sealer(grant.ForBrowser, "example.com")
	if err != nil {
		f.Fatal(err)
	}
	o, err := parseOrigin("https://console.example.com")
	if err != nil {
		f.Fatal(err)
	}
	exchangeOf := func(cookie string) *exchange {
		return &exchange{w: httptest.NewRecorder(), in: Request{User: "alice"}, user: "alice", origin: o, cookies: cookies{ceremony: cookie}}
	}
	const mark = "{mark}" // stands for the one that was sealed here: another process has another
	g, name := new(Gate), strings.Repeat("A", 43)
	sealed := sealer.Seal(exchangeOf("").mark(name))
	for _, seed := range []string{
		name + "." + mark, name, name + ".", "." + mark, mark, name + "." + mark + "A", name + "." + mark + "=", name + ".." + mark, strings.Repeat("A", 42) + "B." + mark,
		strings.Repeat("A", 42) + "E." + mark, name + "=." + mark, name + "\n." + mark, "", strings.Repeat("/", 43), name + "." + strings.Repeat("A", 300),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cookie string) {
		cookie = strings.ReplaceAll(cookie, mark, sealed)
		x := exchangeOf(cookie)
		if x.provenBrowser(&Backend{Browsers: sealer}) && cookie != name+"."+sealed {
			t.Fatalf("%q is taken for a known browser", cookie)
		}
		bearer := g.party(x)
		given, _, _ := strings.Cut(cookie, ".")
		raw, err := base64.RawURLEncoding.DecodeString(given)
		known := err == nil && len(raw) == browserLength && base64.RawURLEncoding.EncodeToString(raw) == given
		if (bearer.Browser == passkey.DigestOf(given)) != known || (x.w.Header().Get("Set-Cookie") == "") != known {
			t.Fatalf("%q: browser %x, %v", cookie, bearer.Browser, x.w.Header())
		}
	})
}
