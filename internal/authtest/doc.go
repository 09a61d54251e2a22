// Package authtest is a software authenticator, with the browser in front of it, that can lie.
//
// [Authenticator.Register] and [Authenticator.Authenticate] take the options that a relying party sends and return
// what PublicKeyCredential.toJSON() would give. Without a [Lie] both behave as WebAuthn L3 asks of an honest client and
// authenticator: they refuse what they could not do ([ErrExcluded], [ErrNoCredential], [ErrAlgorithm],
// [ErrUserVerification]). A lie changes one thing, before or after signing, and leaves all else right, so that a
// relying party that refuses can only have refused because of it.
//
// It shares no code with the verifying side: CBOR, COSE keys, signatures and JSON are made here.
package authtest
