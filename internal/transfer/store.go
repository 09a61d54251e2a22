package transfer

import (
	"context"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Store is what moving needs of a store of one relying party. It must be safe for concurrent use. Every method returns an
// error wrapping [passkey.StoreUnavailable] when it could not find out or could not write: closed, unreachable, out of
// time, context cancelled, or a record that can't be read.
type Store interface {
	// Account reads a user with all passkeys, strongly consistently. A user never seen has Version 0 and no error.
	Account(ctx context.Context, user string) (passkey.Account, error)

	// Users calls yield for every user record with its passkeys, one after the other, in an order of the store's own that
	// is the same at each call, beginning behind the user named after, who need not exist any more; "" begins at the
	// first. Each account is consistent in itself; who is added, changed or erased meanwhile may be missed or seen as
	// before, and is never seen without a record. An error of yield ends it and is returned as it is.
	Users(ctx context.Context, after string, yield func(passkey.Account) error) error

	// Import writes a user who is not there yet with all their passkeys and the owner records, as they are: version,
	// handle and epoch as given. All or nothing, to every reader, except that after a failure some credential ids may be
	// held for this very user; calling it again completes it. [passkey.Conflict] when there is a user record of that
	// name, whatever it says; otherwise [passkey.PasskeyExists] when somebody else holds one of the credential ids. Of
	// any number of concurrent calls for one user, and of registrations of their first passkey, exactly one succeeds.
	Import(ctx context.Context, account passkey.Account) error
}
