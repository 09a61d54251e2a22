package ceremony

import (
	"context"
	"errors"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// ErrUnsure is wrapped by an error of [Store].Begin and Issue after which the challenge may still be written, however late.
var ErrUnsure = errors.New("the challenge may be written yet")

// Store keeps users, passkeys and challenges of one relying party. It must be safe for concurrent use by many
// goroutines and, for a shared store, by many gateways. Every method returns an error wrapping
// [passkey.StoreUnavailable] when it could not find out or could not write: closed, unreachable, out of time, context
// cancelled, or a record that can't be read (unknown version, missing attribute). Such a record is never overwritten.
// User names are opaque: any two different strings are different users.
type Store interface {
	// Begin reads the account, strongly consistently, and stores the challenge. It may do both at once, so a challenge
	// may be left behind when the account turns out to have no use for it; it expires (a
	// store may keep whole seconds, rounded down). An error wrapping [ErrUnsure] says that this challenge may be written yet: whoever wants to go on asks with
	// another one, because a write that comes after this one was consumed would make it work a second time.
	Begin(ctx context.Context, c passkey.Challenge) (passkey.Account, error)

	// Issue stores the challenge as Begin does, with the same errors, and reads nothing: the caller knows that the user has
	// passkeys.
	Issue(ctx context.Context, c passkey.Challenge) error

	// Consume deletes the challenge atomically if [passkey.Challenge.Check] passes for the stored record, and reads the
	// account of the claim's user, strongly consistently. Of any number of concurrent calls with one claim exactly one
	// succeeds. When the check fails, the record stays and the check's error is returned. When the account can't be
	// read after the challenge was consumed, the error is returned and the challenge stays consumed. Every passkey in the
	// account was there after Consume was called: one whose removal was acknowledged before is not in it. Where a use is not
	// written ([Service.Finish]), this is what refuses a removed passkey.
	Consume(ctx context.Context, claim passkey.Claim, now time.Time) (passkey.Challenge, passkey.Account, error)

	// Account reads a user with all passkeys, strongly consistently. A user never seen has Version 0 and no error.
	Account(ctx context.Context, user string) (passkey.Account, error)

	// Use records a successful authentication, atomically, only if the passkey's record is still there
	// ([passkey.PasskeyUnknown] otherwise: an update must not bring a removed passkey back). The sign count must be
	// higher than the stored one, or both 0; if not: [passkey.CounterRegressed], or with AllowReset the write goes
	// through and the stored count stays what it was. With LearnBackup the record's backup eligibility must be unknown, or
	// what is learned ([passkey.BackupFlagsInconsistent] otherwise). A record whose LastCeremony is the use's ceremony already
	// holds this very use: success, nothing changes.
	Use(ctx context.Context, user string, use passkey.Use) error

	// Register writes the user record and the new passkey in one transaction, only if the stored user record has version
	// next.Version-1 (no record for 1; [passkey.Conflict] otherwise) and nobody, under any user, holds the credential id
	// ([passkey.PasskeyExists] otherwise). A record that already holds this registration (same LastCeremony) is
	// success.
	Register(ctx context.Context, next passkey.User, p passkey.Passkey) error

	// RegisterInvited is Register and deletes the user's invitation of this id, in the same transaction
	// ([passkey.InvitationInvalid] when they have none, or another one). next may be the first version of a user.
	RegisterInvited(ctx context.Context, next passkey.User, p passkey.Passkey, invitation string) error

	// Invite stores an invitation for a user, who need not have a record, in the place of one that is there.
	Invite(ctx context.Context, user string, invitation passkey.Invitation) error

	// Rename writes the user record and the passkey's name in one transaction, conditioned as Register is;
	// [passkey.PasskeyUnknown] when the passkey is gone.
	Rename(ctx context.Context, next passkey.User, credentialID []byte, name string) error

	// Remove writes the user record and deletes the passkey and its owner record in one transaction, conditioned as
	// Rename is. The credential id may be registered again afterwards.
	Remove(ctx context.Context, next passkey.User, credentialID []byte) error

	// ChangeUser writes the user record alone, conditioned as Register is: another epoch, other recovery codes. For a user
	// never seen it would make the record and so close first use: callers must not ask for that.
	ChangeUser(ctx context.Context, next passkey.User) error

	// Erase deletes the record of a user without passkeys and their invitation, in one transaction, only if the stored record
	// has this very version (no record for 0) and the stored invitation this id (none for ""); [passkey.Conflict] otherwise.
	// From then on the user was never seen.
	Erase(ctx context.Context, user passkey.User, invitation string) error
}
