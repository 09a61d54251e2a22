// Package transfer moves the users and passkeys of one relying party from one store to another, by way of a file.
//
// The idea: an export is lines of JSON. The first says what it is and whose, then comes one line for each user with all
// their passkeys, and the last one counts what went before, so that a file that was cut short is recognised. A line has
// exactly one form, the one that [Export] writes: what decodes encodes to the same bytes again, and anything else is
// refused with its line number.
//
// It guarantees:
//   - Old grants stay dead. The epoch, which ends a user's grants when it is replaced, is not in the file: [Import] draws
//     a new one for each user, so that no grant made before the move counts after it, even where both stores are used
//     with the same keys. Challenges are not moved: one that is in two stores could be used twice.
//   - Nothing is overwritten. A user whom the receiving store has already, with the same handle, was moved before and is
//     left as they are now; one with another handle is somebody else's record, left as it is and reported. So is a user
//     with a passkey that somebody else holds.
//   - Rule 10 moves too: a user whose passkeys are all removed is exported, and nobody registers a first passkey for
//     them at the new place on the first factor alone (docs/rules.md).
//   - Both directions can be broken off anywhere and gone on with: [ExportFile] continues behind the last whole line, and
//     an Import that is run again passes over whom it finds there.
//   - A refused line leaves nothing behind; the users of the lines before it are imported.
//
// The file is as precious as the store it comes from: it holds no secret to sign in with (public keys only), but it tells
// who has which passkeys, and whoever can change it on its way can put their own passkey into anybody's account. It is
// made with mode 0600 and not signed: whoever could read the key to sign it could write to the store as well. Somebody who
// can only choose what a file says can't touch users that the receiving store has already, exhaust memory with one
// line, or have another relying party's passkeys accepted.
package transfer
