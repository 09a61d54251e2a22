package caddymodule_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// The first factor says when somebody signed in: once, and readably, or it says nothing.
func TestSignInTime(t *testing.T) {
	g := newGateway(t)
	if err := g.reload(options("", "registration first_use {\nsign_in_time {header.X-Auth-Time} within 10m\n}"), site("", proxy)); err != nil {
		t.Fatal(err)
	}
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }
	seconds := func(d time.Duration) string { return fmt.Sprint(time.Now().Add(-d).Unix()) }
	for name, c := range map[string]struct {
		change func(*http.Request)
		code   string
	}{
		"fresh":                        {with("X-Auth-Time", ago(time.Minute)), ""},
		"fresh, in seconds":            {with("X-Auth-Time", seconds(time.Minute)), ""},
		"old":                          {with("X-Auth-Time", ago(11*time.Minute)), "sign_in_too_old"},
		"old, in seconds":              {with("X-Auth-Time", seconds(11*time.Minute)), "sign_in_too_old"},
		"milliseconds":                 {with("X-Auth-Time", seconds(0)+"000"), "sign_in_time_missing"},
		"in the future":                {with("X-Auth-Time", ago(-time.Hour)), "sign_in_time_missing"},
		"none":                         {func(*http.Request) {}, "sign_in_time_missing"},
		"empty":                        {with("X-Auth-Time", ""), "sign_in_time_missing"},
		"twice, the same":              {with("X-Auth-Time", ago(0), ago(0)), "sign_in_time_missing"},
		"twice, the client's and ours": {with("X-Auth-Time", ago(time.Hour), ago(0)), "sign_in_time_missing"},
		"under another spelling":       {with("X_auth_time", ago(0)), "sign_in_time_missing"},
		"nominated for removal as well": {func(r *http.Request) {
			with("X-Auth-Time", ago(time.Hour))(r)
			r.Header.Set("Connection", "close, X-Auth-Time")
		}, "sign_in_too_old"},
	} {
		t.Run(name, func(t *testing.T) {
			b := g.browser("user " + name)
			status := 403
			if c.code == "" {
				status = 200
			}
			b.do("POST", "/.stepgate/passkeys/options", "{}", c.change).want(t, status, c.code)
		})
	}

	// A whole life: in time, and then whenever.
	alice := g.browser("alice")
	alice.headers.Set("X-Auth-Time", ago(9*time.Minute))
	alice.register()
	alice.headers.Del("X-Auth-Time")
	alice.stepUp("/")
	alice.want("/", 200, "")
	g.reached(1)

	// Without the option the header means nothing.
	g.load(site("", proxy))
	bob := g.browser("bob")
	bob.headers.Set("X-Auth-Time", ago(time.Hour))
	bob.register()
}
