package assets_test

import (
	"net/http"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/browsertest"
)

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

func (httptestDiscard) Header() http.Header { return http.Header{} }

func (httptestDiscard) Write(b []byte) (int, error) { return len(b), nil }

func (httptestDiscard) WriteHeader(int) {}

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
