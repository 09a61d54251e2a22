package e2etest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// block is a fenced block of a document.
type block struct{ info, text string }

// blocks returns the fenced blocks of a document whose info string begins with a language.
func blocks(t *testing.T, document, language string) (list []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(browsertest.RepositoryRoot(t), document))
	must(t, err)
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
	g := prepare(t)
	for i, b := range list {
		name := fmt.Sprintf("block%d", i)
		must(t, os.WriteFile(filepath.Join(g.folder, name), []byte(b.text), 0o600))
		if out, code := g.call("fmt", "--diff", name); code != 0 || strings.Contains(out, "\n+") || strings.Contains(out, "\n-") {
			t.Errorf("fmt of block %d: %d\n%s", i, code, out)
		}
		if strings.Contains(b.info, "with=") {
			continue // needs another module in the build
		}
		if out, code := g.call("adapt", "--config", name, "--adapter", "caddyfile"); code != 0 || strings.Contains(out, `"level":"warn"`) {
			t.Errorf("adapt of block %d: %d\n%s", i, code, out)
		}
	}
}

// The example is formatted, and can be validated beside a gateway that runs it.
func TestValidateBesideRunningGateway(t *testing.T) {
	t.Parallel()
	g := prepare(t)
	g.configure(strings.ReplaceAll(example(t), "$SECOND", fmt.Sprint(freePort(t))))
	g.run()
	literal := filepath.Join(browsertest.RepositoryRoot(t), "Caddyfile.example")
	for _, config := range []string{"Caddyfile", literal} {
		if out, code := g.call("validate", "--config", config, "--adapter", "caddyfile"); code != 0 || !strings.Contains(out, "Valid configuration") {
			t.Errorf("validate: %d\n%s", code, out)
		}
	}
	if out, code := g.call("fmt", "--diff", literal); code != 0 || strings.Contains(out, "\n+") || strings.Contains(out, "\n-") {
		t.Errorf("fmt: %d\n%s", code, out)
	}
	if answer := newClient(t, g, "").get("/", "Authorization", basic("alice")); answer.status != 200 {
		t.Errorf("the running gateway answers %d", answer.status)
	}
}

// A second process on the same store does not start, and says what to do instead.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	g := start(t, headerConsole("", ""))
	second := strings.NewReplacer(fmt.Sprint(g.port), fmt.Sprint(freePort(t)), fmt.Sprint(g.admin), fmt.Sprint(freePort(t))).Replace(g.fill(headerConsole("", "")))
	must(t, os.WriteFile(filepath.Join(g.folder, "Second"), []byte(second), 0o600))
	out, code := g.call("run", "--config", "Second", "--adapter", "caddyfile")
	for _, want := range []string{g.folder + "/stepgate.db", "another process", "stepgate reload"} {
		if code == 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, want %q in:\n%s", code, want, out)
		}
	}
	c := newClient(t, g, "carol") // the first is as it was
	must(t, session(c))
}

// A key from keygen seals grants that outlive the process, without a key file; a bad key fails the start.
func TestKeygen(t *testing.T) {
	t.Parallel()
	g := prepare(t)
	key, code := g.call("keygen")
	if code != 0 || strings.Count(key, "\n") != 1 || len(strings.TrimSpace(key)) < 32 {
		t.Fatalf("keygen: %d %q", code, key)
	}
	if again, _ := g.call("keygen"); again == key {
		t.Error("keygen made the same key twice")
	}
	g.log.secret("grant key", strings.TrimSpace(key))
	must(t, os.WriteFile(filepath.Join(g.folder, "grant.key"), []byte(key), 0o600))
	g.configure(headerConsole("grant_keys {file.$DIR/grant.key}", ""))
	g.run()
	c := newClient(t, g, "carol")
	must(t, session(c))
	if _, err := os.Stat(filepath.Join(g.folder, "stepgate.keys")); err == nil {
		t.Error("a key file was made though keys are configured")
	}
	g.stop()
	g.run()
	if answer := c.get("/keys"); answer.status != 200 {
		t.Errorf("after a restart: %d %s", answer.status, answer.body)
	}
	if err := g.reload(headerConsole("grant_keys {file.$DIR/missing}", "")); err == nil {
		t.Error("a key that is not there was accepted")
	}
	g.configure(headerConsole("grant_keys {file.$DIR/grant.key}", ""))
}
