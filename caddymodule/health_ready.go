package caddymodule

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/stepgate/stepgate/internal/passkey"
)

// unready says why a gateway is not ready. The list is closed: clients get nothing else of an error.
type unready string

const (
	storeUnavailable unready = "store_unavailable"
	tablesWrong      unready = "tables_wrong"
	keysMissing      unready = "grant_keys_missing"
	notOpen          unready = "not_open"
	shuttingDown     unready = "shutting_down"
)

// ErrTablesWrong is wrapped by what [OpenStore].Ready returns when the store's tables can't be used as they are, and
// waiting won't change it.
var ErrTablesWrong = errors.New("the store's tables can't be used as they are")

var (
	errNotOpen     = errors.New("the store is not open")
	errKeysMissing = errors.New("reading the keys for grants")
)

// marked is an error that wraps another one too, in the words of the first alone.
type marked struct {
	error
	as error
}

func (m marked) Unwrap() []error { return []error{m.error, m.as} }

// How often and for how long the store is asked. Together they make three seconds at the most from the moment that the
// store fails to the moment that whoever asks is told.
const (
	readyAge  = time.Second
	readyTime = 1500 * time.Millisecond
)

// readiness remembers for a moment whether the gateway is ready, so that probes cost little: nobody can use them to make the
// gateway flood its store.
type readiness struct {
	check  func(context.Context) error // bounded by its context, mostly
	now    func() time.Time
	logger *zap.Logger

	flights singleflight.Group
	mu      sync.Mutex
	asked   time.Time // when what is known was asked for
	known   []unready // nil: ready
	failing bool      // as it was logged
}

// ask returns why the gateway is not ready; nil if it is. It answers within readyTime, whatever the check does.
func (r *readiness) ask(ctx context.Context) []unready {
	if known, young := r.recent(); young {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	flight := r.flights.DoChan("", func() (any, error) {
		if known, young := r.recent(); young {
			return known, nil // the flight before this one has just ended
		}
		// One probe going away must not spoil it for the others.
		bounded, cancel := context.WithTimeout(context.Background(), readyTime)
		defer cancel()
		asked := r.now()
		return r.learn(asked, r.check(bounded)), nil
	})
	select {
	case result := <-flight:
		return result.Val.([]unready)
	case <-ctx.Done():
		return []unready{storeUnavailable}
	}
}

func (r *readiness) recent() (known []unready, young bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	age := r.now().Sub(r.asked)
	return r.known, age >= 0 && age < readyAge
}

// learn keeps the outcome of a check, and logs a change once, with what clients are not told.
func (r *readiness) learn(asked time.Time, err error) []unready {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.known = asked, reasonsOf(err)
	switch {
	case err != nil && !r.failing:
		r.logger.Warn("not ready: health checks are told so", zap.Error(err), zap.Any("reasons", r.known))
	case err == nil && r.failing:
		r.logger.Info("ready again")
	}
	r.failing = err != nil
	return r.known
}

// reasonsOf finds the reasons in an error. What is none of ours is the store's.
func reasonsOf(err error) (reasons []unready) {
	if err == nil {
		return nil
	}
	for _, known := range []struct {
		err    error
		reason unready
	}{{errNotOpen, notOpen}, {errKeysMissing, keysMissing}, {ErrTablesWrong, tablesWrong}, {passkey.StoreUnavailable, storeUnavailable}} {
		if errors.Is(err, known.err) {
			reasons = append(reasons, known.reason)
		}
	}
	if len(reasons) == 0 {
		return []unready{storeUnavailable}
	}
	return reasons
}

// isReady finds out whether protected requests can be served: the store is open, the keys are there, and the store says
// that it is well.
func (a *App) isReady(ctx context.Context) error {
	if _, err := a.backend(); err != nil {
		return marked{err, errNotOpen}
	}
	a.mu.Lock()
	ready := a.storeReady
	a.mu.Unlock()
	if ready == nil {
		return nil // this store does not say
	}
	return ready(ctx)
}
