package authtest

import (
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
)

// Case is one dishonest or damaged reply and what a relying party must answer to it. Names begin with the class of attack.
type Case struct {
	Name    string
	Config  Config // of the authenticator that lies
	Lie     Lie
	Refusal string // the reason that the relying party must name; "" where it must accept the reply
}

// Place is where the cases are to be tried: what a lie is depends on what is true.
type Place struct {
	RPID   string // with a dot in it
	Origin string // https, where the ceremony takes place
	Other  string // another origin of the same relying party
}

func (p Place) host() string      { return strings.TrimPrefix(p.Origin, "https://") }
func (p Place) subdomain() string { return "https://evil." + p.host() }

// RefusedAssertions are lies about an assertion that verification must find, each for its own reason. They are for a passkey
// whose last sign count was 10, and raise it to 20 unless they lie about just that.
func RefusedAssertions(at Place) []Case {
	signature := func(b []byte) Lie { return Signature(func([]byte) []byte { return b }) }
	cases := []Case{
		{"A14 type create", Config{}, Type("webauthn.create"), "ceremony_mismatch"},
		{"A14 type payment", Config{}, Type("payment.get"), "ceremony_mismatch"},
		{"A14 type in capitals", Config{}, Type("WEBAUTHN.GET"), "ceremony_mismatch"},
		{"A14 no type", Config{}, Type(""), "ceremony_mismatch"},
		{"A17 sub-domain", Config{}, Origin(at.subdomain()), "origin_mismatch"},
		{"A17 parent", Config{}, Origin("https://" + at.RPID), "origin_mismatch"},
		{"A17 other origin of the relying party", Config{}, Origin(at.Other), "origin_mismatch"},
		{"A17 http", Config{}, Origin("http://" + at.host()), "origin_mismatch"},
		{"A17 other port", Config{}, Origin(at.Origin + ":8443"), "origin_mismatch"},
		{"A17 default port", Config{}, Origin(at.Origin + ":443"), "origin_mismatch"},
		{"A17 trailing dot", Config{}, Origin(at.Origin + "."), "origin_mismatch"},
		{"A17 trailing slash", Config{}, Origin(at.Origin + "/"), "origin_mismatch"},
		{"A17 path and query", Config{}, Origin(at.Origin + "/evil?x#y"), "origin_mismatch"},
		{"A17 user info", Config{}, Origin("https://user@" + at.host()), "origin_mismatch"},
		{"A17 upper case", Config{}, Origin("https://" + strings.ToUpper(at.host()[:1]) + at.host()[1:]), "origin_mismatch"},
		{"A17 white space", Config{}, Origin(" " + at.Origin), "origin_mismatch"},
		{"A17 null", Config{}, Origin("null"), "origin_mismatch"},
		{"A17 empty", Config{}, Origin(""), "origin_mismatch"},
		{"A17 app", Config{}, Origin("android:apk-key-hash:AAAA"), "origin_mismatch"},
		{"A20 in a frame", Config{}, CrossOrigin(true), "cross_origin"},
		{"A20 top origin", Config{}, TopOrigin("https://evil.example"), "cross_origin"},
		{"A20 own top origin", Config{}, TopOrigin(at.Origin), "cross_origin"},
		{"A20 empty top origin", Config{}, TopOrigin(""), "cross_origin"},
		{"A20 null top origin", Config{}, ClientData("topOrigin", nil), "cross_origin"},
		{"A21 parent", Config{}, RPID(at.RPID[strings.Index(at.RPID, ".")+1:]), "relying_party_mismatch"},
		{"A21 sub-domain", Config{}, RPID("console." + at.RPID), "relying_party_mismatch"},
		{"A21 other tenant", Config{}, RPID("example.org"), "relying_party_mismatch"},
		{"A21 nothing", Config{}, RPID(""), "relying_party_mismatch"},
		{"A22 not verified", Config{}, Clear(UV), "user_verification_missing"},
		{"A23 not present", Config{}, Clear(UP), "user_presence_missing"},
		{"A23 neither", Config{}, Clear(UP | UV), "user_presence_missing"},
		{"A24 backed up, not eligible", Config{}, Set(BS), "backup_flags_inconsistent"},
		{"A24 became eligible", Config{}, Set(BE), "backup_flags_inconsistent"},
		{"A24 became synced", Config{}, Set(BE | BS), "backup_flags_inconsistent"},
		{"A25 equal", Config{}, SignCount(10), "counter_regressed"},
		{"A25 lower", Config{}, SignCount(9), "counter_regressed"},
		{"A25 0 after 10", Config{}, SignCount(0), "counter_regressed"},
		{"A28 nobody's id", Config{}, As(make([]byte, 32)), "passkey_unknown"},
		{"A28 id of one byte", Config{}, As([]byte{1}), "passkey_unknown"},
		{"A32 empty signature", Config{}, signature(nil), "signature_invalid"},
		{"A32 raw r||s", Config{}, Signature(func(b []byte) []byte {
			r, s := shape(b)
			return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32)))
		}), "signature_invalid"},
		{"A32 BER, long form of the length", Config{}, Signature(func(b []byte) []byte {
			return slices.Concat([]byte{0x30, 0x81, b[1]}, b[2:])
		}), "signature_invalid"},
		{"A32 trailing byte", Config{}, Signature(func(b []byte) []byte { return append(slices.Clone(b), 0) }), "signature_invalid"},
		{"A32 r=s=0", Config{}, signature([]byte{0x30, 6, 2, 1, 0, 2, 1, 0}), "signature_invalid"},
		{"A32 one bit", Config{}, Signature(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), "signature_invalid"},
		{"A32 s negated and not reduced", Config{}, Signature(func(b []byte) []byte {
			r, s := shape(b)
			b, err := asn1.Marshal(struct{ R, S *big.Int }{r, s.Neg(s)})
			if err != nil {
				panic(err)
			}
			return b
		}), "signature_invalid"},
		{"sign count raised after signing", Config{}, AuthenticatorData(func(b []byte) []byte { b[36]++; return b }), "signature_invalid"},
		{"client data changed after signing", Config{}, AfterSigning(func(d *Draft) {
			d.ClientDataJSON = append(slices.Clone(d.ClientDataJSON), ' ')
		}), "signature_invalid"},
		{"signed over other authenticator data", Config{}, BeforeSigning(func(d *Draft) { d.Flags |= RFU1 }).Then(
			AuthenticatorData(func(b []byte) []byte { b[32] &^= RFU1; return b })), "signature_invalid"},
		{"A38 user handle of somebody else", Config{}, UserHandle(make([]byte, 64)), "user_handle_mismatch"},
		{"A38 user handle is the user name", Config{}, UserHandle([]byte("ada")), "user_handle_mismatch"},
		{"A45 appid true", Config{}, Extension("appid", true), "extension_refused"},
		{"A45 remoteClientDataJSON", Config{}, Extension("remoteClientDataJSON", true), "extension_refused"},
		{"A45 remoteClientDataJSON false", Config{}, Extension("remoteClientDataJSON", false), "extension_refused"},
	}
	for i := range cases {
		cases[i].Lie = SignCount(20).Then(cases[i].Lie)
	}
	return cases
}

// shape takes an ECDSA signature apart.
func shape(signature []byte) (r, s *big.Int) {
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &v); err != nil {
		panic(err)
	}
	return v.R, v.S
}

// YubiKey is the AAGUID of a YubiKey 5, which anybody can claim.
var YubiKey = [16]byte{0xcb, 0x69, 0x48, 0x1e, 0x8f, 0xf7, 0x40, 0x39, 0x93, 0xec, 0x0a, 0x27, 0x29, 0xa1, 0x54, 0xa8}
