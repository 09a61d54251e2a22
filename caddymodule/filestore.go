package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/clock"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/policy"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

func init() {
	caddy.RegisterModule(new(FileStore))
}

// FileStore keeps passkeys and challenges in one file, for a single gateway. The file is created with mode 0600 and must
// not be readable by others; while the gateway runs, no other process can open it. Its folder must not be treated as a
// cache: who loses the file loses the passkeys.
//
// When no grant_keys are configured, one key is made and kept beside it, in a file of the same name that ends in .keys.
type FileStore struct {
	// The file. Relative paths start at the working directory. Global placeholders such as {env.*} are accepted.
	// Default: stepgate/stepgate.db in Caddy's data directory.
	Path string `json:"path,omitempty"`

	path string // absolute and clean: the key under which the file is shared across reloads
}

// CaddyModule returns the Caddy module information.
func (FileStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stepgate.stores.file", New: func() caddy.Module { return new(FileStore) }}
}

// Provision finds the file's path. It does not touch the file.
func (s *FileStore) Provision(caddy.Context) error {
	path := s.Path
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "stepgate", "stepgate.db")
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(path, true, true)
	if err != nil {
		return fmt.Errorf("store file: path: %w", err)
	}
	if s.path, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("store file: finding absolute path: %w", err)
	}
	if s.path == keysPath(s.path) {
		return fmt.Errorf("store file: %s: the ending .keys is that of the file with the grant keys, beside it; choose another", s.path)
	}
	return nil
}

// Shared implements [Store]: one process at a time has the file.
func (*FileStore) Shared() bool { return false }

// openFiles holds the files that this process has open. A reload provisions the new configuration while the old one
// still serves, and a file can be opened but once, so it is shared by its path and closed when nobody uses it.
var openFiles = caddy.NewUsagePool()

// openFile is an opened file and what must survive a reload with it.
type openFile struct {
	db      *boltstore.DB
	limiter *gate.Limiter
	clock   *clock.Steady
}

// Destruct closes the file once the last configuration that used it is gone.
func (f *openFile) Destruct() error { return f.db.Close() }

// Open implements [Store].
func (s *FileStore) Open(rpID string, logger *zap.Logger) (*OpenStore, error) {
	value, _, err := openFiles.LoadOrNew(s.path, func() (caddy.Destructor, error) {
		logger := liveLogger(s.CaddyModule())
		steady := clock.New(policy.MaxSkew, func(behind time.Duration) {
			logger.Warn("the machine's clock was set back: this gateway goes on from where it was. Once the clock is right, restart the gateway", zap.Duration("behind", behind))
		})
		db, err := boltstore.Open(s.path, boltstore.Options{Logger: logger, Now: steady.Now})
		if err != nil {
			return nil, err
		}
		return &openFile{db: db, limiter: gate.NewLimiter(), clock: steady}, nil
	})
	if err != nil {
		return nil, err
	}
	file := value.(*openFile)
	return &OpenStore{
		Store:   file.db.For(rpID),
		Limiter: file.limiter,
		Clock:   file.clock,
		Keys:    func() (*grant.Keys, error) { return keysBeside(s.path, logger) },
		Ready:   func(ctx context.Context) error { return answers(ctx, file.db.For(rpID)) },
		Release: func() error {
			_, err := openFiles.Delete(s.path)
			return err
		},
	}, nil
}

func keysPath(storePath string) string {
	return strings.TrimSuffix(storePath, filepath.Ext(storePath)) + ".keys"
}

// keysBeside returns the keys kept beside a store file, and makes one where there are none. Only the holder of the file's
// lock comes here, so nobody else makes one at the same time.
func keysBeside(storePath string, logger *zap.Logger) (*grant.Keys, error) {
	path := keysPath(storePath)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKeys(path); err != nil {
			return nil, fmt.Errorf("making grant keys: %w", err)
		}
		logger.Info("made a key for grants", zap.String("file", path))
		info, err = os.Stat(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading grant keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("reading grant keys: %s can be read by others: run `chmod 600 %s`", path, path)
	}
	text, err := os.ReadFile(path) // #nosec G304 -- beside the configured file
	if err != nil {
		return nil, fmt.Errorf("reading grant keys: %w", err)
	}
	keys, err := grant.ParseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("reading grant keys in %s: %w", path, err)
	}
	return keys, nil
}

// makeKeys writes a new key so that after a crash there is either none or a whole one.
func makeKeys(path string) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(grant.NewKey() + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store file [<path>]
func (s *FileStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		if s.Path = d.Val(); s.Path == "" {
			return d.ArgErr() // perhaps of an environment variable that is not set: the default would surprise
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("store file has no option %q", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ Store                 = (*FileStore)(nil)
	_ caddy.Provisioner     = (*FileStore)(nil)
	_ caddyfile.Unmarshaler = (*FileStore)(nil)
)
