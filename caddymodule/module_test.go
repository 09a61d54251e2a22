package caddymodule_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Importing the package is all that another Caddy build needs.
func TestModules(t *testing.T) {
	for _, id := range []string{"stepgate", "http.handlers.stepgate", "stepgate.stores.file"} {
		module, err := caddy.GetModule(id)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := module.New().CaddyModule().ID; string(got) != id {
			t.Errorf("module %s makes a %s", id, got)
		}
	}
}

// What Caddy shows of its configuration holds the placeholders, never the keys; nor does any log line or answer.
func TestKeysAreShownNowhere(t *testing.T) {
	const key = "sgk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	t.Setenv("SG_KEYS", key+" sgk_AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	g := newGateway(t)
	admin := freePort(t)
	text := strings.Replace(options("", "grant_keys {env.SG_KEYS}"), "admin off", "admin 127.0.0.1:$ADMIN", 1) + site("", "log\n"+proxy)
	config, _, err := adapt(strings.ReplaceAll(g.fill(text), "$ADMIN", strconv.Itoa(admin)))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.loadJSON(config); err != nil {
		t.Fatal(err)
	}
	alice := g.enrolled("alice")
	alice.want("/", 200, "")
	response, err := http.Get("http://127.0.0.1:" + strconv.Itoa(admin) + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	shown, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(shown), `"grant_keys":["{env.SG_KEYS}"]`) {
		t.Errorf("%v: %s", err, shown)
	}
	logged, err := os.ReadFile(filepath.Join(g.folder, "log"))
	if err != nil || len(logged) == 0 {
		t.Fatalf("no log: %v", err)
	}
	for where, text := range map[string][]byte{"GET /config/": shown, "the log": logged} {
		for what, secret := range map[string]string{"a key": "ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "the grant": alice.cookies["stepgate"], "the browser's cookie": alice.cookies["stepgate-ceremony"]} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s shows %s", where, what)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(g.folder, "stepgate.keys")); err == nil {
		t.Error("a key was made beside the store, though there are others")
	}
}

// Keys are replaced without asking anybody to step up again: the first seals, all open.
func TestKeyRotation(t *testing.T) {
	const first, second = "sgk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "sgk_AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	g := newGateway(t)
	load := func(keys string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(g.folder, "key"), []byte(keys+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := g.reload(options("", "grant_keys {file.$FOLDER/key}"), site("", proxy)); err != nil {
			t.Fatal(err)
		}
	}
	load(first)
	alice := g.enrolled("alice")
	load(first + "," + second)
	alice.want("/", 200, "")
	load(second + " " + first)
	alice.want("/", 200, "")
	alice.stepUp("/") // sealed with the second from here on
	load(second)
	alice.want("/", 200, "")
	load(first)
	alice.want("/", 401, "step_up_required/grant_unreadable")
}
