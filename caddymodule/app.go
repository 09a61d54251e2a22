package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authenticators"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/clock"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is one WebAuthn relying party with its passkeys, challenges and grant keys, shared by every site that has a
// `stepgate` block. It does nothing by itself: the handler `http.handlers.stepgate` judges requests with it.
//
// In a Caddyfile it is the global option `stepgate`:
//
//	{
//		stepgate {
//			rp_id          <domain>
//			rp_name        <name>
//			origins        <origin...>
//			related_origins <origin...>
//			store          file [<path>] | dynamodb { … }
//			grant_keys     <placeholder...>
//			challenge_ttl  <duration>
//			registration   first_use|invite {
//				sign_in_time <placeholder> within <duration>
//			}
//			max_passkeys   <number>
//			keep_last
//			recovery_codes on|off
//			recovery_level verified|device_bound|attested
//			attestation    { … }
//			counter        reject|warn
//			audit          require
//			revocation_lag <duration>
//		}
//	}
type App struct {
	// The relying party's id: a domain, without scheme or port; `localhost` for development. Passkeys belong to it for
	// good: when it changes, everybody registers anew. Required.
	RPID string `json:"rp_id,omitempty"`

	// The relying party's name, shown by browsers and on the pages. Default: the RP ID.
	RPName string `json:"rp_name,omitempty"`

	// The origins that protected sites are reached at, as browsers send them: scheme, host, and the port unless it is
	// the scheme's own; lower case. Each must be https and lie within the RP ID; `http://localhost:<port>` is accepted
	// for development. Default: `https://` and the RP ID.
	Origins []string `json:"origins,omitempty"`

	// Origins outside the RP ID that may use its passkeys all the same (WebAuthn Level 3, related origins). https, and each
	// below a domain that can be registered; together with `origins` they have at most five different names before the
	// public suffix (`example` of `example.co.uk`), which is all that browsers take. Browsers ask
	// `https://<RP ID>/.well-known/webauthn` for the list: the gateway answers there without a first factor, if it serves
	// that host. Not with the RP ID `localhost`. Default: none.
	RelatedOrigins []string `json:"related_origins,omitempty"`

	// Where passkeys and challenges are kept. Default: one file in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=stepgate.stores inline_key=module"`

	// The keys that seal grants: runtime placeholders such as `{env.STEPGATE_GRANT_KEYS}` or
	// `{file./run/secrets/stepgate}`, each holding one or more keys separated by white space or commas. The first seals,
	// all open. `stepgate keygen` makes one. Keys written out here are refused: a configuration is no place for
	// secrets. Default with the file store: one key, made and kept beside the file.
	GrantKeys []string `json:"grant_keys,omitempty"`

	// How long a person has to finish a ceremony; also the browser's timeout. From 30s to 1h. Default: 5m.
	ChallengeTTL caddy.Duration `json:"challenge_ttl,omitempty"`

	// How a user's first passkey is registered. `first_use`: on the first factor alone, once. `invite`: by an invitation of
	// an administrator (`stepgate invite`). Default: `first_use`.
	Registration string `json:"registration,omitempty"`

	// With `first_use`: the placeholder, exactly one, that holds when the user signed in, as the first factor says it: RFC 3339
	// or seconds since 1970. A first passkey is then registered only within `sign_in_within` of it; one that is empty, there
	// twice, not understood or in the future closes registration. If it is a request header, the first factor must set it on
	// every request, or clients could. In JSON it is written out: `{http.request.header.X-Auth-Time}`. Default: none, and
	// the time does not matter.
	SignInTime string `json:"sign_in_time,omitempty"`

	// How long after the sign-in a first passkey may be registered, from 1m to 24h. A registration that was begun in time
	// may take `challenge_ttl` longer. Required with `sign_in_time`, and refused without.
	SignInWithin caddy.Duration `json:"sign_in_within,omitempty"`

	// How many passkeys a user may have, from 1 to 100. Default: 10.
	MaxPasskeys int `json:"max_passkeys,omitempty"`

	// Whether a user's only passkey can't be removed by its user. Default: it can, after a warning.
	KeepLast bool `json:"keep_last,omitempty"`

	// Whether people get recovery codes with their first passkey: `on` or `off`. Each lets its user register one passkey when
	// they have none at hand. `off` makes codes useless that were made before. Default: `on`.
	RecoveryCodes string `json:"recovery_codes,omitempty"`

	// The highest level that a passkey may reach which was registered with a recovery code, and passkeys which that one adds:
	// `verified`, `device_bound` or `attested`. It is noted with the passkey when it is registered. Default: `verified`.
	RecoveryLevel string `json:"recovery_level,omitempty"`

	// Which authenticators reach the level `attested`. Default: none, and no attestation is asked for.
	Attestation *Attestation `json:"attestation,omitempty"`

	// What happens when a passkey's sign count did not rise, as with a cloned one. `reject` refuses it; `warn` lets
	// passkeys that may be synced pass, and records it. Default: `reject`.
	Counter string `json:"counter,omitempty"`

	// `require`: what can't be written to the audit log does not happen, and as long as that goes on protected routes answer
	// 503. Default: the log is written as well as it can be.
	Audit string `json:"audit,omitempty"`

	// How stale this gateway's view of a user may be: for how long a removed passkey or a revoked grant may still pass.
	// 0 reads the store at every protected request. At most 1m. Default: 5s.
	RevocationLag *caddy.Duration `json:"revocation_lag,omitempty"`

	logger  *zap.Logger
	store   Store
	keys    *grant.Keys // nil: the store's own
	service ceremony.Config
	lag     time.Duration

	open   func() (*gate.Backend, error) // opens at the first call, and answers the same ever after
	mu     sync.Mutex
	opened *OpenStore // to be released
	closed bool

	metadata heldMetadata // of Attestation

	admin *administrator // of the opened store
	audit audit.Recorder // of what administrators do

	clock atomic.Pointer[clock.Steady] // of a store that is this gateway's alone, once it is open

	ready      *readiness
	storeReady func(context.Context) error // the opened store's; nil: it does not say

	handlers int           // how many handlers this app has, for their names
	longest  time.Duration // the longest maximum age of all their rules; final once everything is provisioned
}

// defaultLag is the revocation lag where none is configured.
const defaultLag = 5 * time.Second

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stepgate", New: func() caddy.Module { return new(App) }}
}

// Provision checks the configuration. It opens nothing: it also runs for `stepgate validate`, beside a running gateway.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	var err error
	if a.audit, err = withEvents(ctx, audit.Log{Logger: ctx.Logger(new(Handler)).Named("audit"), Require: a.Audit == "require"}); err != nil { // the log of all that is audited
		return fmt.Errorf("stepgate: %w", err)
	}
	a.open = sync.OnceValues(a.openBackend)
	a.ready = &readiness{check: a.isReady, now: time.Now, logger: a.logger}
	if err := metrics.register(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}

	if err := a.check(); err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	if err := a.checkOrigins(); err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	a.lag = defaultLag
	if a.RevocationLag != nil {
		a.lag = time.Duration(*a.RevocationLag)
	}
	a.service = ceremony.Config{
		RPID: a.RPID, RPName: a.RPName, Origins: a.allOrigins(), TTL: time.Duration(a.ChallengeTTL), MaxPasskeys: a.MaxPasskeys, CounterWarn: a.Counter == "warn",
		InviteOnly: a.Registration == "invite", KeepLast: a.KeepLast, NoRecovery: a.RecoveryCodes == "off",
		ModelName:    modelName,
		SignInWithin: time.Duration(a.SignInWithin),
	}
	if a.RecoveryLevel != "" {
		a.service.RecoveryLevel, _ = passkey.ParseLevel(a.RecoveryLevel) // checked
	}
	if a.service.TTL == 0 {
		a.service.TTL = ceremony.DefaultTTL
	}
	if a.service.MaxPasskeys == 0 {
		a.service.MaxPasskeys = ceremony.DefaultMaxPasskeys
	}
	if a.service.RPName == "" {
		a.service.RPName = a.RPID
	}
	if err := a.provisionAttestation(); err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	check := a.service
	check.Store = struct{ ceremony.Store }{} // never called: the real one opens when the app starts
	if _, err := ceremony.New(check); err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	if err := a.readKeys(); err != nil {
		return err
	}
	return a.loadStore(ctx)
}

func (a *App) loadStore(ctx caddy.Context) error {
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"module":"file"}`)
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("stepgate: loading store: %w", err)
	}
	store, ok := module.(Store)
	if !ok {
		return fmt.Errorf("stepgate: %T is no store", module)
	}
	if store.Shared() && a.keys == nil {
		return errors.New("stepgate: grant_keys is required with this store, the same on every gateway, so that each opens the others' grants: " +
			"make a key with `stepgate keygen`, put it for example into the environment variable STEPGATE_GRANT_KEYS, and configure grant_keys {env.STEPGATE_GRANT_KEYS}")
	}
	a.store = store
	return nil
}

// readKeys resolves the placeholders of grant_keys. What they hold stays out of the configuration, which Caddy shows
// to whoever may use its admin API.
func (a *App) readKeys() error {
	if len(a.GrantKeys) == 0 {
		return nil
	}
	replacer := caddy.NewReplacer()
	var texts []string
	for i, placeholder := range a.GrantKeys {
		if err := checkKeyPlaceholder(placeholder); err != nil {
			return fmt.Errorf("stepgate: grant_keys, number %d: %w", i+1, err)
		}
		text, err := replacer.ReplaceOrErr(placeholder, true, true)
		if err != nil {
			return fmt.Errorf("stepgate: grant_keys: %s holds nothing: put a key there that `stepgate keygen` made", placeholder)
		}
		texts = append(texts, text)
	}
	keys, err := grant.ParseKeys(texts...)
	if err != nil {
		return fmt.Errorf("stepgate: grant_keys: %w", err)
	}
	a.keys = keys
	return nil
}

// Start opens the store. A store that can't be opened for a reason that waiting won't mend fails the load, and the
// configuration before stays in force.
func (a *App) Start() error {
	if _, err := a.open(); err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	return nil
}

// Stop does nothing: requests of the old configuration may still be running. The store is released in Cleanup.
func (a *App) Stop() error { return nil }

// Cleanup releases the store, if this very app opened it: it also runs for an app that was never started, whose release
// would take the store from under the running one.
func (a *App) Cleanup() error {
	a.mu.Lock()
	a.closed = true
	opened := a.opened
	a.opened = nil
	a.mu.Unlock()
	if opened == nil {
		return nil
	}
	return errors.Join(opened.Release(), a.metadata.close()) // the next configuration waits for the store
}

// modelName names a passkey that its user did not name.
func modelName(aaguid [16]byte) string {
	if name := authenticators.Name(aaguid); name != authenticators.Unknown {
		return name
	}
	return ""
}

// now is the time that grants and ceremonies go by. Gateways that share a store share the time too, and must follow their
// machines' clocks when those are put right; one that is alone goes by a clock that is never set back.
func (a *App) now() time.Time {
	if steady := a.clock.Load(); steady != nil {
		return steady.Now()
	}
	return time.Now()
}

// longestAge returns the longest maximum age of all blocks: those of one origin share their grants.
func (a *App) longestAge() time.Duration { return a.longest }

// backend returns what the gates of this app share, opening it if need be. Apps start in no particular order, so a
// request may come before this one has started.
func (a *App) backend() (*gate.Backend, error) { return a.open() }

// administration returns what an administrator at this address does through this gateway.
func (a *App) administration(client string) (*administrator, error) {
	if _, err := a.open(); err != nil {
		return nil, fmt.Errorf("%w: %w", passkey.StoreUnavailable, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	admin := *a.admin
	admin.client = client
	return &admin, nil
}

func (a *App) openBackend() (*gate.Backend, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errors.New("the configuration was unloaded")
	}
	opened, err := a.store.Open(a.RPID, a.logger)
	if err != nil {
		return nil, fmt.Errorf("opening store: %w", err)
	}
	if a.Attestation != nil {
		if err := a.metadata.open(); err != nil {
			return nil, errors.Join(err, opened.Release())
		}
	}
	backend, err := a.newBackend(opened)
	if err != nil {
		return nil, errors.Join(err, opened.Release(), a.metadata.close())
	}
	a.opened, a.storeReady = opened, opened.Ready
	return backend, nil
}

func (a *App) newBackend(opened *OpenStore) (*gate.Backend, error) {
	keys := a.keys
	if keys == nil {
		var err error
		if keys, err = opened.Keys(); err != nil {
			return nil, marked{err, errKeysMissing}
		}
	}
	grants, err := keys.Sealer(grant.ForGrant, a.RPID)
	if err != nil {
		return nil, err
	}
	demands, err := keys.Sealer(grant.ForDemand, a.RPID)
	if err != nil {
		return nil, err
	}
	browsers, err := keys.Sealer(grant.ForBrowser, a.RPID)
	if err != nil {
		return nil, err
	}
	config := a.service
	config.Store, config.Recall = watchedStore{opened.Store, metrics}, a.lag > 0
	if opened.Clock != nil && !a.store.Shared() {
		a.clock.Store(opened.Clock)
	}
	config.Now = a.now
	service, err := ceremony.New(config)
	if err != nil {
		return nil, err
	}
	ageing := time.Now
	if opened.Clock != nil {
		ageing = opened.Clock.Now
	}
	views := gate.NewViews(service.Account, a.lag, gate.StoreBudget, ageing)
	views.Count = metrics.viewed
	a.admin = &administrator{service: service, store: opened.Store, reach: service.Reach, forget: views.Forget, audit: a.audit, pages: accountPages(a.allOrigins())}
	return &gate.Backend{
		Ceremonies: watchedCeremonies{service, metrics}, Grants: grants, Demands: demands, Browsers: browsers, Limiter: opened.Limiter, Views: views,
		OneClock: opened.Clock == nil || !a.store.Shared(), // see now
	}, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
