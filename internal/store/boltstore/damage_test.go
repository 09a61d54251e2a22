package boltstore_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// A file that is not what it says, page by page: the store is unavailable, and the process lives.
func TestDamagedPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	db := open(t, path, boltstore.Options{NoSync: true})
	for i := range 200 {
		register(t, db.For(rpID), fmt.Sprint("user ", i), newPasskey(fmt.Sprint("passkey ", i)))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole := contents(t, path)
	page := os.Getpagesize()

	t.Run("cut short", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "stepgate.db")
		for pages := 2; pages < len(whole)/page/2; pages += 3 {
			write(t, path, whole[:pages*page+100])
			db, err := boltstore.Open(path, boltstore.Options{})
			if err == nil {
				db.Close()
				t.Fatalf("opened a file of %d bytes cut to %d pages", len(whole), pages)
			}
			if err := os.Remove(path); err != nil { // where bbolt panicked in opening, it still has it locked
				t.Fatal(err)
			}
		}
	})
	t.Run("overwritten", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "stepgate.db")
		damaged := bytes.Clone(whole)
		for i := 2 * page; i < len(damaged); i++ {
			damaged[i] = 0xa5
		}
		write(t, path, damaged)
		if db, err := boltstore.Open(path, boltstore.Options{}); err == nil {
			db.Close()
			t.Fatal("opened a file of rubbish")
		}
	})
	t.Run("overwritten while open", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "stepgate.db")
		write(t, path, whole)
		core, logs := observer.New(zap.ErrorLevel)
		db, err := boltstore.Open(path, boltstore.Options{Logger: zap.New(core)})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, int64(2*page)); err != nil {
			t.Fatal(err)
		}
		s := db.For(rpID)
		for i := range 3 {
			_, err := s.Account(t.Context(), fmt.Sprint("user ", i))
			unavailable(t, "Account", err)
			_, err = s.Begin(t.Context(), newChallenge("ada", "one"))
			unavailable(t, "Begin", err)
		}
		if logs.Len() != 1 {
			t.Errorf("logged %d errors, want one", logs.Len())
		}
		if err := db.Close(); err != nil { // must come back
			t.Error(err)
		}
		_, err = s.Account(t.Context(), "ada")
		unavailable(t, "Account after closing", err)
	})
}
