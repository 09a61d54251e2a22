package transfer

import (
	"bytes"
	"context"
	"io"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Rehearse reads an export to its end and tells what [Import] would do, without a write. A nil store is one that holds
// nothing. It reads the whole store first and keeps a few dozen bytes for each user and passkey, so it says what holds
// for the store as it was then.
func Rehearse(ctx context.Context, store Store, from Source, opts Options) (Report, error) {
	opts = opts.withDefaults()
	handles, held := map[digest][]byte{}, map[digest]struct{}{}
	remember := func(account passkey.Account) error {
		handles[digestOf(account.User.Name)] = account.User.Handle
		for _, p := range account.Passkeys {
			held[digestOf(p.ID)] = struct{}{}
		}
		return nil
	}
	if store != nil {
		if err := walk(ctx, store, "", opts, remember); err != nil {
			return Report{}, err
		}
	}
	var report Report
	for {
		account, err := from.Next()
		switch {
		case err == io.EOF:
			return report, nil
		case err != nil:
			return report, err
		case ctx.Err() != nil:
			return report, context.Cause(ctx)
		}
		o := outcome{}
		if handle, there := handles[digestOf(account.User.Name)]; there {
			if o.there = bytes.Equal(handle, account.User.Handle); !o.there {
				o.refused = anotherRecord
			}
		} else if holds(held, account) {
			o.refused = heldPasskey
		} else {
			_ = remember(account)
		}
		report.record(from.Line(), account, o)
		opts.Progress(report)
	}
}

func holds(held map[digest]struct{}, account passkey.Account) bool {
	for _, p := range account.Passkeys {
		if _, ok := held[digestOf(p.ID)]; ok {
			return true
		}
	}
	return false
}
