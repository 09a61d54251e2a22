package caddymodule_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Error routes run the original request again, without the gate: with a file server in them Caddy serves the protected
// file behind a basic_auth (caddy #3476). So a refusal of the gate is an answer, never an error.
func TestRefusalsRunNoErrorRoutes(t *testing.T) {
	g := newGateway(t)
	if err := os.WriteFile(filepath.Join(g.folder, "secret.txt"), []byte("TOPSECRET"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.load(site("", `root $FOLDER
file_server
handle_errors {
	header X-Error-Route 1
	file_server
}`))
	g.upstream.Close()
	nobody, alice := g.browser(""), g.browser("alice")
	for name, answer := range map[string]reply{
		"no user":        nobody.want("/secret.txt", 401, "user_missing"),
		"no grant":       alice.want("/secret.txt", 401, "step_up_required/grant_missing"),
		"navigation":     alice.want("/secret.txt", 303, "", navigating),
		"ambiguous path": alice.want("/./secret.txt", 400, "path_ambiguous"),
		"unknown host":   alice.want("/secret.txt", 421, "origin_unknown", withHost("localhost:1")),
		"no such page":   alice.want("/.stepgate/secret.txt", 404, "not_found"),
		"method":         alice.do("PUT", "/.stepgate/status", "{}"),
	} {
		if strings.Contains(answer.body, "TOPSECRET") || answer.Header.Get("X-Error-Route") != "" {
			t.Errorf("%s: %d %q", name, answer.StatusCode, answer.body)
		}
	}
	alice.register()
	alice.stepUp("/")
	if answer := alice.want("/secret.txt", 200, ""); answer.body != "TOPSECRET" {
		t.Errorf("with a grant: %s", answer.body)
	}
}

// Errors of the next handlers pass through unchanged, so that error routes see their status (wrapped, Caddy makes a 500
// of them).
func TestErrorsOfNextHandlerPassUnchanged(t *testing.T) {
	g := start(t, "open /open", `error /open "made up" 418
error /protected "made up" 402
handle_errors {
	respond "{err.status_code} {err.message}" {err.status_code}
}`)
	alice := g.enrolled("alice")
	for path, want := range map[string]string{"/open": "418 made up", "/protected": "402 made up"} {
		if got := alice.get(path); !strings.HasPrefix(want, got.Status[:3]) || got.body != want {
			t.Errorf("%s: %s %q, want %q", path, got.Status, got.body, want)
		}
	}
}
