package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/logging"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// Options says which tables, where. The zero value is right on a machine whose environment names its region.
type Options struct {
	// Region is the AWS region of the tables, for example "eu-west-1". Default: as the AWS SDK finds it
	// (AWS_REGION, the shared configuration file).
	Region string

	// Endpoint is the URL of another service that speaks DynamoDB's protocol, such as DynamoDB Local. Default: AWS's own,
	// or what the SDK's AWS_ENDPOINT_URL_DYNAMODB names.
	Endpoint string

	PasskeysTable   string // default [DefaultPasskeysTable]
	ChallengesTable string // default [DefaultChallengesTable]

	Logger *zap.Logger // default: none

	// Budget bounds each method, retries included, where the context's own deadline does not come first. Default 2.5s.
	Budget time.Duration

	// Attempt bounds one attempt of a call, waiting for a connection included: one that hangs must leave time for another.
	// Default 1s.
	Attempt time.Duration

	// MaxSkew is how far this machine's clock may be from DynamoDB's, for [Store]'s Begin, Consume and Account: further off
	// they fail. Default: it is not compared.
	MaxSkew time.Duration

	// Now reads this machine's clock for that. Default [time.Now].
	Now func() time.Time

	// Observe is told of every API call, once, when it has ended; it must be quick and safe for concurrent use. Default:
	// nobody is told, and DynamoDB is not asked what calls consume.
	Observe func(Call)
}

// DB is a client of two tables. It may serve several relying parties, see [DB.For]. All methods are safe for concurrent
// use.
type DB struct {
	client     *dynamodb.Client
	passkeys   string
	challenges string
	region     string
	endpoint   string // "" for AWS's own
	budget     time.Duration
	logger     *zap.Logger
	capacity   types.ReturnConsumedCapacity
	clock      *clockCheck

	closing chan struct{} // closed by Close
	close   func() error  // once
	watcher sync.WaitGroup
}

// Open makes a client. It reads the SDK's configuration (environment, shared files) but calls nobody: whether the tables
// are there and right is what [DB.Check] asks. Errors are mistakes in the options or in the SDK's configuration.
func Open(ctx context.Context, opts Options) (*DB, error) {
	if opts.PasskeysTable == "" {
		opts.PasskeysTable = DefaultPasskeysTable
	}
	if opts.ChallengesTable == "" {
		opts.ChallengesTable = DefaultChallengesTable
	}
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	if opts.Budget <= 0 {
		opts.Budget = 2500 * time.Millisecond
	}
	if opts.Attempt <= 0 {
		opts.Attempt = time.Second
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if err := opts.Validate(); err != nil {
		return nil, err
	}

	var load []func(*config.LoadOptions) error
	if opts.Region != "" {
		load = append(load, config.WithRegion(opts.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("loading the AWS SDK's configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errors.New("no AWS region: set the store's region, give --region to a command that has it, or set AWS_REGION in the environment")
	}
	if err := CheckRegion(cfg.Region); err != nil {
		return nil, err
	}

	db := &DB{
		passkeys: opts.PasskeysTable, challenges: opts.ChallengesTable, region: cfg.Region, endpoint: opts.Endpoint,
		budget: opts.Budget, logger: opts.Logger, closing: make(chan struct{}),
		clock: &clockCheck{now: opts.Now, most: opts.MaxSkew},
	}
	if opts.Observe != nil {
		db.capacity = types.ReturnConsumedCapacityTotal
	}
	connections := newHTTPClient(cfg.HTTPClient, opts.Attempt, db.clock)
	db.client = dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) {
		if opts.Endpoint != "" {
			o.BaseEndpoint = aws.String(opts.Endpoint)
		}
		o.Logger = logging.LoggerFunc(func(level logging.Classification, format string, v ...any) {
			opts.Logger.Debug("AWS SDK", zap.String("level", string(level)), zap.String("message", fmt.Sprintf(format, v...)))
		})
		o.HTTPClient = connections
		o.Retryer = newRetryer()
		o.EndpointResolverV2 = newEndpoints(o.EndpointResolverV2)
		o.APIOptions = append(o.APIOptions, observing(opts.Observe))
	})
	if base := db.client.Options().BaseEndpoint; base != nil {
		db.endpoint = *base // perhaps of AWS_ENDPOINT_URL: messages say where it really goes
	}
	db.close = sync.OnceValue(func() error {
		close(db.closing)
		db.watcher.Wait()
		connections.next.CloseIdleConnections()
		return nil
	})
	return db, nil
}

// Validate checks what can be checked without asking anybody. Empty fields stand for their defaults.
func (o Options) Validate() error {
	if o.Region != "" {
		if err := CheckRegion(o.Region); err != nil {
			return err
		}
	}
	if o.Endpoint != "" {
		if err := CheckEndpoint(o.Endpoint); err != nil {
			return err
		}
	}
	passkeys, challenges := o.PasskeysTable, o.ChallengesTable
	if passkeys == "" {
		passkeys = DefaultPasskeysTable
	}
	if challenges == "" {
		challenges = DefaultChallengesTable
	}
	return checkTables(passkeys, challenges)
}

// CheckRegion tells whether a text can be the name of an AWS region: lower-case letters, digits and hyphens. Which
// regions there are is AWS's to say.
func CheckRegion(region string) error {
	bad := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	if region == "" || len(region) > 63 || strings.ContainsFunc(region, bad) || region[0] == '-' || region[len(region)-1] == '-' {
		return fmt.Errorf("%q is no AWS region: write it as AWS does, for example eu-west-1", region)
	}
	return nil
}

// CheckEndpoint tells whether a text is the URL of a service: http or https, a host, and nothing behind it.
func CheckEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if strings.Contains(endpoint, "@") { // not quoted: it may hold a password
		return errors.New("an endpoint holds no user or password: credentials come from the AWS SDK's chain")
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(endpoint, "#") {
		return fmt.Errorf("%q is no endpoint: it has a scheme, a host and perhaps a port, for example http://localhost:8000", endpoint)
	}
	if port := u.Port(); port != "" {
		if _, err := net.LookupPort("tcp", port); err != nil || port == "0" {
			return fmt.Errorf("%q is no endpoint: %s is no port", endpoint, port)
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return fmt.Errorf("%q is no endpoint: the port is missing", endpoint)
	}
	return nil
}

// Close lets go of the client. Every later call of a [Store] returns an error that wraps [passkey.StoreUnavailable].
// Closing again does nothing.
func (db *DB) Close() error { return db.close() }

// Store is one relying party's part of a [DB].
type Store struct {
	db   *DB
	rpID string
}

var _ ceremony.Store = (*Store)(nil)

// For returns the store of one relying party. Stores of different RP IDs share the tables and nothing else; any number
// may be made for one.
func (db *DB) For(rpID string) *Store { return &Store{db, rpID} }

var errClosed = errors.New("the store is closed")

// within runs one method of a store: refused once the store is closed, bounded by the budget, its errors described.
func (s *Store) within(ctx context.Context, doing string, user string, method func(context.Context) error) error {
	select {
	case <-s.db.closing:
		return describe(ctx, doing, errClosed)
	default:
	}
	if err := checkUser(user); err != nil {
		return describe(ctx, doing, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.db.budget)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return describe(ctx, doing, err)
	}
	return describe(ctx, doing, method(ctx))
}

// describe adds context. What is not a refusal already is a failure of the store.
func describe(ctx context.Context, doing string, err error) error {
	var refusal passkey.Refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refusal):
		return fmt.Errorf("%s: %w", doing, err)
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%s: %w: %w: %w", doing, passkey.StoreUnavailable, ctx.Err(), err)
	}
	return fmt.Errorf("%s: %w: %w", doing, passkey.StoreUnavailable, err)
}
