package authtest

import (
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
)

// ToleratedAssertions are replies to an authentication that are odd and right: a relying party must accept them.
func ToleratedAssertions() []Case {
	return []Case{
		{Name: "A44 Safari's appid false", Lie: Extension("appid", false)},
		{Name: "an unknown extension", Lie: Extension("prf", map[string]any{"results": map[string]any{"first": "AAAA"}})},
		{Name: "A38 members of others", Lie: BodyMember("username", "bob")},
		{Name: "A38 user handle beside the response", Lie: BodyMember("userHandle", "AAAA")},
		{Name: "A50 options in the reply", Lie: BodyMember("userVerification", "discouraged")},
		{Name: "A50 challenge beside the client data", Lie: BodyMember("challenge", "AAAA")},
		{Name: "public key in the response", Lie: ResponseMember("publicKey", "AAAA")},
		{Name: "no user handle", Lie: UserHandle(nil)},
		{Name: "empty user handle", Lie: UserHandle([]byte{})},
		{Name: "null user handle", Lie: UserHandle(nil).Then(ResponseMember("userHandle", nil))},
		{Name: "null attachment", Lie: AfterSigning(func(d *Draft) { d.Attachment = "" })},
		{Name: "new members of client data", Lie: MoreClientData("new_keys_may_be_added_here", "do not compare clientDataJSON against a template")},
		{Name: "no crossOrigin", Lie: NoClientData("crossOrigin")},
		{Name: "token binding of old", Lie: MoreClientData("tokenBinding", map[string]any{"status": "supported"})},
		{Name: "white space in client data", Lie: ClientDataJSON(func(b []byte) []byte { return slices.Concat([]byte("\n "), b, []byte("\t")) })},
		{Name: "escapes in client data", Lie: ClientDataJSON(func(b []byte) []byte {
			return slices.Concat([]byte(`{"\u0074ype":"webauthn.\u0067et",`), b[len(`{"type":"webauthn.get",`):])
		})},
		{Name: "authenticator extensions", Lie: AuthenticatorExtensions(map[string]any{"credProtect": 2})},
		{Name: "reserved flags", Lie: Set(RFU1 | RFU2)},
		{Name: "sign count jumps", Lie: SignCount(1<<32 - 1)},
		{Name: "A32 malleated signature, once", Lie: Signature(negated)},
	}
}

// negated turns an ECDSA signature (r, s) into (r, n-s), which verifies too: hence no signature may serve as a key
// against replay.
func negated(signature []byte) []byte {
	var v struct{ R, S *big.Int }
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	_, err1 := asn1.Unmarshal(signature, &v)
	v.S.Sub(n, v.S)
	b, err2 := asn1.Marshal(v)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	return b
}
