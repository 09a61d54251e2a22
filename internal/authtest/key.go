package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"io"
	"math/big"

	"github.com/fxamacker/cbor/v2"
)

// Algorithm is a COSE algorithm identifier.
type Algorithm int

// The algorithms that an authenticator can use.
const (
	ES256 Algorithm = -7
	EdDSA Algorithm = -8
	ES384 Algorithm = -35
	ES512 Algorithm = -36
	RS256 Algorithm = -257
)

// COSEKey is a COSE key by label (RFC 9052 §7).
type COSEKey map[int]any

// CBOR returns the key as it stands in authenticator data.
func (k COSEKey) CBOR() []byte { return canonical(k) }

type key interface {
	cose() COSEKey
	sign(data []byte) ([]byte, error)
	signer() crypto.Signer // nil for keys that only sign here
}

// canonical encodes in the CTAP2 canonical form.
func canonical(v any) []byte {
	mode, err := cbor.CTAP2EncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func newKey(algorithm Algorithm, bits int, random io.Reader) (key, error) {
	switch algorithm {
	case ES256:
		return newEC(elliptic.P256(), crypto.SHA256, algorithm, 1, random)
	case ES384:
		return newEC(elliptic.P384(), crypto.SHA384, algorithm, 2, random)
	case ES512:
		return newEC(elliptic.P521(), crypto.SHA512, algorithm, 3, random)
	case EdDSA:
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(random, seed); err != nil {
			return nil, err
		}
		return edKey{ed25519.NewKeyFromSeed(seed)}, nil
	case RS256:
		return newRSA(bits, random)
	}
	return nil, fmt.Errorf("authtest: unknown algorithm %d", algorithm)
}

type ecKey struct {
	private   *ecdsa.PrivateKey
	hash      crypto.Hash
	algorithm Algorithm
	curve     int
}

// newEC draws the private scalar itself: ecdsa.GenerateKey takes no account of the source it is given.
func newEC(curve elliptic.Curve, hash crypto.Hash, algorithm Algorithm, curveID int, random io.Reader) (key, error) {
	bits := curve.Params().BitSize
	scalar := make([]byte, (bits+7)/8)
	for {
		if _, err := io.ReadFull(random, scalar); err != nil {
			return nil, err
		}
		scalar[0] >>= (8 - bits%8) % 8
		if private, err := ecdsa.ParseRawPrivateKey(curve, scalar); err == nil {
			return ecKey{private, hash, algorithm, curveID}, nil
		}
	}
}

func (k ecKey) cose() COSEKey {
	point, err := k.private.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	n := len(point) / 2
	return COSEKey{1: 2, 3: int(k.algorithm), -1: k.curve, -2: point[1 : 1+n], -3: point[1+n:]}
}

func (k ecKey) sign(data []byte) ([]byte, error) {
	h := k.hash.New()
	h.Write(data)
	return k.private.Sign(nil, h.Sum(nil), k.hash) // without a source: deterministic, RFC 6979
}

func (k ecKey) signer() crypto.Signer { return k.private }

type edKey struct{ private ed25519.PrivateKey }

func (k edKey) cose() COSEKey {
	return COSEKey{1: 1, 3: int(EdDSA), -1: 6, -2: []byte(k.private.Public().(ed25519.PublicKey))}
}

func (k edKey) sign(data []byte) ([]byte, error) { return ed25519.Sign(k.private, data), nil }
func (k edKey) signer() crypto.Signer            { return k.private }

// rsaKey signs with big.Int, because crypto/rsa refuses the short keys that a relying party must refuse. It is not for
// keeping secrets.
type rsaKey struct{ n, d *big.Int }

func newRSA(bits int, random io.Reader) (key, error) {
	e := big.NewInt(65537)
	for {
		p, err := prime(bits/2, random)
		if err != nil {
			return nil, err
		}
		q, err := prime(bits-bits/2, random)
		if err != nil {
			return nil, err
		}
		n := new(big.Int).Mul(p, q)
		one := big.NewInt(1)
		d := new(big.Int).ModInverse(e, new(big.Int).Mul(p.Sub(p, one), q.Sub(q, one)))
		if d != nil && n.BitLen() == bits {
			return rsaKey{n, d}, nil
		}
	}
}

func prime(bits int, random io.Reader) (*big.Int, error) {
	b := make([]byte, (bits+7)/8)
	for {
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, err
		}
		p := new(big.Int).SetBytes(b)
		p.Rsh(p, uint(len(b)*8-bits))
		p.SetBit(p, bits-1, 1).SetBit(p, bits-2, 1).SetBit(p, 0, 1)
		if p.ProbablyPrime(20) {
			return p, nil
		}
	}
}

func (k rsaKey) cose() COSEKey {
	return COSEKey{1: 3, 3: int(RS256), -1: k.n.Bytes(), -2: []byte{1, 0, 1}}
}

// sign is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2.1).
func (k rsaKey) sign(data []byte) ([]byte, error) {
	prefix := []byte("\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20")
	sum := sha256.Sum256(data)
	size := (k.n.BitLen() + 7) / 8
	message := make([]byte, size)
	tail := append(prefix, sum[:]...)
	if size < len(tail)+3 {
		return nil, fmt.Errorf("authtest: an RSA key of %d bits cannot sign", k.n.BitLen())
	}
	message[1] = 1
	for i := 2; i < size-len(tail)-1; i++ {
		message[i] = 0xff
	}
	copy(message[size-len(tail):], tail)
	return new(big.Int).Exp(new(big.Int).SetBytes(message), k.d, k.n).FillBytes(make([]byte, size)), nil
}

func (k rsaKey) signer() crypto.Signer { return nil }
