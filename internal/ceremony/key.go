package ceremony

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"fmt"
	"math/big"
	"slices"

	"filippo.io/edwards25519"
	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/stepgate/stepgate/internal/passkey"
)

// offered are the algorithms that a registration asks for, most preferred first: EdDSA, ES256, RS256 (WebAuthn L3
// §5.4, pubKeyCredParams). No others are accepted.
func offered() []protocol.CredentialParameter { return webauthn.CredentialParametersRecommendedL3() }

// Labels of a COSE key (RFC 9052 §7.1, RFC 9053 §7, RFC 8230 §4).
const (
	labelType      = 1
	labelAlgorithm = 3
	labelCurve     = -1
	labelX         = -2
	labelY         = -3
	labelModulus   = -1
	labelExponent  = -2
)

const (
	minModulus = 2048 // bits
	maxModulus = 8192 // bits; verifying takes time that grows with the square
)

// CheckKey refuses a credential public key that a registration would have refused, for passkeys that were registered
// elsewhere: [passkey.KeyUnusable], [passkey.AlgorithmRefused].
func CheckKey(key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	var members any
	if err := decode.Unmarshal(key, &members); err != nil {
		return unusable("no COSE key")
	}
	if shortest, err := encode.Marshal(members); err != nil || len(shortest) != len(key) {
		return unusable("not in canonical CBOR")
	}
	return nil
}

// checkKey refuses a credential public key that nobody should be able to sign in with. go-webauthn looks at the key of
// an attestation "none" only when it is used: it registers points off the curve and RSA-512, and verifies with RSA-1024
// and with Ed25519 keys of small order, for which one constant signature is valid for every challenge.
func checkKey(key []byte) error {
	var members map[int64]any
	if err := decode.Unmarshal(key, &members); err != nil {
		return unusable("no COSE key")
	}
	algorithm, _ := members[labelAlgorithm].(int64)
	if !slices.ContainsFunc(offered(), func(p protocol.CredentialParameter) bool { return int64(p.Algorithm) == algorithm }) {
		return fmt.Errorf("checking the public key: %w", passkey.AlgorithmRefused)
	}
	var err error
	switch webauthncose.COSEAlgorithmIdentifier(algorithm) {
	case webauthncose.AlgEdDSA:
		err = checkEd25519(members)
	case webauthncose.AlgES256:
		err = checkP256(members)
	case webauthncose.AlgRS256:
		err = checkRSA(members)
	default:
		err = unusable("an algorithm without a check")
	}
	if err != nil {
		return err
	}
	if _, err := webauthncose.ParsePublicKey(key); err != nil {
		return unusable("a key that go-webauthn does not parse")
	}
	return nil
}

func unusable(why string) error {
	return fmt.Errorf("checking the public key: %s: %w", why, passkey.KeyUnusable)
}

// hasExactly tells whether a key is of a type and has its members and no others: WebAuthn L3 §6.5.1.1 forbids optional
// ones. The algorithm was checked before.
func hasExactly(members map[int64]any, keyType webauthncose.COSEKeyType, labels ...int64) bool {
	if members[labelType] != int64(keyType) || len(members) != len(labels)+2 {
		return false
	}
	return !slices.ContainsFunc(labels, func(label int64) bool { return members[label] == nil })
}

func checkP256(members map[int64]any) error {
	x, _ := members[labelX].([]byte)
	y, _ := members[labelY].([]byte)
	if !hasExactly(members, webauthncose.EllipticKey, labelCurve, labelX, labelY) ||
		members[labelCurve] != int64(webauthncose.P256) || len(x) != 32 || len(y) != 32 {
		return unusable("not a P-256 key")
	}
	if _, err := ecdh.P256().NewPublicKey(slices.Concat([]byte{4}, x, y)); err != nil {
		return unusable("not on the curve")
	}
	return nil
}

func checkEd25519(members map[int64]any) error {
	x, _ := members[labelX].([]byte)
	if !hasExactly(members, webauthncose.OctetKey, labelCurve, labelX) ||
		members[labelCurve] != int64(webauthncose.Ed25519) || len(x) != ed25519.PublicKeySize {
		return unusable("not an Ed25519 key")
	}
	point, err := new(edwards25519.Point).SetBytes(x)
	if err != nil {
		return unusable("not on the curve")
	}
	if !slices.Equal(point.Bytes(), x) {
		return unusable("not in canonical encoding")
	}
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return unusable("of small order")
	}
	return nil
}

func checkRSA(members map[int64]any) error {
	n, _ := members[labelModulus].([]byte)
	e, _ := members[labelExponent].([]byte)
	if !hasExactly(members, webauthncose.RSAKey, labelModulus, labelExponent) ||
		len(n) == 0 || n[0] == 0 || len(e) == 0 || e[0] == 0 || len(e) > 4 {
		return unusable("not an RSA key")
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < minModulus || bits > maxModulus || modulus.Bit(0) == 0 {
		return unusable("an RSA modulus that is too short, too long, or even")
	}
	if exponent.BitLen() > 31 || exponent.Cmp(big.NewInt(3)) < 0 || exponent.Bit(0) == 0 {
		return unusable("an RSA exponent that is even, below 3, or of more than 31 bits")
	}
	return nil
}
