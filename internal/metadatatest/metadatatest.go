// Package metadatatest makes metadata BLOBs as the FIDO Metadata Service publishes them, signed by an authority of a
// test's own.
package metadatatest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/google/uuid"
)

// Authority signs BLOBs. It is a root that certified a signer.
type Authority struct {
	Root   *x509.Certificate
	Signer *x509.Certificate

	key crypto.Signer // of the signer
}

// NewAuthority returns an authority that nobody else is. The names are those of the signer's certificate.
func NewAuthority(names ...string) *Authority { return newAuthority(newKey(), names) }

// NewRSAAuthority returns one that signs with RSA.
func NewRSAAuthority(names ...string) *Authority {
	return newAuthority(must(rsa.GenerateKey(rand.Reader, 2048)), names)
}

func newAuthority(key crypto.Signer, names []string) *Authority {
	rootKey := newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Metadata Root"}, NotBefore: begin, NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root := certificate(template, template, rootKey.Public(), rootKey)
	signer := certificate(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Metadata Signer"}, NotBefore: begin, NotAfter: end,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: names,
	}, root, key.Public(), rootKey)
	return &Authority{root, signer, key}
}

var begin, end = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC)

func newKey() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func certificate(template, parent *x509.Certificate, of crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, parent, of, by))))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// PEM returns the root as the option `root` takes it.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Root.Raw})
}

// Blob is what a BLOB says.
type Blob struct {
	Number     int
	NextUpdate time.Time
	Models     []Model
}

// Model is a model of authenticators.
type Model struct {
	AAGUID   [16]byte
	Types    []string // of attestation; basic_full when nil
	Roots    []*x509.Certificate
	Statuses []Status // FIDO_CERTIFIED_L1 when nil
}

// Status is a status report.
type Status struct {
	Name   string
	From   string // a day; "" for always
	Sunset string // a day; "" for never
}

// Blob signs what a BLOB says.
func (a *Authority) Blob(b Blob) []byte { return a.Sign(b.Payload()) }

// Payload returns the JSON of a BLOB before it is signed.
func (b Blob) Payload() []byte {
	entries := []any{}
	for _, m := range b.Models {
		types, roots, reports := m.Types, []string{}, []any{}
		if types == nil {
			types = []string{"basic_full"}
		}
		for _, root := range m.Roots {
			roots = append(roots, base64.StdEncoding.EncodeToString(root.Raw))
		}
		statuses := m.Statuses
		if statuses == nil {
			statuses = []Status{{Name: "FIDO_CERTIFIED_L1"}}
		}
		for _, status := range statuses {
			report := map[string]any{"status": status.Name}
			if status.From != "" {
				report["effectiveDate"] = status.From
			}
			if status.Sunset != "" {
				report["sunsetDate"] = status.Sunset
			}
			reports = append(reports, report)
		}
		aaguid := uuid.UUID(m.AAGUID).String()
		entries = append(entries, map[string]any{
			"aaguid": aaguid, "timeOfLastStatusChange": "2026-01-01", "statusReports": reports,
			"metadataStatement": map[string]any{
				"aaguid": aaguid, "description": "Test model", "protocolFamily": "fido2", "schema": 3, "authenticatorVersion": 1,
				"attestationTypes": types, "attestationRootCertificates": roots,
			},
		})
	}
	return must(json.Marshal(map[string]any{
		"legalHeader": "for tests", "no": b.Number, "nextUpdate": b.NextUpdate.Format(time.DateOnly), "entries": entries,
	}))
}

// Sign makes a BLOB of a payload.
func (a *Authority) Sign(payload []byte) []byte {
	algorithm := "ES256"
	if _, isRSA := a.key.(*rsa.PrivateKey); isRSA {
		algorithm = "RS256"
	}
	return a.SignWith(map[string]any{"alg": algorithm, "typ": "JWT", "x5c": []string{
		base64.StdEncoding.EncodeToString(a.Signer.Raw), base64.StdEncoding.EncodeToString(a.Root.Raw),
	}}, payload)
}

// SignWith makes a BLOB with a header of the caller's.
func (a *Authority) SignWith(header map[string]any, payload []byte) []byte {
	text := base64.RawURLEncoding.EncodeToString(must(json.Marshal(header))) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(text))
	if key, isRSA := a.key.(*rsa.PrivateKey); isRSA {
		signature := must(rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]))
		return []byte(text + "." + base64.RawURLEncoding.EncodeToString(signature))
	}
	r, s, err := ecdsa.Sign(rand.Reader, a.key.(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return []byte(text + "." + base64.RawURLEncoding.EncodeToString(signature))
}
