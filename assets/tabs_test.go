package assets_test

import (
	"net/http"
	"strconv"
	"testing"
)

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
