package caddymodule_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var clockStart = time.Date(2026, time.March, 14, 15, 9, 26, 0, time.UTC)

const fileStore = "rp_id localhost\norigins http://localhost:1\nstore file a.db"

// Export makes no store: a path that is wrong would give an empty export.
func TestExportOfNothing(t *testing.T) {
	s := newShop(t, fileStore)
	s.fails("there is no file "+filepath.Join(s.folder, "a.db"), "export")
	s.fails("there is no file", "export", "--output", "out")
	if entries, _ := os.ReadDir(s.folder); len(entries) != 1 {
		t.Errorf("the folder holds %v", entries)
	}
	s.fails("unknown command", "export", "out")
}

func TestExport(t *testing.T) {
	s := newShop(t, fileStore)
	s.fill("a.db", "localhost", "ada", "bob")
	s.fill("a.db", "other.example", "eve")
	out, problems, code := s.call("", "export")
	if code != 0 || strings.Count(out, "\n") != 4 || strings.Contains(out, "eve") || !strings.HasSuffix(out, `{"users":2,"passkeys":2}`+"\n") {
		t.Errorf("%d\n%s\n%s", code, out, problems)
	}
	if _, problems, code := s.call("", "export", "-o", "out"); code != 0 || !strings.Contains(problems, "exported 2 users, 2 passkeys") {
		t.Errorf("%d %s", code, problems)
	}
	text, err := os.ReadFile(filepath.Join(s.folder, "out"))
	if err != nil || strings.SplitN(string(text), "\n", 2)[1] != strings.SplitN(out, "\n", 2)[1] {
		t.Errorf("%v\n%s", err, text)
	}
	s.fails("it is complete already; remove it or name another", "export", "-o", "out")
	s.fails("it is no export of Stepgate's", "export", "-o", "a.db")
	s.fails("no such file or directory", "export", "-o", "none/out")
}

func TestMoveHelp(t *testing.T) {
	s := shop{t, t.TempDir()}
	for command, want := range map[string][]string{
		"export": {"Stop the gateways", "--output", "running the same command again", "keep it as private as the store", "--adapter"},
		"import": {"overwrites nobody", "--dry-run", "run the same command again", "new epoch", "<file>|-"},
	} {
		help, _, code := s.call("", command, "--help")
		for _, text := range want {
			if code != 0 || !strings.Contains(strings.Join(strings.Fields(help), " "), text) {
				t.Errorf("%s: help does not say %q:\n%s", command, text, help)
			}
		}
	}
}
