package caddymodule_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// exportOf returns the export of a store with these users.
func exportOf(t *testing.T, users ...string) string {
	t.Helper()
	s := newShop(t, fileStore)
	s.fill("a.db", "localhost", users...)
	out, problems, code := s.call("", "export")
	if code != 0 {
		t.Fatal(problems)
	}
	return out
}

func TestImport(t *testing.T) {
	text := exportOf(t, "ada", "bob", "eve")
	s := newShop(t, fileStore)
	s.write("export", text)
	says := func(code int, want, stdin string, arguments ...string) {
		t.Helper()
		out, problems, got := s.call(stdin, append([]string{"import"}, arguments...)...)
		if got != code || out != "" || !strings.Contains(problems, want) {
			t.Errorf("%v: exit code %d, want %d, %q, want %q in:\n%s", arguments, got, code, out, want, problems)
		}
		if strings.Contains(problems, "Y3JlZGVudGlhbC") {
			t.Errorf("%v: a credential id is shown:\n%s", arguments, problems)
		}
	}
	says(1, "accepts 1 arg(s), received 0", "")
	says(1, "opening export: open none", "", "none")
	says(1, "can't both come from standard input", text, "--config", "-", "-")
	says(1, "this is no export of Stepgate's", "", "Caddyfile")
	says(1, "the export was cut short", "", "-")
	says(1, `line 1: the passkeys belong to the rp_id "other.example" and are useless at "localhost"`, strings.Replace(text, "localhost", "other.example", 1), "-")

	says(0, "would import 3 users, 3 passkeys\n", "", "--dry-run", "export")
	if _, err := os.Stat(filepath.Join(s.folder, "a.db")); err == nil {
		t.Error("a dry run made a store")
	}
	lines := strings.SplitAfter(text, "\n")
	damaged := lines[0] + lines[1] + strings.Replace(lines[2], `"version":1`, `"version":0`, 1) + lines[3] + lines[4]
	says(1, "line 3: version is out of range\n", damaged, "--dry-run", "-")
	says(1, "line 3: version is out of range; what is before it was imported, it and what follows was not", damaged, "-")
	says(1, "further users may be missing", lines[0]+lines[1]+lines[2]+lines[3][:20], "-")
	says(0, "would import 1 user, 1 passkey; 2 users were there already\n", text, "--dry-run", "-")
	says(0, "imported 1 user, 1 passkey; 2 users were there already\n", text, "-")
	says(0, "imported 0 users, 0 passkeys; 3 users were there already\n", "", "export")

	strangers := strings.Replace(text, `"handle":"`, `"handle":"AAAA`, 1)
	says(1, `line 2, user "ada": the store has another record of this user (made there, not by this import); it is left as it is`, strangers, "-")
	says(1, "imported 0 users, 0 passkeys; 2 users were there already; 1 user refused\n", strangers, "-")
	says(1, "Error: not everybody would be imported", strangers, "--dry-run", "-")
	taken := strings.Replace(text, `"user":"bob"`, `"user":"mallory"`, 1)
	says(1, `line 3, user "mallory": somebody else holds one of the passkeys`, taken, "-")
}

// A store that a gateway has open is not written to behind its back.
func TestImportBesideRunningGateway(t *testing.T) {
	text := exportOf(t, "ada")
	s := newShop(t, fileStore)
	db, err := boltstore.Open(filepath.Join(s.folder, "a.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s.write("export", text)
	s.fails("stop the gateway first: passkeys can't be moved while it changes them", "import", "export")
	s.fails("stop the gateway first", "import", "--dry-run", "export")
	s.fails("stop the gateway first", "export")
}
