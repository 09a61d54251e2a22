// Package boltstore keeps users, passkeys and challenges in one embedded file, for a single gateway.
//
// The idea: every method of [ceremony.Store] is one bbolt transaction. bbolt runs one writing transaction at a time and
// makes it durable (fsync) before it reports success, so "atomically" and "only if" in that contract are plain code
// here: read, decide, write. Records live in one bucket; a key is a type tag, the RP ID and the user's name, each
// preceded by its length, so that no name, whatever bytes it holds, reaches into another user's or relying party's keys.
// Values are JSON with a version, in one canonical form: a record that is not byte for byte what this package would have
// written is refused, not interpreted.
//
// It guarantees:
//   - What was acknowledged survives the death of the process and, unless [Options].NoSync is set, of the machine. In
//     particular a consumed challenge stays consumed.
//   - A challenge is consumed by one caller. A removed passkey stays removed. A sign count never goes down. A user's
//     list of passkeys and the passkeys' records always agree: a write that would make them differ is refused.
//   - It fails closed. Closed, out of time, a full disk, a damaged page, an unreadable record: an error that wraps
//     [passkey.StoreUnavailable], never a panic, and what could not be read is left as it is.
//   - Nothing in an error or a log line names a user, a passkey or a challenge.
//
// A client that chooses every user name, credential id and challenge id it sends can make records of its own, no more
// than the gate's limits let it, and cannot touch or see others. The number of challenges of one user is not bounded
// here: a bound would have to evict or refuse, and either would let a flood in a user's name lock that user out. The
// gate's rate limiter bounds how many are stored, their lifetime and [DB.Sweep] how long they stay. Somebody who can
// write to the file owns every account in it, and somebody who can read it learns who uses the gateway and which public
// keys they hold, but nothing to sign in with: hence mode 0600, enforced by [Open].
//
// The file grows to the largest size it ever needed and is reused within; bbolt never shrinks it.
package boltstore
