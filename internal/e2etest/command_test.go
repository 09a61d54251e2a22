package e2etest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// block is a fenced block of a document.
type block struct{ info, text string }

// blocks returns the fenced blocks of a document whose info string begins with a language.
func blocks(t *testing.T, document, language string) (list []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(browsertest.RepositoryRoot(t), document))
	gatewaytest.Must(t, err)
	for i, part := range strings.Split("\n"+string(text), "\n```") {
		if info, content, ok := strings.Cut(part, "\n"); i%2 == 1 && ok && (info == language || strings.HasPrefix(info, language+" ")) {
			list = append(list, block{info, content + "\n"})
		}
	}
	return list
}

// What the README shows is accepted as it stands, and written as `fmt` writes it.
func TestReadmeConfigurations(t *testing.T) {
	t.Parallel()
	list := blocks(t, "README.md", "caddyfile")
	if len(list) < 3 {
		t.Fatalf("%d caddyfile blocks found", len(list))
	}
	g := gatewaytest.Prepare(t)
	for i, b := range list {
		name := fmt.Sprintf("block%d", i)
		gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, name), []byte(b.text), 0o600))
		if out, code := g.Call("fmt", "--diff", name); code != 0 || strings.Contains(out, "\n+") || strings.Contains(out, "\n-") {
			t.Errorf("fmt of block %d: %d\n%s", i, code, out)
		}
		if strings.Contains(b.info, "with=") {
			continue // needs another module in the build
		}
		if out, code := g.Call("adapt", "--config", name, "--adapter", "caddyfile"); code != 0 || strings.Contains(out, `"level":"warn"`) {
			t.Errorf("adapt of block %d: %d\n%s", i, code, out)
		}
	}
}

// The example is formatted, and can be validated beside a gateway that runs it.
func TestValidateBesideRunningGateway(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Prepare(t)
	g.Configure(strings.ReplaceAll(example(t), "$SECOND", fmt.Sprint(gatewaytest.FreePort(t))))
	g.Run()
	literal := filepath.Join(browsertest.RepositoryRoot(t), "Caddyfile.example")
	for _, config := range []string{"Caddyfile", literal} {
		if out, code := g.Call("validate", "--config", config, "--adapter", "caddyfile"); code != 0 || !strings.Contains(out, "Valid configuration") {
			t.Errorf("validate: %d\n%s", code, out)
		}
	}
	if out, code := g.Call("fmt", "--diff", literal); code != 0 || strings.Contains(out, "\n+") || strings.Contains(out, "\n-") {
		t.Errorf("fmt: %d\n%s", code, out)
	}
	if answer := gatewaytest.NewClient(t, g, "").Get("/", "Authorization", gatewaytest.Basic("alice")); answer.Status != 200 {
		t.Errorf("the running gateway answers %d", answer.Status)
	}
}

// A second process on the same store does not start, and says what to do instead.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	second := strings.NewReplacer(fmt.Sprint(g.Port), fmt.Sprint(gatewaytest.FreePort(t)), fmt.Sprint(g.Admin), fmt.Sprint(gatewaytest.FreePort(t))).Replace(g.Fill(gatewaytest.HeaderConsole("", "")))
	gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, "Second"), []byte(second), 0o600))
	out, code := g.Call("run", "--config", "Second", "--adapter", "caddyfile")
	for _, want := range []string{g.Folder + "/stepgate.db", "another process", "stepgate reload"} {
		if code == 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want %q in:\n%s", code, want, out)
		}
	}
	c := gatewaytest.NewClient(t, g, "carol") // the first is as it was
	gatewaytest.Must(t, gatewaytest.Session(c))
}

// A key from keygen seals grants that outlive the process, without a key file; a bad key fails the start.
func TestKeygen(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Prepare(t)
	key, code := g.Call("keygen")
	if code != 0 || strings.Count(key, "\n") != 1 || len(strings.TrimSpace(key)) < 32 {
		t.Fatalf("keygen: %d %q", code, key)
	}
	if again, _ := g.Call("keygen"); again == key {
		t.Error("keygen made the same key twice")
	}
	g.Log.Secret("grant key", strings.TrimSpace(key))
	gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, "grant.key"), []byte(key), 0o600))
	g.Configure(gatewaytest.HeaderConsole("grant_keys {file.$DIR/grant.key}", ""))
	g.Run()
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, gatewaytest.Session(c))
	if _, err := os.Stat(filepath.Join(g.Folder, "stepgate.keys")); err == nil {
		t.Error("a key file was made though keys are configured")
	}
	g.Stop()
	g.Run()
	if answer := c.Get("/keys"); answer.Status != 200 {
		t.Errorf("after a restart: %d %s", answer.Status, answer.Body)
	}
	if err := g.Reload(gatewaytest.HeaderConsole("grant_keys {file.$DIR/missing}", "")); err == nil {
		t.Error("a key that is not there was accepted")
	}
	g.Configure(gatewaytest.HeaderConsole("grant_keys {file.$DIR/grant.key}", ""))
}
