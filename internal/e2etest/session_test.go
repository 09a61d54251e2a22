package e2etest_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// A session as docs/http.md describes it, by a client that is no browser.
func TestSessionOverHTTP(t *testing.T) { gatewaytest.OnEachStore(t, testSessionOverHTTP) }

func testSessionOverHTTP(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.HeaderConsole("", "protect /admin/* {\nmax_age 5m\n}"))
	c := gatewaytest.NewClient(t, g, "carol")

	answer := c.Get("/admin/x")
	got := gatewaytest.ProblemIn(t, answer.Body)
	if answer.Status != 401 || got.Code != "step_up_required" || got.MaxAge != 300 || got.Reason != "grant_missing" ||
		!strings.HasPrefix(answer.Header.Get("WWW-Authenticate"), `Bearer error="insufficient_user_authentication"`) {
		t.Errorf("%d %v %+v", answer.Status, answer.Header, got)
	}
	g.Audited("step_up_required", "grant_missing")
	page, err := url.Parse(got.StepUpURL)
	gatewaytest.Must(t, err)
	demand := page.Query().Get("demand")
	if answer := c.Get(page.RequestURI()); answer.Status != 200 || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/html") ||
		answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("X-Frame-Options") != "DENY" || answer.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("the page: %d %v", answer.Status, answer.Header)
	}

	// Without a passkey there is nothing to use.
	answer = c.Post("/.stepgate/challenge/options", map[string]any{"demand": demand})
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 409 || got.Code != "no_passkey" {
		t.Errorf("without a passkey: %d %+v", answer.Status, got)
	}
	g.Audited("ceremony_refused", "no_passkey")
	gatewaytest.Must(t, c.Register("Key"))

	options, err := c.Step("POST", "/.stepgate/challenge/options", map[string]any{"demand": demand}, 200)
	gatewaytest.Must(t, err)
	credential, err := c.Key.Authenticate(options, c.Origin)
	gatewaytest.Must(t, err)
	c.Confide(options, credential)
	body, err := c.Step("POST", "/.stepgate/challenge/verify", map[string]any{"demand": demand, "credential": gatewaytest.RawJSON(credential)}, 200)
	gatewaytest.Must(t, err)
	var done struct {
		ReturnTo  string    `json:"return_to"`
		ExpiresAt time.Time `json:"expires_at"`
		Level     string    `json:"level"`
	}
	gatewaytest.Must(t, json.Unmarshal(body, &done))
	if left := time.Until(done.ExpiresAt); done.ReturnTo != "/" || done.Level != "device_bound" || left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("verified: %s", body)
	}
	if answer := c.Get("/admin/x"); answer.Status != 200 {
		t.Errorf("with the grant: %d %s", answer.Status, answer.Body)
	}

	var status struct {
		User      string           `json:"user"`
		SteppedUp bool             `json:"stepped_up"`
		Proofs    []map[string]any `json:"proofs"`
	}
	gatewaytest.Must(t, json.Unmarshal(c.Get("/.stepgate/status").Body, &status))
	if status.User != "carol" || !status.SteppedUp || len(status.Proofs) != 1 {
		t.Errorf("status: %+v", status)
	}
	var list struct {
		Passkeys []struct {
			ID    string  `json:"id"`
			Name  string  `json:"name"`
			Level string  `json:"level"`
			Used  *string `json:"last_used_at"`
		} `json:"passkeys"`
	}
	gatewaytest.Must(t, json.Unmarshal(c.Get(gatewaytest.Account, "Accept", "application/json").Body, &list))
	if len(list.Passkeys) != 1 || list.Passkeys[0].Name != "Key" || list.Passkeys[0].Used == nil {
		t.Errorf("passkeys: %+v", list)
	}
	if _, err := c.Step("PATCH", gatewaytest.Account+"/"+list.Passkeys[0].ID, map[string]any{"name": "Blue key"}, 200); err != nil {
		t.Error(err)
	}
	g.Audited("passkey_renamed", "")

	for _, refused := range []struct {
		method, path, code string
		status             int
		body               any
		headers            []string
	}{
		{"POST", "/.stepgate/logout", "cross_site", 403, map[string]any{}, []string{"Origin", "https://evil.test"}},
		{"POST", "/.stepgate/logout", "cross_site", 403, map[string]any{}, []string{"Sec-Fetch-Site", "cross-site"}},
		{"POST", "/.stepgate/logout", "media_type", 415, map[string]any{}, []string{"Content-Type", "text/plain"}},
		{"POST", "/.stepgate/logout", "body_malformed", 400, []string{"x"}, nil},
		{"PUT", "/.stepgate/logout", "method_not_allowed", 405, map[string]any{}, nil},
		{"GET", "/.stepgate/nothing", "not_found", 404, nil, nil},
		{"GET", "/.stepgate/challenge?demand=x", "demand_invalid", 400, nil, nil},
		{"DELETE", gatewaytest.Account + "/" + list.Passkeys[0].ID, "authorization_needed", 403, map[string]any{}, nil},
		{"PATCH", gatewaytest.Account + "/" + list.Passkeys[0].ID, "name_invalid", 400, map[string]any{"name": "\u0000"}, nil},
		{"PATCH", gatewaytest.Account + "/AAAAAAAAAAAAAAAAAAAAAA", "passkey_unknown", 404, map[string]any{"name": "x"}, nil},
		{"POST", "/.stepgate/challenge/verify", "body_too_large", 413, map[string]any{"credential": strings.Repeat("x", 65<<10)}, nil},
	} {
		answer, err := c.Send(refused.method, refused.path, refused.body, refused.headers...)
		gatewaytest.Must(t, err)
		if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != refused.status || got.Code != refused.code {
			t.Errorf("%s %s: %d %+v, want %s", refused.method, refused.path, answer.Status, got, refused.code)
		}
		g.Audited("request_refused", refused.code)
	}

	if _, err := c.Step("POST", "/.stepgate/logout", map[string]any{}, 204); err != nil {
		t.Error(err)
	}
	g.Audited("grants_revoked", "")
	answer = c.Get("/admin/x")
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 401 || got.Reason != "grant_missing" {
		t.Errorf("after logging out: %d %+v", answer.Status, got)
	}
	g.Audited("step_up_required", "grant_missing")
}

// A long address behind a sign-in with long cookies: the challenge page's own address holds the address that was asked
// for, and must still fit into what servers take.
func TestLongAddressBehindLongCookies(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartSecure(t)
	c := gatewaytest.NewClient(t, g, "carol")
	c.HTTP.Transport = gatewaytest.Transports(t, g)["HTTP/2.0"] // as browsers do; its limits are the tighter ones
	gatewaytest.Must(t, c.Register("Key"))
	for _, length := range []int{1000, 2000, 3000, 4000} {
		path := "/keys?filter=" + strings.Repeat("x", length)
		browser := []string{"Accept", "text/html", "Cookie", "_oauth2_proxy=" + strings.Repeat("y", 5000)}
		answer := c.Get(path, browser...)
		if answer.Status != 303 {
			t.Fatalf("%d bytes: %d", length, answer.Status)
		}
		location := answer.Header.Get("Location")
		if answer := c.Get(location, browser...); answer.Status != 200 {
			t.Errorf("%d bytes: the request passes, but the challenge page with %d bytes in its address gets %d", length, len(location), answer.Status)
		}
	}
}
