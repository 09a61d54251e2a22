package boltstore_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// refusedToOpen fails unless path can't be opened for the reason that all the words give.
func refusedToOpen(t *testing.T, path string, words ...string) {
	t.Helper()
	db, err := boltstore.Open(path, boltstore.Options{})
	if err == nil {
		db.Close()
		t.Fatalf("%s was opened", path)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestOpenMakesPrivateFiles(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data", "stepgate")
	path := filepath.Join(folder, "stepgate.db")
	if err := open(t, path, boltstore.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{folder: os.ModeDir | 0o700, filepath.Dir(folder): os.ModeDir | 0o700, path: 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
}

func TestOpenRefusesWhatOthersCanUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	if err := open(t, path, boltstore.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o660, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		refusedToOpen(t, path, "chmod 600 "+path)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, path, boltstore.Options{})
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	folder := t.TempDir()
	link := filepath.Join(folder, "link")
	if err := os.Symlink(filepath.Join(folder, "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refusedToOpen(t, "", "no file named")
	refusedToOpen(t, folder, "it is a folder", filepath.Join(folder, "stepgate.db"))
	refusedToOpen(t, link, "symbolic link to a file that does not exist")
	refusedToOpen(t, os.DevNull, "not a regular file")
	refusedToOpen(t, filepath.Join(file, "stepgate.db"), "opening the store")
	if _, err := os.Lstat(filepath.Join(folder, "nowhere")); err == nil {
		t.Error("the link's target was created")
	}

	// An empty file is what a crash between creating and filling it leaves, and a link to a file is a file.
	open(t, file, boltstore.Options{})
	good := filepath.Join(folder, "good")
	if err := os.WriteFile(good, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(good, filepath.Join(folder, "to good")); err != nil {
		t.Fatal(err)
	}
	open(t, filepath.Join(folder, "to good"), boltstore.Options{})
}

func TestOpenLeavesOtherFilesAlone(t *testing.T) {
	for _, test := range []struct {
		name string
		make func(t *testing.T, path string)
		say  []string
	}{
		{"text", func(t *testing.T, path string) {
			write(t, path, []byte(strings.Repeat("not a database\n", 10_000)))
		}, []string{"not a Stepgate database"}},
		{"a short text", func(t *testing.T, path string) {
			write(t, path, []byte("x"))
		}, []string{"not a Stepgate database"}},
		{"zeros", func(t *testing.T, path string) {
			write(t, path, make([]byte, 1<<16))
		}, []string{"not a Stepgate database"}},
		{"another program's bbolt file", func(t *testing.T, path string) {
			edit(t, path, func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err })
		}, []string{"another program's"}},
		{"a future schema", func(t *testing.T, path string) {
			open(t, path, boltstore.Options{}).Close()
			edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("stepgate")).Put([]byte("schema"), []byte("2")) })
		}, []string{`schema is version "2"`, `knows version "1"`}},
		{"no schema", func(t *testing.T, path string) {
			open(t, path, boltstore.Options{}).Close()
			edit(t, path, func(tx *bolt.Tx) error { return tx.Bucket([]byte("stepgate")).Delete([]byte("schema")) })
		}, []string{"another program's"}},
		{"no records", func(t *testing.T, path string) {
			open(t, path, boltstore.Options{}).Close()
			edit(t, path, func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte("records")) })
		}, []string{"damaged", "restore it"}},
		{"both meta pages overwritten", func(t *testing.T, path string) {
			open(t, path, boltstore.Options{}).Close()
			data := contents(t, path)
			clear(data[:2*os.Getpagesize()])
			write(t, path, data)
		}, []string{"not a Stepgate database"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stepgate.db")
			test.make(t, path)
			before := contents(t, path)
			refusedToOpen(t, path, append(test.say, path)...)
			if !bytes.Equal(before, contents(t, path)) {
				t.Error("the file was changed")
			}
		})
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// edit changes a file that is not open, behind the store's back.
func edit(t *testing.T, path string, fn func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(fn); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
