package caddymodule

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/clock"
	"github.com/stepgate/stepgate/internal/grant"
)

// clockedStore is a store with a clock, for one gateway or for many.
type clockedStore struct {
	openingStore
	shared bool
	clock  *clock.Steady
}

func (s clockedStore) Shared() bool { return s.shared }

func (s clockedStore) Open(rpID string, logger *zap.Logger) (*OpenStore, error) {
	opened, err := s.openingStore.Open(rpID, logger)
	if err == nil {
		opened.Clock = s.clock
	}
	return opened, err
}

// Grants and ceremonies go by the steady clock of a store that is one gateway's alone, and by the machine's where a store is
// shared: there a clock that was put right must count.
func TestWhichClock(t *testing.T) {
	steady := clock.By(func() (time.Time, time.Duration) { return time.Unix(1, 0), 0 }, 0, nil)
	for _, shared := range []bool{false, true} {
		app := &App{RPID: "localhost", logger: zap.NewNop()}
		app.store = clockedStore{openingStore{keys: func() (*grant.Keys, error) { return grant.ParseKeys(grant.NewKey()) }}, shared, steady}
		app.service = ceremony.Config{RPID: "localhost", Origins: []string{"http://localhost:8080"}}
		app.open = sync.OnceValues(app.openBackend)
		if app.now().Year() < 2026 {
			t.Error("it has the store's clock before the store is open")
		}
		if _, err := app.backend(); err != nil {
			t.Fatal(err)
		}
		if got := app.now().Year() < 2026; got == shared {
			t.Errorf("shared %t: goes by the steady clock %t", shared, got)
		}
	}
}

// A file has a clock that outlives a reload with it.
func TestFileHasAClock(t *testing.T) {
	s := &FileStore{path: filepath.Join(t.TempDir(), "stepgate.db")}
	var clocks []*clock.Steady
	for range 2 {
		opened, err := s.Open("localhost", zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Release()
		clocks = append(clocks, opened.Clock)
	}
	if clocks[0] == nil || clocks[0] != clocks[1] {
		t.Errorf("clocks %v", clocks)
	}
}
