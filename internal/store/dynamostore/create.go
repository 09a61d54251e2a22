package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// CreateOptions says how [DB.Create] waits. The zero value is right.
type CreateOptions struct {
	Timeout  time.Duration     // for all of it; default 5m
	Poll     time.Duration     // how often it looks whether a table is ready; default 1s
	Progress func(line string) // is told what was done, line by line, from one goroutine; default: nobody is
}

// changeTimeout bounds one attempt to change a table. DynamoDB takes longer over that than over an item.
const changeTimeout = 10 * time.Second

// stillEvery is how often somebody who waits hears that it goes on.
const stillEvery = 10 * time.Second

// Create makes both tables what they must be, and returns when they are ready: on demand, keyed by two strings, encrypted
// with a key that AWS owns; the challenges' with time to live, the passkeys' with point-in-time recovery and deletion
// protection where the server has them. It creates what is missing and switches on what is off, so it is safe to repeat,
// also after it was interrupted. It deletes nothing and switches nothing off.
//
// When a table is there that it can't make right, or one can't be looked at, it changes nothing. Errors wrap [ErrTables],
// [passkey.StoreUnavailable] or the context's error.
func (db *DB) Create(ctx context.Context, opts CreateOptions) error {
	if opts.Timeout <= 0 {
		opts.Timeout = 5 * time.Minute
	}
	if opts.Poll <= 0 {
		opts.Poll = time.Second
	}
	if opts.Progress == nil {
		opts.Progress = func(string) {}
	}
	c := creation{db: db, opts: opts, began: time.Now()}
	bounded, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	err := c.run(bounded)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted, and safe to repeat: %w", ctx.Err())
	case bounded.Err() != nil:
		return fmt.Errorf("not done after %v; running it again goes on where this stopped: %w", opts.Timeout, err)
	}
	return err
}

type creation struct {
	db    *DB
	opts  CreateOptions
	began time.Time
}

func (c *creation) say(format string, arguments ...any) {
	c.opts.Progress(fmt.Sprintf(format, arguments...))
}

func (c *creation) run(ctx context.Context) error {
	tables := c.db.look(ctx, true)
	if err := c.refuse(tables); err != nil {
		return err
	}
	specs := c.db.specs()
	for i, s := range specs {
		if !tables[i].missing {
			c.say("%s: exists", s.name)
			continue
		}
		if err := c.create(ctx, s); err != nil {
			return err
		}
	}
	for i, s := range specs {
		if err := c.await(ctx, s, &tables[i]); err != nil {
			return err
		}
	}
	for i, s := range specs {
		if err := c.complete(ctx, s, &tables[i]); err != nil {
			return err
		}
	}
	return nil
}

// refuse tells whether there is anything that creating won't make right. It is asked before anything is changed.
func (c *creation) refuse(tables []Table) error {
	var found problems
	for i, s := range c.db.specs() {
		t := tables[i]
		switch {
		case t.missing || isPending(t):
		case t.problem != nil:
			found = append(found, t.problem)
		case t.Status == string(Denied) || t.TTL == Denied || t.Recovery == Denied:
			found = append(found, passingProblem(kindDenied, "access denied: these credentials may not ask what the table %q is; "+
				"`stepgate tables create --print iam-admin` prints what is needed to create tables", t.Name))
		case !s.expires && t.TTL == On, s.expires && t.TTL == On && t.TTLAttribute != expiresAttribute, s.expires && t.TTL == Off && t.TTLChanging:
			found = append(found, definite("ttl", "%s", t.ttlWarning(s)))
		}
	}
	return found.err()
}

// isPending tells whether a table is just being created, perhaps by another who runs this.
func isPending(t Table) bool {
	return t.problem != nil && kindOf(t.problem) == string(types.TableStatusCreating)
}

func (c *creation) create(ctx context.Context, s spec) error {
	input := &dynamodb.CreateTableInput{
		TableName: &s.name, BillingMode: types.BillingModePayPerRequest, KeySchema: keySchema, AttributeDefinitions: keyAttributes,
	}
	if s.precious {
		input.DeletionProtectionEnabled = aws.Bool(true)
	}
	c.say("%s: creating…", s.name)
	_, err := c.db.client.CreateTable(ctx, input, patiently)
	var exists *types.ResourceInUseException
	if errors.As(err, &exists) {
		return nil // another was quicker, or the answer to a first attempt was lost; whether it is right is looked at next
	}
	return c.db.explain("CreateTable", s.name, err)
}

// await waits until a table is ready, and fails when it is another than was asked for.
func (c *creation) await(ctx context.Context, s spec, t *Table) error {
	if !t.missing && !isPending(*t) {
		return nil
	}
	for said := time.Now(); ; {
		before := t.problem
		*t = c.db.lookAt(ctx, s, true)
		switch {
		case t.problem != nil && ctx.Err() != nil:
			return before // it was cut off
		case t.problem == nil:
			c.say("%s: active (%s)", s.name, c.took())
			return nil
		case !t.missing && !isPending(*t): // missing: DynamoDB may not have heard of it yet
			return t.problem
		}
		if time.Since(said) >= stillEvery {
			said = time.Now()
			c.say("%s: still being created (%s)", s.name, c.took())
		}
		if err := c.sleep(ctx); err != nil {
			return t.problem
		}
	}
}

func (c *creation) took() time.Duration { return time.Since(c.began).Round(time.Second) }

func (c *creation) sleep(ctx context.Context) error {
	timer := time.NewTimer(c.opts.Poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// change is one setting that is switched on where it is off.
type change struct {
	operation string
	what      string
	is        func(*Table) Setting
	ask       func() error
}

// complete switches on what is off.
func (c *creation) complete(ctx context.Context, s spec, t *Table) error {
	client := c.db.client
	var changes []change
	if s.expires {
		changes = append(changes, change{"UpdateTimeToLive", "time to live (" + expiresAttribute + ")", func(t *Table) Setting { return t.TTL }, func() error {
			_, err := client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
				TableName:               &s.name,
				TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(expiresAttribute), Enabled: aws.Bool(true)},
			}, patiently)
			return err
		}})
	}
	if s.precious {
		changes = append(changes, change{"UpdateContinuousBackups", "point-in-time recovery", func(t *Table) Setting { return t.Recovery }, func() error {
			_, err := client.UpdateContinuousBackups(ctx, &dynamodb.UpdateContinuousBackupsInput{
				TableName:                        &s.name,
				PointInTimeRecoverySpecification: &types.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: aws.Bool(true)},
			}, patiently)
			return err
		}}, change{"UpdateTable", "deletion protection", func(t *Table) Setting { return t.Protection }, func() error {
			_, err := client.UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: &s.name, DeletionProtectionEnabled: aws.Bool(true)}, patiently)
			return err
		}})
	}
	for _, change := range changes {
		if err := c.switchOn(ctx, s, t, change); err != nil {
			return err
		}
	}
	return nil
}

// switchOn switches one setting on. Whether it is on is what the table itself says: an answer may be lost, another may
// have been quicker, and a table that is just being changed can't be changed.
func (c *creation) switchOn(ctx context.Context, s spec, t *Table, change change) error {
	for asked := false; ; {
		switch change.is(t) {
		case On:
			c.say("%s: %s is on", s.name, change.what)
			return nil
		case Unsupported:
			c.say("%s: this server has no %s", s.name, change.what)
			return nil
		}
		var err error
		if !asked {
			err = c.db.explain(change.operation, s.name, change.ask())
			asked = err == nil
		}
		if kindOf(err) == kindUnsupported {
			c.say("%s: this server has no %s", s.name, change.what)
			return nil
		}
		if *t = c.db.lookAt(ctx, s, true); t.problem != nil {
			return t.problem
		}
		switch {
		case change.is(t) == On:
		case err != nil && !slices.Contains(passing, kindOf(err)):
			return err
		case c.sleep(ctx) != nil:
			return fmt.Errorf("the table %q has no %s yet: %w", s.name, change.what, errors.Join(err, ctx.Err()))
		}
	}
}

// passing are the kinds of trouble that end when a table has been changed, by this or by somebody else.
var passing = []string{"ResourceInUseException", "LimitExceededException", "ContinuousBackupsUnavailableException", kindThrottled, kindSilent, kindUnreachable}

// patiently lets a call take longer than one of a request.
func patiently(o *dynamodb.Options) {
	o.HTTPClient = awshttp.NewBuildableClient().WithTimeout(changeTimeout)
}
