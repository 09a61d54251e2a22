package e2etest_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A session as docs/http.md describes it, by a client that is no browser.
func TestSessionOverHTTP(t *testing.T) { onEachStore(t, testSessionOverHTTP) }

func testSessionOverHTTP(t *testing.T, on store) {
	g := on.start(t, headerConsole("", "protect /admin/* {\nmax_age 5m\n}"))
	c := newClient(t, g, "carol")

	answer := c.get("/admin/x")
	got := problemIn(t, answer.body)
	if answer.status != 401 || got.Code != "step_up_required" || got.MaxAge != 300 || got.Reason != "grant_missing" ||
		!strings.HasPrefix(answer.header.Get("WWW-Authenticate"), `Bearer error="insufficient_user_authentication"`) {
		t.Errorf("%d %v %+v", answer.status, answer.header, got)
	}
	g.audited("step_up_required", "grant_missing")
	page, err := url.Parse(got.StepUpURL)
	must(t, err)
	demand := page.Query().Get("demand")
	if answer := c.get(page.RequestURI()); answer.status != 200 || !strings.HasPrefix(answer.header.Get("Content-Type"), "text/html") ||
		answer.header.Get("Cache-Control") != "no-store" || answer.header.Get("X-Frame-Options") != "DENY" || answer.header.Get("Content-Security-Policy") == "" {
		t.Errorf("the page: %d %v", answer.status, answer.header)
	}

	// Without a passkey there is nothing to use.
	answer = c.post("/.stepgate/challenge/options", map[string]any{"demand": demand})
	if got := problemIn(t, answer.body); answer.status != 409 || got.Code != "no_passkey" {
		t.Errorf("without a passkey: %d %+v", answer.status, got)
	}
	g.audited("ceremony_refused", "no_passkey")
	must(t, c.register("Key"))

	options, err := c.step("POST", "/.stepgate/challenge/options", map[string]any{"demand": demand}, 200)
	must(t, err)
	credential, err := c.key.Authenticate(options, c.origin)
	must(t, err)
	c.confide(options, credential)
	body, err := c.step("POST", "/.stepgate/challenge/verify", map[string]any{"demand": demand, "credential": rawJSON(credential)}, 200)
	must(t, err)
	var done struct {
		ReturnTo  string    `json:"return_to"`
		ExpiresAt time.Time `json:"expires_at"`
		Level     string    `json:"level"`
	}
	must(t, json.Unmarshal(body, &done))
	if left := time.Until(done.ExpiresAt); done.ReturnTo != "/" || done.Level != "device_bound" || left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("verified: %s", body)
	}
	if answer := c.get("/admin/x"); answer.status != 200 {
		t.Errorf("with the grant: %d %s", answer.status, answer.body)
	}

	var status struct {
		User      string           `json:"user"`
		SteppedUp bool             `json:"stepped_up"`
		Proofs    []map[string]any `json:"proofs"`
	}
	must(t, json.Unmarshal(c.get("/.stepgate/status").body, &status))
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
	must(t, json.Unmarshal(c.get(account, "Accept", "application/json").body, &list))
	if len(list.Passkeys) != 1 || list.Passkeys[0].Name != "Key" || list.Passkeys[0].Used == nil {
		t.Errorf("passkeys: %+v", list)
	}
	if _, err := c.step("PATCH", account+"/"+list.Passkeys[0].ID, map[string]any{"name": "Blue key"}, 200); err != nil {
		t.Error(err)
	}
	g.audited("passkey_renamed", "")

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
		{"DELETE", account + "/" + list.Passkeys[0].ID, "authorization_needed", 403, map[string]any{}, nil},
		{"PATCH", account + "/" + list.Passkeys[0].ID, "name_invalid", 400, map[string]any{"name": "\u0000"}, nil},
		{"PATCH", account + "/AAAAAAAAAAAAAAAAAAAAAA", "passkey_unknown", 404, map[string]any{"name": "x"}, nil},
		{"POST", "/.stepgate/challenge/verify", "body_too_large", 413, map[string]any{"credential": strings.Repeat("x", 65<<10)}, nil},
	} {
		answer, err := c.send(refused.method, refused.path, refused.body, refused.headers...)
		must(t, err)
		if got := problemIn(t, answer.body); answer.status != refused.status || got.Code != refused.code {
			t.Errorf("%s %s: %d %+v, want %s", refused.method, refused.path, answer.status, got, refused.code)
		}
		g.audited("request_refused", refused.code)
	}

	if _, err := c.step("POST", "/.stepgate/logout", map[string]any{}, 204); err != nil {
		t.Error(err)
	}
	g.audited("grants_revoked", "")
	answer = c.get("/admin/x")
	if got := problemIn(t, answer.body); answer.status != 401 || got.Reason != "grant_missing" {
		t.Errorf("after logging out: %d %+v", answer.status, got)
	}
	g.audited("step_up_required", "grant_missing")
}

// A long address behind a sign-in with long cookies: the challenge page's own address holds the address that was asked
// for, and must still fit into what servers take.
func TestLongAddressBehindLongCookies(t *testing.T) {
	t.Parallel()
	g := startSecure(t)
	c := newClient(t, g, "carol")
	c.http.Transport = transports(t, g)["HTTP/2.0"] // as browsers do; its limits are the tighter ones
	must(t, c.register("Key"))
	for _, length := range []int{1000, 2000, 3000, 4000} {
		path := "/keys?filter=" + strings.Repeat("x", length)
		browser := []string{"Accept", "text/html", "Cookie", "_oauth2_proxy=" + strings.Repeat("y", 5000)}
		answer := c.get(path, browser...)
		if answer.status != 303 {
			t.Fatalf("%d bytes: %d", length, answer.status)
		}
		location := answer.header.Get("Location")
		if answer := c.get(location, browser...); answer.status != 200 {
			t.Errorf("%d bytes: the request passes, but the challenge page with %d bytes in its address gets %d", length, len(location), answer.status)
		}
	}
}
