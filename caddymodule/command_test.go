package caddymodule_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/grant"
)

// binaryPath builds the real command once; TestMain removes it.
var binaryPath = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.Getenv("HOME"), "stepgate")
	build := exec.Command("go", "build", "-o", path, "github.com/stepgate/stepgate/cmd/stepgate")
	build.Env = environ // with the home where Go keeps its caches
	out, err := build.CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// command runs the real command to its end.
func command(t *testing.T, arguments ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := binaryPath()
	if err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	c := exec.Command(path, arguments...)
	c.Stdout, c.Stderr = &out, &problems
	exit := new(exec.ExitError)
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), problems.String(), c.ProcessState.ExitCode()
}

func TestKeygen(t *testing.T) {
	first, stderr, code := command(t, "keygen")
	if code != 0 || stderr != "" || strings.Count(first, "\n") != 1 {
		t.Fatalf("%d, %q, %q", code, first, stderr)
	}
	if _, err := grant.ParseKeys(first); err != nil {
		t.Error(err)
	}
	if second, _, _ := command(t, "keygen"); second == first {
		t.Error("the same key twice")
	}
	if out, stderr, code := command(t, "keygen", "2"); code == 0 || strings.Contains(out, "sgk_") {
		t.Errorf("with an argument: %d, %q, %q", code, out, stderr)
	}
	help, _, code := command(t, "keygen", "--help")
	for _, want := range []string{"grant_keys", "{env.STEPGATE_GRANT_KEYS}", "The first key seals; all of them open."} {
		if !strings.Contains(help, want) || code != 0 {
			t.Errorf("%d: help does not say %s:\n%s", code, want, help)
		}
	}
	if help, _, _ := command(t, "help"); !strings.Contains(help, "keygen") {
		t.Errorf("help does not list keygen:\n%s", help)
	}
}

// The binary is Caddy's: its own commands know our syntax.
func TestCommands(t *testing.T) {
	const example = "../Caddyfile.example"
	if _, stderr, code := command(t, "validate", "--config", example, "--adapter", "caddyfile"); code != 0 {
		t.Errorf("validate: %d %s", code, stderr)
	}
	out, stderr, code := command(t, "adapt", "--config", example, "--adapter", "caddyfile", "--validate")
	if code != 0 || !strings.Contains(out, `"handler":"stepgate"`) {
		t.Errorf("adapt: %d %s %s", code, out, stderr)
	}
	out, _, _ = command(t, "list-modules", "--skip-standard")
	for _, id := range []string{"stepgate", "http.handlers.stepgate", "stepgate.stores.file"} {
		if !strings.Contains("\n"+out, "\n"+id+"\n") {
			t.Errorf("list-modules does not name %s:\n%s", id, out)
		}
	}
	bad := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(bad, []byte("{\n\tstepgate {\n\t\trp_id example.com\n\t}\n}\nexample.com {\n\tstepgate /admin/*\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := command(t, "validate", "--config", bad, "--adapter", "caddyfile"); code == 0 || !strings.Contains(stderr, bad+":7") {
		t.Errorf("validate of a mistake: %d %s", code, stderr)
	}
}

// A second process does not get the file of the first, and says so; the first goes on.
func TestSecondProcess(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	path := filepath.Join(t.TempDir(), "Caddyfile")
	text := strings.ReplaceAll(options("", "")+site("", proxy), "http://localhost:$PORT {", fmt.Sprintf("http://localhost:%d {", freePort(t)))
	if err := os.WriteFile(path, []byte(g.fill(strings.ReplaceAll(text, "output file $FOLDER/log", "output stderr"))), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := command(t, "run", "--config", path); code == 0 || !strings.Contains(stderr, "another process, usually another running Stepgate, has it open") {
		t.Errorf("%d %s", code, stderr)
	}
	if _, stderr, code := command(t, "validate", "--config", path); code != 0 {
		t.Errorf("validate beside a running gateway: %d %s", code, stderr)
	}
	alice.want("/", 200, "")
	alice.stepUp("/")
}
