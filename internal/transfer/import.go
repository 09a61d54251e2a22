package transfer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/stepgate/stepgate/internal/passkey"
)

// maxListed bounds the list in a [Report].
const maxListed = 1000

// Report is what an import did, or would do.
type Report struct {
	Imported Counts
	There    int       // users who were there already, with the same handle, and were left as they are
	Refused  int       // users who were not imported because something of theirs belongs to another record
	List     []Refused // the first thousand of them, in the order of the file
}

// Refused is a user who was not imported, and why.
type Refused struct {
	Line   int // 0 where there are no lines
	User   string
	Reason string
}

// String returns a line like `line 2, user "ada": somebody else holds one of the passkeys`.
func (r Refused) String() string { return at(r.Line, r.User) + ": " + r.Reason }

func at(line int, user string) string {
	if line == 0 {
		return fmt.Sprintf("user %q", user)
	}
	return fmt.Sprintf("line %d, user %q", line, user)
}

// The reasons.
const (
	anotherRecord = "the store has another record of this user (made there, not by this import); it is left as it is"
	heldPasskey   = "somebody else holds one of the passkeys"
)

// String returns a line like "3 users, 4 passkeys; 1 user was there already; 2 users refused".
func (r Report) String() string {
	text := r.Imported.String()
	if r.There == 1 {
		text += "; 1 user was there already"
	} else if r.There > 1 {
		text += fmt.Sprintf("; %d users were there already", r.There)
	}
	if r.Refused > 0 {
		text += "; " + number(r.Refused, "user") + " refused"
	}
	return text
}

func (r *Report) refuse(line int, user, reason string) {
	if r.Refused++; len(r.List) < maxListed {
		r.List = append(r.List, Refused{line, user, reason})
	}
}

// outcome is what became of one user: one of the fields.
type outcome struct {
	there   bool
	refused string
	err     error
}

func (r *Report) record(line int, account passkey.Account, o outcome) {
	switch {
	case o.there:
		r.There++
	case o.refused != "":
		r.refuse(line, account.User.Name, o.refused)
	default:
		r.Imported.add(account)
	}
}

// job is one user on the way into a store.
type job struct {
	account passkey.Account
	line    int
	outcome outcome // once done is closed
	done    chan struct{}
}

// Source is where an import has its users from: a [Reader], or a [List]. One goroutine uses it at a time.
type Source interface {
	// Next returns the next user, without an epoch, as [Check] wants them; [io.EOF] behind the last. Any other error ends
	// the import.
	Next() (passkey.Account, error)

	// Line returns which line of a file the last user was on; 0 where there are no lines.
	Line() int
}

// List is a source of users who are in memory already.
type List struct {
	Accounts []passkey.Account
	next     int
}

// Next implements [Source].
func (l *List) Next() (passkey.Account, error) {
	if l.next == len(l.Accounts) {
		return passkey.Account{}, io.EOF
	}
	l.next++
	return l.Accounts[l.next-1], nil
}

// Line implements [Source].
func (*List) Line() int { return 0 }

// Import writes the users of an export to a store, several at once, each in a new epoch. Who can't be imported is in the
// report, and the others are imported all the same. An error tells why the rest was not: the first line that is
// malformed, the store, the context, or [ErrCutShort] when all whole lines were imported and the end is missing. After any of
// them the same export can be imported again: who is there already is left as they are. Once the context is done it
// returns without waiting for the reader's input, from which it may still read once.
func Import(parent context.Context, store Store, from Source, opts Options) (Report, error) {
	opts = opts.withDefaults()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)

	var (
		report  Report
		first   error                              // in the order of the file
		readErr error                              // once order is closed
		order   = make(chan *job, opts.Parallel-1) // one more is being waited for: it bounds what is under way
	)
	go func() {
		defer close(order)
		readErr = feed(ctx, store, from, order, opts)
	}()
	collect := func(j *job) {
		<-j.done
		switch {
		case j.outcome.err == nil:
			report.record(j.line, j.account, j.outcome)
			opts.Progress(report)
			return
		case first != nil:
		case parent.Err() != nil:
			first = context.Cause(parent)
		default:
			first = fmt.Errorf("importing %s: %w", at(j.line, j.account.User.Name), j.outcome.err)
		}
		cancel(first)
	}
	for {
		select {
		case j, more := <-order:
			if more {
				collect(j)
				continue
			}
			if first == nil && readErr != io.EOF {
				first = readErr
			}
			return report, first
		case <-ctx.Done():
			// What is under way is still counted; what comes after that does nothing. The rest of the input, which may
			// never come, is not waited for.
			for waiting := true; waiting; {
				select {
				case j, more := <-order:
					if waiting = more; more {
						collect(j)
					}
				default:
					waiting = false
				}
			}
			if first == nil {
				first = context.Cause(ctx)
			}
			return report, first
		}
	}
}

// feed starts the jobs in the order of the file and returns why it stopped.
func feed(ctx context.Context, store Store, reader Source, order chan<- *job, opts Options) error {
	var underWay sync.WaitGroup
	ids := map[digest]struct{}{}
	for {
		account, err := reader.Next()
		if err != nil {
			return err
		}
		for _, p := range account.Passkeys {
			id := digestOf(p.ID)
			if _, repeated := ids[id]; repeated {
				underWay.Wait() // who comes first in the file gets it, each time
			}
			ids[id] = struct{}{}
		}
		j := &job{account: account, line: reader.Line(), done: make(chan struct{})}
		select {
		case order <- j:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		underWay.Go(func() {
			defer close(j.done)
			j.outcome = place(ctx, store, j.account, opts)
		})
	}
}

// place imports one user.
func place(ctx context.Context, store Store, account passkey.Account, opts Options) outcome {
	if ctx.Err() != nil {
		return outcome{err: context.Cause(ctx)}
	}
	rand.Read(account.User.Epoch[:])
	refusal := opts.try(ctx, func(ctx context.Context) error { return store.Import(ctx, account) })
	if refusal == nil {
		return outcome{}
	}
	if !errors.Is(refusal, passkey.Conflict) && !errors.Is(refusal, passkey.PasskeyExists) {
		return outcome{err: refusal}
	}
	var stored passkey.Account
	err := opts.try(ctx, func(ctx context.Context) (err error) {
		stored, err = store.Account(ctx, account.User.Name)
		return err
	})
	switch {
	case err != nil:
		return outcome{err: err}
	case stored.User.Version == 0 && errors.Is(refusal, passkey.PasskeyExists):
		return outcome{refused: heldPasskey}
	case stored.User.Version == 0:
		return outcome{err: refusal}
	case stored.User.Epoch == account.User.Epoch:
		return outcome{} // a call before this one was applied and its answer lost
	case bytes.Equal(stored.User.Handle, account.User.Handle):
		return outcome{there: true}
	}
	return outcome{refused: anotherRecord}
}
