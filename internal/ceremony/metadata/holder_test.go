package metadata_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/metadatatest"
)

// What is in force changes by a newer BLOB alone: everything else leaves it as it was, and is counted by its reason.
func TestHolder(t *testing.T) {
	source := new(fixed)
	h, clock, results := holder(t, source)
	ctx := t.Context()
	if h.Current() != nil {
		t.Fatal("something before anything was loaded")
	}
	old := authority.Blob(metadatatest.Blob{Number: 9, NextUpdate: now.AddDate(0, -2, 0)})
	for _, step := range []struct {
		name   string
		blob   []byte
		err    error
		want   metadata.Result
		number int
	}{
		{"nothing there", nil, os.ErrNotExist, metadata.Unreachable, 0},
		{"an expired one", old, nil, metadata.Expired, 0},
		{"a first one", blob(7), nil, metadata.Loaded, 7},
		{"an older one", blob(6), nil, metadata.Older, 7},
		{"another of that number", blob(7, metadatatest.Status{Name: "FIDO_CERTIFIED"}), nil, metadata.Older, 7},
		{"a forged one", metadatatest.NewAuthority().Sign(metadatatest.Blob{Number: 8, NextUpdate: next}.Payload()), nil, metadata.Untrusted, 7},
		{"a truncated one", blob(8)[:40], nil, metadata.Malformed, 7},
		{"an expired one again", old, nil, metadata.Expired, 7},
		{"nothing there again", nil, os.ErrNotExist, metadata.Unreachable, 7},
		{"a newer one", blob(8, metadatatest.Status{Name: "REVOKED"}), nil, metadata.Loaded, 8},
	} {
		source.set(step.blob, step.err)
		err := h.Refresh(ctx)
		if (err == nil) != (step.want == metadata.Loaded) {
			t.Errorf("%s: %v", step.name, err)
		}
		if last := (*results)[len(*results)-1]; last != step.want {
			t.Errorf("%s: counted as %s, want %s", step.name, last, step.want)
		}
		if got := h.Current(); step.number != 0 && (got == nil || got.Number != step.number) || step.number == 0 && got != nil {
			t.Errorf("%s: in force is %+v", step.name, got)
		}
	}
	if h.Current().Accepts(model, now) {
		t.Error("a revoked model is accepted")
	}

	clock.Advance(time.Hour)
	if err := h.Refresh(ctx); err != nil || (*results)[len(*results)-1] != metadata.Unchanged {
		t.Errorf("the same again: %v", err)
	}
	if age := clock.Now().Sub(h.Current().AsOf); age != 0 {
		t.Errorf("it was just confirmed, and is %s old", age)
	}

	clock.Advance(next.Add(metadata.Grace).Sub(clock.Now()) - 1)
	if h.Current() == nil {
		t.Error("not in force although its time is not up")
	}
	clock.Advance(1)
	if h.Current() != nil || h.Last() == nil {
		t.Error("in force although its time is up")
	}
}

// A root that is another one now ends what the one before vouched for; one that can't be read leaves it.
func TestRootReplaced(t *testing.T) {
	source, now := new(fixed), signer
	source.set(blob(3), nil)
	var unreadable error
	h, _, results := holder(t, source, func(c *metadata.Config) {
		c.Signer = func() (metadata.Signer, error) { return now, unreadable }
	})
	if err := h.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	unreadable = os.ErrPermission
	if err := h.Refresh(t.Context()); !errors.Is(err, metadata.ErrUntrusted) || h.Current() == nil {
		t.Errorf("a root that can't be read: %v, %+v", err, h.Current())
	}
	unreadable = nil
	successor := metadatatest.NewAuthority()
	now = metadata.Signer{Root: successor.Root}
	if err := h.Refresh(t.Context()); !errors.Is(err, metadata.ErrUntrusted) || h.Current() != nil {
		t.Errorf("another root: %v, %+v", err, h.Current())
	}
	source.set(successor.Blob(metadatatest.Blob{Number: 1, NextUpdate: next}), nil)
	if err := h.Refresh(t.Context()); err != nil || h.Current().Number != 1 {
		t.Errorf("one of its own: %v", err)
	}
	if diff := cmp.Diff([]metadata.Result{metadata.Loaded, metadata.Untrusted, metadata.Untrusted, metadata.Loaded}, *results); diff != "" {
		t.Error(diff)
	}
}

// Whoever reads while it is swapped sees one or the other.
func TestSwap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob.jwt")
	write(t, path, blob(1))
	h, _, _ := holder(t, metadata.NewFile(path, ""))
	if err := h.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for last := 1; ; {
				s := h.Current()
				if s.Number < last || s.Accepts(model, now) != (s.Number%2 == 1) {
					t.Errorf("number %d behind %d, accepted %v", s.Number, last, s.Accepts(model, now))
					return
				}
				last = s.Number
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for number := 2; number < 40; number++ {
		var statuses []metadatatest.Status
		if number%2 == 0 {
			statuses = []metadatatest.Status{{Name: "REVOKED"}}
		}
		write(t, path, blob(number, statuses...))
		if err := h.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(done)
	readers.Wait()
}

// waits is a [metadata.Config].Wait that ends with a step.
func waits(steps <-chan struct{}) func(context.Context, time.Duration) {
	return func(ctx context.Context, _ time.Duration) {
		select {
		case <-steps:
		case <-ctx.Done():
		}
	}
}

// runs runs a holder that waits for steps: look has it look at its source, and end ends it and waits for that.
func runs(t *testing.T, h *metadata.Holder, steps chan<- struct{}) (look, end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	look = func() { // twice: when the second is taken, what the first found is done
		steps <- struct{}{}
		steps <- struct{}{}
	}
	return look, func() { cancel(); <-ended }
}

// A file is read again when it changed, and Run ends with its context.
func TestFileReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob.jwt")
	steps := make(chan struct{})
	h, _, _ := holder(t, metadata.NewFile(path, ""), func(c *metadata.Config) {
		c.Wait = waits(steps)
	})
	look, end := runs(t, h, steps)
	look()
	if h.Current() != nil {
		t.Fatal("something of a file that is not there")
	}
	for number := 1; number < 4; number++ {
		replaced := path + ".new"
		write(t, replaced, blob(number))
		if err := os.Rename(replaced, path); err != nil {
			t.Fatal(err)
		}
		look()
		if got := h.Current(); got == nil || got.Number != number {
			t.Fatalf("in force is %+v, want number %d", got, number)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look()
	if h.Current() == nil {
		t.Error("what was loaded is gone with the file")
	}
	end()
}

// A BLOB that was refused for its root is read again as soon as that is mended.
func TestRootMended(t *testing.T) {
	path, root := filepath.Join(t.TempDir(), "blob.jwt"), filepath.Join(t.TempDir(), "root.pem")
	write(t, path, blob(1))
	steps := make(chan struct{})
	h, _, results := holder(t, metadata.NewFile(path, root), func(c *metadata.Config) {
		c.Signer = func() (metadata.Signer, error) {
			_, err := os.Stat(root)
			return signer, err
		}
		c.Wait = waits(steps)
	})
	look, end := runs(t, h, steps)
	look()
	if h.Current() != nil {
		t.Fatal("in force without a root")
	}
	write(t, root, authority.PEM())
	look()
	if h.Current() == nil {
		t.Error("the root is there, and nobody noticed")
	}
	end()
	if diff := cmp.Diff([]metadata.Result{metadata.Untrusted, metadata.Loaded}, *results); diff != "" {
		t.Error(diff)
	}
}

// What is no file, or could be anything, is not read.
func TestNoFile(t *testing.T) {
	folder := t.TempDir()
	huge := filepath.Join(folder, "huge")
	write(t, huge, nil)
	if err := os.Truncate(huge, metadata.MaxSize+1000); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]metadata.Result{folder: metadata.Unreachable, "/dev/zero": metadata.Unreachable, huge: metadata.Malformed} {
		h, _, results := holder(t, metadata.NewFile(path, ""))
		if err := h.Refresh(t.Context()); err == nil || !slices.Equal(*results, []metadata.Result{want}) {
			t.Errorf("%s: %v, %v", path, err, *results)
		}
	}
}

func TestURL(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(blob(1)) }))
	defer plain.Close()
	var answer http.HandlerFunc
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(w, r) }))
	defer server.Close()
	served := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(blob(1)) }
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   metadata.Result
		says   string
	}{
		"a BLOB":   {served, metadata.Loaded, ""},
		"an error": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, string(blob(1)), http.StatusBadGateway) }, metadata.Unreachable, "502"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/there" {
				http.Redirect(w, r, "/there", http.StatusFound)
				return
			}
			served(w, r)
		}, metadata.Loaded, ""},
		"a redirect to http": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }, metadata.Unreachable, "not https"},
		"redirects for ever": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, metadata.Unreachable, "too often"},
		"a huge body": {func(w http.ResponseWriter, _ *http.Request) {
			for chunk := make([]byte, 1<<20); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, metadata.Malformed, "bytes"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(blob(1)[:100])
		}, metadata.Unreachable, "EOF"},
	} {
		answer = test.answer
		h, _, results := holder(t, metadata.NewURL(server.URL, server.Client().Transport))
		err := h.Refresh(t.Context())
		if !slices.Equal(*results, []metadata.Result{test.want}) || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, counted %v", name, err, *results)
		}
	}
	h, _, _ := holder(t, metadata.NewURL(plain.URL, nil))
	if err := h.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "not https") {
		t.Errorf("an address that is not https: %v", err)
	}
	server.Close()
	h, _, results := holder(t, metadata.NewURL(server.URL, server.Client().Transport))
	if err := h.Refresh(t.Context()); !errors.Is(err, metadata.ErrUnreachable) || !slices.Equal(*results, []metadata.Result{metadata.Unreachable}) {
		t.Errorf("nobody there: %v, counted %v", err, *results)
	}
}

// A source that is down at the start is tried again, less and less often.
func TestDownAtStart(t *testing.T) {
	source := new(fixed)
	source.set(nil, os.ErrDeadlineExceeded)
	var waits int
	ctx, cancel := context.WithCancel(t.Context())
	h, _, results := holder(t, source, func(c *metadata.Config) {
		c.Wait = func(context.Context, time.Duration) {
			if waits++; waits == 3 {
				source.set(blob(1), nil)
			} else if waits == 5 {
				cancel()
			}
		}
	})
	h.Run(ctx)
	want := []metadata.Result{metadata.Unreachable, metadata.Unreachable, metadata.Unreachable, metadata.Loaded, metadata.Unchanged}
	if diff := cmp.Diff(want, *results); diff != "" {
		t.Error(diff)
	}
}

func TestPause(t *testing.T) {
	fresh, err := metadata.Read(blob(1), signer, now)
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		held     *metadata.Snapshot
		failures int
		at       time.Time
		want     time.Duration
	}{
		"after a success":           {fresh, 0, now, day},
		"of a cache of an hour ago": {fresh, 0, now.Add(time.Hour), day - time.Hour},
		"of an old cache":           {fresh, 0, now.Add(3 * day), 0},
		"a failure":                 {fresh, 1, now, 30 * time.Second},
		"a second":                  {nil, 2, now, time.Minute},
		"a hundredth":               {nil, 100, now, time.Hour},
		"the next is nearly due":    {fresh.Confirmed(next.Add(-time.Minute)), 0, next.Add(-time.Minute), time.Minute},
	} {
		for range 50 {
			if got := metadata.Pause(test.held, test.failures, test.at); got < test.want || got > test.want+test.want/4+time.Second {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}

// A start without the source has what the last process had, once it was verified again.
func TestCache(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "made", "metadata.jwt")
	source := new(fixed)
	source.set(blob(5), nil)
	cached := func(c *metadata.Config) { c.Cache = cache }
	h, _, _ := holder(t, source, cached)
	if err := h.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(cache); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}

	run := func(changes ...func(*metadata.Config)) (*metadata.Holder, []metadata.Result, int) {
		core, lines := observer.New(zap.WarnLevel)
		ctx, cancel := context.WithCancel(t.Context())
		down := new(fixed)
		down.set(nil, os.ErrDeadlineExceeded)
		waits := 0
		h, _, results := holder(t, down, append(changes, cached, func(c *metadata.Config) {
			c.Logger = zap.New(core)
			c.Wait = func(context.Context, time.Duration) {
				if waits++; waits == 2 {
					cancel()
				}
			}
		})...)
		h.Run(ctx)
		return h, *results, lines.Len()
	}
	if h, results, _ := run(); h.Current() == nil || h.Current().Number != 5 || !slices.Equal(results, []metadata.Result{metadata.Unreachable}) {
		t.Errorf("after a restart: %+v, %v", h.Current(), results)
	}
	if h, _, _ := run(func(c *metadata.Config) {
		c.Signer = func() (metadata.Signer, error) { return metadata.Signer{Root: metadatatest.NewAuthority().Root}, nil }
	}); h.Current() != nil {
		t.Error("taken, although the root is another now")
	}
	write(t, cache, blob(5)[:100])
	if h, _, warned := run(); h.Current() != nil || warned == 0 {
		t.Errorf("a damaged cache: %+v, %d lines", h.Current(), warned)
	}
	write(t, cache, authority.Blob(metadatatest.Blob{Number: 1, NextUpdate: now.AddDate(-1, 0, 0)}))
	if h, _, _ := run(); h.Current() != nil {
		t.Error("an expired cache is in force")
	}
}
