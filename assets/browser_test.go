package assets_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/browsertest"
)

type authenticatorOptions = browsertest.AuthenticatorOptions

const (
	goal = "/credentials?account=42"
	use  = `section[data-panel="use"] .primary`
)

// ready opens the challenge page of a person who has a passkey, in a tab that does not prompt by itself.
func ready(t *testing.T, scripts ...string) (*console, *browsertest.Tab, *browsertest.Authenticator) {
	t.Helper()
	c := newConsole(t)
	tab, authenticator := c.tab(authenticatorOptions{}, append([]string{quiet}, scripts...)...)
	c.enrol(tab, "Mac")
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	// Or the page could take an answer that the test puts in place for the next one.
	tab.Wait("document.querySelector('main').dataset.state !== 'loading'")
	return c, tab, authenticator
}

func wantText(t *testing.T, tab *browsertest.Tab, selector string, wants ...string) {
	t.Helper()
	got := tab.Text(selector)
	for _, want := range wants {
		if !strings.Contains(got, want) {
			t.Errorf("%s says %q, want %q", selector, got, want)
		}
	}
}

func TestConfirmByButton(t *testing.T) {
	c, tab, _ := ready(t)
	tab.Wait(state("ready"))
	wantText(t, tab, "main", "maria@example.com", strings.TrimPrefix(c.url, "http://")+goal)
	tab.Click(use)
	tab.WaitPath(goal)
	if n := prompts(tab, "get"); n != 1 {
		t.Errorf("%d prompts, want 1", n)
	}
	// The challenge page does not stay in the history, where Back would find it.
	if browsertest.Eval[bool](tab, "navigation.entries().some((e) => e.url.includes('challenge'))") {
		t.Error("the challenge page is in the history")
	}
}

func TestConfirmByKeyboard(t *testing.T) {
	_, tab, _ := ready(t)
	tab.Wait(state("ready"))
	tab.Keys(kb.Tab)
	tab.Wait("document.activeElement.matches('" + use + "')")
	tab.Keys(kb.Enter)
	tab.WaitPath(goal)
}

// The call to the browser happens inside the click: options are there before, nothing is awaited in between.
func TestPromptFollowsDirectlyFromTheClick(t *testing.T) {
	_, tab, _ := ready(t, `addEventListener("click", () => { window.clicking = true }, true);
		addEventListener("click", () => { window.clicking = false });
		const before = CredentialsContainer.prototype.get;
		CredentialsContainer.prototype.get = function (o) { sessionStorage.inside = window.clicking; return before.call(this, o); }`)
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.WaitPath(goal)
	if !browsertest.Eval[bool](tab, "sessionStorage.inside === 'true'") {
		t.Error("get() was called after the click was over")
	}
}

func TestFragmentIsCarriedOn(t *testing.T) {
	c, tab, _ := ready(t)
	tab.Open(c.url + prefix + "/challenge?demand=sealed#row-7")
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.WaitPath(goal)
	tab.Wait("location.hash === '#row-7'")
}

func TestReturnToAloneIsSent(t *testing.T) {
	c, tab, _ := ready(t)
	c.set(func(c *console) { c.challenge.Demand, c.challenge.Target, c.challenge.Method = "", "", "" })
	tab.Open(c.url + prefix + "/challenge?return_to=/credentials")
	tab.Wait("document.querySelector('main').dataset.state !== 'loading'") // prompts by itself: another wish
	tab.WaitPath(goal)
}

// A goal that is not a path of this origin is not gone to, even if the gateway named it.
func TestReturnToStaysOnThisOrigin(t *testing.T) {
	c, tab, _ := ready(t)
	for _, to := range []string{"//evil.example/", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/.//evil.example", "/\t/evil.example", "", "evil"} {
		c.set(func(c *console) { c.challenge.ReturnTo = to })
		tab.Run("sessionStorage.removeItem('stepgate.finished')")
		tab.Open(c.url + prefix + "/challenge?demand=sealed")
		tab.Wait(state("ready"))
		tab.Click(use)
		tab.Wait("location.pathname === '/' && location.origin === '" + c.url + "'")
	}
}

func TestPromptsByItselfOnce(t *testing.T) {
	c := newConsole(t)
	tab, authenticator := c.tab(authenticatorOptions{})
	c.enrol(tab, "Mac")
	authenticator.Presence(false)
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("waiting"))
	wantText(t, tab, use, "Waiting for your passkey")
	tab.Click(use + " + .quiet") // Cancel
	tab.Wait(state("ready"))
	wantText(t, tab, "#status", "Press the button when you are ready.")
	if !browsertest.Eval[bool](tab, "document.querySelector('#alert').hidden") {
		t.Error("an automatic prompt that was not answered is reported as an error")
	}

	authenticator.Presence(true)
	tab.Reload()
	tab.Wait(state("ready"))
	tab.Run("window.dispatchEvent(new Event('focus'))")
	tab.Wait("document.querySelector('main').dataset.state === 'ready'")
	if n := prompts(tab, "get"); n != 1 {
		t.Errorf("%d prompts after a reload, want 1", n)
	}
	tab.Click(use)
	tab.WaitPath(goal)
}

func TestPromptsByItselfOnlyInView(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{}, `let focused = false; Document.prototype.hasFocus = () => focused; window.look = () => { focused = true; dispatchEvent(new Event("focus")); }`)
	c.enrol(tab, "Mac")
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	if n := prompts(tab, "get"); n != 0 {
		t.Errorf("%d prompts without focus, want 0", n)
	}
	tab.Run("look()")
	tab.WaitPath(goal)
}

// Storage may be forbidden. Then the page cannot know whether it has prompted, and leaves that to the person.
func TestPromptsNotWithoutMemory(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{}, `if (location.pathname.includes("challenge")) {
		CredentialsContainer.prototype.get = () => { window.prompted = true; return new Promise(() => {}); };
		Object.defineProperty(window, "sessionStorage", {get() { throw new DOMException("no", "SecurityError"); }});
	}`)
	c.enrol(tab, "Mac")
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	if browsertest.Eval[bool](tab, "'prompted' in window") {
		t.Error("prompted")
	}
	tab.Click(use)
	tab.Wait("window.prompted")
}

// With blocked cookies the goal sends the person back here at once, with a new demand each time.
func TestNoLoopWhenTheProofIsLost(t *testing.T) {
	for because, want := range map[string]string{"grant_missing": "cookies are blocked", "grant_stale": "clock", "grant_level": "not strong enough"} {
		t.Run(because, func(t *testing.T) {
			c := newConsole(t)
			tab, _ := c.tab(authenticatorOptions{})
			c.enrol(tab, "Mac")
			c.set(func(c *console) { c.bounces, c.challenge.Because = true, because })
			tab.Open(c.url + goal)
			tab.Wait(failure("proof_lost"))
			wantText(t, tab, "#alert", want)
			tab.Run("window.dispatchEvent(new Event('focus'))")
			if n := prompts(tab, "get"); n != 1 {
				t.Errorf("%d prompts, want 1", n)
			}
			if n := c.called("POST /challenge/verify"); n != 1 {
				t.Errorf("%d confirmations, want 1", n)
			}
			// Once whatever was wrong is repaired, the button works.
			c.set(func(c *console) { c.bounces = false })
			tab.Wait("document.querySelector('main').dataset.state === 'failed'")
			tab.Click(use)
			tab.WaitPath(goal)
		})
	}
}

// Confirming twice within seconds is normal where every request needs it; a third time in a row is a loop.
func TestNoFalseAlarmWhenEveryRequestNeedsIt(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{})
	c.enrol(tab, "Mac")
	c.set(func(c *console) { c.bounces, c.challenge.MaxAge = true, 0 })
	tab.Open(c.url + goal)
	tab.Wait("location.search === '?demand=demand2' && " + state("ready"))
	if n := prompts(tab, "get"); n != 1 {
		t.Errorf("%d prompts, want 1", n)
	}
	tab.Click(use)
	tab.Wait("location.search === '?demand=demand3'")
	tab.Wait(failure("proof_lost"))
}

func TestCancelThenRetry(t *testing.T) {
	c, tab, authenticator := ready(t)
	authenticator.Presence(false)
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.Wait(state("waiting"))
	tab.Screenshot("challenge-waiting")
	tab.Click(use + " + .quiet")
	tab.Wait(failure("cancelled"))
	tab.Wait("document.activeElement.id === 'alert'")
	wantText(t, tab, "#alert", "Cancelled", "try again")
	wantText(t, tab, use, "Try again")
	tab.Wait("document.querySelectorAll('" + use + " + .quiet').length === 0")
	if n := c.called("POST /challenge/verify"); n != 0 {
		t.Errorf("%d confirmations sent, want none", n)
	}
	authenticator.Presence(true)
	tab.Click(use)
	tab.WaitPath(goal)
}

// A browser may never answer: the page gives up by itself when the challenge has run out.
func TestOwnTimeout(t *testing.T) {
	c := newConsole(t)
	tab, authenticator := c.tab(authenticatorOptions{}, quiet)
	c.enrol(tab, "Mac")
	c.set(func(c *console) { c.challenge.Timeout = 1200 * time.Millisecond })
	authenticator.Presence(false)
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.Wait(failure("timeout"))
	wantText(t, tab, "#alert", "That took too long")
	c.set(func(c *console) { c.challenge.Timeout = time.Minute })
	authenticator.Presence(true)
	tab.Reload()
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.WaitPath(goal)
}

// One that ignores the abort, too, as replaced credentials do.
func TestOwnTimeoutWithoutHelpOfTheBrowser(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{}, quiet, `window.__nativeCredentialsGet = () => new Promise(() => {})`)
	c.enrol(tab, "Mac")
	c.set(func(c *console) { c.challenge.Timeout = 800 * time.Millisecond })
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.Wait(failure("timeout"))
}

func TestOptionsAreRenewedBeforeTheyExpire(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{}, quiet)
	c.enrol(tab, "Mac")
	c.set(func(c *console) { c.challenge.Timeout = 600 * time.Millisecond })
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait("performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/challenge/options')).length >= 3")
	tab.Wait(state("ready"))

	// In the background nothing is renewed: the page's own timers, which fire in order, tell when it would have been.
	tab.Run(`Object.defineProperty(document, "hidden", {configurable: true, get: () => true})`)
	tab.Wait(`new Promise((done) => setTimeout(done, 600, true))`) // a renewal under way has ended by now
	n := c.called("POST /challenge/options")
	tab.Wait(`new Promise((done) => setTimeout(done, 900, true))`) // three renewals' time
	c.set(func(c *console) { c.challenge.Timeout = time.Minute })
	if m := c.called("POST /challenge/options"); m > n {
		t.Errorf("options were renewed in the background: %d, then %d", n, m)
	}
	tab.Run(`delete document.hidden, document.dispatchEvent(new Event("visibilitychange"))`)
	tab.Wait("performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/challenge/options')).length > " + strconv.Itoa(n))
	tab.Click(use)
	tab.WaitPath(goal)
}

func TestHostileValuesAreInert(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{}, quiet)
	for _, v := range hostile {
		if strings.Contains(v, "\x00") || len(v) > 1000 {
			continue
		}
		c.set(func(c *console) {
			c.challenge = assets.Challenge{Common: assets.Common{Prefix: prefix, RPName: v, User: v}, Demand: v, ReturnTo: v, Method: v, Target: v, Level: v, Because: v, FirstUse: true}
			c.account = assets.Account{Common: assets.Common{Prefix: prefix, RPName: v, User: v}}
		})
		c.answer("POST /passkeys/options", problem(v, 400))
		tab.Open(c.url + prefix + "/challenge?demand=x")
		tab.Wait("document.querySelector('main').dataset.state === 'failed'")
		c.set(func(c *console) {
			c.account.Passkeys = []assets.Passkey{{ID: v, Name: v, Authenticator: v, Level: v}, {ID: "x", Name: v}}
		})
		inert := "!window.pwned && document.querySelectorAll('h1').length === 1 && [...document.querySelectorAll('*')].every((e) => !e.getAttributeNames().some((n) => n.startsWith('on')))"
		if !browsertest.Eval[bool](tab, inert) {
			t.Errorf("challenge page with %q: %s", v, tab.Text("body"))
		}
		tab.Open(c.url + prefix + "/passkeys")
		tab.Wait(state("ready"))
		c.answer("POST /passkeys/authorize/options", problem(v, 400))
		tab.Click("li button[data-do=remove]")
		tab.Wait("document.querySelector('dialog .error').checkVisibility()")
		if !browsertest.Eval[bool](tab, inert) {
			t.Errorf("account page with %q: %s", v, tab.Text("body"))
		}
	}
}
