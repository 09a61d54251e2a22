package caddymodule_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// Validating does no I/O on the store: it creates nothing, and runs beside the gateway that holds the file.
func TestValidateTouchesNothing(t *testing.T) {
	g := newGateway(t)
	config, _, err := adapt(g.fill(options("", "store file $FOLDER/new/stepgate.db") + site("", proxy)))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate(config); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(g.folder, "new")); !os.IsNotExist(err) {
		t.Errorf("validating made the store's folder: %v", err)
	}

	path := filepath.Join(g.folder, "new", "stepgate.db")
	db, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := validate(config); err != nil {
		t.Errorf("beside a running gateway: %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(g.folder, "new", "*")); len(files) != 1 {
		t.Errorf("validating left %v", files)
	}
}

// A running gateway is not disturbed by validating its own configuration in the same process.
func TestValidateBesideItself(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	config, _, err := adapt(g.fill(options("", "") + site("", proxy)))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := validate(config); err != nil {
			t.Fatal(err)
		}
	}
	alice.want("/", 200, "")
	alice.stepUp("/")
}
