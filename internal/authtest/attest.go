package authtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
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
	case CertifiedByAnybody:
		chain, batch, err := a.certify(d.AAGUID)
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

// certify makes a CA and a certificate of it that meets WebAuthn L3 §8.2.1, for any AAGUID: what everybody can do.
func (a *Authenticator) certify(aaguid [16]byte) ([][]byte, *ecdsa.PrivateKey, error) {
	authority, err := newKey(ES256, 0, a.random)
	if err != nil {
		return nil, nil, err
	}
	batch, err := newKey(ES256, 0, a.random)
	if err != nil {
		return nil, nil, err
	}
	value, err := asn1.Marshal(aaguid[:])
	if err != nil {
		return nil, nil, err
	}
	from, to := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Anybody's Root"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: from, NotAfter: to, BasicConstraintsValid: true,
		Subject: pkix.Name{
			Country: []string{"SE"}, Organization: []string{"Anybody"},
			OrganizationalUnit: []string{"Authenticator Attestation"}, CommonName: "Anybody's Key",
		},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}, Value: value}},
	}
	rootDER, err := x509.CreateCertificate(nil, root, root, authority.signer().Public(), authority.signer())
	if err != nil {
		return nil, nil, err
	}
	leafDER, err := x509.CreateCertificate(nil, leaf, root, batch.signer().Public(), authority.signer())
	if err != nil {
		return nil, nil, err
	}
	return [][]byte{leafDER, rootDER}, batch.(ecKey).private, nil
}
