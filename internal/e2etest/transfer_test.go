package e2etest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// moving is a gateway that can be asked to use one of two files, always with the same grant keys: nothing but the epochs
// ends an old grant.
type moving struct {
	*gatewaytest.Gateway
}

func newMoving(t *testing.T) moving {
	t.Helper()
	m := moving{gatewaytest.Prepare(t)}
	key, code := m.Call("keygen")
	if code != 0 {
		t.Fatal(key)
	}
	m.Log.Secret("grant key", strings.TrimSpace(key))
	gatewaytest.Must(t, os.WriteFile(m.path("grant.key"), []byte(key), 0o600))
	for _, store := range []string{"old", "new"} {
		gatewaytest.Must(t, os.WriteFile(m.path(store), []byte(m.caddyfile(store)), 0o600))
	}
	return m
}

func (m moving) path(name string) string { return filepath.Join(m.Folder, name) }

// caddyfile is the configuration of a store: old.db or new.db.
func (m moving) caddyfile(store string) string {
	text := gatewaytest.HeaderConsole("grant_keys {file.$DIR/grant.key}\nrevocation_lag 0s", "")
	return m.Fill(strings.Replace(text, "stepgate.db", store+".db", 1))
}

// serve runs the gateway on a store.
func (m moving) serve(store string) {
	m.T.Helper()
	m.Configure(m.caddyfile(store))
	m.Run()
}

// move runs export or import on a store and holds its exit code and what it says; standard output is returned.
func (m moving) move(store string, code int, says string, arguments ...string) string {
	m.T.Helper()
	command := m.Command(append([]string{arguments[0], "--config", store, "--adapter", "caddyfile"}, arguments[1:]...)...)
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	_ = command.Run()
	if got := command.ProcessState.ExitCode(); got != code || !strings.Contains(problems.String(), says) {
		m.T.Errorf("%v on the %s store: exit code %d, want %d, and %q in:\n%s", arguments, store, got, code, says, problems.String())
	}
	for _, secret := range []string{"public_key", "panic", "DATA RACE"} {
		if strings.Contains(problems.String(), secret) {
			m.T.Errorf("%v says %q:\n%s", arguments, secret, problems.String())
		}
	}
	return out.String()
}

// refusal is why a request is answered with a demand for a step-up.
func refusal(c *gatewaytest.Client, path string) string {
	c.T.Helper()
	answer := c.Get(path)
	if answer.Status != 401 {
		c.T.Errorf("%s: status %d", path, answer.Status)
		return ""
	}
	return gatewaytest.ProblemIn(c.T, answer.Body).Reason
}

// The whole way, as docs/moving.md has it: stop, export, import, switch the configuration, start; and back.
func TestMoveFromFileToFile(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	m.serve("old")
	carol, dave := gatewaytest.NewClient(t, m.Gateway, "carol"), gatewaytest.NewClient(t, m.Gateway, "dave")
	gatewaytest.Must(t, gatewaytest.Session(carol))
	gatewaytest.Must(t, gatewaytest.Session(dave))
	m.move("old", 1, "stop the gateway first", "export")
	m.Stop()

	m.move("old", 0, "exported 2 users, 2 passkeys", "export", "--output", "export.jsonl")
	if info, err := os.Stat(m.path("export.jsonl")); err != nil || info.Mode() != 0o600 {
		t.Error(info, err)
	}
	m.move("new", 0, "would import 2 users, 2 passkeys", "import", "--dry-run", "export.jsonl")
	if _, err := os.Stat(m.path("new.db")); err == nil {
		t.Error("a dry run made the store")
	}
	m.move("new", 0, "imported 2 users, 2 passkeys", "import", "export.jsonl")

	m.serve("new")
	if reason := refusal(carol, "/keys"); reason != "grant_revoked" {
		t.Errorf("an old grant at the new place: %q", reason)
	}
	m.Audited("step_up_required", "grant_revoked")
	if answer, err := carol.StepUp("/keys"); err != nil || answer.Status != 200 {
		t.Fatalf("stepping up with a moved passkey: %v %d %s", err, answer.Status, answer.Body)
	}
	if answer := carol.Get("/keys"); answer.Status != 200 {
		t.Errorf("after the step-up: %d %s", answer.Status, answer.Body)
	}
	if _, err := gatewaytest.NewClient(t, m.Gateway, "carol").Step("POST", "/.stepgate/passkeys/options", map[string]any{"name": "x"}, 403); err != nil {
		t.Errorf("first use is open again: %v", err)
	}
	m.Stop()

	// Again: whoever is there stays as they are now, with their grants.
	m.move("new", 0, "imported 0 users, 0 passkeys; 2 users were there already", "import", "export.jsonl")
	m.serve("new")
	if answer := carol.Get("/keys"); answer.Status != 200 {
		t.Errorf("importing again ended a new grant: %d %s", answer.Status, answer.Body)
	}
	m.Stop()

	// Back, into a fresh file: the sign counts that rose meanwhile come along, and so does everybody's end of grants.
	gatewaytest.Must(t, os.Rename(m.path("old.db"), m.path("old.db.before")))
	m.move("new", 0, "exported 2 users, 2 passkeys", "export", "--output", "back.jsonl")
	m.move("old", 0, "imported 2 users, 2 passkeys", "import", "back.jsonl")
	m.serve("old")
	if reason := refusal(carol, "/keys"); reason != "grant_revoked" {
		t.Errorf("a grant of the other store, back in the first: %q", reason)
	}
	if answer, err := dave.StepUp("/keys"); err != nil || answer.Status != 200 {
		t.Fatalf("stepping up after the way back: %v %d %s", err, answer.Status, answer.Body)
	}
}

// Another record of the same user is not overwritten, and the others are imported.
func TestImportOverwritesNobody(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	m.serve("old")
	gatewaytest.Must(t, gatewaytest.Session(gatewaytest.NewClient(t, m.Gateway, "carol")))
	gatewaytest.Must(t, gatewaytest.Session(gatewaytest.NewClient(t, m.Gateway, "dave")))
	m.Stop()
	m.serve("new")
	carol := gatewaytest.NewClient(t, m.Gateway, "carol") // the same name, another passkey
	gatewaytest.Must(t, gatewaytest.Session(carol))
	m.Stop()
	m.move("old", 0, "", "export", "--output", "export.jsonl")
	before := m.move("new", 0, "", "export")
	for _, dry := range [][]string{{"--dry-run"}, nil, nil} {
		m.move("new", 1, `line 3, user "carol": the store has another record of this user`, append([]string{"import", "export.jsonl"}, dry...)...)
	}
	after := m.move("new", 0, "exported 2 users", "export")
	line := regexp.MustCompile(`(?m)^{"user":"carol",.*$`)
	if was, is := line.FindString(before), line.FindString(after); was == "" || was != is {
		t.Errorf("the record was\n%s\nand is\n%s", was, is)
	}
	m.serve("new")
	if answer := carol.Get("/keys"); answer.Status != 200 {
		t.Errorf("the grant of a user who was not imported: %d %s", answer.Status, answer.Body)
	}
}

// Both directions broken off and run again.
func TestMoveGoesOn(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	m.serve("old")
	for _, user := range []string{"ann", "bob", "carol", "dave"} {
		gatewaytest.Must(t, gatewaytest.NewClient(t, m.Gateway, user).Register("Key"))
	}
	m.Stop()
	whole := m.move("old", 0, "exported 4 users, 4 passkeys", "export")
	lines := strings.SplitAfter(whole, "\n")

	// As after a power cut: a partial last line.
	gatewaytest.Must(t, os.WriteFile(m.path("export.jsonl"), []byte(lines[0]+lines[1]+lines[2][:50]), 0o600))
	m.move("new", 1, "the export was cut short", "import", "export.jsonl")
	m.move("old", 0, "exported 4 users, 4 passkeys", "export", "--output", "export.jsonl")
	text, err := os.ReadFile(m.path("export.jsonl"))
	gatewaytest.Must(t, err)
	if string(text) != whole {
		t.Errorf("gone on with:\n%s\nat once:\n%s", text, whole)
	}
	m.move("old", 1, "it is complete already", "export", "--output", "export.jsonl")
	m.move("new", 0, "imported 3 users, 3 passkeys; 1 user was there already", "import", "export.jsonl")

	// Ctrl-C while standard input hangs.
	gatewaytest.Must(t, os.Remove(m.path("new.db")))
	command := m.Command("import", "--config", "new", "--adapter", "caddyfile", "-")
	var problems bytes.Buffer
	command.Stderr = &problems
	in, err := command.StdinPipe()
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, command.Start())
	_, err = io.WriteString(in, lines[0]+lines[1]+lines[2])
	gatewaytest.Must(t, err)
	// It listens for Ctrl-C before it opens the store.
	gatewaytest.Eventually(t, "the store's file", func() bool { _, err := os.Stat(m.path("new.db")); return err == nil })
	interrupt(t, command)
	if code := command.ProcessState.ExitCode(); code != 1 || !strings.Contains(problems.String(), "interrupted") ||
		!strings.Contains(problems.String(), "run the same command again to go on") {
		t.Errorf("exit code %d:\n%s", code, problems.String())
	}
	m.move("new", 0, "imported", "import", "export.jsonl")
	if again := m.move("new", 0, "exported 4 users, 4 passkeys", "export"); strings.Join(strings.SplitAfter(again, "\n")[1:], "") != strings.Join(lines[1:], "") {
		t.Errorf("the new store exports\n%s\nthe old one\n%s", again, whole)
	}
}

// interrupt sends Ctrl-C and waits for the end.
func interrupt(t *testing.T, command *exec.Cmd) {
	t.Helper()
	gatewaytest.Must(t, command.Process.Signal(syscall.SIGINT))
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case <-ended:
	case <-time.After(gatewaytest.Patience):
		_ = command.Process.Kill()
		<-ended
		t.Error("Ctrl-C did not end it")
	}
}

// An export is lines of JSON that any program can read, and holds neither epochs nor challenges.
func TestExportIsJSONLines(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	m.serve("old")
	carol := gatewaytest.NewClient(t, m.Gateway, "carol")
	gatewaytest.Must(t, gatewaytest.Session(carol))
	carol.Post("/.stepgate/challenge/options", map[string]any{"return_to": "/keys"}) // a challenge under way
	m.Stop()
	var kinds []string
	for line := range strings.Lines(m.move("old", 0, "", "export")) {
		var object map[string]any
		gatewaytest.Must(t, json.Unmarshal([]byte(line), &object))
		for _, name := range []string{"epoch", "challenge", "origin"} {
			if strings.Contains(line, `"`+name) {
				t.Errorf("it has %s: %s", name, line)
			}
		}
		for _, name := range []string{"stepgate_export", "user", "users"} {
			if _, ok := object[name]; ok {
				kinds = append(kinds, name)
			}
		}
	}
	if got := strings.Join(kinds, " "); got != "stepgate_export user users" {
		t.Errorf("lines: %s", got)
	}
}
