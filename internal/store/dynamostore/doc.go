// Package dynamostore keeps users, passkeys and challenges in two DynamoDB tables, for any number of gateways.
//
// The idea: everything that one relying party keeps about one user lies in one partition of the passkeys table, so one
// strongly consistent query reads an account; whatever two gateways could race for is decided by DynamoDB itself, in the
// condition of a single write or of one transaction, never by a read before a write. Limits and first use are decided on
// the user record's version, which every registration, renaming and removal is conditioned on. A challenge is consumed by
// a delete whose condition names its kind, user, browser and expiry.
//
// Keys are a type tag, the RP ID and the user's name, the last two with their length in front, so that no name, whatever
// it holds, reaches into another user's or relying party's partition. Credential ids are keyed by their SHA-256: they may
// be longer than a key. Records carry a version and are read strictly: a missing, mistyped or unknown attribute, or
// another version, makes the record unreadable. It is refused and never guessed at. Another version is never overwritten:
// every condition names the version. What else is wrong shows when the account is read, which every change begins with.
//
// It guarantees:
//   - What was acknowledged is in the table. What failed may or may not be: a retry whose first try was applied is
//     recognised, for transactions by their ClientRequestToken, for single writes by what the record holds. Where it can't be
//     recognised (a consumed challenge) the answer is [passkey.StoreUnavailable], never success. The write of a challenge is
//     not repeated unless it was refused: one that comes late would make it work again.
//   - Every method ends within [Options].Budget or its context's deadline, whichever comes first, retries included.
//     Unreachable, throttled, denied, hanging, an unreadable record: an error that wraps [passkey.StoreUnavailable].
//   - The table's time to live (TTL) is never relied on: expiry is in the condition.
//   - With [Options].MaxSkew, no account is given out by a machine whose clock is further than that from DynamoDB's.
//   - Nothing in an error names a user, a passkey or a challenge.
//
// A client that chooses its user name, credential id and challenge id can fill no other partition than its own. Somebody
// who can write to the tables owns every account in them; somebody who can read them learns who uses the gateway, but
// nothing to sign in with. So the credentials of a gateway should reach nothing else, and nothing else these tables: see
// [Policy].
package dynamostore
