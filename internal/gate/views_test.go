package gate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/stepgate/stepgate/internal/clocktest"
	"github.com/stepgate/stepgate/internal/passkey"
)

// fakeAccounts is the store as Views sees it: the epoch counts the changes.
type fakeAccounts struct {
	epoch atomic.Uint32
	reads atomic.Int32
	hold  chan struct{} // reads wait here after they have read, if it is set
	held  chan struct{} // told when one waits
}

func (f *fakeAccounts) read(ctx context.Context, user string) (passkey.Account, error) {
	f.reads.Add(1)
	account := passkey.Account{User: passkey.User{Name: user, Epoch: passkey.Epoch{byte(f.epoch.Load())}}}
	if f.hold != nil {
		f.held <- struct{}{}
		select {
		case <-f.hold:
		case <-ctx.Done():
			return passkey.Account{}, ctx.Err()
		}
	}
	return account, nil
}

func newClock() *clocktest.Clock { return clocktest.New(time.Unix(1_800_000_000, 0)) }

// get is what a judgement does: it takes the view that is held, or asks for one.
func (v *Views) get(ctx context.Context, user string) (known *view, cached bool, err error) {
	if known := v.held(user); known != nil {
		return known, true, nil
	}
	known, err = v.read(ctx, user)
	return known, false, err
}

func epochOf(t *testing.T, v *Views) byte {
	t.Helper()
	got, _, err := v.get(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	return got.epoch[0]
}

func TestViewsAge(t *testing.T) {
	accounts, clock := &fakeAccounts{}, newClock()
	v := NewViews(accounts.read, 5*time.Second, time.Minute, clock.Now)
	epochOf(t, v)
	accounts.epoch.Store(1)
	clock.Advance(5*time.Second - 1)
	if epochOf(t, v) != 0 || accounts.reads.Load() != 1 {
		t.Errorf("within the lag: %d reads", accounts.reads.Load())
	}
	clock.Advance(1)
	if epochOf(t, v) != 1 || accounts.reads.Load() != 2 {
		t.Errorf("at the lag: %d reads", accounts.reads.Load())
	}
	clock.Advance(-time.Hour) // a clock that jumps back makes the view's age negative: read again
	if epochOf(t, v); accounts.reads.Load() != 3 {
		t.Errorf("after a jump back: %d reads", accounts.reads.Load())
	}
	v.Forget("alice")
	if epochOf(t, v); accounts.reads.Load() != 4 {
		t.Errorf("after forgetting: %d reads", accounts.reads.Load())
	}
}

// What is too old to be of use goes when others come; what may be used stays.
func TestViewsForgetWhatIsTooOld(t *testing.T) {
	for _, lag := range []time.Duration{0, 5 * time.Second} {
		accounts, clock := &fakeAccounts{}, newClock()
		v := NewViews(accounts.read, lag, time.Minute, clock.Now)
		const users, pace = 5000, 10 * time.Millisecond
		for i := range users {
			if _, _, err := v.get(t.Context(), fmt.Sprint("user ", i)); err != nil {
				t.Fatal(err)
			}
			clock.Advance(pace)
			if back := i - int(lag/pace) + 2; lag > 0 && back >= 0 && v.held(fmt.Sprint("user ", back)) == nil {
				t.Fatalf("lag %v: user %d, who came within it, is forgotten when %d has come", lag, back, i)
			}
		}
		if most := int(lag/pace) + 2; v.cache.Len() > most {
			t.Errorf("lag %v: %d of %d users are held, want %d at the most", lag, v.cache.Len(), users, most)
		}
	}
}

// Many requests at once share one read.
func TestViewsShareOneRead(t *testing.T) {
	accounts, clock := &fakeAccounts{hold: make(chan struct{}), held: make(chan struct{}, 100)}, newClock()
	v := NewViews(accounts.read, 5*time.Second, time.Minute, clock.Now)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, _, err := v.get(t.Context(), "alice"); err != nil {
				t.Error(err)
			}
		})
	}
	<-accounts.held
	close(accounts.hold)
	group.Wait()
	// Whoever came after the read was done found it in the cache; nobody read a second time.
	if n := accounts.reads.Load(); n != 1 {
		t.Errorf("%d reads", n)
	}
}

// A read that began before a change of this gateway's own must not be kept after it.
func TestViewsForgetDuringRead(t *testing.T) {
	accounts, clock := &fakeAccounts{hold: make(chan struct{}), held: make(chan struct{}, 10)}, newClock()
	v := NewViews(accounts.read, 5*time.Second, time.Minute, clock.Now)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _, _ = v.get(context.WithoutCancel(t.Context()), "alice")
	}()
	<-accounts.held // it has read epoch 0
	accounts.epoch.Store(1)
	v.Forget("alice")
	close(accounts.hold)
	<-done
	accounts.hold = nil
	if epochOf(t, v) != 1 {
		t.Error("the view from before the change was kept")
	}
}

func TestViewsFailures(t *testing.T) {
	broken := errors.New("broken")
	clock := newClock()
	fail := atomic.Bool{}
	v := NewViews(func(context.Context, string) (passkey.Account, error) {
		if fail.Load() {
			return passkey.Account{}, broken
		}
		return passkey.Account{}, nil
	}, time.Second, time.Minute, clock.Now)
	if _, _, err := v.get(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	fail.Store(true)
	clock.Advance(time.Second)
	if _, _, err := v.get(t.Context(), "alice"); !errors.Is(err, broken) {
		t.Errorf("a failed refresh: %v", err)
	}
	fail.Store(false)
	if _, _, err := v.get(t.Context(), "alice"); err != nil {
		t.Errorf("once the fault is gone: %v", err)
	}
}

// One caller that goes away fails alone.
func TestViewsCallerGone(t *testing.T) {
	accounts, clock := &fakeAccounts{hold: make(chan struct{}), held: make(chan struct{}, 10)}, newClock()
	v := NewViews(accounts.read, 5*time.Second, time.Minute, clock.Now)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { _, _, err := v.get(ctx, "alice"); first <- err }()
	<-accounts.held
	second := make(chan error)
	go func() { _, _, err := v.get(context.WithoutCancel(t.Context()), "alice"); second <- err }()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left: %v", err)
	}
	close(accounts.hold)
	if err := <-second; err != nil {
		t.Errorf("the one who stayed: %v", err)
	}
}

func TestViewsTimeLimit(t *testing.T) {
	accounts, clock := &fakeAccounts{hold: make(chan struct{}), held: make(chan struct{}, 10)}, newClock()
	v := NewViews(accounts.read, 5*time.Second, time.Nanosecond, clock.Now)
	if _, _, err := v.get(t.Context(), "alice"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a store that hangs: %v", err)
	}
}

// A store slower than the lag still gets one read for all who wait, not one each.
func TestViewsShareSlowReads(t *testing.T) {
	accounts, clock := &fakeAccounts{hold: make(chan struct{}), held: make(chan struct{}, 1000)}, newClock()
	v := NewViews(accounts.read, time.Second, time.Minute, clock.Now)
	var group sync.WaitGroup
	started := make(chan struct{}, 100)
	for range 100 {
		group.Go(func() {
			started <- struct{}{}
			if _, _, err := v.get(t.Context(), "alice"); err != nil {
				t.Error(err)
			}
		})
	}
	for range 100 {
		<-started
	}
	<-accounts.held
	clock.Advance(2 * time.Second) // the first read is older than the lag when it ends
	close(accounts.hold)
	group.Wait()
	// One read for those who were there when it began, and at most one more for those who came while it was under way.
	if n := accounts.reads.Load(); n > 2 {
		t.Errorf("%d reads for 100 requests", n)
	}
}

// Who comes while an old read is under way does not get what it read before they asked.
func TestViewsJoinNoOldRead(t *testing.T) {
	accounts, clock := &fakeAccounts{hold: make(chan struct{}), held: make(chan struct{}, 10)}, newClock()
	v := NewViews(accounts.read, time.Second, time.Minute, clock.Now)
	first := make(chan byte)
	go func() {
		known, _, err := v.get(context.WithoutCancel(t.Context()), "alice")
		if err != nil {
			t.Error(err)
		}
		first <- known.epoch[0]
	}()
	<-accounts.held // it has read epoch 0
	clock.Advance(2 * time.Second)
	accounts.epoch.Store(1)
	second := make(chan byte)
	joined := make(chan struct{})
	go func() {
		close(joined)
		known, _, err := v.get(context.WithoutCancel(t.Context()), "alice")
		if err != nil {
			t.Error(err)
		}
		second <- known.epoch[0]
	}()
	<-joined
	accounts.hold <- struct{}{} // ends the first read
	if epoch := <-first; epoch != 0 {
		t.Errorf("the first caller got epoch %d", epoch)
	}
	close(accounts.hold)
	if epoch := <-second; epoch != 1 {
		t.Errorf("the second caller got epoch %d, read before they asked", epoch)
	}
}

// Each view is counted once, for where it came from.
func TestViewsCount(t *testing.T) {
	accounts, clock := &fakeAccounts{}, newClock()
	failing := errors.New("made up")
	var fail atomic.Bool
	v := NewViews(func(ctx context.Context, user string) (passkey.Account, error) {
		if fail.Load() {
			return passkey.Account{}, failing
		}
		return accounts.read(ctx, user)
	}, 5*time.Second, time.Minute, clock.Now)
	var mu sync.Mutex
	counts := map[Source]int{}
	v.Count = func(source Source) {
		mu.Lock()
		defer mu.Unlock()
		counts[source]++
	}
	wants := func(cached, read, shared, unreadable int) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		want := map[Source]int{Cached: cached, Read: read, Shared: shared, Unreadable: unreadable}
		for source, n := range want {
			if counts[source] != n {
				t.Errorf("%s: %d, want %d", source, counts[source], n)
			}
		}
		counts = map[Source]int{}
	}
	epochOf(t, v)
	wants(0, 1, 0, 0)
	epochOf(t, v)
	wants(1, 0, 0, 0)
	fail.Store(true)
	v.Forget("alice")
	if _, _, err := v.get(t.Context(), "alice"); !errors.Is(err, failing) {
		t.Error(err)
	}
	wants(0, 0, 0, 1)
	fail.Store(false)

	accounts.hold, accounts.held = make(chan struct{}), make(chan struct{}, 1)
	var both sync.WaitGroup
	both.Go(func() { _, _, _ = v.get(context.WithoutCancel(t.Context()), "alice") })
	<-accounts.held
	both.Go(func() { _, _, _ = v.get(context.WithoutCancel(t.Context()), "alice") })
	// Where the second comes too late for the flight, it finds the view: counted together below.
	close(accounts.hold)
	both.Wait()
	mu.Lock()
	counts[Shared] += counts[Cached]
	counts[Cached] = 0
	mu.Unlock()
	wants(0, 1, 1, 0)
}

// Of what the user's name was cut from, such as the password behind basic auth, a view keeps nothing.
func TestViewsHoldTheNameOnly(t *testing.T) {
	accounts := &fakeAccounts{}
	v := NewViews(accounts.read, time.Minute, time.Minute, newClock().Now)
	const name = "ada@example.com"
	var header weak.Pointer[byte]
	func() {
		text := []byte(name + ":password, and enough behind it to be allocated alone")
		header = weak.Make(&text[0])
		if _, err := v.read(t.Context(), unsafe.String(&text[0], len(name))); err != nil { // as strings.Cut shares its argument
			t.Fatal(err)
		}
	}()
	runtime.GC()
	if header.Value() != nil {
		t.Error("the whole of it is still there")
	}
	if v.held(name) == nil {
		t.Error("nothing is held")
	}
}
