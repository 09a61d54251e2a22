package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"math/rand/v2"
	"slices"
	"time"
)

// attest makes the attestation object of WebAuthn L3 §6.5.
func (a *Authenticator) attest(d *Draft, c *Credential) error {
	if d.AttestationObject != nil {
		return nil
	}
	format, statement := "none", map[string]any{}
	message := slices.Concat(d.AuthenticatorData, hash(d.ClientDataJSON))
	switch a.config.Attestation {
	case SelfAttestation:
		sig, err := c.key.sign(message)
		if err != nil {
			return err
		}
		format, statement = "packed", map[string]any{"alg": int(a.config.Algorithm), "sig": sig}
	case CertifiedByAnybody, Certified:
		maker := a.config.Maker
		if a.config.Attestation == CertifiedByAnybody {
			maker = newMaker("Anybody", a.random)
		}
		chain, batch, err := maker.certify(d.AAGUID, a.random)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(message)
		sig, err := batch.Sign(nil, sum[:], crypto.SHA256)
		if err != nil {
			return err
		}
		format, statement = "packed", map[string]any{"alg": int(ES256), "sig": sig, "x5c": chain}
	}
	d.AttestationObject = AttestationObject(format, statement, d.AuthenticatorData)
	return nil
}

// AttestationObject encodes one in canonical CBOR.
func AttestationObject(format string, statement any, authenticatorData []byte) []byte {
	return canonical(map[string]any{"fmt": format, "attStmt": statement, "authData": authenticatorData})
}

// Maker is a maker of authenticators: a CA whose certificates say of which model an authenticator is. Everybody can be one.
type Maker struct {
	// Until is when the certificates end that it makes; 2049 when zero.
	Until time.Time

	// Anonymous has its certificates not name the model, and Model has them name this one, whatever is claimed.
	Anonymous bool
	Model     [16]byte

	name string
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

// NewMaker returns a maker; the same name makes the same one.
func NewMaker(name string) *Maker {
	return newMaker(name, rand.NewChaCha8(sha256.Sum256([]byte(name))))
}

func newMaker(name string, random io.Reader) *Maker {
	authority, err := newKey(ES256, 0, random)
	if err != nil {
		panic(err)
	}
	m := &Maker{name: name, key: authority.(ecKey).private}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name + "'s Root"}, NotBefore: begin, NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, template, template, m.key.Public(), m.key)
	if err != nil {
		panic(err)
	}
	if m.root, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	return m
}

var begin, end = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC)

// Root returns the certificate that all of its certificates chain to.
func (m *Maker) Root() *x509.Certificate { return m.root }

// certify makes a certificate that meets WebAuthn L3 §8.2.1, for any AAGUID.
func (m *Maker) certify(aaguid [16]byte, random io.Reader) ([][]byte, *ecdsa.PrivateKey, error) {
	batch, err := newKey(ES256, 0, random)
	if err != nil {
		return nil, nil, err
	}
	if m.Model != [16]byte{} {
		aaguid = m.Model
	}
	value, err := asn1.Marshal(aaguid[:])
	if err != nil {
		return nil, nil, err
	}
	until := end
	if !m.Until.IsZero() {
		until = m.Until
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: begin, NotAfter: until, BasicConstraintsValid: true,
		Subject: pkix.Name{
			Country: []string{"SE"}, Organization: []string{m.name},
			OrganizationalUnit: []string{"Authenticator Attestation"}, CommonName: m.name + "'s Key",
		},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}, Value: value}},
	}
	if m.Anonymous {
		leaf.ExtraExtensions = nil
	}
	leafDER, err := x509.CreateCertificate(nil, leaf, m.root, batch.signer().Public(), m.key)
	if err != nil {
		return nil, nil, err
	}
	return [][]byte{leafDER, m.root.Raw}, batch.(ecKey).private, nil
}
