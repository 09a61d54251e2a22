package assets_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/browsertest"
)

const signals = `PublicKeyCredential.signalUnknownCredential = (o) => { sessionStorage.discarded = JSON.stringify(o); return Promise.resolve() };
	for (const name of ["signalAllAcceptedCredentials", "signalCurrentUserDetails"]) {
		PublicKeyCredential[name] = (o) => { sessionStorage.told = (sessionStorage.told ?? "") + name + JSON.stringify(o); return Promise.resolve() };
	}`

// two opens the account page of a person with two passkeys; the tab's authenticator holds the first, called Mac.
func two(t *testing.T) (*console, *browsertest.Tab, *browsertest.Authenticator) {
	t.Helper()
	c := newConsole(t)
	tab, authenticator := c.tab(authenticatorOptions{}, signals)
	mac := c.enrol(tab, "Mac")
	c.set(func(c *console) {
		c.account.Passkeys = append([]assets.Passkey{mac}, account(nil).Passkeys[1])
		c.account.Prefix = prefix
	})
	tab.Open(c.url + prefix + "/passkeys")
	tab.Wait(state("ready"))
	return c, tab, authenticator
}

func TestAccountDatesAreLocal(t *testing.T) {
	_, tab, _ := two(t)
	times := browsertest.Eval[[]string](tab, "[...document.querySelectorAll('time')].map((t) => t.textContent)")
	for _, text := range times {
		if strings.Contains(text, "UTC") || text == "" {
			t.Errorf("date %q was not put into local form", text)
		}
	}
	wantText(t, tab, "li:nth-child(2)", "Blue key", "YubiKey 5 Series with NFC", "Security key", "Never")
}

func TestRename(t *testing.T) {
	c, tab, _ := two(t)
	tab.Click("li:nth-child(2) button[data-do=rename]")
	tab.Wait("document.activeElement.name === 'name' && document.activeElement.value === 'Blue key'")
	tab.Screenshot("account-rename")
	tab.Keys(kb.Escape)
	tab.Wait("document.activeElement.dataset.do === 'rename' && document.activeElement.getAttribute('aria-expanded') === 'false'")
	if c.called("PATCH /passkeys/secondid") != 0 {
		t.Error("Escape saved the name")
	}

	for code, want := range map[string]string{"name_taken": "already have a passkey with that name", "name_invalid": "1 to 64"} {
		c.answer("PATCH /passkeys/secondid", problem(code, 409))
		tab.Click("li:nth-child(2) button[data-do=rename]")
		tab.Fill("li:nth-child(2) input", "mac")
		tab.Keys(kb.Enter)
		tab.Wait("document.activeElement.getAttribute('aria-invalid') === 'true'")
		wantText(t, tab, "li:nth-child(2) .field-error", want)
		tab.Keys(kb.Escape)
	}

	tab.Click("li:nth-child(2) button[data-do=rename]")
	tab.Fill("li:nth-child(2) input", `Red "key" <b>`)
	tab.Keys(kb.Enter)
	tab.Wait("document.querySelector('#status').textContent.includes('Renamed')")
	wantText(t, tab, "li:nth-child(2) h3", `Red "key" <b>`)
	wantText(t, tab, "#status", `Red "key" <b>`)
	if got := c.account.Passkeys[1].Name; got != `Red "key" <b>` {
		t.Errorf("saved as %q", got)
	}

	c.answer("PATCH /passkeys/secondid", redirect)
	tab.Click("li:nth-child(2) button[data-do=rename]")
	tab.Keys(kb.Enter)
	tab.Wait(failure("signed_out"))
}

func TestRemove(t *testing.T) {
	c, tab, authenticator := two(t)
	id := c.account.Passkeys[0].ID

	// Keep it; and cancel while the prompt is open.
	tab.Click("li:first-child button[data-do=remove]")
	wantText(t, tab, "dialog", "Remove Mac?")
	tab.Screenshot("account-remove")
	tab.Click("dialog button[data-do=close]")
	tab.Wait("!document.querySelector('dialog').open && document.activeElement.dataset.do === 'remove'")
	authenticator.Presence(false)
	tab.Click("li:first-child button[data-do=remove]")
	tab.Click("dialog .primary")
	tab.Wait(state("waiting"))
	tab.Keys(kb.Escape)
	tab.Wait("!document.querySelector('dialog').open && " + failure("cancelled"))
	authenticator.Presence(true)

	// Refusals are said inside the dialog: what is behind it can't be reached.
	for _, code := range []string{"passkey_unknown", "last_passkey", "user_verification_missing", "store_unavailable", "conflict"} {
		c.answer("DELETE /passkeys/"+id, problem(code, 409))
		tab.Click("li:first-child button[data-do=remove]")
		tab.Click("dialog .primary")
		tab.Wait(failure(code))
		tab.Wait("document.querySelector('dialog').open && document.activeElement.closest('dialog .error')?.checkVisibility()")
		tab.Click("dialog button[data-do=close]")
		tab.Wait("!document.querySelector('dialog').open")
		tab.Run("document.querySelector('main').dataset.state = 'ready'")
	}
	if _, ok := storage(tab)["discarded"]; ok {
		t.Error("a passkey that stays was discarded")
	}

	c.answer("POST /passkeys/authorize/options", func(w http.ResponseWriter, r *http.Request) {
		c.set(func(c *console) {
			record := &recorder{}
			c.issue(record, "remove "+id)
			var options map[string]map[string]any
			json.Unmarshal(record.body, &options)
			options["publicKey"]["allowCredentials"] = []any{
				map[string]any{"type": "public-key", "id": toURL(authenticator.Credentials()[0].CredentialID)},
				map[string]any{"type": "public-key", "id": "AAAAAAAAAAAAAAAAAAAAAA"},
			}
			reply(w, 200, options)
		})
	})
	tab.Click("li:first-child button[data-do=remove]")
	tab.Click("dialog .primary")
	tab.Wait("document.querySelectorAll('li').length === 1 && document.querySelector('#status').textContent.includes('“Mac” has been removed')")
	tab.Wait("document.activeElement.id === 'status'")
	if got := storage(tab)["discarded"]; !strings.Contains(got, toURL(authenticator.Credentials()[0].CredentialID)) || !strings.Contains(got, `"rpId":"localhost"`) {
		t.Errorf("discarded %q", got)
	}

	tab.Wait("sessionStorage.told")
	if got := storage(tab)["told"]; !strings.Contains(got, `"allAcceptedCredentialIds":[""]`) || !strings.Contains(got, `"displayName":"maria"`) {
		t.Errorf("told %q", got)
	}
}

type recorder struct {
	httptestDiscard
	body []byte
}

func (r *recorder) Write(b []byte) (int, error) { r.body = append(r.body, b...); return len(b), nil }

func toURL(base64 string) string {
	return strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(base64), "=")
}

func storage(tab *browsertest.Tab) map[string]string {
	return browsertest.Eval[map[string]string](tab, "({...sessionStorage})")
}

func TestAdd(t *testing.T) {
	c, tab, authenticator := two(t)
	if c.called("POST /passkeys/authorize/options") != 0 {
		t.Error("a visit to the page starts a ceremony")
	}
	tab.Click("button[data-do=add]")
	wantText(t, tab, "[data-step=authorize]", "Step 1 of 2")
	tab.Screenshot("account-add")
	tab.Click("[data-step=authorize] .primary")
	tab.Wait("document.querySelector('#add-name').checkVisibility() && document.querySelector('#add-name').value === 'Linux PC'")
	tab.Fill("#add-name", "Work laptop")
	tab.Keys(kb.Enter)
	tab.Wait("document.querySelectorAll('li').length === 3 && document.querySelector('#status').textContent.includes('“Work laptop” has been added')")
	if held := authenticator.Credentials(); len(held) != 2 {
		t.Errorf("the authenticator holds %v", held)
	}
	if names := c.account.Passkeys; !slices.ContainsFunc(names, func(p assets.Passkey) bool { return p.Name == "Work laptop" }) {
		t.Errorf("registered: %v", names)
	}
	tab.Reload()
	tab.Wait(state("ready"))
	if text := tab.Text("#status"); text != "" {
		t.Errorf("%q is said again after a reload", text)
	}
}

// After the confirmation there is only so much time; the page then starts over instead of failing for ever.
func TestAddTooLate(t *testing.T) {
	c, tab, _ := two(t)
	tab.Click("button[data-do=add]")
	tab.Click("[data-step=authorize] .primary")
	c.answer("POST /passkeys", problem("challenge_expired", 403))
	tab.Click("[data-step=create] .primary")
	tab.Wait(failure("challenge_expired"))
	tab.Wait("'discarded' in sessionStorage") // created in vain
	tab.Click("[data-step=create] .primary")
	tab.Wait(failure("authorization_expired"))
	tab.Click("#alert button")
	tab.Wait(state("ready"))
}

func TestAddFirst(t *testing.T) {
	c := newConsole(t)
	tab, _ := c.tab(authenticatorOptions{})
	c.account.FirstUse, c.account.Prefix = true, prefix
	tab.Open(c.url + prefix + "/passkeys")
	tab.Wait(state("ready"))
	tab.Screenshot("account-first")
	tab.Click("button[data-do=add]")
	tab.Click("[data-step=create] .primary")
	tab.Wait("document.querySelectorAll('li').length === 1")
	if n := c.called("POST /passkeys/authorize/options"); n != 0 {
		t.Error("a first passkey was authorized with which one?")
	}
}

func TestAddADeviceThatHasOne(t *testing.T) {
	_, tab, _ := two(t)
	tab.Run("window.__nativeCredentialsCreate = () => Promise.reject(new DOMException('', 'InvalidStateError')), 0")
	tab.Click("button[data-do=add]")
	tab.Click("[data-step=authorize] .primary")
	tab.Click("[data-step=create] .primary")
	tab.Wait(failure("already_registered"))
	wantText(t, tab, "#alert", "already has a passkey for you")
}

func TestEndStepUps(t *testing.T) {
	c, tab, _ := two(t)
	tab.Click("button[data-do=logout]")
	tab.Wait("document.querySelector('#status').textContent.includes('All confirmations have ended') && document.activeElement.id === 'status'")
	if n := c.called("POST /logout"); n != 1 {
		t.Errorf("logged out %d times", n)
	}
	c.answer("POST /logout", problem("store_unavailable", 503))
	tab.Click("button[data-do=logout]")
	tab.Wait(failure("store_unavailable"))
}
