package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// scripted is a context whose n-th Err does what the test wants, in the middle of a transaction.
type scripted struct {
	context.Context
	calls atomic.Int32
	err   func(call int) error
}

func (s *scripted) Err() error { return s.err(int(s.calls.Add(1))) }

// stuck returns a context that stops its caller at the n-th question whether it is done, until release is called.
func stuck(t *testing.T, n int) (ctx context.Context, reached <-chan struct{}, release func()) {
	there, free := make(chan struct{}), make(chan struct{})
	return &scripted{Context: t.Context(), err: func(call int) error {
		if call == n {
			close(there)
			<-free
		}
		return nil
	}}, there, sync.OnceFunc(func() { close(free) })
}

// A context that ends while the transaction runs undoes it: the caller will say that it failed.
func TestContextEndsInTransaction(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{})
	s, c := db.For(rpID), newChallenge("ada", "one")
	begin(t, s, c)
	ending := func() context.Context {
		return &scripted{Context: t.Context(), err: func(call int) error {
			if call > 1 {
				return context.DeadlineExceeded
			}
			return nil
		}}
	}
	_, _, err := s.Consume(ending(), claimOf(c), now)
	unavailable(t, "Consume", err)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not wrap the context's error", err)
	}
	next, _ := passkey.User{Name: "ada"}.Adding(newPasskey("laptop"))
	unavailable(t, "Register", s.Register(ending(), next, newPasskey("laptop")))
	_, account, err := s.Consume(t.Context(), claimOf(c), now)
	if err != nil || account.User.Version != 0 {
		t.Errorf("after transactions that were undone: version %d, %v", account.User.Version, err)
	}
}

// Waiting for another transaction, one that hangs on a slow disk for example, ends with the context or with Close.
func TestWaitingForTheWriterEnds(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{})
	s := db.For(rpID)
	ctx, reached, release := stuck(t, 1)
	defer release()
	var wait sync.WaitGroup
	defer wait.Wait()
	defer release()
	wait.Go(func() {
		_, err := s.Begin(ctx, newChallenge("ada", "stuck"))
		unavailable(t, "Begin in a store that was closed meanwhile", err)
	})
	<-reached

	impatient, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { _, err := s.Begin(impatient, newChallenge("ada", "waiting")); result <- err }()
	cancel()
	err := <-result
	unavailable(t, "Begin behind a transaction that hangs", err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not wrap the context's error", err)
	}
	if _, err := s.Account(t.Context(), "ada"); err != nil {
		t.Errorf("reading beside a writer: %v", err)
	}
	go func() { _, err := s.Begin(t.Context(), newChallenge("ada", "waiting")); result <- err }()
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	unavailable(t, "Begin behind a transaction that hangs, closed", <-result)
}

// Close waits for a running transaction, which succeeds.
func TestCloseWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	db := open(t, path, boltstore.Options{})
	ctx, reached, release := stuck(t, 2)
	written, closed := make(chan error), make(chan error)
	go func() {
		_, err := db.For(rpID).Begin(ctx, newChallenge("ada", "one"))
		written <- err
	}()
	<-reached
	go func() { closed <- db.Close() }()
	for err := error(nil); err == nil; { // until Close has begun
		_, err = db.For(rpID).Account(t.Context(), "ada")
	}
	select {
	case <-closed:
		t.Fatal("closed in the middle of a transaction")
	default:
	}
	release()
	if err := errors.Join(<-written, <-closed); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, boltstore.Options{}).For(rpID)
	if _, _, err := s.Consume(t.Context(), claimOf(newChallenge("ada", "one")), now); err != nil {
		t.Errorf("what was acknowledged while closing: %v", err)
	}
}

// Closing under load: every call either did what it said or is refused, and what was acknowledged stays.
func TestCloseUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stepgate.db")
	db := open(t, path, boltstore.Options{})
	var wait sync.WaitGroup
	done, enough := make([]int, 8), make(chan struct{}, 8*1000)
	for g := range done {
		wait.Go(func() {
			for ; done[g] < 1000; done[g]++ {
				user := fmt.Sprintf("%d %d", g, done[g])
				next, _ := passkey.User{Name: user}.Adding(newPasskey(user))
				if err := db.For(rpID).Register(t.Context(), next, newPasskey(user)); err != nil {
					unavailable(t, "Register", err)
					return
				}
				enough <- struct{}{}
			}
		})
	}
	for range 40 {
		<-enough
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	wait.Wait()
	s := open(t, path, boltstore.Options{}).For(rpID)
	for g, n := range done {
		for i := range n {
			if account, err := s.Account(t.Context(), fmt.Sprintf("%d %d", g, i)); err != nil || len(account.Passkeys) != 1 {
				t.Fatalf("acknowledged, and after opening again: %+v, %v", account, err)
			}
		}
	}
}
