package transfer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/transfer"
)

// A file that somebody else put there is not gone on with: it could be theirs to read, or hold a passkey of theirs under
// another's name.
func TestExportFileTrustsNoPlantedFile(t *testing.T) {
	folder := t.TempDir()
	store := open(t, several(3)...)
	var evil bytes.Buffer
	_, err := transfer.Export(t.Context(), open(t, newAccount("user 000", newPasskey("evil"))), rpID, &evil, opts)
	must(t, err)
	unfinished := strings.Join(strings.SplitAfter(evil.String(), "\n")[:2], "")
	for name, plant := range map[string]func(path string) error{
		"its mode": func(path string) error {
			if err := os.WriteFile(path, []byte(unfinished), 0o600); err != nil {
				return err
			}
			return os.Chmod(path, 0o644)
		},
		"no regular file": func(path string) error {
			if err := os.WriteFile(path+".target", nil, 0o600); err != nil {
				return err
			}
			return os.Symlink(path+".target", path)
		},
	} {
		path := filepath.Join(folder, strings.ReplaceAll(name, " ", "-"))
		must(t, plant(path))
		before, err := os.ReadFile(path)
		must(t, err)
		if _, err := transfer.ExportFile(t.Context(), store, rpID, path, opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.ReadFile(path)
		must(t, err)
		if !bytes.Equal(before, after) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if os.Geteuid() != 0 {
		return // only root can make a file that belongs to somebody else
	}
	path := filepath.Join(folder, "other's")
	must(t, os.WriteFile(path, []byte(unfinished), 0o600))
	must(t, os.Chown(path, 65534, 65534))
	if _, err := transfer.ExportFile(t.Context(), store, rpID, path, opts); err == nil || !strings.Contains(err.Error(), "somebody else") {
		t.Errorf("another user's file: %v", err)
	}
}
