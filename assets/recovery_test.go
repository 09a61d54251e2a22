package assets_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/browsertest"
)

// saves notes what leaves the page by copying, downloading and printing.
const saves = `
	Object.defineProperty(navigator, "clipboard", { value: { writeText: (text) => { sessionStorage.copied = text; return Promise.resolve(); } } });
	window.print = () => { sessionStorage.printed = document.body.className; };
	const make = URL.createObjectURL;
	URL.createObjectURL = (blob) => { blob.text().then((text) => { sessionStorage.downloaded = text; }); return make.call(URL, blob); };
	const hold = addEventListener;
	window.addEventListener = (type, ...rest) => { if (type === "beforeunload") sessionStorage.held = "yes"; return hold.call(window, type, ...rest); };
	const free = removeEventListener;
	window.removeEventListener = (type, ...rest) => { if (type === "beforeunload") sessionStorage.held = "no"; return free.call(window, type, ...rest); };`

// The codes that come with a first passkey are shown once, before anything else, and can be kept in three ways.
func TestCodesOfAFirstPasskey(t *testing.T) {
	c := newConsole(t)
	c.challenge.FirstUse, c.account.Recovery = true, true
	tab, _ := c.tab(authenticatorOptions{}, saves)
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	tab.Click(`section[data-panel="create"] .primary`)
	tab.Wait(state("keeping") + " && document.activeElement.textContent === 'Save your recovery codes'")
	wantText(t, tab, "section[data-panel=codes]", append([]string{"Each works once", "They are shown only now"}, theCodes...)...)
	tab.Screenshot("challenge-codes")
	if prompts(tab, "get") != 0 {
		t.Error("the next prompt covers the codes")
	}
	if storage(tab)["held"] != "yes" {
		t.Error("the page can be left without a word")
	}
	// Coming back to the tab changes nothing, whatever other tabs did.
	tab.Run("dispatchEvent(new Event('focus')), 0")
	if c.called("GET /status") != 0 {
		t.Error("the page looks whether it should go elsewhere")
	}

	tab.Click("section[data-panel=codes] button[data-do=copy]")
	tab.Wait("document.querySelector('#status').textContent.includes('Copied')")
	tab.Click("section[data-panel=codes] button[data-do=download]")
	tab.Wait("sessionStorage.downloaded")
	tab.Click("section[data-panel=codes] button[data-do=print]")
	got := storage(tab)
	for _, text := range []string{got["copied"], got["downloaded"]} {
		for _, want := range append([]string{"maria@example.com", "localhost", prefix + "/passkeys"}, theCodes...) {
			if !strings.Contains(text, want) {
				t.Errorf("%q does not hold %q", text, want)
			}
		}
	}
	if got["printed"] != "challenge keeping" || got["held"] != "no" {
		t.Errorf("printed %q, held %q", got["printed"], got["held"])
	}
	for key, value := range got {
		if strings.HasPrefix(key, "stepgate.") && strings.Contains(value, theCodes[0]) {
			t.Errorf("a code is kept under %s", key)
		}
	}
	tab.Click("section[data-panel=codes] button[data-do=kept]")
	tab.WaitPath(goal)
}

// A browser that does not let pages copy says so, and the codes stay.
func TestCodesThatCannotBeCopied(t *testing.T) {
	c := newConsole(t)
	c.account.Recovery, c.account.FirstUse, c.account.Prefix = true, true, prefix
	tab, _ := c.tab(authenticatorOptions{}, `Object.defineProperty(navigator, "clipboard", { value: { writeText: () => Promise.reject(new Error("no")) } })`)
	tab.Open(c.url + prefix + "/passkeys")
	tab.Wait(state("ready"))
	wantText(t, tab, "main", "You get eight of them with your first passkey")
	tab.Click("button[data-do=add]")
	tab.Click("[data-step=create] .primary")
	tab.Wait(state("keeping"))
	tab.Click("[data-step=codes] button[data-do=copy]")
	tab.Wait("document.querySelector('#status').textContent.includes('did not allow copying')")
	wantText(t, tab, "[data-step=codes]", theCodes...)
	tab.Click("[data-step=codes] button[data-do=kept]")
	tab.Wait("document.querySelectorAll('.passkeys > li').length === 1 && document.querySelector('#codes-title').textContent.includes('8 left')")
	if text := tab.Text("main"); strings.Contains(text, theCodes[0]) {
		t.Error("the codes are shown again")
	}
}

func TestMakeNewCodes(t *testing.T) {
	c, tab, _ := two(t)
	c.set(func(c *console) { c.account.Recovery, c.account.CodesLeft = true, 3 })
	tab.Reload()
	tab.Wait(state("ready"))
	wantText(t, tab, "#codes-title", "3 left")
	tab.Click("button[data-do=codes]")
	wantText(t, tab, "form[data-do=codes]", "stop working", "confirm with a passkey you have")
	if c.called("POST /recovery-codes") != 0 {
		t.Error("made without a confirmation")
	}
	c.answer("POST /recovery-codes", problem("store_unavailable", 503))
	tab.Click("form[data-do=codes] .primary")
	tab.Wait(failure("codes_in_doubt"))
	wantText(t, tab, "#alert", "may no longer work", "Make new ones once more")
	tab.Click("form[data-do=codes] .primary")
	tab.Wait(state("keeping"))
	wantText(t, tab, "[data-step=codes]", theCodes...)
	tab.Screenshot("account-codes")
	tab.Click("[data-step=codes] button[data-do=kept]")
	tab.Wait("document.querySelector('#status').textContent.includes('Earlier ones no longer work')")
	wantText(t, tab, "#codes-title", "8 left")
}

// Somebody who lost every passkey comes from the challenge page with a code.
func TestRecover(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{}, signals)
	c.account.Recovery, c.account.CodesLeft, c.challenge.CodesLeft, c.account.Prefix = true, 8, 8, prefix
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	wantText(t, tab, "main", "needs one of your recovery codes", "ask the administrators")
	tab.Screenshot("challenge-closed-codes")
	tab.Click("section[data-panel=closed] a.button")
	tab.Wait("document.activeElement.name === 'recovery_code'")
	wantText(t, tab, "[data-step=recover]", "You have 8 left")
	tab.Screenshot("account-recover")
	tab.Keys(kb.Enter)
	tab.Wait("document.querySelector('#recovery-code').matches(':invalid') && document.querySelector('[data-step=recover]').checkVisibility()")
	tab.Fill("#recovery-code", "XXXX")
	tab.Keys(kb.Enter)
	tab.Wait(failure("recovery_code_invalid"))
	wantText(t, tab, "#alert", "not valid", "try another one")
	tab.Fill("#recovery-code", " "+theCodes[0]+" ")
	tab.Keys(kb.Enter)
	tab.Wait("document.querySelector('#add-name').checkVisibility()")
	tab.Click("[data-step=create] .primary")
	tab.Wait("document.querySelectorAll('.passkeys > li').length === 1 && document.querySelector('#status').textContent.includes('You have 7 recovery codes left')")
	tab.Click("#status a")
	tab.WaitPath(goal)
}

// A name that nobody typed gives way to the authenticator's own; one that somebody typed does not.
func TestSuggestedNames(t *testing.T) {
	for typed, want := range map[string]string{"": "YubiKey 5 Series", "My key": "My key"} {
		t.Run(want, func(t *testing.T) { testSuggestedName(t, typed, want) })
	}
}

func testSuggestedName(t *testing.T, typed, want string) {
	c := newConsole(t)
	c.account.FirstUse, c.account.Prefix, c.model = true, prefix, "YubiKey 5 Series"
	tab, _ := c.tab(authenticatorOptions{})
	tab.Open(c.url + prefix + "/passkeys")
	tab.Wait(state("ready"))
	tab.Click("button[data-do=add]")
	if typed != "" {
		tab.Fill("#add-name", typed)
	}
	tab.Click("[data-step=create] .primary")
	tab.Wait("document.querySelector('#status').textContent.includes('“" + want + "” has been added')")
}

func TestRemoveTheOnlyOne(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{}, signals)
	mac := c.enrol(tab, "Mac")
	c.set(func(c *console) {
		c.account.Passkeys, c.account.Prefix, c.account.Recovery, c.account.CodesLeft = []assets.Passkey{mac}, prefix, true, 5
	})
	tab.Open(c.url + prefix + "/passkeys")
	tab.Wait(state("ready"))
	wantText(t, tab, "section", "Add a second passkey")
	tab.Screenshot("account-one")
	tab.Click("button[data-do=second]")
	tab.Wait("document.querySelector('[data-step=authorize]').checkVisibility()")
	tab.Reload()
	tab.Wait(state("ready"))
	tab.Click("button[data-do=remove]")
	wantText(t, tab, "dialog", "Remove Mac?", "This is your only passkey", "no longer open for you", "one of your 5 recovery codes")
	tab.Screenshot("account-remove-only")
	tab.Click("dialog .primary")
	tab.Wait("document.querySelectorAll('.passkeys > li').length === 0 && document.querySelector('#status').textContent.includes('“Mac” has been removed')")
	wantText(t, tab, "main", "You have no passkey here")

	// keep_last: the button says why it does nothing.
	c.set(func(c *console) { c.account.Passkeys, c.account.KeepLast = []assets.Passkey{mac}, true })
	tab.Reload()
	tab.Wait("document.querySelector('button[data-do=remove]').getAttribute('aria-disabled') === 'true'")
	tab.Click("button[data-do=remove]")
	if browsertest.Eval[bool](tab, "document.querySelector('dialog').open") {
		t.Error("the only passkey can be removed")
	}
	wantText(t, tab, "#only", "one has to stay")
}

// A passkey that the gateway offered and does not know any more is of no use here; one that it did not offer may be somebody
// else's.
func TestStalePasskeyIsDiscarded(t *testing.T) {
	for _, offered := range []bool{true, false} {
		t.Run(fmt.Sprint("offered ", offered), func(t *testing.T) {
			c := newConsole(t)
			tab, authenticator := c.tab(authenticatorOptions{}, quiet, signals)
			c.enrol(tab, "Mac")
			if offered {
				c.offered = []string{toURL(authenticator.Credentials()[0].CredentialID)}
			}
			c.answer("POST /challenge/verify", func(w http.ResponseWriter, r *http.Request) {
				c.set(func(c *console) { c.account.Passkeys = nil }) // removed since it was offered
				problem("passkey_unknown", 404)(w, r)
			})
			tab.Open(c.url + prefix + "/challenge?demand=sealed")
			tab.Wait(state("ready"))
			tab.Click(use)
			tab.Wait(failure("passkey_unknown"))
			if offered {
				tab.Wait("'discarded' in sessionStorage")
			} else if c.called("GET /passkeys") != 0 {
				t.Error("somebody else's passkey was to be discarded")
			}
		})
	}
}

// "Unknown" may be the passkey that was to be removed, in another tab a moment ago. Whoever authorised that is kept.
func TestGoodPasskeyIsKept(t *testing.T) {
	c, tab, authenticator := two(t)
	c.set(func(c *console) { c.offered = []string{toURL(authenticator.Credentials()[0].CredentialID)} })
	c.answer("DELETE /passkeys/secondid", problem("passkey_unknown", 404))
	tab.Click("li:last-child button[data-do=remove]")
	tab.Click("dialog .primary")
	tab.Wait(failure("passkey_unknown"))
	tab.Click("dialog button[data-do=close]")
	tab.Click("li:first-child button[data-do=rename]")
	tab.Fill("li:first-child input", "Renamed")
	tab.Keys(kb.Enter)
	tab.Wait("sessionStorage.told") // what the page asked before this has come
	if got, ok := storage(tab)["discarded"]; ok {
		t.Errorf("discarded %s", got)
	}
}

// While a new passkey waits to be registered, nobody is told which ones there are: it would be dropped.
func TestNobodyIsToldWhileCreating(t *testing.T) {
	c, tab, _ := two(t)
	c.answer("POST /passkeys", problem("store_unavailable", 503))
	tab.Click("button[data-do=add]")
	tab.Click("[data-step=authorize] .primary")
	tab.Click("[data-step=create] .primary")
	tab.Wait(failure("store_unavailable"))
	rename := func(name string) {
		tab.Click("li:last-child button[data-do=rename]")
		tab.Fill("li:last-child input", name)
		tab.Keys(kb.Enter)
		tab.Wait("document.querySelector('#status').textContent.includes('Renamed to “" + name + "”')")
	}
	rename("Red key")
	if got, ok := storage(tab)["told"]; ok {
		t.Errorf("told %s", got)
	}
	tab.Click("[data-step=create] .primary")
	tab.Wait("document.querySelector('#status').textContent.includes('has been added')")
	tab.Wait("sessionStorage.told")
}

// The answer that held the codes of a first passkey is lost: the page does not go on as if nothing was missing.
func TestCodesThatDidNotArrive(t *testing.T) {
	c := newConsole(t)
	c.challenge.FirstUse, c.account.Recovery = true, true
	tab, _ := c.tab(authenticatorOptions{})
	c.answer("POST /passkeys", append([]http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
		c.set(func(c *console) { c.api(httptestDiscard{}, r, "POST /passkeys") })
		panic(http.ErrAbortHandler)
	}}, repeat(hangUp)...)...)
	tab.Open(c.url + prefix + "/challenge?demand=sealed")
	tab.Wait(state("ready"))
	tab.Click(`section[data-panel="create"] .primary`)
	tab.Wait(failure("network"))
	c.answer("POST /passkeys")
	tab.Click(`section[data-panel="create"] .primary`)
	tab.Wait("document.querySelector('#alert').textContent.includes('recovery codes did not arrive')")
	wantText(t, tab, "#alert", "Manage your passkeys")
	tab.Wait("document.querySelector('main').dataset.panel === 'confirm'")
	if prompts(tab, "get") != 0 {
		t.Error("the page goes on by itself")
	}
	tab.Click(`section[data-panel="confirm"] .primary`)
	tab.WaitPath(goal)
}

// A passkey that a recovery code registered brings no codes, so none are missed when its answer is lost.
func TestRecoveredPasskeyWhoseAnswerIsLost(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{})
	c.account.Recovery, c.account.CodesLeft, c.account.Prefix = true, 8, prefix
	c.answer("POST /passkeys", append([]http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
		c.set(func(c *console) { c.api(httptestDiscard{}, r, "POST /passkeys") })
		panic(http.ErrAbortHandler)
	}}, repeat(hangUp)...)...)
	tab.Open(c.url + prefix + "/passkeys#recover")
	tab.Wait("document.activeElement?.name === 'recovery_code'")
	tab.Fill("#recovery-code", theCodes[0])
	tab.Keys(kb.Enter)
	tab.Wait("document.querySelector('#add-name').checkVisibility()")
	tab.Click("[data-step=create] .primary")
	tab.Wait(failure("network"))
	c.answer("POST /passkeys")
	tab.Click("[data-step=create] .primary")
	tab.Wait("document.querySelector('#status').textContent.includes('has been added')")
	if text := tab.Text("#status"); strings.Contains(text, "did not arrive") {
		t.Errorf("%q", text)
	}
}
