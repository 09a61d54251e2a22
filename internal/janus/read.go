package janus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Table is Janus's table. Its implementation is the only code that knows DynamoDB.
type Table interface {
	// Page reads some rows behind a place, nil for the beginning, strongly consistently, and returns where the next ones
	// begin; nil at the end. An error that wraps [passkey.StoreUnavailable] may pass: throttled, out of time, unreachable.
	Page(ctx context.Context, after any) (rows []Row, next any, err error)
}

// Options says how rows become ours.
type Options struct {
	// CheckKey is what a registration asks of a public key. Needed.
	CheckKey func(key []byte) error

	Suffix string              // put behind each of Janus's user names
	Fold   func(string) string // then applied, as the gateway does; nil leaves names as they are

	Progress func(fmt.Stringer)                         // called after each page; may be nil
	Wait     func(context.Context, time.Duration) error // before a page is asked for again; default: sleeps
}

// MaxRows bounds a table: all of it is in memory while it is imported, a few hundred bytes for each passkey.
const MaxRows = 100_000

// How a page is asked for again. Tables made as Janus makes them have little throughput: a scan that used it up has to wait.
const (
	attempts  = 12
	firstWait = 250 * time.Millisecond
	longest   = 10 * time.Second
)

// Progress is how many rows were read.
type Progress int

// String returns, for example, "1 row".
func (n Progress) String() string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", int(n))
}

// Refused is a row that was not taken. Username and CredentialID are as the table has them, any text, and perhaps empty.
type Refused struct {
	Username, CredentialID string
	Reason                 string
}

// String names the row in visible characters, however it is named.
func (r Refused) String() string {
	return fmt.Sprintf("username %.80q, credentialId %.80q: %s", r.Username, r.CredentialID, r.Reason)
}

// Batch is what a table holds.
type Batch struct {
	Rows     int
	Accounts []passkey.Account // in the order of their names, without an epoch
	Refused  []Refused         // in the order of their names
	Renamed  int               // passkeys whose name was not one that Stepgate takes, or that another one had
	Unknown  []string          // attributes that Janus does not write, sorted; they were not looked at
}

// Read reads the whole table. Its error says why that could not be done, and nothing is known then; rows that are not as
// they must be are in the batch. The table must not change meanwhile.
func Read(ctx context.Context, table Table, opts Options) (*Batch, error) {
	if opts.Progress == nil {
		opts.Progress = func(fmt.Stringer) {}
	}
	if opts.Wait == nil {
		opts.Wait = sleep
	}
	g := gathering{opts: opts, users: map[string][]passkey.Passkey{}, unknown: map[string]bool{}}
	var at any
	for {
		rows, next, err := page(ctx, table, at, opts)
		if err != nil {
			return nil, fmt.Errorf("reading Janus's table: %w", err)
		}
		for _, row := range rows {
			if g.batch.Rows++; g.batch.Rows > MaxRows {
				return nil, fmt.Errorf("reading Janus's table: it has more than %d rows", MaxRows)
			}
			g.take(row)
		}
		opts.Progress(Progress(g.batch.Rows))
		if next == nil {
			return g.finish(), nil
		}
		at = next
	}
}

func page(ctx context.Context, table Table, at any, opts Options) (rows []Row, next any, err error) {
	for attempt := 0; ; attempt++ {
		rows, next, err = table.Page(ctx, at)
		switch {
		case ctx.Err() != nil:
			return nil, nil, context.Cause(ctx)
		case err == nil, !errors.Is(err, passkey.StoreUnavailable), attempt+1 >= attempts:
			return rows, next, err
		}
		if opts.Wait(ctx, min(firstWait<<attempt, longest)) != nil {
			return nil, nil, context.Cause(ctx)
		}
	}
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gathering is a batch in the making.
type gathering struct {
	opts    Options
	batch   Batch
	users   map[string][]passkey.Passkey // by Janus's name
	unknown map[string]bool
}

// maxUnknown bounds how many names of attributes are kept.
const maxUnknown = 20

func (g *gathering) take(row Row) {
	for name := range row {
		if !known[name] && len(g.unknown) < maxUnknown {
			g.unknown[name] = true
		}
	}
	user, p, err := Convert(row, g.opts.CheckKey)
	if err != nil {
		g.batch.Refused = append(g.batch.Refused, Refused{short(row[username].Value), short(row[credentialID].Value), err.Error()})
		return
	}
	g.users[user] = append(g.users[user], p)
}

// short bounds what is kept of a text that may be as long as an item.
func short(text string) string { return strings.ToValidUTF8(text[:min(len(text), 400)], "\ufffd") }

func (g *gathering) finish() *Batch {
	names := make([]string, 0, len(g.users))
	for name := range g.users {
		names = append(names, name)
	}
	slices.Sort(names)

	// What concerns several rows is decided on all of them, so that it does not depend on which one comes first. The lists of
	// names are sorted, as the names are.
	holders, becoming := map[string][]string{}, map[string][]string{}
	for _, name := range names {
		for _, p := range g.users[name] {
			holders[string(p.ID)] = append(holders[string(p.ID)], name)
		}
		becoming[g.becomes(name)] = append(becoming[g.becomes(name)], name)
	}
	for _, name := range names {
		user := g.becomes(name)
		if twins := others(becoming[user], name); twins != "" {
			g.refuse(name, g.users[name], fmt.Sprintf("it would be the user %.80q, as %s would", user, twins))
			continue
		}
		var own []passkey.Passkey
		for _, p := range g.users[name] {
			if twins := others(holders[string(p.ID)], name); twins != "" {
				g.refuse(name, []passkey.Passkey{p}, "the same credentialId is there for "+twins)
				continue
			}
			own = append(own, p)
		}
		if len(own) > 0 {
			g.account(name, user, own)
		}
	}
	slices.SortStableFunc(g.batch.Refused, func(a, b Refused) int {
		return strings.Compare(a.Username+"\x00"+a.CredentialID, b.Username+"\x00"+b.CredentialID)
	})
	for name := range g.unknown {
		g.batch.Unknown = append(g.batch.Unknown, name)
	}
	slices.Sort(g.batch.Unknown)
	return &g.batch
}

// becomes returns our name for one of Janus's.
func (g *gathering) becomes(name string) string {
	name += g.opts.Suffix
	if g.opts.Fold != nil {
		name = g.opts.Fold(name)
	}
	return name
}

// others quotes those of sorted names that are not this one: the first three, and how many more. It looks at no more of them,
// because it is asked for each of them.
func others(names []string, this string) string {
	begin, _ := slices.BinarySearch(names, this)
	end := begin
	for end < len(names) && names[end] == this {
		end++
	}
	rest := slices.Concat(names[:min(begin, 3)], names[end:min(end+3, len(names))])
	var quoted []string
	for _, name := range rest[:min(len(rest), 3)] {
		quoted = append(quoted, fmt.Sprintf("%.80q", name))
	}
	if more := len(names) - (end - begin) - 3; more > 0 {
		quoted = append(quoted, fmt.Sprintf("%d more", more))
	}
	return strings.Join(quoted, ", ")
}

func (g *gathering) refuse(name string, passkeys []passkey.Passkey, reason string) {
	for _, p := range passkeys {
		g.batch.Refused = append(g.batch.Refused, Refused{name, encode(p.ID), reason})
	}
}
