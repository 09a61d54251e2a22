package metadata

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// How often a source is read.
const (
	look    = 5 * time.Second  // at a file's time and size
	reread  = time.Hour        // a file that did not change, and at the latest after a failure
	refetch = 24 * time.Hour   // a URL
	backoff = 30 * time.Second // after the first failure; doubled by each that follows, up to reread
	timeout = 2 * time.Minute  // of one fetch
	hops    = 5                // redirects that are followed
)

// File is a BLOB in a file. It is read when the file changes or what it is verified with, and every hour.
type File struct {
	path    string
	watched []string // it, and the root of who signs it
	seen    []stamp  // of these when it was read last
}

// stamp tells versions of a file apart without reading it.
type stamp struct {
	at   time.Time
	size int64
	file os.FileInfo
}

func (s stamp) same(other stamp) bool {
	return s.at.Equal(other.at) && s.size == other.size && (s.file == nil) == (other.file == nil) && (s.file == nil || os.SameFile(s.file, other.file))
}

func stampsOf(paths []string) []stamp {
	stamps := make([]stamp, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = stamp{info.ModTime(), info.Size(), info}
		}
	}
	return stamps
}

// NewFile returns the source of a BLOB in a file. root is the file with the root of who signs it, if that is one: a BLOB
// that was refused for its root is read again once that is mended.
func NewFile(path, root string) *File {
	f := &File{path: path, watched: []string{path}}
	if root != "" {
		f.watched = append(f.watched, root)
	}
	return f
}

// Name implements [Source].
func (f *File) Name() string { return f.path }

// Read implements [Source]. A file counts as of when it was written.
func (f *File) Read(_ context.Context, now time.Time) ([]byte, time.Time, error) {
	f.seen = stampsOf(f.watched) // before it is read: what is written meanwhile is read again
	return readFile(f.path, now)
}

// Await implements [Source].
func (f *File) Await(ctx context.Context, wait func(context.Context, time.Duration), _ *Snapshot, _ int, _ time.Time) {
	for waited := time.Duration(0); waited < reread && ctx.Err() == nil; waited += look {
		wait(ctx, look)
		if !slices.EqualFunc(f.seen, stampsOf(f.watched), stamp.same) {
			return
		}
	}
}

// readFile reads a regular file, of which it takes no more than a BLOB may have and one byte.
func readFile(path string, now time.Time) ([]byte, time.Time, error) {
	if info, err := os.Stat(path); err != nil { // before it is opened: opening a pipe waits for whoever writes
		return nil, time.Time{}, err
	} else if !info.Mode().IsRegular() {
		return nil, time.Time{}, fmt.Errorf("%s is no file", path)
	}
	file, err := os.Open(path) // #nosec G304 -- the configured file
	if err != nil {
		return nil, time.Time{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	blob, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, time.Time{}, err
	}
	if written := info.ModTime(); written.Before(now) {
		return blob, written, nil
	}
	return blob, now, nil
}

// URL is a BLOB at an address. It is fetched every day, and when the next is due.
type URL struct {
	address string
	client  *http.Client
}

// NewURL returns the source of a BLOB at an https address, which is fetched through transport.
func NewURL(address string, transport http.RoundTripper) *URL {
	return &URL{address, &http.Client{
		Transport: transport,
		Timeout:   timeout,
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if next.URL.Scheme != "https" {
				return errors.New("it redirects to an address that is not https")
			}
			if len(before) > hops {
				return errors.New("it redirects too often")
			}
			return nil
		},
	}}
}

// Name implements [Source].
func (u *URL) Name() string { return u.address }

// Read implements [Source].
func (u *URL) Read(ctx context.Context, now time.Time) ([]byte, time.Time, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.address, nil)
	if err != nil {
		return nil, time.Time{}, err
	}
	if request.URL.Scheme != "https" {
		return nil, time.Time{}, errors.New("its address is not https")
	}
	response, err := u.client.Do(request)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, time.Time{}, fmt.Errorf("it answers %d", response.StatusCode)
	}
	blob, err := io.ReadAll(io.LimitReader(response.Body, MaxSize+1))
	return blob, now, err
}

// Await implements [Source].
func (u *URL) Await(ctx context.Context, wait func(context.Context, time.Duration), held *Snapshot, failures int, now time.Time) {
	wait(ctx, pause(held, failures, now))
}

// pause returns how long to wait before a URL is fetched again. A part of it is random, so that gateways that were
// started together do not fetch together.
func pause(held *Snapshot, failures int, now time.Time) time.Duration {
	d := refetch
	switch {
	case failures > 0:
		d = min(backoff<<min(failures-1, 10), reread)
	case held != nil:
		d = refetch - min(max(now.Sub(held.AsOf), 0), refetch) // of a cache
		if due := held.NextUpdate.Sub(now); due > 0 {
			d = min(d, due)
		}
	}
	return d + rand.N(d/4+time.Second) // #nosec G404 -- spreads fetches; nothing is secret about it
}

// keep puts a BLOB into the cache, so that after a crash there is the old one or the new one.
func keep(path string, blob []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".metadata-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(blob)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// recall reads the cache.
func recall(path string, now time.Time) ([]byte, time.Time, error) { return readFile(path, now) }
