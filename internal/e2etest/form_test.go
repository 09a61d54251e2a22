package e2etest_test

import (
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// A form that needs a step-up is answered with a page; after it, the person is back at the form and sends it again.
func TestForm(t *testing.T) { gatewaytest.OnEachStore(t, testForm) }

func testForm(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("", "open /form"))
	p := visit(g, "alice", options{})
	p.register("Laptop")
	p.open("/form?server=web-1")
	p.at("/form?server=web-1")
	g.Upstream.Take()

	p.Click("form button")
	p.WaitPath("/admin/rename")
	if e := g.Audited("step_up_required", "grant_missing"); e.Method != "POST" || e.Path != "/admin/rename" {
		t.Errorf("audited %+v", e)
	}
	p.says("main", "Confirm with your passkey", "What you sent was not carried out", "Code for support: step_up_required")
	p.look("form-refused")
	g.Upstream.Untouched()
	p.key.Presence(false)
	p.Click("a.button")
	p.state("waiting")
	p.says("main", "You sent", "POST", "/admin/rename", "What you sent has not been carried out.")
	p.look("form-challenge")
	p.cancel()
	p.key.Presence(true)
	p.press()
	p.at("/form?server=web-1")
	for _, r := range g.Upstream.Take() {
		if r.Method != "GET" {
			t.Errorf("the gateway sent the form by itself: %v", r)
		}
	}
	p.Click("form button")
	p.WaitPath("/admin/rename")
	p.says("main", "POST /admin/rename", "name=web-1")
	if r := g.Upstream.One(); r.Method != "POST" || r.Body != "name=web-1" || r.Header.Get("X-Stepgate-User") != "alice" {
		t.Errorf("the upstream got %v", r)
	}
}

// A script of the console gets a problem with the address to open, never a redirect into HTML.
func TestScriptOfTheConsole(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.Console("", "open /form\nprotect {\nmatch {\nmethod DELETE\n}\nmax_age 30s\n}"))
	p := visit(g, "alice", options{})
	p.register("Laptop")
	p.open("/form")
	g.Upstream.Take()
	answer := p.fetch("/api/servers/7?force=1", `{method: "DELETE"}`)
	got := gatewaytest.ProblemIn(t, answer.Body)
	if answer.Status != 401 || got.Code != "step_up_required" || got.Reason != "grant_missing" || got.Status != 401 || got.MaxAge != 30 ||
		!strings.HasPrefix(answer.Header["content-type"], "application/problem+json") ||
		!strings.Contains(answer.Header["www-authenticate"], `Bearer error="insufficient_user_authentication"`) ||
		!strings.Contains(answer.Header["www-authenticate"], `max_age="30"`) ||
		!strings.HasPrefix(got.StepUpURL, g.URL+"/.stepgate/challenge?demand=") {
		t.Errorf("the script got %d %v %+v", answer.Status, answer.Header, got)
	}
	if e := g.Audited("step_up_required", "grant_missing"); e.Method != "DELETE" || e.RequestID != got.RequestID {
		t.Errorf("audited %+v, the problem has %+v", e, got)
	}
	g.Upstream.Untouched()
	p.Open(got.StepUpURL)
	p.at("/form")
	if status := p.fetch("/api/servers/7?force=1", `{method: "DELETE"}`).Status; status != 200 {
		t.Errorf("after the step-up: %d", status)
	}
	p.fetch("/.stepgate/status", "{}")
	for _, r := range g.Upstream.Take() {
		if r.Method == "DELETE" && r.Header.Get("X-Stepgate-Level") == "device_bound" {
			return
		}
	}
	t.Error("the DELETE did not reach the upstream")
}
