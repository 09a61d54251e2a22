package caddymodule

import (
	"context"

	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/clock"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
)

// Store is what modules in the namespace `stepgate.stores` implement. Provisioning must do no I/O: it also runs for
// `stepgate validate`.
type Store interface {
	// Open opens the store for one relying party. It is called once for each loaded configuration, when the app starts,
	// and must hand out the same underlying resource while an older configuration still uses it. An error fails the
	// load; a store that is merely unreachable opens, and its methods fail.
	Open(rpID string, logger *zap.Logger) (*OpenStore, error)

	// Shared tells whether several gateways can use the store at once. Then they must be given the same grant_keys: each has
	// to open the others' grants.
	Shared() bool
}

// OpenStore is an opened store and what lives as long as it does, across reloads.
type OpenStore struct {
	Store   ceremony.Store
	Limiter *gate.Limiter

	// Clock never goes back, so what a gateway holds in memory gets no younger by it, and where the store is its own, nothing
	// does. Nil is the machine's.
	Clock *clock.Steady

	// Keys returns keys kept beside the store, made when there are none. Nil for a store that is shared.
	Keys func() (*grant.Keys, error)

	// Ready tells, for health checks, whether the store can be read now: nil if it can. It must end soon after its context
	// does, and be cheap: it is called about once a second. An error that wraps [ErrTablesWrong] says that waiting won't
	// mend it. Its text goes to the log alone. May fail, but not panic, after Release. Nil for a store that does not say.
	Ready func(ctx context.Context) error

	// Release gives back what Open acquired. Called exactly once. Requests may still be running: from then on, the
	// store's methods may fail, but must not panic.
	Release func() error
}
