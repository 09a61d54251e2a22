package ceremony_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"

	"filippo.io/edwards25519"
	"github.com/fxamacker/cbor/v2"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
)

// FuzzKey: a public key that is taken is, read another way, one of the three kinds that are offered, in its one encoding,
// and no signature is good for it that anybody could make up.
func FuzzKey(f *testing.F) {
	for _, config := range []authtest.Config{{}, {Algorithm: authtest.EdDSA}, {Algorithm: authtest.RS256}, {Algorithm: authtest.ES384}, {Algorithm: authtest.RS256, RSABits: 1024}} {
		w := fuzzWorld(f)
		config.Seed = "key"
		_, err := authtest.New(config).Register(w.startRegistration(ada, "", nil), origin, authtest.AfterSigning(func(d *authtest.Draft) { f.Add(d.PublicKey.CBOR()) }))
		if err != nil {
			continue // this one registers with nobody who does not offer its algorithm
		}
	}
	okp := func(x []byte) []byte { return authtest.COSEKey{1: 1, 3: -8, -1: 6, -2: x}.CBOR() }
	identity, negative := make([]byte, 32), bytes.Repeat([]byte{0xff}, 32)
	identity[0] = 1
	f.Add(okp(identity))
	f.Add(okp(make([]byte, 32)))
	f.Add(okp(negative))
	f.Add(authtest.COSEKey{1: 2, 3: -7, -1: 1, -2: make([]byte, 32), -3: make([]byte, 32)}.CBOR())
	f.Add(authtest.COSEKey{1: 2, 3: -7, -1: 1}.CBOR())
	f.Add(authtest.COSEKey{1: 99, 3: -7}.CBOR())
	f.Add(authtest.COSEKey{1: 3, 3: -257, -1: bytes.Repeat([]byte{0xff}, 256), -2: []byte{1, 0, 1}}.CBOR())
	f.Add(authtest.COSEKey{1: 3, 3: -65535, -1: bytes.Repeat([]byte{0xff}, 256), -2: []byte{1, 0, 1}}.CBOR())
	f.Add([]byte{0xbf, 0x01, 0x02, 0xff})
	f.Fuzz(func(t *testing.T, key []byte) {
		if err := ceremony.CheckKey(key); err != nil {
			acceptable(t, err)
			return
		}
		var members map[int64]any
		if err := cbor.Unmarshal(key, &members); err != nil {
			t.Fatalf("%x is taken, and is no CBOR: %v", key, err)
		}
		bytesOf := func(label int64) []byte { b, _ := members[label].([]byte); return b }
		switch members[3] {
		case int64(-7):
			x, y := new(big.Int).SetBytes(bytesOf(-2)), new(big.Int).SetBytes(bytesOf(-3))
			//lint:ignore SA1019 another implementation's word is what is wanted
			if members[1] != uint64(2) || members[-1] != uint64(1) || len(members) != 5 || !elliptic.P256().IsOnCurve(x, y) {
				t.Fatalf("%v is taken for ES256", members)
			}
		case int64(-8):
			point, err := new(edwards25519.Point).SetBytes(bytesOf(-2))
			if err != nil || members[1] != uint64(1) || members[-1] != uint64(6) || len(members) != 4 {
				t.Fatalf("%v is taken for EdDSA", members)
			}
			double := func(p *edwards25519.Point) *edwards25519.Point { return new(edwards25519.Point).Add(p, p) }
			if double(double(double(point))).Equal(edwards25519.NewIdentityPoint()) == 1 {
				t.Fatalf("%v is of small order", members)
			}
		case int64(-257):
			n := new(big.Int).SetBytes(bytesOf(-1))
			if members[1] != uint64(3) || len(members) != 4 || n.BitLen() < 2048 || n.BitLen() > 8192 || n.Bit(0) == 0 {
				t.Fatalf("%v is taken for RS256", members)
			}
		default:
			t.Fatalf("%v is of an algorithm that is not offered", members)
		}
		if again := (authtest.COSEKey{}); cbor.Unmarshal(key, &again) != nil || len(again.CBOR()) != len(key) {
			t.Fatalf("%x is taken, and its canonical encoding is %x", key, again.CBOR())
		}
		parsed, err := webauthncose.ParsePublicKey(key)
		if err != nil {
			t.Fatalf("%x is taken, and go-webauthn does not read it: %v", key, err)
		}
		for _, made := range [][]byte{nil, make([]byte, 64), slices.Concat(identity, make([]byte, 32)), {0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00}, make([]byte, 256), bytes.Repeat([]byte{0}, len(bytesOf(-1)))} {
			if ok, err := webauthncose.VerifySignature(parsed, []byte("a challenge"), made); ok && err == nil {
				t.Fatalf("%x takes the signature %x", key, made)
			}
		}
	})
}

// FuzzStatement: no attestation statement makes a registration panic, and a passkey counts as attested only if its
// authenticator data is signed with the key of a certificate of the maker's. An empty statement stands for the genuine
// one, of which the byte at is changed, and the end cut off.
func FuzzStatement(f *testing.F) {
	for _, format := range []string{"packed", "tpm", "android-key", "android-safetynet", "fido-u2f", "apple", "none", "compound", "", "Packed"} {
		f.Add(format, []byte(nil), uint(0), byte(0), uint(0))
		f.Add(format, []byte{0xa0}, uint(0), byte(0), uint(0))
		f.Add(format, must(cbor.Marshal(map[string]any{"alg": -7, "sig": []byte{1}, "x5c": [][]byte{{0x30, 0}}, "ver": "2.0", "certInfo": []byte("\xffTCG\x80\x17"), "pubArea": []byte{0, 0x23, 0, 0x0b, 0, 0, 0, 0}, "response": []byte("a.b.c")}))(f),
			uint(0), byte(0), uint(0))
		f.Add(format, must(cbor.Marshal(map[string]any{"alg": -7, "sig": []byte{1}}))(f), uint(0), byte(0), uint(0))
	}
	for at := uint(1); at < 400; at += 7 {
		f.Add("packed", []byte(nil), at, byte(1), uint(0))
	}
	root := newCA(f, "Acme's Root")
	known := one(f, root.Certificate)
	var genuine []byte // each process has its own
	f.Fuzz(func(t *testing.T, format string, statement []byte, at uint, change byte, cut uint) {
		w := newWorld(t, known.in, withoutCodes)
		w.SetRandom(bytesOf(0x5a))
		known.t = t
		asked := w.startRegistration(ada, "", nil)
		var signed []byte
		reply := must(seeded(authtest.Config{AAGUID: acmeKey}, "statement").Register(asked, origin, authtest.AfterSigning(func(d *authtest.Draft) {
			signed = slices.Concat(d.AuthenticatorData, clientDataHash(d))
			if genuine == nil {
				_, made := root.packed(t, d)
				genuine = must(cbor.Marshal(made))(t)
			}
			if len(statement) == 0 {
				statement = slices.Clone(genuine)
			}
			if at < uint(len(statement)) {
				statement[at] ^= change
			}
			statement = statement[:len(statement)-int(min(cut, uint(len(statement))))]
			d.AttestationObject = slices.Concat([]byte{0xa3}, text("fmt"), text(format), text("attStmt"), statement, text("authData"), must(cbor.Marshal(d.AuthenticatorData))(t))
		})))(t)
		registered, err := w.finishRegistration(ada, "", reply)
		acceptable(t, err)
		if err == nil && registered.Passkey.Trusted && (format != "packed" || !signedBelow(root.Certificate, statement, signed)) {
			t.Fatalf("trusted by the statement %q %x", format, statement)
		}
		if whole := bytes.Equal(statement, genuine) && format == "packed"; whole && (err != nil || !registered.Passkey.Trusted) {
			t.Fatalf("positive control: %v, %+v", err, registered.Passkey)
		}
	})
}

// text is a CBOR text.
func text(s string) []byte {
	b, err := cbor.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

// signedBelow reports whether a packed statement holds a signature of this message with the key of a certificate that the
// root has signed.
func signedBelow(root *x509.Certificate, statement, message []byte) bool {
	var members struct {
		Sig []byte   `cbor:"sig"`
		X5C [][]byte `cbor:"x5c"`
	}
	if cbor.Unmarshal(statement, &members) != nil || len(members.X5C) == 0 {
		return false
	}
	leaf, err := x509.ParseCertificate(members.X5C[0])
	if err != nil || leaf.CheckSignatureFrom(root) != nil {
		return false
	}
	key, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	sum := sha256.Sum256(message)
	return ok && ecdsa.VerifyASN1(key, sum[:], members.Sig)
}
