package assets

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A view is a page's values with the words that follow from them. Templates see only views, so that a sentence is
// chosen in Go, where a test can read it, and placed in HTML.

type challengeView struct {
	Challenge
	Page, Title   string
	Panel         string // which of the page's panels applies: use, create, add or closed
	Why, Lasts    string // why the person is asked, and for how long the answer counts
	Needs         string // the kind of passkey that reaches the level
	SignInAgain   string // what to do about a sign-in that lets nobody create a first passkey
	Timeout       int64  // ms; shadows Challenge.Timeout
	MaxAgeSeconds int64
	Resend        bool // the stopped request was not a plain page view: it has to be sent again
}

// Render writes the page where a person steps up.
func (c Challenge) Render(w io.Writer) error {
	v := challengeView{
		Challenge:     c,
		Page:          "challenge",
		Title:         "Confirm it’s you",
		Panel:         c.panel(),
		Why:           c.why(),
		Needs:         kindFor(c.Level),
		SignInAgain:   signInAgain(c.SignIn, c.SignInWithin),
		Timeout:       milliseconds(c.Timeout),
		MaxAgeSeconds: int64(c.MaxAge / time.Second),
		Resend:        c.Method != "" && c.Method != "GET" && c.Method != "HEAD",
	}
	switch v.Panel {
	case "create":
		v.Title = "Set up your passkey"
	case "add":
		v.Title = "Another passkey is needed"
	case "closed":
		v.Title = "A passkey is needed"
		switch {
		case c.Passkeys > 0 && c.Lapsed:
			v.Title = "Your passkey is not accepted now"
		case c.Passkeys > 0:
			v.Title = "Another passkey is needed"
		}
	}
	if c.MaxAge > 0 {
		v.Lasts = "One confirmation lasts " + duration(c.MaxAge) + "."
	}
	return render(w, "challenge", v)
}

// panel says which of four things the person can do here. Nobody without a passkey may create one unless the gate says
// so (docs/rules.md, rule 10).
func (c Challenge) panel() string {
	switch {
	case c.Passkeys == 0 && c.FirstUse:
		return "create"
	case c.Passkeys == 0:
		return "closed"
	case c.Suitable == 0 && c.Lapsed: // what added another would have to be as strong
		return "closed"
	case c.Suitable == 0 && c.Bounded:
		return "closed"
	case c.Suitable == 0:
		return "add"
	}
	return "use"
}

// why puts the refusal into words that do not blame: almost always nothing went wrong.
func (c Challenge) why() string {
	if c.Passkeys == 0 && c.CodesLeft > 0 {
		return "This part of the console opens only with a passkey, and you have none here any more."
	}
	if c.Passkeys == 0 {
		return "This part of the console opens only with a passkey, and you have none here yet."
	}
	if c.Suitable == 0 && c.Lapsed {
		return "Opening this needs a passkey of a make that your organisation accepts. Yours was, and that can’t be confirmed now."
	}
	if c.Suitable == 0 && c.Because != "grant_level" {
		return "You have a passkey, but opening this needs a stronger one."
	}
	switch c.Because {
	case "grant_stale":
		if c.MaxAge > 0 {
			return "It has been longer than " + duration(c.MaxAge) + " since you last used your passkey."
		}
	case "grant_level":
		return "You confirmed earlier, but this needs a stronger passkey: " + kindFor(c.Level) + "."
	case "grant_other_user":
		return "The last confirmation in this browser was made by somebody else."
	case "grant_other_origin":
		return "Your last confirmation was for another address."
	case "grant_other_session":
		return "You have signed in again since your last confirmation."
	case "grant_revoked":
		return "Your earlier confirmations were ended, so this one starts afresh."
	case "grant_passkey_removed":
		return "The passkey of your last confirmation has been removed."
	case "grant_unreadable":
		return "Your last confirmation is no longer valid here."
	case "grant_from_future":
		return "The time of your last confirmation lies ahead of the gateway’s clock."
	}
	if c.MaxAge <= 0 {
		return "This asks for your passkey every time."
	}
	return "This part of the console opens only with your passkey."
}

type accountView struct {
	Account
	Page, Title string
	Timeout     int64 // ms; shadows Account.Timeout
	Closed      bool  // no passkey and no way to create one here
	Full        bool
	Single      bool // the person has exactly one passkey
	Kept        bool // it can't be removed
	SignInAgain string
}

// Render writes the page where a person manages their passkeys.
func (a Account) Render(w io.Writer) error {
	return render(w, "account", accountView{
		Account:     a,
		Page:        "account",
		Title:       "Your passkeys",
		Timeout:     milliseconds(a.Timeout),
		Closed:      len(a.Passkeys) == 0 && !a.FirstUse,
		Full:        a.Max > 0 && len(a.Passkeys) >= a.Max,
		Single:      len(a.Passkeys) == 1,
		Kept:        len(a.Passkeys) == 1 && a.KeepLast,
		SignInAgain: signInAgain(a.SignIn, a.SignInWithin),
	})
}

type messageView struct {
	Message
	Page string
}

// Render writes a page that only says something. A Href that could leave this origin is left out together with its link.
func (m Message) Render(w io.Writer) error {
	if !onThisOrigin(m.Href) {
		m.Action, m.Href = "", ""
	}
	return render(w, "message", messageView{Message: m, Page: "message"})
}

// onThisOrigin reports whether browsers resolve a path to this very origin: they take a backslash for a slash, drop
// tabs and line breaks, and read two slashes as another host.
func onThisOrigin(href string) bool {
	return strings.HasPrefix(href, "/") && !strings.HasPrefix(href, "//") &&
		!strings.ContainsFunc(href, func(r rune) bool { return r == '\\' || r < ' ' || r == 0x7f })
}

// signInAgain says what somebody can do whose sign-in lets them create no first passkey; "" where that is not so.
func signInAgain(refusal string, within time.Duration) string {
	switch refusal {
	case "sign_in_too_old":
		return "A first passkey has to be set up within " + duration(within) + " of signing in, and you signed in earlier than that. Sign in again, then come back to this page."
	case "sign_in_time_missing":
		return "A first passkey has to be set up within " + duration(within) + " of signing in, and the sign-in did not say when that was. Sign in again, then come back to this page. If it stays like this, please tell the administrators."
	}
	return ""
}

// kindFor says in plain words which passkeys reach a level.
func kindFor(level string) string {
	switch level {
	case "device_bound":
		return "a security key, or a passkey that stays on one device and is not synced"
	case "attested":
		return "a security key of a make that your organisation accepts"
	}
	return "a passkey with a fingerprint, a face or a PIN"
}

// levelWords describes, on the account page, what a passkey is good for.
func levelWords(level string) string {
	switch level {
	case "present":
		return "Basic"
	case "verified":
		return "Standard"
	case "device_bound":
		return "High"
	case "attested":
		return "Highest"
	}
	return "Unknown"
}

// kindWords is the badge of a passkey.
func kindWords(kind string) string {
	switch kind {
	case KindSynced:
		return "Synced"
	case KindSyncable:
		return "Can be synced"
	case KindDevice:
		return "This device only"
	case KindSecurityKey:
		return "Security key"
	}
	return "Not used here yet"
}

// Where returns the host where the passkey was last used.
func (p Passkey) Where() string {
	_, host, _ := strings.Cut(p.LastUsedOn, "://")
	return host
}

// milliseconds is the form in which the script takes a duration; a page without one gets five minutes.
func milliseconds(d time.Duration) int64 {
	if d <= 0 {
		d = 5 * time.Minute
	}
	return d.Milliseconds()
}

// instant is a time as <time datetime> takes it; day is what a person without the script reads.
func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
func day(t time.Time) string     { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// duration puts a duration into words, exact to the second: "1 hour 30 minutes".
func duration(d time.Duration) string {
	rest := int64(d.Round(time.Second) / time.Second)
	var words []string
	for _, unit := range []struct {
		name    string
		seconds int64
	}{{"day", 86400}, {"hour", 3600}, {"minute", 60}, {"second", 1}} {
		n := rest / unit.seconds
		rest %= unit.seconds
		switch {
		case n == 1:
			words = append(words, "1 "+unit.name)
		case n > 1:
			words = append(words, fmt.Sprintf("%d %ss", n, unit.name))
		}
	}
	if words == nil {
		return "a moment"
	}
	return strings.Join(words, " ")
}
