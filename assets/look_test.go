package assets_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/browsertest"
)

// Every page in every state that looks different, in both colour schemes, on a desk and on a phone: axe-core finds
// nothing, and nothing has to be scrolled sideways. With SCREENSHOTS set to a folder, each is also written there.
func TestAccessibility(t *testing.T) {
	c := newConsole(t)
	tab, authenticator := c.tab(authenticatorOptions{}, quiet)
	mac := c.enrol(tab, "Mac")
	open := func(path string) { tab.Open(c.url + prefix + path) }
	show := func(change func(*console)) {
		c.set(func(c *console) {
			c.challenge, c.account = challenge(nil), account(nil)
			change(c)
		})
		tab.Run("sessionStorage.removeItem('stepgate.finished')")
		open("/challenge?demand=sealed")
	}

	states := []struct {
		name  string
		reach func()
	}{
		{"challenge", func() { show(func(c *console) {}); tab.Wait(state("ready")) }},
		{"challenge with days left", func() {
			show(func(c *console) {
				c.challenge.Passkeys, c.challenge.Suitable, c.challenge.FirstUse = 0, 0, true
				c.challenge.EnforceFrom, c.challenge.DaysLeft = time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC), 9
			})
			tab.Wait(state("ready"))
		}},
		{"challenge, sign in again", func() {
			show(func(c *console) {
				c.account.Passkeys, c.challenge.SignIn, c.challenge.SignInWithin = nil, "sign_in_too_old", 10*time.Minute
			})
			tab.Wait("document.querySelector('main')?.dataset.panel === 'closed'")
		}},
		{"account with days left", func() {
			show(func(c *console) {
				c.account.Passkeys, c.account.FirstUse = nil, true
				c.account.EnforceFrom, c.account.DaysLeft = time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC), 1
			})
			open("/passkeys")
			tab.Wait(state("ready"))
		}},
		{"challenge POST, stale, long", func() {
			show(func(c *console) {
				c.challenge.Method, c.challenge.Because = "POST", "grant_stale"
				c.challenge.Target = "/accounts/0123456789abcdef0123456789abcdef/credentials?role=administrator&return=%2Fa%2Fvery%2Flong%2Fpath%2Fthat%2Fdoes%2Fnot%2Fend"
				c.challenge.User = "maria-magdalena.von-und-zu-hohenstein-wittgenstein@operations.example.com"
			})
			tab.Wait(state("ready"))
		}},
		{"challenge waiting", func() {
			show(func(c *console) {})
			tab.Wait(state("ready"))
			authenticator.Presence(false)
			tab.Click(use)
			tab.Wait(state("waiting"))
			authenticator.Presence(true)
		}},
		{"challenge error", func() {
			show(func(c *console) {})
			c.answer("POST /challenge/verify", problem("user_verification_missing", 403))
			tab.Wait(state("ready"))
			tab.Click(use)
			tab.Wait(failure("user_verification_missing"))
		}},
		{"challenge signed out", func() {
			c.answer("POST /challenge/options", redirect)
			show(func(c *console) {})
			tab.Wait(failure("signed_out"))
		}},
		{"challenge create", func() {
			show(func(c *console) { c.challenge.FirstUse, c.account.Passkeys = true, nil })
			tab.Wait(state("ready"))
		}},
		{"challenge create, bad name", func() {
			show(func(c *console) { c.challenge.FirstUse, c.account.Passkeys = true, nil })
			c.answer("POST /passkeys", problem("name_invalid", 400))
			tab.Wait(state("ready"))
			tab.Click(`section[data-panel="create"] .primary`)
			tab.Wait(failure("name_invalid"))
		}},
		{"challenge closed", func() {
			show(func(c *console) { c.account.Passkeys = nil })
			tab.Wait("document.querySelector('button[data-do=reload]').checkVisibility()")
		}},
		{"challenge add", func() {
			show(func(c *console) { c.challenge.Level, c.challenge.Suitable = "device_bound", 0 })
			tab.Wait(state("ready"))
		}},
		{"challenge added", func() {
			show(func(c *console) { c.challenge.Level, c.challenge.Suitable = "device_bound", 0 })
			tab.Wait(state("ready"))
			tab.Click(`section[data-panel="add"] .primary`)
			tab.Wait("document.querySelector('#added-name').checkVisibility() && document.querySelector('#added-name').value !== ''")
		}},
		{"account", func() { show(func(c *console) {}); open("/passkeys"); tab.Wait(state("ready")) }},
		{"account rename", func() {
			show(func(c *console) {})
			open("/passkeys")
			tab.Wait(state("ready"))
			tab.Click("li button[data-do=rename]")
		}},
		{"account remove", func() {
			show(func(c *console) {})
			open("/passkeys")
			tab.Wait(state("ready"))
			tab.Click("li button[data-do=remove]")
			tab.Wait("document.querySelector('dialog').open")
		}},
		{"account adding", func() {
			show(func(c *console) {})
			open("/passkeys")
			tab.Wait(state("ready"))
			tab.Click("button[data-do=add]")
		}},
		{"account only one", func() {
			show(func(c *console) { c.account.Passkeys = []assets.Passkey{mac} })
			open("/passkeys")
			tab.Wait(state("ready"))
		}},
		{"account first use", func() {
			show(func(c *console) { c.account.FirstUse, c.account.Passkeys = true, nil })
			open("/passkeys")
			tab.Wait(state("ready"))
		}},
		{"account closed", func() {
			show(func(c *console) { c.account.Passkeys = nil })
			open("/passkeys")
			tab.Wait(state("ready"))
		}},
		{"account only one, removing", func() {
			show(func(c *console) {
				c.account.Passkeys, c.account.Recovery, c.account.CodesLeft = []assets.Passkey{mac}, true, 3
			})
			open("/passkeys")
			tab.Wait(state("ready"))
			tab.Click("li button[data-do=remove]")
			tab.Wait("document.querySelector('dialog').open")
		}},
		{"account lost, with codes", func() {
			show(func(c *console) { c.account.Passkeys, c.account.Recovery, c.account.CodesLeft = nil, true, 8 })
			open("/passkeys#recover")
			tab.Wait("document.activeElement.name === 'recovery_code'")
		}},
		{"account new codes", func() {
			show(func(c *console) { c.account.Recovery, c.account.CodesLeft = true, 3 })
			open("/passkeys")
			tab.Wait(state("ready"))
			tab.Click("button[data-do=codes]")
			tab.Click("form[data-do=codes] .primary")
			tab.Wait(state("keeping"))
			tab.Click("[data-step=codes] button[data-do=copy]") // so that the page can be left
			tab.Wait("document.querySelector('#status').textContent !== ''")
		}},
		{"message", func() {
			show(func(c *console) {})
			c.message = message(nil)
			open("/message")
		}},
	}
	for _, s := range states {
		t.Run(s.name, func(t *testing.T) {
			tab.Viewport(1280, 800)
			tab.Scheme("light")
			s.reach()
			look := tab.In(t)
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int{1280, 320} {
					look.Viewport(width, 800)
					look.Scheme(scheme)
					for _, violation := range look.Axe() {
						t.Errorf("%s, %d px: %v", scheme, width, violation)
					}
					look.Screenshot(fmt.Sprintf("%s-%s-%d", s.name, scheme, width))
				}
			}
			if over := browsertest.Eval[int](look, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
				t.Errorf("%d px wider than a phone", over)
			}
			small := browsertest.Eval[[]string](look, `[...document.querySelectorAll("button, input, a.button")].filter((e) => e.checkVisibility())
				.filter((e) => { const r = e.getBoundingClientRect(); return r.width < 44 || r.height < 44 }).map((e) => e.outerHTML)`)
			if len(small) > 0 {
				t.Errorf("smaller than 44 px: %q", small)
			}
		})
	}
	t.Run("forced colours", func(t *testing.T) {
		tab.ForcedColors()
		tab.Viewport(1280, 800)
		states[0].reach()
		look := tab.In(t)
		look.Screenshot("challenge-forced")
		if border := browsertest.Eval[string](look, "getComputedStyle(document.querySelector('.primary')).borderTopStyle"); border != "solid" {
			t.Errorf("a button without a border is invisible in forced colours: %q", border)
		}
	})
}
