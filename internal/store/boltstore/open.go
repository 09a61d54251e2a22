package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"
)

// ErrInUse says that another process has the file open.
var ErrInUse = errors.New("the store is in use")

// Options says how a file is opened. The zero value is right for production.
type Options struct {
	Timeout    time.Duration    // how long to wait for another process to let go of the file; default 1s
	SweepEvery time.Duration    // how often expired challenges are removed; default 1m
	Now        func() time.Time // clock of the sweeper, nothing else reads one; default [time.Now]
	Logger     *zap.Logger      // default: none
	NoSync     bool             // for measurements only: a crash of the machine may undo what was acknowledged
}

// DB is one open file. It may serve several relying parties, see [DB.For]. All methods are safe for concurrent use.
type DB struct {
	path   string
	bolt   *bolt.DB
	now    func() time.Time
	logger *zap.Logger

	writer  chan struct{} // holds a token while a writing transaction runs: unlike bbolt's mutex, waiting for it ends with the context
	damaged atomic.Bool   // bbolt panicked: see guard
	closing chan struct{} // closed by Close
	close   func() error  // once
	sweeper sync.WaitGroup
}

// Open opens the file at path, creating it (mode 0600) and its folder (mode 0700) where they are missing. It refuses,
// without changing anything, a path that is not a regular file, a file that others can read, a file that is open
// elsewhere, and a file that is not a Stepgate database of a schema it knows.
func Open(path string, opts Options) (*DB, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = time.Second
	}
	if opts.SweepEvery <= 0 {
		opts.SweepEvery = time.Minute
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	created, err := prepare(path)
	if err != nil {
		return nil, err
	}
	db := &DB{
		path:    path,
		now:     opts.Now,
		logger:  opts.Logger,
		writer:  make(chan struct{}, 1),
		closing: make(chan struct{}),
	}
	// Guarded: the file is mapped into memory, and of a truncated one bbolt would touch what is not there.
	err = db.guard(func() (err error) {
		db.bolt, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout:      opts.Timeout,
			NoSync:       opts.NoSync,
			NoStatistics: true,
			FreelistType: bolt.FreelistMapType,
			OpenFile:     openFile,
		})
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("opening %s: another process, usually another running Stepgate, has it open; "+
			"use `stepgate reload` to change that one's configuration, or stop it first: %w: %w", path, ErrInUse, err)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("opening %s: not a Stepgate database, left as it is; name another file, or restore this one: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if err := db.checkSchema(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), db.release())
	}
	if created && !opts.NoSync {
		if err := syncFolder(filepath.Dir(path)); err != nil {
			return nil, errors.Join(fmt.Errorf("opening %s: making the new file durable: %w", path, err), db.release())
		}
	}

	db.close = sync.OnceValue(func() error {
		close(db.closing)
		db.sweeper.Wait()
		return db.release()
	})
	db.sweeper.Go(func() { db.sweepEvery(opts.SweepEvery) })
	return db, nil
}

// Close waits for running transactions and the sweeper, and lets go of the file. Every later call of a [Store] returns
// an error that wraps [passkey.StoreUnavailable]. Closing again does nothing.
func (db *DB) Close() error { return db.close() }

// release closes the file. After damage bbolt's locks may have been left taken, and closing would wait for ever: then
// the file stays open until the process ends.
func (db *DB) release() error {
	if db.damaged.Load() {
		go func() { _ = db.guard(db.bolt.Close) }()
		return nil
	}
	if err := db.bolt.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", db.path, err)
	}
	return nil
}

// prepare checks what is at path before anything opens it (opening a pipe would block), and makes the folder.
func prepare(path string) (missing bool, err error) {
	if path == "" {
		return false, errors.New("opening the store: no file named")
	}
	info, err := os.Stat(path)
	if err == nil {
		return false, checkFile(path, info)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("opening the store: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return false, fmt.Errorf("opening %s: it is a symbolic link to a file that does not exist; "+
			"remove the link, or create its target's folder and file", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, fmt.Errorf("creating the store's folder: %w", err)
	}
	return true, nil
}

// openFile checks once more, on the open file: what the path names may have changed since prepare looked.
func openFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode) // #nosec G304 -- the configured file
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkFile(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func checkFile(path string, info os.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return fmt.Errorf("opening %s: it is a folder; name a file in it, for example %s", path, filepath.Join(path, "stepgate.db"))
	case !mode.IsRegular():
		return fmt.Errorf("opening %s: it is not a regular file", path)
	case mode.Perm()&0o077 != 0 && runtime.GOOS != "windows": // Windows has no such bits and Go makes them up
		return fmt.Errorf("opening %s: its mode %#o lets others on this machine use it; run `chmod 600 %s`", path, mode.Perm(), path)
	}
	return nil
}

// syncFolder makes the new file's name durable: without it a power cut could take the whole file, and with it the
// knowledge that users have passkeys, which is what keeps first use from happening twice (docs/rules.md, rule 10).
func syncFolder(path string) error {
	if runtime.GOOS == "windows" { // folders can't be synced there
		return nil
	}
	f, err := os.Open(path) // #nosec G304 -- the folder of the configured file
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
