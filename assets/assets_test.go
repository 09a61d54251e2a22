package assets_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"html"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/assets"
)

type renderer interface{ Render(io.Writer) error }

func rendered(t *testing.T, p renderer) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Render(&b); err != nil {
		t.Fatalf("rendering %T: %v", p, err)
	}
	return b.String()
}

var common = assets.Common{Prefix: "/.stepgate", RPName: "Example operations", User: "maria@example.com"}

func challenge(change func(*assets.Challenge)) assets.Challenge {
	c := assets.Challenge{
		Common: common, Demand: "sealed", ReturnTo: "/credentials?account=42", Method: "GET", Target: "/credentials?account=42",
		Level: "verified", MaxAge: 15 * time.Minute, Because: "grant_missing", Passkeys: 1, Suitable: 1, Timeout: 5 * time.Minute,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func account(change func(*assets.Account)) assets.Account {
	added, used := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC), time.Date(2026, 11, 21, 16, 30, 0, 0, time.UTC)
	a := assets.Account{Common: common, Max: 10, Timeout: 5 * time.Minute, Passkeys: []assets.Passkey{
		{ID: "firstid", Name: "Mac", Authenticator: "Apple Passwords", AAGUID: "fbfc3007-154e-4ecc-8c0b-6e020557d7bd",
			Kind: assets.KindSynced, BackupEligible: true, BackedUp: true, Level: "verified", CreatedAt: added, LastUsedAt: &used, LastUsedOn: "https://console.example.com"},
		{ID: "secondid", Name: "Blue key", Authenticator: "YubiKey 5 Series with NFC", AAGUID: "fa2b99dc-9e39-4257-8f92-4a30d23c4118",
			Kind: assets.KindSecurityKey, Level: "device_bound", CreatedAt: used},
	}}
	if change != nil {
		change(&a)
	}
	return a
}

func message(change func(*assets.Message)) assets.Message {
	m := assets.Message{Common: common, Code: "store_unavailable", Title: "Passkeys can’t be looked up right now",
		Text: "Nothing is wrong with yours.", Hint: "Wait a minute, then try again.", Action: "Try again", Href: "/credentials?account=42"}
	if change != nil {
		change(&m)
	}
	return m
}

// everyPage is each page in each state that looks different.
func everyPage() map[string]renderer {
	return map[string]renderer{
		"challenge":           challenge(nil),
		"challenge stale":     challenge(func(c *assets.Challenge) { c.Because = "grant_stale" }),
		"challenge POST":      challenge(func(c *assets.Challenge) { c.Method = "POST" }),
		"challenge once":      challenge(func(c *assets.Challenge) { c.MaxAge = 0 }),
		"challenge first use": challenge(func(c *assets.Challenge) { c.Passkeys, c.Suitable, c.FirstUse = 0, 0, true }),
		"challenge closed":    challenge(func(c *assets.Challenge) { c.Passkeys, c.Suitable = 0, 0 }),
		"challenge add":       challenge(func(c *assets.Challenge) { c.Suitable, c.Level = 0, "device_bound" }),
		"challenge bounded":   challenge(func(c *assets.Challenge) { c.Suitable, c.Level, c.Bounded = 0, "device_bound", true }),
		"challenge zero":      assets.Challenge{},
		"account":             account(nil),
		"account one":         account(func(a *assets.Account) { a.Passkeys = a.Passkeys[:1] }),
		"account full":        account(func(a *assets.Account) { a.Max = 2 }),
		"account first use":   account(func(a *assets.Account) { a.Passkeys, a.FirstUse = nil, true }),
		"account closed":      account(func(a *assets.Account) { a.Passkeys = nil }),
		"account zero":        assets.Account{},
		"account codes":       account(func(a *assets.Account) { a.Recovery, a.CodesLeft = true, 7 }),
		"account lost":        account(func(a *assets.Account) { a.Passkeys, a.Recovery, a.CodesLeft = nil, true, 7 }),
		"message":             message(nil),
		"message zero":        assets.Message{},
	}
}

var (
	inlineScript = regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>\s*[^<\s]`)
	style        = regexp.MustCompile(`(?i)<style|\sstyle\s*=`)
	handler      = regexp.MustCompile(`(?i)<[^>]*\son[a-z]+\s*=`)
	link         = regexp.MustCompile(`(?i)\s(?:href|src|action|formaction|srcset|poster|data)\s*=\s*"([^"]*)"`)
	asset        = regexp.MustCompile(`^/\.stepgate/assets/([a-z]+\.[0-9a-f]{16}\.[a-z]+)$`)
)

func TestEveryPageIsWellFormed(t *testing.T) {
	for name, page := range everyPage() {
		t.Run(name, func(t *testing.T) {
			got := rendered(t, page)
			if !strings.HasPrefix(got, "<!DOCTYPE html>\n<html lang=\"en\">") {
				t.Errorf("starts with %.40q", got)
			}
			for _, one := range []string{"<h1>", "</h1>", "<title>", "<main ", "</main>", "<header>", "</html>"} {
				if n := strings.Count(got, one); n != 1 {
					t.Errorf("%d of %s, want 1", n, one)
				}
			}
			for what, pattern := range map[string]*regexp.Regexp{"inline script": inlineScript, "inline style": style, "event handler": handler} {
				if found := pattern.FindString(got); found != "" {
					t.Errorf("%s: %q", what, found)
				}
			}
			for _, m := range link.FindAllStringSubmatch(got, -1) {
				url := html.UnescapeString(m[1])
				if url != "" && (!strings.HasPrefix(url, "/") || strings.HasPrefix(url, "//")) {
					t.Errorf("link leaves the origin: %q", url)
				}
				if strings.Contains(url, "/assets/") && !strings.Contains(name, "zero") {
					f := asset.FindStringSubmatch(url)
					if f == nil {
						t.Errorf("asset without a hash: %q", url)
					} else if _, ok := assets.Lookup(f[1]); !ok {
						t.Errorf("page links to %q, which is not served", url)
					}
				}
			}
			if strings.Contains(got, "ZgotmplZ") {
				t.Error("a value was refused by its context (ZgotmplZ)")
			}
			ids := map[string]bool{}
			for _, m := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(got, -1) {
				if ids[m[1]] {
					t.Errorf("id %q twice", m[1])
				}
				ids[m[1]] = true
			}
		})
	}
}

// hostile is what attacks.md G1 lists, and neighbours.
var hostile = []string{
	`"><script>window.pwned=1</script>`, `'><img src=x onerror=window.pwned=1>`, `</script><script>window.pwned=1</script>`,
	`</title></main><h1>pwned</h1>`, `{{.User}}`, `{{template "main" .}}`, `javascript:window.pwned=1`, "`-window.pwned=1-`",
	"\u2028window.pwned=1\u2029", "\x00<b>", "\u202Egnp.exe", `--><h1>pwned</h1>`, `" onmouseover="window.pwned=1" x="`, "&quot;><h1>pwned</h1>",
	strings.Repeat("W", 2000), `//evil.example/`, `/\evil.example`, `\u003cscript\u003e`, "]]><script>window.pwned=1</script>",
}

// hostilePages is every page with one hostile value wherever a value can go.
func hostilePages(v string) map[string]renderer {
	now := time.Unix(0, 0)
	c := assets.Common{Prefix: "/.stepgate", RPName: v, User: v}
	return map[string]renderer{
		"challenge": assets.Challenge{Common: c, Demand: v, ReturnTo: v, Method: v, Target: v, Level: v, Because: v, Passkeys: 1, Suitable: 1},
		"create":    assets.Challenge{Common: c, Demand: v, ReturnTo: v, Method: v, Target: v, Level: v, Because: v, FirstUse: true},
		"account": assets.Account{Common: c, Passkeys: []assets.Passkey{
			{ID: v, Name: v, Authenticator: v, AAGUID: v, Level: v, CreatedAt: now, LastUsedAt: &now}, {ID: "x", Name: v}}},
		"message": assets.Message{Common: c, Code: v, Title: v, Text: v, Hint: v, Action: v, Href: v},
	}
}

var (
	attributeValue = regexp.MustCompile(`"[^"]*"`)
	textNode       = regexp.MustCompile(`>[^<]*<`)
)

// skeleton is a page without its values: elements and the names of their attributes.
func skeleton(page string) []string {
	return strings.SplitAfter(textNode.ReplaceAllString(attributeValue.ReplaceAllString(page, `""`), "><"), ">")
}

// Whatever a value holds, the page has the same elements and attributes as with a harmless one: values are text, never
// markup.
func TestHostileValuesAreText(t *testing.T) {
	harmless := hostilePages("harmless")
	for _, v := range hostile {
		for name, page := range hostilePages(v) {
			if diff := cmp.Diff(skeleton(rendered(t, harmless[name])), skeleton(rendered(t, page))); diff != "" {
				t.Errorf("%s with %.60q has another shape (-harmless +hostile):\n%s", name, v, diff)
			}
		}
	}
}

func TestMessageLinksStayOnThisOrigin(t *testing.T) {
	for _, href := range []string{"/", "/x?y=z#f", "/.stepgate/passkeys"} {
		if got := rendered(t, message(func(m *assets.Message) { m.Href = href })); !strings.Contains(got, `<a class="button" href="`+href+`">Try again</a>`) {
			t.Errorf("no link to %q", href)
		}
	}
	for _, href := range []string{"", "//evil", "/\\evil", "\\\\evil", "https://evil", "javascript:alert(1)", "/\t/evil", "/\n/evil", " /x", "x"} {
		if got := rendered(t, message(func(m *assets.Message) { m.Href = href })); strings.Contains(got, "<a ") || strings.Contains(got, "Try again") {
			t.Errorf("link to %q", href)
		}
	}
}

// What the page says follows from why the request was stopped and what the person has.
func TestChallengeSays(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*assets.Challenge)
		want   []string
	}{
		{"who, what and how long", nil, []string{"maria@example.com", "You are opening", "/credentials?account=42", `data-panel="use"`,
			"opens only with your passkey", "One confirmation lasts 15 minutes.", `data-timeout="300000"`, `data-max-age="900"`}},
		{"stale", func(c *assets.Challenge) { c.Because, c.MaxAge = "grant_stale", 90*time.Minute },
			[]string{"It has been longer than 1 hour 30 minutes since you last used your passkey."}},
		{"stale, seconds", func(c *assets.Challenge) { c.Because, c.MaxAge = "grant_stale", 61*time.Second }, []string{"1 minute 1 second"}},
		{"every time", func(c *assets.Challenge) { c.Because, c.MaxAge = "grant_missing", 0 }, []string{"asks for your passkey every time", `data-max-age="0"`}},
		{"stronger", func(c *assets.Challenge) { c.Because, c.Level = "grant_level", "device_bound" },
			[]string{"needs a stronger passkey: a security key, or a passkey that stays on one device"}},
		{"somebody else", func(c *assets.Challenge) { c.Because = "grant_other_user" }, []string{"made by somebody else"}},
		{"another address", func(c *assets.Challenge) { c.Because = "grant_other_origin" }, []string{"for another address"}},
		{"new session", func(c *assets.Challenge) { c.Because = "grant_other_session" }, []string{"signed in again"}},
		{"revoked", func(c *assets.Challenge) { c.Because = "grant_revoked" }, []string{"were ended"}},
		{"passkey removed", func(c *assets.Challenge) { c.Because = "grant_passkey_removed" }, []string{"has been removed"}},
		{"unreadable", func(c *assets.Challenge) { c.Because = "grant_unreadable" }, []string{"no longer valid"}},
		{"future", func(c *assets.Challenge) { c.Because = "grant_from_future" }, []string{"clock"}},
		{"unknown reason", func(c *assets.Challenge) { c.Because = "something_new" }, []string{"opens only with your passkey"}},
		{"a form", func(c *assets.Challenge) { c.Method = "POST" },
			[]string{"You sent", "What you sent has not been carried out.", "send it again from there"}},
		{"first use", func(c *assets.Challenge) { c.Passkeys, c.Suitable, c.FirstUse = 0, 0, true },
			[]string{"Set up your passkey", `data-panel="create"`, "you have none here yet", "Create a passkey"}},
		{"first use, strong", func(c *assets.Challenge) { c.Passkeys, c.Suitable, c.FirstUse, c.Level = 0, 0, true, "device_bound" },
			[]string{"Choose that when your browser asks."}},
		{"none and closed", func(c *assets.Challenge) { c.Passkeys, c.Suitable = 0, 0 },
			[]string{`data-panel="closed"`, "ask the administrators"}},
		{"signed in too long ago", func(c *assets.Challenge) {
			c.Passkeys, c.Suitable, c.SignIn, c.SignInWithin = 0, 0, "sign_in_too_old", 10*time.Minute
		}, []string{`data-panel="closed"`, `data-first-use="false"`, "Sign in again to set up your passkey", "within 10 minutes of signing in, and you signed in earlier than that", "come back to this page", "enter it here"}},
		{"signed in nobody knows when", func(c *assets.Challenge) {
			c.Passkeys, c.Suitable, c.SignIn, c.SignInWithin = 0, 0, "sign_in_time_missing", time.Hour
		}, []string{`data-panel="closed"`, "within 1 hour of signing in, and the sign-in did not say when that was", "please tell the administrators"}},
		{"none strong enough", func(c *assets.Challenge) { c.Suitable, c.Level = 0, "device_bound" },
			[]string{`data-panel="add"`, "opening this needs a stronger one", "This needs a security key"}},
		{"bounded by a recovery code", func(c *assets.Challenge) { c.Suitable, c.Level, c.Bounded = 0, "device_bound", true },
			[]string{`data-panel="closed"`, "An administrator has to help here", "registered with a recovery code", "for an invitation"}},
		{"attested, and not now", func(c *assets.Challenge) { c.Suitable, c.Level, c.Lapsed = 0, "attested", true },
			[]string{`data-panel="closed"`, "Your passkey is not accepted now", "Yours was, and that can’t be confirmed now", "Please try again later", "ask the administrators"}},
		{"attested, and another one does", func(c *assets.Challenge) { c.Level, c.Lapsed = "attested", true }, []string{`data-panel="use"`}},
		{"attested", func(c *assets.Challenge) { c.Suitable, c.Level = 0, "attested" }, []string{"your organisation accepts"}},
		{"no timeout", func(c *assets.Challenge) { c.Timeout = 0 }, []string{`data-timeout="300000"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := html.UnescapeString(rendered(t, challenge(tt.change)))
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("does not say %q", want)
				}
			}
			if resend := strings.Contains(got, "carried out"); resend != strings.Contains(got, `data-method="POST"`) {
				t.Errorf("says that something was not carried out: %v", resend)
			}
		})
	}
}

func TestAccountSays(t *testing.T) {
	for _, tt := range []struct {
		name        string
		change      func(*assets.Account)
		want, never []string
	}{
		{"a list", nil, []string{"2 of 10", "Apple Passwords", "Synced", "Security key", "Never", "<bdi>console.example.com</bdi>", "High", "Standard",
			`data-id="secondid"`, `data-backup-eligible="false"`, `<time datetime="2026-11-21T16:30:00Z">21 November 2026, 16:30 UTC</time>`},
			[]string{"aria-disabled", "only passkey"}},
		{"the only one stays", func(a *assets.Account) { a.Passkeys, a.KeepLast = a.Passkeys[:1], true },
			[]string{`aria-disabled="true" aria-describedby="only"`, `id="only"`, "Add another passkey first", "Add a second passkey"}, nil},
		{"the only one may go", func(a *assets.Account) { a.Passkeys = a.Passkeys[:1] },
			[]string{"This is your only passkey.", "need an invitation from the administrators", "Add a second passkey"}, []string{"aria-disabled", "recovery codes"}},
		{"the only one may go, and codes are on", func(a *assets.Account) { a.Passkeys, a.Recovery = a.Passkeys[:1], true },
			[]string{"you have no recovery codes", "Make recovery codes"}, []string{"Use a recovery code"}},
		{"the only one may go, with codes", func(a *assets.Account) { a.Passkeys, a.Recovery, a.CodesLeft = a.Passkeys[:1], true, 2 },
			[]string{"one of your 2 recovery codes", "2 left", "Make new codes", "Use a recovery code"}, []string{"need an invitation"}},
		{"two have nothing to fear", func(a *assets.Account) { a.Recovery, a.CodesLeft = true, 2 }, nil, []string{"second passkey", "only passkey"}},
		{"not synced yet", func(a *assets.Account) { a.Passkeys[0].Kind = assets.KindSyncable }, []string{"Can be synced"}, []string{">Synced<"}},
		{"bound to a device", func(a *assets.Account) { a.Passkeys[1].Kind = assets.KindDevice }, []string{"This device only"}, nil},
		{"imported", func(a *assets.Account) { a.Passkeys[1].Kind = assets.KindUnknown }, []string{"Not used here yet"}, nil},
		{"lost everything, with codes", func(a *assets.Account) { a.Passkeys, a.Recovery, a.CodesLeft = nil, true, 8 },
			[]string{"one of your recovery codes", "Use a recovery code", "Use an invitation", "To make new ones you need a passkey"}, []string{"Make new codes"}},
		{"full", func(a *assets.Account) { a.Max = 2 }, []string{"as many passkeys as you may have"}, []string{`data-do="add"`}},
		{"first use", func(a *assets.Account) { a.Passkeys, a.FirstUse = nil, true }, []string{`data-do="add"`, "no passkey yet"}, []string{"Step 1"}},
		{"signed in too long ago", func(a *assets.Account) {
			a.Passkeys, a.SignIn, a.SignInWithin = nil, "sign_in_too_old", 10*time.Minute
		}, []string{"within 10 minutes of signing in, and you signed in earlier than that", "If you were given an invitation, enter it."}, []string{`data-do="add"`, "Somebody has registered"}},
		{"closed", func(a *assets.Account) { a.Passkeys = nil }, []string{"ask the administrators"}, []string{`data-do="add"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := html.UnescapeString(rendered(t, account(tt.change)))
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, never := range tt.never {
				if strings.Contains(got, never) {
					t.Errorf("says %q", never)
				}
			}
		})
	}
}

func TestLookup(t *testing.T) {
	for name, contentType := range map[string]string{
		"stepgate.js": "text/javascript; charset=utf-8", "stepgate.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		url, err := assets.URL("/p", name)
		if err != nil {
			t.Fatal(err)
		}
		hashed := strings.TrimPrefix(url, "/p/assets/")
		f, ok := assets.Lookup(hashed)
		if !ok {
			t.Fatalf("Lookup(%q) finds nothing", hashed)
		}
		sum := sha256.Sum256(f.Body)
		digest := hex.EncodeToString(sum[:8])
		if f.ContentType != contentType || f.ETag != `"`+digest+`"` || !strings.Contains(hashed, "."+digest+".") {
			t.Errorf("%s: type %q, ETag %s, digest %s", hashed, f.ContentType, f.ETag, digest)
		}
		for _, wrong := range []string{name, strings.Replace(hashed, digest, "0000000000000000", 1), "../" + hashed, "/" + hashed, hashed + "/", strings.ToUpper(hashed), ""} {
			if _, ok := assets.Lookup(wrong); ok {
				t.Errorf("Lookup(%q) finds something", wrong)
			}
		}
	}
	for _, template := range []string{"layout.html", "challenge.html", "assets.go"} {
		if _, err := assets.URL("/p", template); err == nil {
			t.Errorf("%s has a URL", template)
		}
	}
}

type brokenWriter struct{ wrote int }

func (w *brokenWriter) Write(p []byte) (int, error) { w.wrote++; return 0, errors.New("gone") }

// A page reaches the writer in one piece, and the writer's error comes back.
func TestRenderWritesOnce(t *testing.T) {
	for name, page := range everyPage() {
		w := &brokenWriter{}
		if err := page.Render(w); err == nil || w.wrote != 1 {
			t.Errorf("%s: %d writes, error %v", name, w.wrote, err)
		}
	}
}

// Every refusal that people can meet while they confirm, add, rename or remove has words of its own in the script. For
// the others, which mean that something is broken, it shows the gateway's.
func TestScriptHasWordsForRefusals(t *testing.T) {
	list, err := os.ReadFile("../internal/passkey/refusal.go")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("stepgate.js")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ = bytes.Cut(list, []byte("// Ceremonies."))
	broken := []string{"relying_party_mismatch", "cross_origin", "backup_flags_inconsistent", "user_handle_mismatch",
		"extension_refused", "credential_id_invalid", "internal",
		"user_unknown"} // which only administrators are told
	for _, m := range regexp.MustCompile(`Refusal = "([a-z_]+)"`).FindAllSubmatch(list, -1) {
		code := string(m[1])
		has := bytes.Contains(script, []byte("\n  "+code+": ["))
		if has == slices.Contains(broken, code) {
			t.Errorf("%s: words %v", code, has)
		}
	}
}

func FuzzChallenge(f *testing.F) {
	for _, v := range hostile {
		f.Add(v, v)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		page := func(a, b string) string {
			return rendered(t, assets.Challenge{Common: assets.Common{Prefix: "/.stepgate", RPName: "x" + a, User: "x" + b},
				Demand: b, ReturnTo: "/" + a, Method: "X" + a, Target: "/" + b, Because: a, Passkeys: 1, Suitable: 1, MaxAge: time.Minute})
		}
		if diff := cmp.Diff(skeleton(page("", "")), skeleton(page(a, b))); diff != "" {
			t.Errorf("another shape (-harmless +hostile):\n%s", diff)
		}
	})
}

// The script and the stylesheet take nothing from elsewhere and put no markup into the page.
func TestScriptAndStyleAreSelfContained(t *testing.T) {
	for name, never := range map[string]*regexp.Regexp{
		"stepgate.js":  regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://|\balert\(|window\.confirm|\bimport\b`),
		"stepgate.css": regexp.MustCompile(`url\(|@import|https?://`),
	} {
		url, err := assets.URL("", name)
		if err != nil {
			t.Fatal(err)
		}
		f, _ := assets.Lookup(strings.TrimPrefix(url, "/assets/"))
		if found := never.Find(f.Body); found != nil {
			t.Errorf("%s holds %q", name, found)
		}
	}
}
