//go:build unix

package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A root that is a pipe is no file: opening it would wait for somebody who writes, and a reload for that.
func TestRootIsNoPipe(t *testing.T) {
	folder := t.TempDir()
	root, place := filepath.Join(folder, "root.pem"), filepath.Join(folder, "mds.jwt")
	if err := syscall.Mkfifo(root, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(place, []byte("a.b.c"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := readRoot(root)
		read <- err
	}()
	await(t, "read", func() bool { return len(read) == 1 })
	if err := <-read; err == nil || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("%v", err)
	}
	held := heldMetadata{place: place, root: root}
	if err := held.open(); err != nil {
		t.Fatal(err)
	}
	value, _, err := openMetadata.LoadOrNew(place+"\x00"+root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openMetadata.Delete(place + "\x00" + root); err != nil {
		t.Fatal(err)
	}
	if err := held.close(); err != nil {
		t.Fatal(err)
	}
	await(t, "ended", func() bool {
		select {
		case <-value.(*runningMetadata).ended:
			return true
		default:
			return false
		}
	})
}
