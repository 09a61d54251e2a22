package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/clocktest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

func TestReasonsOf(t *testing.T) {
	for _, test := range []struct {
		err  error
		want []unready
	}{
		{nil, nil},
		{fmt.Errorf("reading account: %w", passkey.StoreUnavailable), []unready{storeUnavailable}},
		{errors.New("an error of a store of another package, with a secret"), []unready{storeUnavailable}},
		{context.DeadlineExceeded, []unready{storeUnavailable}},
		{marked{errors.New("no such table"), ErrTablesWrong}, []unready{tablesWrong}},
		{errors.Join(passkey.StoreUnavailable, marked{errors.New("no such table"), ErrTablesWrong}), []unready{tablesWrong, storeUnavailable}},
		{marked{errors.New("the configuration was unloaded"), errNotOpen}, []unready{notOpen}},
		{marked{marked{errors.New("reading grant keys"), errKeysMissing}, errNotOpen}, []unready{notOpen, keysMissing}},
	} {
		if diff := cmp.Diff(test.want, reasonsOf(test.err)); diff != "" {
			t.Errorf("%v: %s", test.err, diff)
		}
	}
}

// However many ask, and however often, the store is asked about once a second; and each change is logged once.
func TestReadinessIsNoAmplifier(t *testing.T) {
	var asked atomic.Int32
	var fail atomic.Bool
	hold := make(chan struct{})
	clock := clocktest.New(time.Unix(1_800_000_000, 0))
	core, logs := observer.New(zap.InfoLevel)
	r := &readiness{now: clock.Now, logger: zap.New(core), check: func(context.Context) error {
		asked.Add(1)
		<-hold
		if fail.Load() {
			return errors.New("made up")
		}
		return nil
	}}
	var crowd sync.WaitGroup
	for range 100 {
		crowd.Go(func() {
			if reasons := r.ask(t.Context()); reasons != nil {
				t.Errorf("not ready: %v", reasons)
			}
		})
	}
	for asked.Load() == 0 { // until the first of them asks
		runtime.Gosched()
	}
	close(hold)
	crowd.Wait()
	wants := func(what string, want int32, reasons ...unready) {
		t.Helper()
		if diff := cmp.Diff(reasons, r.ask(t.Context())); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		if got := asked.Load(); got != want {
			t.Errorf("%s: asked %d times, want %d", what, got, want)
		}
	}
	wants("a crowd, and another one", 1)
	fail.Store(true)
	clock.Advance(readyAge - 1)
	wants("within a second", 1)
	clock.Advance(1)
	wants("after a second", 2, storeUnavailable)
	clock.Advance(readyAge)
	wants("two seconds later", 3, storeUnavailable)
	fail.Store(false)
	wants("it mends within the second", 3, storeUnavailable)
	clock.Advance(-time.Hour) // a clock that jumps back must not freeze what is known
	wants("after a jump back", 4)
	var lines []string
	for _, entry := range logs.All() {
		lines = append(lines, entry.Message)
	}
	if diff := cmp.Diff([]string{"not ready: health checks are told so", "ready again"}, lines); diff != "" {
		t.Error(diff)
	}
}

// Whoever asks is answered in time, whatever the check does, and one who goes away spoils it for nobody.
func TestReadinessIsBounded(t *testing.T) {
	hang := make(chan struct{})
	r := &readiness{now: time.Now, logger: zap.NewNop(), check: func(context.Context) error { <-hang; return nil }}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if diff := cmp.Diff([]unready{storeUnavailable}, r.ask(gone)); diff != "" {
		t.Error(diff)
	}
	began := time.Now()
	if diff := cmp.Diff([]unready{storeUnavailable}, r.ask(t.Context())); diff != "" {
		t.Error(diff)
	}
	if took := time.Since(began); took < readyTime || took > readyTime+time.Second {
		t.Errorf("answered after %v", took)
	}
	close(hang)
	if reasons := r.ask(t.Context()); reasons != nil {
		t.Errorf("not ready: %v", reasons)
	}
}

// What the tables are is looked at seldom, and less so where it may not be asked. Only what is sure counts.
func TestTablesLook(t *testing.T) {
	clock := clocktest.New(time.Unix(1_800_000_000, 0))
	looks, err := 0, error(nil)
	var report dynamostore.Report
	l := &tablesLook{now: clock.Now, check: func(context.Context) (dynamostore.Report, error) {
		looks++
		return report, err
	}}
	wants := func(what string, want int, wrong bool) {
		t.Helper()
		if got := errors.Is(l.look(t.Context()), ErrTablesWrong); got != wrong || looks != want {
			t.Errorf("%s: wrong %v after %d looks, want %v after %d", what, got, looks, wrong, want)
		}
	}
	definite := fmt.Errorf("there is no table: %w", dynamostore.ErrTables)
	wants("well", 1, false)
	err = definite
	wants("soon after", 1, false)
	clock.Advance(lookWell)
	wants("a minute later", 2, true)
	err = passkey.StoreUnavailable
	clock.Advance(lookWrong)
	wants("nobody knows", 3, true)
	err = nil
	wants("soon after that", 3, true)
	clock.Advance(lookWrong)
	report.Tables = []dynamostore.Table{{Status: string(dynamostore.Denied)}}
	wants("it may not be asked", 4, false)
	clock.Advance(lookDenied - 1)
	wants("for a day", 4, false)
	clock.Advance(1)
	wants("after a day", 5, false)
}

// While somebody looks, others are told what was known.
func TestTablesLookOnce(t *testing.T) {
	looking, done := make(chan struct{}), make(chan struct{})
	var looks atomic.Int32
	l := &tablesLook{now: time.Now, check: func(context.Context) (dynamostore.Report, error) {
		looks.Add(1)
		close(looking)
		<-done
		return dynamostore.Report{}, dynamostore.ErrTables
	}}
	var first sync.WaitGroup
	first.Go(func() {
		if err := l.look(context.Background()); !errors.Is(err, ErrTablesWrong) {
			t.Errorf("%v", err)
		}
	})
	<-looking
	if err := l.look(t.Context()); err != nil {
		t.Error(err)
	}
	close(done)
	first.Wait()
	if looks.Load() != 1 {
		t.Errorf("%d looks", looks.Load())
	}
}

// openingStore is a store that opens with these keys and this readiness, or not at all.
type openingStore struct {
	keys  func() (*grant.Keys, error)
	ready func(context.Context) error
	err   error
}

func (s openingStore) Shared() bool { return false }

func (s openingStore) Open(string, *zap.Logger) (*OpenStore, error) {
	if s.err != nil {
		return nil, s.err
	}
	return &OpenStore{Store: unavailable{}, Limiter: gate.NewLimiter(), Keys: s.keys, Ready: s.ready, Release: func() error { return nil }}, nil
}

// Each thing that a gateway needs is missed by its own name, and what the log gets is one line.
func TestIsReady(t *testing.T) {
	keys := func() (*grant.Keys, error) { return grant.ParseKeys(grant.NewKey()) }
	well := func(context.Context) error { return nil }
	for _, test := range []struct {
		name   string
		store  openingStore
		closed bool
		want   []unready
	}{
		{"all is well", openingStore{keys: keys, ready: well}, false, nil},
		{"a store that does not say", openingStore{keys: keys}, false, nil},
		{"a store that says no", openingStore{keys: keys, ready: func(context.Context) error { return passkey.StoreUnavailable }}, false, []unready{storeUnavailable}},
		{"a store that does not open", openingStore{err: errors.New("made up")}, false, []unready{notOpen}},
		{"no keys", openingStore{keys: func() (*grant.Keys, error) { return nil, errors.New("made up") }, ready: well}, false, []unready{notOpen, keysMissing}},
		{"an unloaded configuration", openingStore{keys: keys, ready: well}, true, []unready{notOpen}},
	} {
		app := &App{RPID: "localhost", logger: zap.NewNop(), store: test.store, closed: test.closed}
		app.service = ceremony.Config{RPID: "localhost", Origins: []string{"http://localhost:8080"}}
		app.open = sync.OnceValues(app.openBackend)
		err := app.isReady(t.Context())
		if diff := cmp.Diff(test.want, reasonsOf(err)); diff != "" {
			t.Errorf("%s: %v: %s", test.name, err, diff)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", test.name, err)
		}
	}
}
