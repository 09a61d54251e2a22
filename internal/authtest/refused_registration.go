package authtest

import (
	"bytes"
	"encoding/hex"
	"slices"
)

// RefusedRegistrations are lies about a new credential that verification must find, each for its own reason.
func RefusedRegistrations(at Place) []Case {
	offCurve := Key(-3, bytes.Repeat([]byte{1}, 32))
	cases := []Case{
		{"A14 type get", Config{}, Type("webauthn.get"), "ceremony_mismatch"},
		{"A17 sub-domain", Config{}, Origin(at.subdomain()), "origin_mismatch"},
		{"A17 user info", Config{}, Origin("https://user@" + at.host()), "origin_mismatch"},
		{"A17 other origin of the relying party", Config{}, Origin(at.Other), "origin_mismatch"},
		{"A20 in a frame", Config{}, CrossOrigin(true), "cross_origin"},
		{"A20 top origin", Config{}, TopOrigin(at.Origin), "cross_origin"},
		{"A21 other relying party", Config{}, RPID("example.org"), "relying_party_mismatch"},
		{"A22 not verified", Config{}, Clear(UV), "user_verification_missing"},
		{"A23 F16 not present", Config{}, Clear(UP), "user_presence_missing"},
		{"A24 backed up, not eligible", Config{}, Set(BS), "backup_flags_inconsistent"},
		{"A34 alg RS1", Config{}, Key(3, -65535), "algorithm_refused"},
		{"A34 alg ESP256", Config{}, Key(3, -9), "algorithm_refused"},
		{"A34 alg Ed448", Config{}, Key(3, -53), "algorithm_refused"},
		{"A34 alg ES384, real key", Config{Algorithm: ES384}, Obstinate(), "algorithm_refused"},
		{"A34 alg missing", Config{}, Key(3, nil), "algorithm_refused"},
		{"A34 alg is text", Config{}, Key(3, "ES256"), "algorithm_refused"},
		{"A34 EC key, alg RS256", Config{}, Key(3, -257), "key_unusable"},
		{"A34 EC key, alg EdDSA", Config{}, Key(3, -8), "key_unusable"},
		{"A34 RSA key, alg ES256", Config{Algorithm: RS256, Seed: "RS256"}, Key(3, -7), "key_unusable"},
		{"A34 kty 99", Config{}, Key(1, 99), "key_unusable"},
		{"A34 kty missing", Config{}, Key(1, nil), "key_unusable"},
		{"A34 other curve", Config{}, Key(-1, 2), "key_unusable"},
		{"A34 no curve", Config{}, Key(-1, nil), "key_unusable"},
		{"A34 off the curve", Config{}, offCurve, "key_unusable"},
		{"A34 no coordinates", Config{}, Key(-2, nil).Then(Key(-3, nil)), "key_unusable"},
		{"A34 compressed point", Config{}, Key(-3, true), "key_unusable"},
		{"A34 point at infinity", Config{}, Key(-2, make([]byte, 32)).Then(Key(-3, make([]byte, 32))), "key_unusable"},
		{"A34 long coordinate", Config{}, Key(-2, make([]byte, 33)), "key_unusable"},
		{"A34 private key as well", Config{}, Key(-4, make([]byte, 32)), "key_unusable"},
		{"A34 key id as well", Config{}, Key(2, []byte("id")), "key_unusable"},
		{"A34 no map", Config{}, RawKey([]byte{0x80}), "key_unusable"},
		{"A34 text for labels", Config{}, RawKey([]byte{0xa1, 0x61, 0x31, 0x02}), "key_unusable"},
		{"A35 RSA-512", Config{Algorithm: RS256, RSABits: 512, Seed: "512"}, Obstinate(), "key_unusable"},
		{"A35 RSA-1024", Config{Algorithm: RS256, RSABits: 1024, Seed: "1024"}, Obstinate(), "key_unusable"},
		{"A35 RSA-1024, self-attested", Config{Algorithm: RS256, RSABits: 1024, Seed: "1024", Attestation: SelfAttestation},
			Obstinate(), "key_unusable"},
		{"A35 RSA exponent 1", Config{Algorithm: RS256, Seed: "RS256"}, Key(-2, []byte{1}), "key_unusable"},
		{"A35 RSA exponent even", Config{Algorithm: RS256, Seed: "RS256"}, Key(-2, []byte{1, 0, 0}), "key_unusable"},
		{"A35 RSA exponent huge", Config{Algorithm: RS256, Seed: "RS256"}, Key(-2, []byte{0x80, 0, 0, 1}), "key_unusable"},
		{"A35 RSA exponent padded", Config{Algorithm: RS256, Seed: "RS256"}, Key(-2, []byte{0, 1, 0, 1}), "key_unusable"},
		{"A35 RSA modulus of 10 kB", Config{Algorithm: RS256, Seed: "RS256"}, Key(-1, bytes.Repeat([]byte{0xff}, 10000)), "key_unusable"},
		{"A35 RSA modulus even", Config{Algorithm: RS256, Seed: "RS256"}, Key(-1, append(bytes.Repeat([]byte{0xff}, 255), 0)), "key_unusable"},
		{"A35 RSA modulus missing", Config{Algorithm: RS256, Seed: "RS256"}, Key(-1, nil), "key_unusable"},
		{"A35 Ed25519 of 31 bytes", Config{Algorithm: EdDSA}, Key(-2, make([]byte, 31)), "key_unusable"},
		{"A35 Ed25519 off the curve", Config{Algorithm: EdDSA}, Key(-2, append([]byte{2}, make([]byte, 31)...)), "key_unusable"},
		{"A35 Ed25519 on X25519", Config{Algorithm: EdDSA}, Key(-1, 4), "key_unusable"},
		{"A35 Ed25519 without curve", Config{Algorithm: EdDSA}, Key(-1, nil), "key_unusable"},
		{"A45 appid true", Config{}, Extension("appid", true), "extension_refused"},
		{"A45 remoteClientDataJSON", Config{}, Extension("remoteClientDataJSON", true), "extension_refused"},
		{"id of 15 bytes", Config{IDLength: 15}, Set(0), "credential_id_invalid"},
		{"rawId is not the attested id", Config{}, As(make([]byte, 32)), "credential_id_invalid"},
		{"format unknown", Config{}, Statement("nonsense", map[string]any{}), "attestation_invalid"},
		{"format in capitals", Config{}, Statement("NONE", map[string]any{}), "attestation_invalid"},
		{"none with a statement", Config{}, Statement("none", map[string]any{"alg": -7}), "attestation_invalid"},
		{"packed without a statement", Config{}, Statement("packed", map[string]any{}), "attestation_invalid"},
		{"packed, wrong signature", Config{}, Statement("packed", map[string]any{"alg": -7, "sig": make([]byte, 70)}), "attestation_invalid"},
		{"packed, empty chain", Config{}, Statement("packed", map[string]any{"alg": -7, "sig": make([]byte, 70), "x5c": []any{}}), "attestation_invalid"},
		{"packed, no certificate", Config{}, Statement("packed", map[string]any{"alg": -7, "sig": make([]byte, 70), "x5c": []any{[]byte{1}}}), "attestation_invalid"},
		{"statement of 20 kB", Config{}, Statement("packed", map[string]any{"sig": make([]byte, 20000)}), "attestation_invalid"},
		{"self-attested, other client data", Config{Attestation: SelfAttestation}, AfterSigning(func(d *Draft) {
			d.ClientDataJSON = append(slices.Clone(d.ClientDataJSON), ' ')
		}), "attestation_invalid"},
		{"certified by anybody for another model", Config{Attestation: CertifiedByAnybody}, AfterSigning(func(d *Draft) {
			d.AttestationObject = bytes.Replace(d.AttestationObject, make([]byte, 16), YubiKey[:], 1)
		}), "attestation_invalid"},
	}
	for _, point := range smallOrder {
		x, err := hex.DecodeString(point)
		if err != nil {
			panic(err)
		}
		cases = append(cases, Case{"A35 Ed25519 of small order " + point[:8] + point[62:], Config{Algorithm: EdDSA}, Key(-2, x), "key_unusable"})
	}
	for i := range cases {
		cases[i].Lie = Obstinate().Then(cases[i].Lie)
	}
	return cases
}

// smallOrder are the encodings of the eight points of small order on Edwards25519, the canonical ones first, from
// "Taming the many EdDSAs", table 2. With such a key one constant signature verifies for every challenge.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"0100000000000000000000000000000000000000000000000000000000000080", // not canonical from here on
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}
