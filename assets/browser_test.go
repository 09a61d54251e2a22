package assets_test

import (
	"net/http"
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

// What the browser says, in words.
func TestBrowserErrors(t *testing.T) {
	_, tab, _ := ready(t)
	tab.Wait(state("ready"))
	for name, want := range map[string]string{
		"NotAllowedError": "not_allowed", "AbortError": "cancelled", "InvalidStateError": "prompt_busy", "OperationError": "prompt_busy",
		"SecurityError": "blocked", "NotSupportedError": "not_supported", "UnknownError": "prompt_failed",
	} {
		t.Run(name, func(t *testing.T) {
			tab := tab.In(t)
			tab.Run("window.__nativeCredentialsGet = () => Promise.reject(new DOMException('WebAuthn credential jargon', '" + name + "')), 0")
			tab.Click(use)
			tab.Wait(failure(want))
			wantPlainWords(t, tab)
		})
	}
	t.Run("throws", func(t *testing.T) {
		_, tab, _ := ready(t, `window.__nativeCredentialsGet = () => { throw new TypeError("boom") }`)
		tab.Wait(state("ready"))
		tab.Click(use)
		tab.Wait(failure("prompt_failed"))
	})
	t.Run("null", func(t *testing.T) {
		_, tab, _ := ready(t, `window.__nativeCredentialsGet = () => Promise.resolve(null)`)
		tab.Wait(state("ready"))
		tab.Click(use)
		tab.Wait(failure("not_allowed"))
	})
	t.Run("real, another RP ID", func(t *testing.T) {
		c, tab, _ := ready(t)
		c.answer("POST /challenge/options", func(w http.ResponseWriter, r *http.Request) {
			reply(w, 200, map[string]any{"publicKey": map[string]any{"challenge": "AAAA", "rpId": "example.com", "timeout": 60000}})
		})
		tab.Reload()
		tab.Wait(state("ready"))
		tab.Click(use)
		tab.Wait(failure("blocked"))
	})
	t.Run("real, no passkey that fits", func(t *testing.T) {
		_, tab, authenticator := ready(t)
		authenticator.Forget()
		tab.Wait(state("ready"))
		tab.Click(use)
		tab.Wait(failure("not_allowed"))
		wantText(t, tab, "#alert", "Nothing was confirmed")
	})
}

// wantPlainWords checks a message: it is there, has the focus, and uses no jargon.
func wantPlainWords(t *testing.T, tab *browsertest.Tab) {
	t.Helper()
	got := tab.Text("#alert")
	if len(got) < 30 {
		t.Errorf("message %q", got)
	}
	for _, jargon := range []string{"WebAuthn", "credential", "assertion", "ceremony", "challenge", "undefined", "null", "Error"} {
		if text, _, _ := strings.Cut(got, "Code for support"); strings.Contains(text, jargon) {
			t.Errorf("message %q says %q", got, jargon)
		}
	}
	if !browsertest.Eval[bool](tab, "document.activeElement.id === 'alert'") {
		t.Errorf("message %q does not have the focus", got)
	}
}

// Every refusal that the gateway can give on confirming has words of its own.
func TestProblemCodes(t *testing.T) {
	c, tab, _ := ready(t)
	for _, code := range []string{
		"challenge_expired", "challenge_used", "ceremony_mismatch", "browser_mismatch", "session_mismatch", "origin_mismatch",
		"user_presence_missing", "user_verification_missing", "signature_invalid", "counter_regressed", "passkey_unknown",
		"rate_limited", "store_unavailable", "demand_invalid", "user_missing", "session_missing", "conflict",
	} {
		t.Run(code, func(t *testing.T) {
			tab := tab.In(t)
			c.answer("POST /challenge/verify", problem(code, 403))
			tab.Open(c.url + prefix + "/challenge?demand=sealed")
			tab.Wait(state("ready"))
			tab.Click(use)
			tab.Wait(failure(code))
			wantText(t, tab, "#alert", "Code for support: "+code)
			if strings.Contains(tab.Text("#alert"), "gateway's") {
				t.Errorf("no words for %s", code)
			}
			wantPlainWords(t, tab)
		})
	}
	t.Run("unknown code", func(t *testing.T) {
		tab := tab.In(t)
		tab.Run("sessionStorage.removeItem('stepgate.finished')")
		c.answer("POST /challenge/verify", problem("brand_new", 403))
		tab.Reload()
		tab.Wait(state("ready"))
		tab.Click(use)
		tab.Wait(failure("brand_new"))
		wantText(t, tab, "#alert", "The gateway's title", "The gateway's detail.", "brand_new")
	})
	t.Run("wait as long as the gateway says", func(t *testing.T) {
		tab := tab.In(t)
		tab.Run("sessionStorage.removeItem('stepgate.finished')")
		c.answer("POST /challenge/options", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "17")
			problem("rate_limited", 429)(w, r)
		})
		tab.Reload()
		tab.Wait(failure("rate_limited"))
		wantText(t, tab, "#alert", "wait 17 seconds")
		tab.Click(use)
		tab.WaitPath(goal)
	})
	t.Run("a passkey of somebody else is not reported to its keeper", func(t *testing.T) {
		tab := tab.In(t)
		tab.Run("sessionStorage.removeItem('stepgate.finished')")
		c.answer("POST /challenge/verify", problem("passkey_unknown", 403))
		tab.OnEveryPage("PublicKeyCredential.signalUnknownCredential = () => { sessionStorage.signalled = 1; return Promise.resolve() }")
		tab.Open(c.url + prefix + "/challenge?demand=sealed")
		tab.Wait(state("ready"))
		tab.Click(use)
		tab.Wait(failure("passkey_unknown"))
		if browsertest.Eval[bool](tab, "'signalled' in sessionStorage") {
			t.Error("it was")
		}
	})
}

// Answers that are not the gateway's: from the sign-in in front of it, from a balancer, or from nobody.
func TestForeignAnswers(t *testing.T) {
	c, tab, _ := ready(t)
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"redirect to a login", redirect, "signed_out"},
		{"login page", answerHTML(200), "signed_out"},
		{"401 page", answerHTML(401), "signed_out"},
		{"401 JSON of another make", func(w http.ResponseWriter, _ *http.Request) { reply(w, 401, map[string]any{"error": "login"}) }, "signed_out"},
		{"502 page", answerHTML(502), "unavailable"},
		{"503 JSON of another make", func(w http.ResponseWriter, _ *http.Request) { reply(w, 503, map[string]any{"message": "no"}) }, "unavailable"},
		{"200 JSON of another make", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]any{"ok": true}) }, "unavailable"},
		{"JSON cut short", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(500)
			w.Write([]byte(`{"code": "inter`))
		}, "unavailable"},
		{"no answer", hangUp, "network"},
	} {
		t.Run("options: "+tt.name, func(t *testing.T) {
			tab := tab.In(t)
			tab.Run("sessionStorage.removeItem('stepgate.finished')")
			c.answer("POST /challenge/options", repeat(tt.answer)...)
			tab.Open(c.url + prefix + "/challenge?demand=sealed")
			tab.Wait(failure(tt.want))
			c.answer("POST /challenge/options")
			if tt.want == "signed_out" {
				wantText(t, tab, "#alert", "Your sign-in ended", "Reload the page")
				tab.Click("#alert button")
				tab.Wait(state("ready"))
			}
			tab.Click(use) // the button tries again
			tab.WaitPath(goal)
		})
		if tt.name == "200 JSON of another make" {
			continue // as an answer to verify it leads to /, see TestReturnToStaysOnThisOrigin
		}
		t.Run("verify: "+tt.name, func(t *testing.T) {
			tab := tab.In(t)
			tab.Run("sessionStorage.removeItem('stepgate.finished')")
			c.answer("POST /challenge/verify", repeat(tt.answer)...)
			tab.Open(c.url + prefix + "/challenge?demand=sealed")
			tab.Wait(state("ready"))
			tab.Click(use)
			tab.Wait(failure(tt.want))
			c.answer("POST /challenge/verify")
			tab.Click(use)
			tab.WaitPath(goal)
		})
	}
}

func TestWithoutTheBrowsersJSONHelpers(t *testing.T) {
	for name, script := range map[string]string{
		"missing": `delete PublicKeyCredential.parseRequestOptionsFromJSON; delete PublicKeyCredential.parseCreationOptionsFromJSON; delete PublicKeyCredential.prototype.toJSON`,
		"throwing": `PublicKeyCredential.parseRequestOptionsFromJSON = PublicKeyCredential.parseCreationOptionsFromJSON = () => { throw new TypeError("no") };
			PublicKeyCredential.prototype.toJSON = () => { throw new TypeError("no") }`,
		"useless": `PublicKeyCredential.prototype.toJSON = () => ({})`,
	} {
		t.Run(name, func(t *testing.T) {
			c := newConsole(t)
			c.challenge.FirstUse = true
			tab, _ := c.tab(authenticatorOptions{}, script)
			tab.Open(c.url + prefix + "/challenge?demand=sealed")
			tab.Wait(state("ready"))
			tab.Click(`section[data-panel="create"] .primary`)
			tab.WaitPath(goal) // the console has checked both credentials
		})
	}
}

// LastPass replaces navigator.credentials and keeps the original aside.
func TestExtensionThatReplacesCredentials(t *testing.T) {
	c := newConsole(t)
	c.challenge.FirstUse = true
	tab, _ := c.tab(authenticatorOptions{}, `
		window.__nativeCredentialsGet = navigator.credentials.get.bind(navigator.credentials);
		window.__nativeCredentialsCreate = navigator.credentials.create.bind(navigator.credentials);
		navigator.credentials.get = navigator.credentials.create = () => Promise.reject(new TypeError("replaced"));`)
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	tab.Click(`section[data-panel="create"] .primary`)
	tab.WaitPath(goal)
}

func TestWithoutPasskeySupport(t *testing.T) {
	c, tab, _ := ready(t, "if (location.pathname.includes('stepgate')) delete window.PublicKeyCredential")
	tab.Wait(failure("unsupported"))
	wantText(t, tab, "#alert", "This browser can’t use passkeys")
	if browsertest.Eval[bool](tab, "[...document.querySelectorAll('.primary')].some((b) => b.checkVisibility())") {
		t.Error("a button that can't work is offered")
	}
	tab.Open(c.url + prefix + "/passkeys")
	tab.Wait(failure("unsupported"))
}

func TestOnAnInsecureConnection(t *testing.T) {
	c, tab, _ := ready(t)
	tab.Open(strings.Replace(c.url, "localhost", "console.example.test", 1) + prefix + "/challenge?demand=sealed")
	tab.Wait(failure("insecure"))
	wantText(t, tab, "#alert", "https")
}

func TestWithoutScript(t *testing.T) {
	c, tab, _ := ready(t)
	tab.NoScript(true)
	for _, path := range []string{"/challenge?demand=sealed", "/passkeys"} {
		tab.Open(c.url + prefix + path)
		wantText(t, tab, "main", "JavaScript is off")
		for _, never := range []string{"Use your passkey", "Add a passkey", "still loading"} {
			if strings.Contains(tab.Text("main"), never) {
				t.Errorf("%s offers %q without scripting", path, never)
			}
		}
	}
	tab.Screenshot("challenge-noscript")
	tab.NoScript(false)
}

// A script that never arrives: the page says so after a while, without a script.
func TestScriptThatDoesNotArrive(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{})
	c.enrol(tab, "Mac")
	url, err := assets.URL("", "stepgate.js")
	if err != nil {
		t.Fatal(err)
	}
	c.answer("GET "+url, repeat(hangUp)...)
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Run("document.getAnimations().forEach((a) => a.finish())")
	wantText(t, tab, "main", "still loading", "reload it")
}

func TestFirstPasskey(t *testing.T) {
	c := newConsole(t)
	c.challenge.FirstUse = true
	tab, authenticator := c.tab(authenticatorOptions{})
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	if prompts(tab, "create")+prompts(tab, "get") != 0 {
		t.Error("creating is never started by itself")
	}
	if name := browsertest.Eval[string](tab, "document.querySelector('#create-name').value"); name != "Linux PC" {
		t.Errorf("suggested name %q", name)
	}
	tab.Screenshot("challenge-create")
	tab.Fill("#create-name", "Ünser Schlüssel")
	tab.Keys(kb.Enter)
	tab.WaitPath(goal)
	if got := c.account.Passkeys[0].Name; got != "Ünser Schlüssel" {
		t.Errorf("registered as %q", got)
	}
	if held := authenticator.Credentials(); len(held) != 1 {
		t.Errorf("the authenticator holds %v", held)
	}
}

// Where the second prompt needs a gesture of its own (Safari), the button is there.
func TestFirstPasskeyWithAGestureForEachStep(t *testing.T) {
	c := newConsole(t)
	c.challenge.FirstUse = true
	tab, _ := c.tab(authenticatorOptions{}, `const inner = CredentialsContainer.prototype.get; let refused = false;
		CredentialsContainer.prototype.get = function (o) {
			if (!refused) { refused = true; return Promise.reject(new DOMException("gesture", "NotAllowedError")); }
			return inner.call(this, o);
		}`)
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	tab.Click(`section[data-panel="create"] .primary`)
	tab.Wait(`document.querySelector('#status').textContent.includes("Press the button")`)
	wantText(t, tab, "main", "Your passkey has been created")
	tab.Wait(`document.activeElement.textContent === "Use your new passkey"`)
	tab.Screenshot("challenge-created")
	tab.Click(`section[data-panel="confirm"] .primary`)
	tab.WaitPath(goal)
}

func TestFirstPasskeyRefused(t *testing.T) {
	for _, tt := range []struct {
		code       string
		discarded  bool
		beside     bool // shown at the name
		whenAsking bool // refused before anything is created
	}{
		{code: "name_taken", discarded: true, beside: true},
		{code: "name_invalid", beside: true}, // the challenge is still good
		{code: "registration_closed", discarded: true},
		{code: "registration_closed", whenAsking: true},
		{code: "challenge_expired", discarded: true},
		{code: "passkey_exists"},
		{code: "store_unavailable"},
		{code: "too_many_passkeys", discarded: true},
	} {
		t.Run(tt.code, func(t *testing.T) {
			c := newConsole(t)
			c.challenge.FirstUse = true
			tab, _ := c.tab(authenticatorOptions{}, "PublicKeyCredential.signalUnknownCredential = (o) => { sessionStorage.discarded = JSON.stringify(o); return Promise.resolve() }")
			if tt.whenAsking {
				c.answer("POST /passkeys/options", problem(tt.code, 403))
			} else {
				c.answer("POST /passkeys", problem(tt.code, 403))
			}
			tab.Open(c.url + prefix + "/challenge?demand=sealed")
			if !tt.whenAsking {
				tab.Wait(state("ready"))
				tab.Click(`section[data-panel="create"] .primary`)
			}
			tab.Wait(failure(tt.code))
			if tt.discarded {
				tab.Wait("'discarded' in sessionStorage")
			} else if c.called("GET /passkeys") != 0 || browsertest.Eval[bool](tab, "'discarded' in sessionStorage") {
				t.Error("the new passkey was discarded")
			}
			if tt.beside {
				tab.Wait(`document.activeElement.id === "create-name" && document.activeElement.getAttribute("aria-invalid") === "true"`)
				tab.Screenshot("challenge-" + tt.code)
				tab.Fill("#create-name", "Another")
				tab.Keys(kb.Enter)
				tab.WaitPath(goal)
			}
		})
	}
}

// The passkey was registered, but the answer got lost: the next press finds it instead of creating a second one.
func TestFirstPasskeyWhoseAnswerIsLost(t *testing.T) {
	c := newConsole(t)
	c.challenge.FirstUse = true
	tab, authenticator := c.tab(authenticatorOptions{})
	c.answer("POST /passkeys", append([]http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.api(httptestDiscard{}, r, "POST /passkeys")
		panic(http.ErrAbortHandler)
	}}, repeat(hangUp)...)...)
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	tab.Click(`section[data-panel="create"] .primary`)
	tab.Wait(failure("network"))
	c.answer("POST /passkeys")
	tab.Click(`section[data-panel="create"] .primary`)
	tab.WaitPath(goal)
	if held := authenticator.Credentials(); len(held) != 1 || len(c.account.Passkeys) != 1 {
		t.Errorf("the authenticator holds %v, the console %v", held, c.account.Passkeys)
	}
}

type httptestDiscard struct{}

func (httptestDiscard) Header() http.Header         { return http.Header{} }
func (httptestDiscard) Write(b []byte) (int, error) { return len(b), nil }
func (httptestDiscard) WriteHeader(int)             {}

func TestClosed(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{})
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	wantText(t, tab, "main", "can’t be set up here", "ask the administrators")
	if c.called("POST /challenge/options") != 0 {
		t.Error("options were asked for though no passkey could answer")
	}
	tab.Screenshot("challenge-closed")
}

func TestAddingAStrongerPasskey(t *testing.T) {
	c := newConsole(t)
	c.challenge.Level = "device_bound"
	tab, authenticator := c.tab(authenticatorOptions{})
	c.enrol(tab, "Linux PC")
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	if prompts(tab, "get") != 0 {
		t.Error("adding is never started by itself")
	}
	wantText(t, tab, "main", "a security key, or a passkey that stays on one device")
	tab.Screenshot("challenge-add")
	tab.Click(`section[data-panel="add"] .primary`)
	tab.Wait(`document.querySelector("#added-name")?.checkVisibility() && document.querySelector("#added-name").value === "Linux PC 2"`)
	tab.Screenshot("challenge-added")

	// Cancelling does not cost the confirmation: nothing was sent.
	authenticator.Presence(false)
	tab.Click(`section[data-panel="added"] .primary`)
	tab.Wait(state("waiting"))
	tab.Click(`section[data-panel="added"] .primary + .quiet`)
	tab.Wait(failure("cancelled"))
	authenticator.Presence(true)

	c.set(func(c *console) { c.level = "device_bound" })
	tab.Click(`section[data-panel="added"] .primary`)
	tab.WaitPath(goal)
	if n := c.called("POST /passkeys/authorize/options"); n > 2 {
		t.Errorf("authorized %d times", n)
	}
}

func TestAddingAPasskeyThatIsTooWeak(t *testing.T) {
	c := newConsole(t)
	c.challenge.Level = "device_bound"
	tab, _ := c.tab(authenticatorOptions{})
	c.enrol(tab, "Mac")
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	tab.Click(`section[data-panel="add"] .primary`)
	tab.Click(`section[data-panel="added"] .primary`)
	tab.Wait(failure("created_too_weak"))
	wantText(t, tab, "#alert", "The new passkey is synced", "Linux PC")
	wantText(t, tab, "main", "Confirm with a passkey you have")
}

// A refusal that says: another panel is the right one.
func TestRefusalsThatLeadElsewhere(t *testing.T) {
	c, tab, _ := ready(t)
	c.answer("POST /challenge/options", problem("level_unreachable", 403))
	tab.Reload()
	tab.Wait(`document.querySelector('section[data-panel="add"] .primary').checkVisibility()`)
	wantText(t, tab, "#alert", "None of your passkeys is strong enough")

	// The last passkey is removed in another tab while the page is open.
	c.set(func(c *console) { c.challenge.FirstUse = true })
	c.answer("POST /challenge/verify", func(w http.ResponseWriter, r *http.Request) {
		c.set(func(c *console) { c.account.Passkeys = nil })
		problem("no_passkey", 403)(w, r)
	})
	tab.Reload()
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.Wait(`document.querySelector('section[data-panel="create"] .primary').checkVisibility()`)

	c.set(func(c *console) {
		c.challenge.FirstUse = false
		c.account.Passkeys = []assets.Passkey{{ID: "x"}}
	})
	c.answer("POST /challenge/verify", problem("no_passkey", 403))
	tab.Reload()
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.Wait(`document.querySelector('section[data-panel="closed"]').checkVisibility()`)
}

// Another tab has confirmed: this one moves on when somebody looks at it, unless a prompt is open here.
func TestAnotherTabHasConfirmed(t *testing.T) {
	status := func(body map[string]any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, body) }
	}
	look := "window.dispatchEvent(new Event('focus'))"
	c, tab, authenticator := ready(t)
	tab.Wait(state("ready"))
	for name, body := range map[string]map[string]any{
		"not yet":   {"stepped_up": false, "proofs": []any{}},
		"old proof": {"stepped_up": false, "proofs": []any{map[string]any{"level": "verified", "age": 901}}},
		"too old":   {"stepped_up": true, "level": "verified", "age": 900},
		"too weak":  {"stepped_up": true, "level": "present", "age": 1},
		"no age":    {"stepped_up": true, "level": "verified"},
		"malformed": {"stepped_up": "yes", "level": 3, "age": "1"},
	} {
		c.answer("GET /status", status(body))
		before := c.called("GET /status")
		tab.Run("window.same = true")
		tab.Run(look)
		tab.Wait("performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/status')).length > " + strconv.Itoa(before))
		tab.Wait("new Promise((done) => setTimeout(done, 0)).then(() => window.same)")
		_ = name
	}

	fresh := status(map[string]any{"stepped_up": true, "level": "device_bound", "age": 3})
	authenticator.Presence(false)
	tab.Click(use)
	tab.Wait(state("waiting"))
	before := c.called("GET /status")
	tab.Run(look)
	if c.called("GET /status") != before {
		t.Error("asked for the status while a prompt was open")
	}
	tab.Click(use + " + .quiet")
	tab.Wait(failure("cancelled"))

	// The status is wrong: reloading once is enough to find out.
	c.answer("GET /status", fresh, fresh, fresh)
	loads := c.called("GET /challenge")
	tab.Run(look)
	tab.Wait("!window.same && " + state("ready"))
	tab.Run(look)
	tab.Wait(state("ready"))
	if n := c.called("GET /challenge"); n != loads+1 {
		t.Errorf("loaded %d times more, want once", n-loads)
	}

	c.set(func(c *console) { c.satisfied = true })
	tab.Run("sessionStorage.removeItem('stepgate.followed')")
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.WaitPath(goal)
}

func TestAnotherTabHasConfirmedMovesOn(t *testing.T) {
	c, tab, _ := ready(t)
	tab.Wait(state("ready"))
	c.set(func(c *console) { c.satisfied = true })
	c.answer("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, map[string]any{"stepped_up": false, "reason": "grant_level", "proofs": []any{map[string]any{"level": "verified", "age": 899}}})
	})
	tab.Run("window.dispatchEvent(new Event('focus'))")
	tab.WaitPath(goal)
	if n := prompts(tab, "get"); n != 0 {
		t.Errorf("%d prompts, want 0", n)
	}
}

// A goal that is a download leaves this page in the window: it offers the link.
func TestGoalThatStaysAway(t *testing.T) {
	c, tab, _ := ready(t)
	c.set(func(c *console) { c.challenge.ReturnTo = prefix + "/nothing" })
	c.answer("GET /nothing", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	tab.Reload()
	tab.Wait(state("ready"))
	tab.Click(use)
	tab.Wait(state("left"))
	wantText(t, tab, "#status", "Confirmed.", "Continue")
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
