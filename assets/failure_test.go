package assets_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/browsertest"
)

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
