package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Counts is how much was moved, or read.
type Counts struct{ Users, Passkeys int }

// String returns, for example, "1 user, 2 passkeys".
func (c Counts) String() string {
	return number(c.Users, "user") + ", " + number(c.Passkeys, "passkey")
}

func (c *Counts) add(account passkey.Account) {
	c.Users++
	c.Passkeys += len(account.Passkeys)
}

func number(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Options says how a store is talked to. The zero value is right for production, without a word about progress.
type Options struct {
	Progress func(fmt.Stringer)                         // called by one goroutine, after each user, with what is done so far
	Timeout  time.Duration                              // of one call of the store, or of its silence while it lists users; default 15s
	Wait     func(context.Context, time.Duration) error // before a call is tried again; default: sleeps
	Now      func() time.Time                           // for the header of an export; default [time.Now]
	Parallel int                                        // how many users an import writes at once; default 8
}

func (o Options) withDefaults() Options {
	if o.Progress == nil {
		o.Progress = func(fmt.Stringer) {}
	}
	if o.Timeout <= 0 {
		o.Timeout = 15 * time.Second
	}
	if o.Wait == nil {
		o.Wait = sleep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	return o
}

// attempts is how often a call is made before giving up, and firstWait how long the first pause between them is; each
// further one is twice as long.
const (
	attempts  = 5
	firstWait = 250 * time.Millisecond
)

// try makes a call that may be repeated until the store is available. When ctx is done it returns ctx's cause: whoever
// interrupts is not told that the store was at fault.
func (o Options) try(ctx context.Context, call func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		limited, cancel := context.WithTimeout(ctx, o.Timeout)
		err := call(limited)
		cancel()
		if again, err := o.again(ctx, attempt, err); !again {
			return err
		}
	}
}

// again decides whether a call that ended with err is made once more, and waits for that.
func (o Options) again(ctx context.Context, attempt int, err error) (bool, error) {
	switch {
	case err == nil:
		return false, nil
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case !errors.Is(err, passkey.StoreUnavailable) || attempt+1 >= attempts:
		return false, err
	}
	if o.Wait(ctx, firstWait<<attempt) != nil {
		return false, context.Cause(ctx)
	}
	return true, nil
}

// walk calls each for every user behind the one named after. When the store was away it goes on where it was. An error of
// each ends it and is returned as it is.
func walk(ctx context.Context, store Store, after string, opts Options, each func(passkey.Account) error) error {
	for attempt := 0; ; attempt++ {
		var fatal error
		err := users(ctx, store, after, opts.Timeout, func(account passkey.Account) error {
			if fatal = ctx.Err(); fatal != nil {
				fatal = context.Cause(ctx)
			} else if fatal = each(account); fatal == nil {
				attempt, after = 0, account.User.Name
			}
			return fatal
		})
		if fatal != nil {
			return fatal
		}
		again, err := opts.again(ctx, attempt, err)
		switch {
		case err != nil && after != "": // whose record can't be read is not known, but where to look is
			return fmt.Errorf("reading users behind %q: %w", after, err)
		case err != nil:
			return fmt.Errorf("reading users: %w", err)
		case !again:
			return nil
		}
	}
}

// users is [Store.Users] under a time limit that a user who comes sets back: how long all of them take is not known. Time
// that the caller spends does not count.
func users(ctx context.Context, store Store, after string, limit time.Duration, yield func(passkey.Account) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	defer watch.Stop()
	return store.Users(ctx, after, func(account passkey.Account) error {
		watch.Stop()
		defer watch.Reset(limit)
		return yield(account)
	})
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
