package caddymodule_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// A reload that fails, wherever it fails, leaves the gateway as it was: serving, with its store open. Caddy calls
// Cleanup on what it could not provision, so releasing more than was acquired would close the live store.
func TestFailedReload(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	noise := filepath.Join(g.folder, "noise.db")
	if err := os.WriteFile(noise, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	readable := filepath.Join(g.folder, "readable.db")
	if err := os.WriteFile(readable, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// The second site's listener is taken, so the http app fails when it starts, before or after ours: apps start in no
	// order, hence the repeats.
	const other = "http://localhost:$TAKEN {\nstepgate\n}\n"

	for name, config := range map[string]struct{ app, more, want string }{
		"the store is a folder":            {"store file $FOLDER", "", "it is a folder"},
		"the store is no database":         {"store file $FOLDER/noise.db", "", "not a Stepgate database"},
		"others can read the store":        {"store file $FOLDER/readable.db", "", "chmod 600"},
		"the store's folder can't be made": {"store file $FOLDER/noise.db/x/stepgate.db", "", "opening"},
		"a key is missing":                 {"grant_keys {env.SG_NONE}", "", "holds nothing"},
		"another app can't be provisioned": {"", "http://localhost:1 {\n@x path_regexp [\nrespond @x ok\n}\n", "regexp"},
		"a second gate can't":              {"", "http://localhost:1 {\nstepgate {\nprotect {\nmatch {\npath_regexp [\n}\n}\n}\n}\n", "rules[0]"},
		"another app can't be started":     {"", other, "address already in use"},
		"it can't, with another store":     {"store file $FOLDER/other.db", other, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			_, port, _ := net.SplitHostPort(taken.Addr().String())
			for range 5 {
				err := g.reload(options("", config.app), site("", proxy)+strings.ReplaceAll(config.more, "$TAKEN", port))
				wantError(t, err, config.want)
				alice.want("/", 200, "")
			}
			alice.stepUp("/") // the store can be written
			if _, err := boltstore.Open(filepath.Join(g.folder, "stepgate.db"), boltstore.Options{Timeout: 1}); err == nil {
				t.Error("the live store was closed")
			}
			if db, err := boltstore.Open(filepath.Join(g.folder, "other.db"), boltstore.Options{Timeout: 1}); err != nil {
				t.Errorf("the failed configuration's store was not closed: %v", err)
			} else {
				_ = db.Close()
			}
		})
	}
	alice.want("/", 200, "")
	g.load(site("", proxy))
	alice.want("/", 200, "")
}

// What another process has open can't be opened; the message says what to do. The grants' keys are not touched.
func TestStoreInUseElsewhere(t *testing.T) {
	g := newGateway(t)
	path := filepath.Join(g.folder, "stepgate.db")
	db, err := boltstore.Open(path, boltstore.Options{}) // a second handle is as good as a second process
	if err != nil {
		t.Fatal(err)
	}
	err = g.reload(options("", ""), site("", proxy))
	wantError(t, err, path, "another process, usually another running Stepgate, has it open", "stepgate reload")
	if _, err := os.Stat(filepath.Join(g.folder, "stepgate.keys")); err == nil {
		t.Error("keys were made for a store that was not opened")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	g.load(site("", proxy))
}

// A configuration that never came into force leaves nothing open.
func TestFailedStartLeavesNothingOpen(t *testing.T) {
	g := newGateway(t)
	for _, file := range []string{"stepgate.keys", "stepgate.db"} { // the store opens, then the keys are refused
		if err := os.WriteFile(filepath.Join(g.folder, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, g.reload(options("", ""), site("", proxy)), "reading grant keys", "no grant key given")
	db, err := boltstore.Open(filepath.Join(g.folder, "stepgate.db"), boltstore.Options{Timeout: 1})
	if err != nil {
		t.Fatalf("the store was left open: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.folder, "stepgate.keys"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(g.folder, "stepgate.keys"), 0o644); err != nil {
		t.Fatal(err)
	}
	wantError(t, g.reload(options("", ""), site("", proxy)), "can be read by others", "chmod 600")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
}
