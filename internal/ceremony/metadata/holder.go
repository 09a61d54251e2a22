package metadata

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Result is how an attempt to load a BLOB ended. The list is closed.
type Result string

// The results.
const (
	Loaded      Result = "loaded"      // a BLOB came into force
	Unchanged   Result = "unchanged"   // the source has the BLOB that is in force
	Unreachable Result = "unreachable" // the source has none, or can't be reached
	Malformed   Result = "malformed"   // what it has is no BLOB
	Untrusted   Result = "untrusted"   // it is not signed by who it has to be
	Older       Result = "older"       // its number is not higher than that of the one in force
	Expired     Result = "expired"     // it is older than [Grace] allows
)

// Results lists all results.
func Results() []Result {
	return []Result{Loaded, Unchanged, Unreachable, Malformed, Untrusted, Older, Expired}
}

func resultOf(err error) Result {
	switch {
	case errors.Is(err, ErrMalformed):
		return Malformed
	case errors.Is(err, ErrUntrusted):
		return Untrusted
	case errors.Is(err, ErrOlder):
		return Older
	case errors.Is(err, ErrExpired):
		return Expired
	}
	return Unreachable
}

// Config is what a [Holder] needs.
type Config struct {
	// Source is where the BLOB comes from. Required.
	Source Source

	// Signer returns whose signature a BLOB needs. Required. It is asked for every BLOB: what was loaded ends when it is
	// another signer.
	Signer func() (Signer, error)

	// Cache is a file in which the last good BLOB is kept for a start without the source; "" keeps none. What is read from
	// it is verified like everything else.
	Cache string

	// Count is told how each attempt ended; it may be nil.
	Count func(Result)

	// Logger takes a line for each attempt that changed something or failed; it may be nil.
	Logger *zap.Logger

	// Now reads the clock; nil means time.Now. Wait returns once the time has passed, or the context is done; nil waits
	// on the clock of the system.
	Now  func() time.Time
	Wait func(ctx context.Context, d time.Duration)
}

// Source is where a BLOB comes from: a [File] or a [URL].
type Source interface {
	// Read returns the BLOB, and since when the source is known to have it: now, for one that was fetched. It is called
	// by one goroutine, again and again, and returns at most [MaxSize] bytes and one.
	Read(ctx context.Context, now time.Time) (blob []byte, asOf time.Time, err error)

	// Await returns when the BLOB should be read again, or the context is done. held is what is in force, perhaps nil, and
	// failures is how many attempts failed since the last that did not.
	Await(ctx context.Context, wait func(context.Context, time.Duration), held *Snapshot, failures int, now time.Time)

	// Name says in a log line where it is.
	Name() string
}

// Holder keeps the BLOB in force. Safe for concurrent use.
type Holder struct {
	config Config
	held   atomic.Pointer[Snapshot]
}

// NewHolder returns a holder that holds nothing. It does no I/O.
func NewHolder(config Config) *Holder {
	if config.Count == nil {
		config.Count = func(Result) {}
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Wait == nil {
		config.Wait = wait
	}
	return &Holder{config: config}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Current returns what is in force, or nil. It takes no lock.
func (h *Holder) Current() *Snapshot {
	if s := h.held.Load(); s.InForce(h.config.Now()) {
		return s
	}
	return nil
}

// Last returns what was loaded last, also when it is not in force any more; nil when nothing ever was.
func (h *Holder) Last() *Snapshot { return h.held.Load() }

// Run loads the BLOB, and keeps it up to date until the context is done. To be called once.
func (h *Holder) Run(ctx context.Context) {
	failures := 0
	if h.config.Cache != "" && h.recall() && !h.held.Load().Overdue(h.config.Now()) {
		h.config.Source.Await(ctx, h.config.Wait, h.held.Load(), 0, h.config.Now())
	}
	for ctx.Err() == nil {
		if h.Refresh(ctx) == nil {
			failures = 0
		} else {
			failures++
		}
		h.config.Source.Await(ctx, h.config.Wait, h.held.Load(), failures, h.config.Now())
	}
}

// Refresh reads the source once. An error says why what was in force before stays so.
func (h *Holder) Refresh(ctx context.Context) error {
	now := h.config.Now()
	blob, asOf, err := h.config.Source.Read(ctx, now)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	} else {
		err = h.take(blob, asOf, now)
	}
	if err != nil {
		if ctx.Err() == nil {
			h.failed(err, now)
		}
		return err
	}
	return nil
}

// take puts a BLOB in force, unless it is the one that is.
func (h *Holder) take(blob []byte, asOf, now time.Time) error {
	signer, err := h.config.Signer()
	if err != nil {
		return fmt.Errorf("who has to sign it is not known: %w: %w", err, ErrUntrusted)
	}
	held := h.held.Load()
	if held != nil && !held.root.Equal(signer.Root) { // nobody vouches for it any more
		h.held.Store(nil)
		held = nil
	}
	if held != nil && held.Digest == sha256.Sum256(blob) {
		h.held.Store(held.seen(asOf))
		h.config.Count(Unchanged)
		h.complain(held, now)
		return nil
	}
	s, err := Read(blob, signer, now)
	if err != nil {
		return err
	}
	if held != nil && s.Number <= held.Number {
		return fmt.Errorf("its number is %d, that of the one in force %d: %w", s.Number, held.Number, ErrOlder)
	}
	s.AsOf = asOf
	h.held.Store(s)
	h.config.Count(Loaded)
	h.config.Logger.Info("authenticator metadata loaded", append(about(s), zap.String("from", h.config.Source.Name()))...)
	if s.Unread > 0 {
		h.config.Logger.Warn("entries of the authenticator metadata can't be read, or not whole: passkeys of those models may not reach level attested", zap.Int("entries", s.Unread))
	}
	h.complain(s, now)
	if h.config.Cache != "" {
		if err := keep(h.config.Cache, blob); err != nil {
			h.config.Logger.Warn("the authenticator metadata can't be kept for the next start: check the folder", zap.String("file", h.config.Cache), zap.Error(err))
		}
	}
	return nil
}

// recall loads what the last process kept, and reports whether there was something good.
func (h *Holder) recall() bool {
	now := h.config.Now()
	blob, asOf, err := recall(h.config.Cache, now)
	if err != nil {
		return false // a first start
	}
	signer, err := h.config.Signer()
	if err != nil {
		return false // to be told when the source is read
	}
	s, err := Read(blob, signer, now)
	if err != nil {
		h.config.Logger.Warn("the authenticator metadata kept from before is of no use", zap.String("file", h.config.Cache), zap.Error(err))
		return false
	}
	s.AsOf = asOf
	h.held.Store(s)
	h.config.Logger.Info("authenticator metadata of before loaded", append(about(s), zap.String("from", h.config.Cache))...)
	return true
}

func about(s *Snapshot) []zap.Field {
	return []zap.Field{zap.Int("number", s.Number), zap.Int("models", s.Models()), zap.String("next_update", s.NextUpdate.Format(time.DateOnly))}
}

func (h *Holder) complain(s *Snapshot, now time.Time) {
	if s.Overdue(now) {
		h.config.Logger.Warn("the authenticator metadata is overdue: see that a newer BLOB gets here, or level attested becomes unreachable",
			zap.String("from", h.config.Source.Name()), zap.String("next_update", s.NextUpdate.Format(time.DateOnly)), zap.String("ends", s.NextUpdate.Add(Grace).Format(time.DateOnly)))
	}
}

// failed tells that a BLOB could not be loaded, and what follows.
func (h *Holder) failed(err error, now time.Time) {
	h.config.Count(resultOf(err))
	fields := []zap.Field{zap.String("from", h.config.Source.Name()), zap.String("result", string(resultOf(err))), zap.Error(err)}
	if held := h.held.Load(); held.InForce(now) {
		h.config.Logger.Warn("authenticator metadata not loaded: what was loaded before stays in force until it ends",
			append(fields, zap.String("ends", held.NextUpdate.Add(Grace).Format(time.DateOnly)))...)
		return
	}
	h.config.Logger.Error("authenticator metadata not loaded, and there is none: no passkey reaches level attested until there is", fields...)
}
