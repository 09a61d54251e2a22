package gate_test

import (
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// signed says when the first factor says that the person signed in.
func signed(text string) change {
	return func(_ *http.Request, in *gate.Request) { in.SignedIn = text }
}

func newSignInWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, func(c *gate.Config) { c.SignInWithin = 10 * time.Minute })
	w.backend = w.backendOf(ceremony.Config{SignInWithin: 10 * time.Minute}, 5*time.Second)
	return w
}

// A first passkey is registered soon after the sign-in, whatever the form of its time; what can't be read is no time. The
// pages say beforehand what the ceremony will say.
func TestSignInTime(t *testing.T) {
	w := newSignInWorld(t)
	now := w.clock.Now() // 2026-11-22 12:00:00 UTC
	open, missing, old := passkey.Refusal(""), passkey.SignInTimeMissing, passkey.SignInTooOld
	for text, want := range map[string]passkey.Refusal{
		"2026-11-22T12:00:00Z":             open,
		"2026-11-22T11:50:00Z":             open,
		"2026-11-22T11:49:59Z":             old,
		"2026-11-22T13:00:00+01:00":        open,
		"2026-11-22T12:00:00+01:00":        old,
		"2026-11-22T11:55:00.123456789Z":   open,
		"2026-11-22T12:00:10Z":             open,
		"2026-11-22T12:00:11Z":             missing,
		"2027-11-22T12:00:00Z":             missing,
		fmt.Sprint(now.Unix()):             open,
		fmt.Sprint(now.Unix() - 600):       open,
		fmt.Sprint(now.Unix() - 601):       old,
		fmt.Sprint(now.Unix()-600) + ".5":  open,
		fmt.Sprint(now.Unix()-601) + ".5":  old,
		fmt.Sprint(now.Unix() + 10):        open,
		fmt.Sprint(now.Unix() + 11):        missing,
		"0":                                old,
		"0" + fmt.Sprint(now.Unix()):       missing, // eleven digits
		fmt.Sprint(now.UnixMilli()):        missing,
		fmt.Sprint(now.UnixMicro()):        missing,
		"100000000000":                     missing,
		"9999999999":                       missing, // in 2286
		"":                                 missing,
		" ":                                missing,
		" " + fmt.Sprint(now.Unix()):       missing,
		"-1":                               missing,
		"+" + fmt.Sprint(now.Unix()):       missing,
		"1e9":                              missing,
		"1.795348800e+09":                  missing,
		"0x6a6f6f6f":                       missing,
		fmt.Sprint(now.Unix()) + ".":       missing,
		"." + fmt.Sprint(now.Unix()):       missing,
		fmt.Sprint(now.Unix()) + ".1.2":    missing,
		fmt.Sprint(now.Unix()) + "," + "1": missing,
		fmt.Sprint(now.Unix()) + ", " + fmt.Sprint(now.Unix()): missing,
		"2026-11-22T12:00:00":                        missing, // of no zone
		"2026-11-22 12:00:00Z":                       missing,
		"2026-11-22":                                 missing,
		"Sun, 22 Nov 2026 12:00:00 GMT":              missing,
		"2026-11-22T12:00:00Z, 2026-11-22T12:00:00Z": missing,
		"2026-11-31T12:00:00Z":                       missing,
		"now":                                        missing,
		"null":                                       missing,
		"{http.request.header.X-Time}":               missing,
		strings.Repeat("1", 5000):                    missing,
		"2026-11-22T12:00:00." + strings.Repeat("0", 100) + "Z": missing,
		"١٧٩٥٣٤٨٨٠٠": missing,
	} {
		alice := w.browser("alice")
		if want == open {
			options := alice.post("/.stepgate/passkeys/options", object{}, signed(text))
			if options.StatusCode != http.StatusOK {
				t.Errorf("%q: %d", text, options.StatusCode)
			}
		} else {
			n := w.audit.count()
			alice.refused(http.StatusForbidden, want, func() *http.Response {
				return alice.post("/.stepgate/passkeys/options", object{}, signed(text))
			})
			if events := w.audit.since(n); len(events) == 0 || events[0].Kind != audit.CeremonyRefused || events[0].Action != passkey.FirstUse {
				t.Errorf("%q: audited %v", text, events)
			}
		}
		for _, path := range []string{"/.stepgate/challenge?return_to=/admin", "/.stepgate/passkeys"} {
			page := html.UnescapeString(string(wantBody(t, alice.get(path, navigate, signed(text)))))
			says := map[passkey.Refusal]string{
				open: `data-first-use="true"`, missing: "within 10 minutes of signing in, and the sign-in did not say when that was", old: "within 10 minutes of signing in, and you signed in earlier",
			}
			for refusal, words := range says {
				if strings.Contains(page, words) != (refusal == want) {
					t.Errorf("%q, %s: %q is said: %v", text, path, words, refusal != want)
				}
			}
		}
		w.backend = w.backendOf(ceremony.Config{SignInWithin: 10 * time.Minute}, 5*time.Second) // with buckets that are full
	}
}

// What began in time may be finished a little later; with the time it must still come from the first factor.
func TestSignInTimeAtTheFinish(t *testing.T) {
	for _, c := range []struct {
		name   string
		finish func(at time.Time) string
		want   passkey.Refusal
	}{
		{"the same sign-in", func(at time.Time) string { return at.Format(time.RFC3339) }, ""},
		{"none", func(time.Time) string { return "" }, passkey.SignInTimeMissing},
		{"an older one", func(at time.Time) string { return at.Add(-10 * time.Minute).Format(time.RFC3339) }, passkey.SignInTooOld},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newSignInWorld(t)
			alice, key := w.browser("alice"), authtest.New(authtest.Config{})
			at := w.clock.Now().Add(-9 * time.Minute)
			options := want(t, alice.post("/.stepgate/passkeys/options", object{}, signed(at.Format(time.RFC3339))), http.StatusOK)
			credential, err := key.Register(options, console)
			if err != nil {
				t.Fatal(err)
			}
			w.clock.Advance(4 * time.Minute)
			finish := func() *http.Response {
				return alice.post("/.stepgate/passkeys", object{"credential": raw(credential)}, signed(c.finish(at)))
			}
			if c.want == "" {
				want(t, finish(), http.StatusCreated)
				// From now on the time does not matter.
				want(t, alice.stepUp(key, "/admin"), http.StatusOK)
				alice.passes("/admin")
				alice.add(key, authtest.New(authtest.Config{}), "Second")
				page := string(wantBody(t, alice.get("/.stepgate/passkeys", navigate)))
				if strings.Contains(page, "of signing in") {
					t.Error("the page still asks for a fresh sign-in")
				}
				return
			}
			alice.refused(http.StatusForbidden, c.want, finish)
			alice.refused(http.StatusConflict, passkey.NoPasskey, func() *http.Response {
				return alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"})
			})
			if w.reached() != 0 {
				t.Error("the upstream was reached")
			}
		})
	}
}

// Headers and bodies of the client say nothing about it.
func TestSignInTimeIsNotTheClients(t *testing.T) {
	w := newSignInWorld(t)
	alice := w.browser("alice")
	now := w.clock.Now().Format(time.RFC3339)
	alice.refused(http.StatusForbidden, passkey.SignInTimeMissing, func() *http.Response {
		return alice.post("/.stepgate/passkeys/options", object{}, header("X-Auth-Time", now), header("Date", now))
	})
	for _, member := range []string{"sign_in_time", "signed_in"} {
		alice.refused(http.StatusForbidden, passkey.SignInTimeMissing, func() *http.Response {
			return alice.post("/.stepgate/passkeys/options", object{member: now})
		})
	}
}
