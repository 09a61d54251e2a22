// Package ceremony runs WebAuthn ceremonies: registration and authentication, each in two steps, on go-webauthn.
//
// # Idea
//
// A ceremony is a random challenge, a record of what it is for, and a reply that an authenticator signed. The record is
// found by the SHA-256 of the challenge in the reply, so that nothing has to travel with the browser but the reply
// itself, and holds neither the challenge nor a list of allowed passkeys: what go-webauthn needs to finish is made
// from the record, the configuration, and the account as it is at that moment.
//
// The order is fixed and is what the whole product rests on:
//
//  1. parse: strictly, without touching the store. A reply that does not parse leaves the challenge alone;
//  2. consume: one atomic step that succeeds once, and only for the user, kind, browser and time it was made for;
//  3. verify: our own checks first, each with a refusal of its own, then go-webauthn's as the last word;
//  4. write: what the ceremony changes, in one transaction. A step-up that changes nothing but by how many seconds the
//     passkey was last used writes nothing, see [Service.Finish];
//  5. and only then succeed.
//
// A reply that parses and then fails has used up its challenge. Nothing is written before the signature verifies, and
// a write that fails is a failed ceremony.
//
// # What it guarantees
//
// A [Proof] says that a passkey of that user signed a challenge made for that user, purpose, origin, browser and
// first-factor session, not longer ago than the configured TTL, and that no other Proof was or will be made of it. Its
// level is read from the flags in this very assertion. A passkey is registered only with user verification, with a key
// that can be used and is of an algorithm that was offered, and only as a first one for a user who never had any or
// with an assertion made for that purpose.
//
// # What an attacker can and cannot do
//
// The body of a reply is hostile. Of its members only those that WebAuthn defines are read, by exact name; a member
// named twice, or in another case, makes the body malformed, so no two parsers can read it differently. Who, where and
// what for come from [Party], [Purpose] and the record. A member such as "userHandle" of somebody else can make a
// ceremony fail and can't make it succeed. Refusals carry no detail of go-webauthn's, which would hold the expected
// challenge.
//
// Not kept out below [passkey.Attested]: a user who registers an authenticator that lies. Without attestation a software
// authenticator can claim any flag, AAGUID and sign count, hence [passkey.DeviceBound] is "the authenticator's claim".
// [passkey.Attested] takes a maker's certificate, by the metadata that [Config.Attestation] brings, at each use.
package ceremony
