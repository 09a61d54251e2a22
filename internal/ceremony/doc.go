// Package ceremony runs WebAuthn ceremonies: registration and authentication, each in two steps, on go-webauthn.
//
// Its order is fixed and is what the whole product rests on: parse, consume the challenge, verify, write, and only
// then succeed. A body that does not parse leaves the challenge alone; one that parses and then fails has used it up.
// Nothing is written before the signature verifies, and a write that fails is a failed ceremony.
package ceremony
