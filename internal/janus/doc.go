// Package janus reads the passkeys of a Janus (github.com/guardian/janus-app) from its DynamoDB table, for `stepgate
// import --from janus`. It writes nothing; package transfer does that with what [Read] returns.
//
// The idea: the whole table is read before anything is written, so that what concerns several rows (two names that become
// one user, a credential id that two people hold) is known first. Each row is taken or refused by itself, by [Convert], a
// pure function, and a refused row is in the report with its reason.
//
// It guarantees:
//   - A passkey is taken only if a registration would have accepted its id and its public key.
//   - The WebAuthn user handle stays what Janus made it, the UTF-8 of its user name: synced passkeys send it back.
//   - Nothing is claimed that Janus did not keep. It stored no backup flags, so a passkey reaches no more than verified
//     until it has been used (passkey.Passkey, BackupUnknown); no attestation is taken over, for Janus verified none.
//   - Who is refused leaves nothing behind, and what the report quotes is names and credential ids, never a key.
//
// Whoever can write to Janus's table can put a passkey of their own into anybody's account, there and here: what no
// reader can see. Somebody who can only choose what a row says can't exhaust memory, or have a passkey taken that
// nobody, or everybody, can sign with.
package janus
