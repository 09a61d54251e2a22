package browsertest_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// The kit itself: a passkey is created and used on a page, tabs share what they should, and complaints are heard.
func TestKit(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		w.Write([]byte("<!DOCTYPE html><html lang=en><title>Kit</title><main><h1>Kit</h1><button>Press</button></main>"))
	}))
	defer server.Close()
	url := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)

	browser := browsertest.Start(t, browsertest.Options{})
	tab := browser.Tab(t)
	tab.OnEveryPage("window.early = true")
	tab.Open(url)
	if !browsertest.Eval[bool](tab, "window.early && document.hasFocus() && isSecureContext") {
		t.Error("the page has no focus, no secure context, or the early script did not run")
	}

	authenticator := tab.Authenticator(browsertest.AuthenticatorOptions{Synced: true})
	id := browsertest.Eval[string](tab, `navigator.credentials.create({publicKey: {
		challenge: new Uint8Array(32), rp: {id: "localhost", name: "Kit"}, user: {id: new Uint8Array(16), name: "u", displayName: "u"},
		pubKeyCredParams: [{type: "public-key", alg: -7}], authenticatorSelection: {residentKey: "required", userVerification: "required"},
	}}).then((c) => c.id)`)
	held := authenticator.Credentials()
	if len(held) != 1 || !held[0].BackupEligibility || id == "" {
		t.Fatalf("after create() the authenticator holds %v", held)
	}

	// The same passkey in another tab's authenticator.
	tab.Run("document.cookie = 'shared=1'")
	sibling := tab.Sibling()
	sibling.Open(url)
	sibling.Authenticator(browsertest.AuthenticatorOptions{}).Add(held[0])
	if got := browsertest.Eval[string](sibling, `navigator.credentials.get({publicKey: {challenge: new Uint8Array(32)}}).then((c) => c.id)`); got != id {
		t.Errorf("the sibling's passkey is %q, want %q", got, id)
	}
	if !browsertest.Eval[bool](sibling, "document.cookie === 'shared=1'") {
		t.Error("siblings do not share cookies")
	}
	other := browser.Tab(t)
	other.Open(url)
	if !browsertest.Eval[bool](other, "document.cookie === ''") {
		t.Error("tabs of their own share cookies")
	}

	// A refused prompt, a click that counts as a gesture, and a violation of the policy.
	authenticator.Presence(false)
	tab.Run(`document.querySelector("button").onclick = () => {
		const stop = new AbortController();
		navigator.credentials.get({signal: stop.signal, publicKey: {challenge: new Uint8Array(32)}}).catch((e) => { window.refused = e.name });
		window.gesture = navigator.userActivation.isActive;
		stop.abort();
	}, 0`)
	tab.Click("button")
	tab.Wait("window.refused === 'AbortError' && window.gesture")
	if problems := tab.Problems(); len(problems) != 0 {
		t.Errorf("problems before any: %q", problems)
	}
	tab.Run(`document.body.append(Object.assign(document.createElement("script"), {textContent: "1"})), 0`)
	tab.Wait("document.scripts.length === 1")
	if problems := tab.Problems(); len(problems) == 0 || !strings.Contains(problems[0], "Content Security Policy") {
		t.Errorf("an inline script against the policy was not noticed: %q", problems)
	}
	// axe finds what is wrong with a page that has neither main nor a name for its button.
	tab.Run(`document.body.replaceChildren(document.createElement("button")), 0`)
	if violations := tab.Axe(); len(violations) == 0 {
		t.Error("axe found nothing wrong with a button without a name")
	}
}
