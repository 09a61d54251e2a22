package ceremony

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/go-webauthn/webauthn/protocol"

	"github.com/stepgate/stepgate/internal/passkey"
)

// maxStatement bounds an attestation statement in bytes. The largest in use hold a certificate chain of about 6 KiB;
// without a bound a chain could hold an RSA key whose verification takes seconds.
const maxStatement = 16 << 10

// attestationObject is what our own checks need of an attestation object (WebAuthn L3 §6.5).
type attestationObject struct {
	format    string
	statement int // bytes
}

// decode and encode are CBOR in the CTAP2 canonical form that WebAuthn L3 §2.3 prescribes, as go-webauthn reads it: no
// tags, no indefinite lengths, no member twice, five levels.
var (
	decode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   5,
		IntDec:            cbor.IntDecConvertSignedOrFail,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode())
	encode = must(cbor.CTAP2EncOptions().EncMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// parseAttestationObject asks for exactly the members fmt, attStmt and authData. go-webauthn also takes "FMT", other
// members beside them, and a missing attStmt. Numbers and lengths must be in their shortest form; the order of members
// is left to the authenticator: nothing here depends on it and not all sort. Within the statement the form is left to it
// too where it is asked for one (direct): browsers pass that on as it is, nothing of it is kept, and what it signs is not
// its own encoding.
func parseAttestationObject(text []byte, direct bool) (attestationObject, error) {
	var members map[string]cbor.RawMessage
	if err := decode.Unmarshal(text, &members); err != nil {
		return attestationObject{}, malformed("the attestation object is no CBOR map")
	}
	var object attestationObject
	var data []byte
	var statement any
	if len(members) != 3 ||
		decode.Unmarshal(members["fmt"], &object.format) != nil ||
		decode.Unmarshal(members["authData"], &data) != nil ||
		decode.Unmarshal(members["attStmt"], &statement) != nil {
		return attestationObject{}, malformed("not the members of an attestation object")
	}
	switch statement.(type) {
	case map[any]any, []any: // an array for the format "compound"
	default:
		return attestationObject{}, malformed("the attestation statement is no map")
	}
	if direct {
		statement = members["attStmt"]
	}
	shortest, err := encode.Marshal(map[string]any{"fmt": object.format, "authData": data, "attStmt": statement})
	if err != nil || len(shortest) != len(text) {
		return attestationObject{}, malformed("the attestation object is not in canonical CBOR")
	}
	object.statement = len(members["attStmt"])
	return object, nil
}

// checkKeyEncoding refuses a credential public key that is not in the shortest form: go-webauthn stores it encoded anew,
// so what is stored would not be what was signed.
func checkKeyEncoding(raw []byte, data protocol.AuthenticatorData) error {
	const header = 32 + 1 + 4 + 16 + 2 // rpIdHash, flags, signCount, AAGUID, length of the credential id
	sent := len(raw) - header - len(data.AttData.CredentialID) - len(data.ExtData)
	if sent != len(data.AttData.CredentialPublicKey) {
		return malformed("the public key is not in canonical CBOR")
	}
	return nil
}

// check refuses a statement that go-webauthn should not spend time on.
func (o attestationObject) check() error {
	if o.statement > maxStatement {
		return fmt.Errorf("reading an attestation statement of %d bytes: %w", o.statement, passkey.AttestationInvalid)
	}
	return nil
}
