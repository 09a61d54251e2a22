package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/clock"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/policy"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

func init() {
	caddy.RegisterModule(new(DynamoDBStore))
}

// DynamoDBStore keeps passkeys and challenges in two DynamoDB tables, for any number of gateways. `stepgate tables create`
// makes the tables; `stepgate tables create --print iam` says what a gateway must be allowed to do with them.
//
// Credentials are found as the AWS SDK finds them: environment, shared files, web identity, the container's or instance's
// role. All gateways must be given the same grant_keys.
//
// When the configuration is loaded, a table that is missing or has the wrong keys fails the load. DynamoDB that can't be
// reached, throttles or denies does not: the gateway starts, answers 503 on protected routes, and keeps trying.
//
// All options accept global placeholders such as {env.*}.
type DynamoDBStore struct {
	// The AWS region of the tables, for example `eu-west-1`. Default: as the AWS SDK finds it (AWS_REGION, the shared
	// configuration file).
	Region string `json:"region,omitempty"`

	// The URL of another service that speaks DynamoDB's protocol, such as DynamoDB Local: scheme, host and port. Plain http
	// is for this machine or a private network: whoever can change its answers can forge passkeys. Default: AWS's own
	// endpoint of the region.
	Endpoint string `json:"endpoint,omitempty"`

	// The table of users and passkeys: 3 to 255 letters, digits, underscores, hyphens and dots. Default:
	// `StepgatePasskeys`.
	PasskeysTable string `json:"passkeys_table,omitempty"`

	// The table of challenges, another one. Default: `StepgateChallenges`.
	ChallengesTable string `json:"challenges_table,omitempty"`

	options dynamostore.Options
}

// CaddyModule returns the Caddy module information.
func (DynamoDBStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stepgate.stores.dynamodb", New: func() caddy.Module { return new(DynamoDBStore) }}
}

// Provision resolves placeholders and checks names. It calls nobody.
func (s *DynamoDBStore) Provision(caddy.Context) error {
	replacer := caddy.NewReplacer()
	for _, option := range []struct {
		name string
		from string
		to   *string
	}{
		{"region", s.Region, &s.options.Region},
		{"endpoint", s.Endpoint, &s.options.Endpoint},
		{"passkeys_table", s.PasskeysTable, &s.options.PasskeysTable},
		{"challenges_table", s.ChallengesTable, &s.options.ChallengesTable},
	} {
		value, err := replacer.ReplaceOrErr(option.from, true, true)
		if err == nil && value == "" && option.from != "" {
			err = fmt.Errorf("%s is empty", option.from) // the default would surprise
		}
		if err != nil {
			return fmt.Errorf("store dynamodb: %s: %w", option.name, err)
		}
		*option.to = value
	}
	if err := s.options.Validate(); err != nil {
		return fmt.Errorf("store dynamodb: %w", err)
	}
	return nil
}

// Shared implements [Store].
func (*DynamoDBStore) Shared() bool { return true }

// openTables holds the tables that this process uses: a reload keeps their connections and rate limits.
var openTables = caddy.NewUsagePool()

// openDB is a client and what must survive a reload with it.
type openDB struct {
	db      *dynamostore.DB
	tables  *tablesLook
	limiter *gate.Limiter
	clock   *clock.Steady
}

// Destruct closes the client once the last configuration that used it is gone.
func (o *openDB) Destruct() error { return o.db.Close() }

// openTimeout bounds how long finding credentials and checking the tables may hold up a load.
const openTimeout = 10 * time.Second

// Open implements [Store].
func (s *DynamoDBStore) Open(rpID string, logger *zap.Logger) (*OpenStore, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	options := s.options
	key := strings.Join([]string{options.Region, options.Endpoint, options.PasskeysTable, options.ChallengesTable}, "\n")
	value, _, err := openTables.LoadOrNew(key, func() (caddy.Destructor, error) {
		options.Logger, options.Observe = liveLogger(s.CaddyModule()), metrics.observeDynamoDB
		options.MaxSkew = policy.MaxSkew / 2 // of each: so no two gateways are further apart than MaxSkew
		db, err := dynamostore.Open(ctx, options)
		if err != nil {
			return nil, err
		}
		if err := db.Watch(ctx); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		tables := &tablesLook{check: db.Check, now: time.Now, next: time.Now().Add(lookWrong)} // Watch has just looked
		return &openDB{db: db, tables: tables, limiter: gate.NewLimiter(), clock: clock.New(0, nil)}, nil
	})
	if err != nil {
		return nil, err
	}
	open := value.(*openDB)
	return &OpenStore{
		Store:   open.db.For(rpID),
		Limiter: open.limiter,
		Clock:   open.clock,
		Ready:   func(ctx context.Context) error { return open.ready(ctx, rpID) },
		Release: func() error {
			_, err := openTables.Delete(key)
			return err
		},
	}, nil
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store dynamodb {
//		region           <region>
//		endpoint         <url>
//		passkeys_table   <name>
//		challenges_table <name>
//	}
func (s *DynamoDBStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		return d.Errf("store dynamodb takes a block only, found %q", d.Val())
	}
	seen := words{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if err := seen.once(d, word); err != nil {
			return err
		}
		var err error
		switch word {
		case "region":
			err = oneArg(d, &s.Region, literal(dynamostore.CheckRegion))
		case "endpoint":
			err = oneArg(d, &s.Endpoint, literal(dynamostore.CheckEndpoint))
		case "passkeys_table":
			err = oneArg(d, &s.PasskeysTable, literal(dynamostore.CheckTableName))
		case "challenges_table":
			err = oneArg(d, &s.ChallengesTable, literal(dynamostore.CheckTableName))
		default:
			err = d.Errf("unknown option %q of store dynamodb: it has region, endpoint, passkeys_table and challenges_table", word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// literal leaves what holds a placeholder to be checked when that is resolved.
func literal(check func(string) error) func(string) error {
	return func(value string) error {
		if strings.Contains(value, "{") {
			return nil
		}
		return check(value)
	}
}

// Interface guards
var (
	_ Store                 = (*DynamoDBStore)(nil)
	_ caddy.Provisioner     = (*DynamoDBStore)(nil)
	_ caddyfile.Unmarshaler = (*DynamoDBStore)(nil)
)
