package caddymodule_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// shop is a folder with a configuration and a store, where commands are called.
type shop struct {
	t      *testing.T
	folder string
}

func newShop(t *testing.T, app string) shop {
	t.Helper()
	s := shop{t, t.TempDir()}
	s.write("Caddyfile", "{\n\tstepgate {\n"+app+"\n\t}\n}\nhttp://localhost:1 {\n\tstepgate\n}\n")
	return s
}

func (s shop) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.folder, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// fill makes a store with these users, each with one passkey.
func (s shop) fill(path, rpID string, users ...string) {
	s.t.Helper()
	db, err := boltstore.Open(filepath.Join(s.folder, path), boltstore.Options{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	for _, user := range users {
		p := passkey.Passkey{ID: []byte("credential id of " + user), PublicKey: []byte("key"), Name: "Key", CreatedAt: clockStart}
		u := passkey.User{Name: user, Version: 1, Handle: []byte("handle of " + user), Passkeys: []passkey.Ref{{ID: p.ID, Folded: "key"}}}
		if err := db.For(rpID).Import(s.t.Context(), passkey.Account{User: u, Passkeys: []passkey.Passkey{p}}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// call runs the real command in the folder.
func (s shop) call(stdin string, arguments ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	path, err := binaryPath()
	if err != nil {
		s.t.Fatal(err)
	}
	var out, problems bytes.Buffer
	c := exec.Command(path, arguments...)
	c.Dir, c.Stdin, c.Stdout, c.Stderr = s.folder, strings.NewReader(stdin), &out, &problems
	_ = c.Run()
	return out.String(), problems.String(), c.ProcessState.ExitCode()
}

// fails wants exit code 1, nothing on standard output, and this said.
func (s shop) fails(says string, arguments ...string) {
	s.t.Helper()
	out, problems, code := s.call("", arguments...)
	if code != 1 || out != "" || !strings.Contains(problems, says) {
		s.t.Errorf("%v: exit code %d, %q, want %q in:\n%s", arguments, code, out, says, problems)
	}
}

// A configuration that a command can't use is refused with what is missing, and nothing is made.
func TestCommandConfiguration(t *testing.T) {
	s := shop{t, t.TempDir()}
	s.fails("no configuration: name the gateway's with --config", "export")
	s.fails("reading config from file", "export", "--config", "none")
	s.write("plain", "http://localhost:1\n")
	s.fails("unrecognized config adapter: toml", "export", "--config", "plain", "--adapter", "toml")
	s.fails("reading plain: it does not configure stepgate", "export", "--config", "plain", "--adapter", "caddyfile")
	for name, want := range map[string]string{
		`{}`:                       "it does not configure stepgate",
		`{"apps":{"stepgate":{}}}`: "rp_id is missing",
		`{"apps":{"stepgate":{"rp_id":"Example.com"}}}`:                          `rp_id: "Example.com" is no domain`,
		`{"apps":{"stepgate":{"rp_id":"localhost","rpid":"x"}}}`:                 "unknown field",
		`{"apps":{"stepgate":{"rp_id":"localhost","store":{"module":"paper"}}}}`: "stepgate.stores.paper",
		`{"apps":[]}`: "reading config.json",
	} {
		s.write("config.json", name)
		s.fails(want, "export", "--config", "config.json")
	}
	if entries, _ := os.ReadDir(s.folder); len(entries) != 2 {
		t.Errorf("the folder holds %v", entries)
	}
}

// Only the store of the configuration is opened: no port is bound, no other app is made, no keys are needed.
func TestCommandOpensOnlyTheStore(t *testing.T) {
	s := newShop(t, "rp_id localhost\norigins http://localhost:1\nstore file {env.STORE_FILE}\ngrant_keys {env.NOT_SET_ANYWHERE}")
	t.Setenv("STORE_FILE", "a.db")
	s.fill("a.db", "localhost", "ada")
	out, problems, code := s.call("", "export")
	if code != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(problems, "exported 1 user, 1 passkey\n") {
		t.Errorf("%d\n%s\n%s", code, out, problems)
	}
	entries, _ := os.ReadDir(s.folder)
	if len(entries) != 2 {
		t.Errorf("the folder holds %v", entries)
	}
}
