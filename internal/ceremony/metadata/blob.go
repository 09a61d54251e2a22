package metadata

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	fido "github.com/go-webauthn/webauthn/metadata"
	"github.com/google/uuid"
)

// Why a BLOB is not taken. Errors of [Read] and of a [Holder] wrap one of them.
var (
	ErrUnreachable = errors.New("could not be read")
	ErrMalformed   = errors.New("is no metadata BLOB")
	ErrUntrusted   = errors.New("is not signed by who it has to be")
	ErrOlder       = errors.New("is not newer than the one in force")
	ErrExpired     = errors.New("is too old")
)

// MaxSize bounds a BLOB, in bytes. The FIDO Alliance's has about 10 MB.
const MaxSize = 32 << 20

// The bounds of what is read before the signature is verified: characters of the header, and certificates in it. Without
// them a chain could hold an RSA key whose verification takes minutes.
const (
	maxHeader = 64 << 10
	maxChain  = 8
)

// Signer is who has to have signed a BLOB.
type Signer struct {
	// Root is what its certificate chains to; it may be the certificate itself.
	Root *x509.Certificate

	// Names are those of which the certificate must have one. Without any every certificate that chains to the root will
	// do: it has to be one that certifies nothing else.
	Names []string
}

// FIDO returns the signer of the FIDO Alliance's service. Its root is GlobalSign's, which certifies web sites of
// everybody: a chain to it says nothing before the name is looked at.
func FIDO() Signer {
	root, err := certificate(fido.ProductionMDSRoot)
	if err != nil {
		panic(err) // it is a constant
	}
	return Signer{root, []string{"mds.fidoalliance.org", "mds3.fidoalliance.org"}}
}

// Read verifies a BLOB and returns what it says. now is the time at which certificates have to be valid, and from when
// the snapshot counts as read.
//
// It follows FIDO Metadata Service v3.1.1 §3.2 "Metadata BLOB object processing rules", with go-webauthn's words for
// statuses and types. Not with its decoder: that fetches addresses that an unverified BLOB names, and takes any certificate of GlobalSign's.
func Read(blob []byte, by Signer, now time.Time) (*Snapshot, error) {
	if len(blob) > MaxSize {
		return nil, fmt.Errorf("it has more than %d bytes: %w", MaxSize, ErrMalformed)
	}
	payload, err := verify(strings.TrimSpace(string(blob)), by, now)
	if err != nil {
		return nil, err
	}
	s, err := parse(payload)
	if err != nil {
		return nil, err
	}
	s.Digest, s.AsOf, s.root = sha256.Sum256(blob), now, by.Root
	if !s.InForce(now) {
		return nil, fmt.Errorf("the next was due on %s: %w", s.NextUpdate.Format(time.DateOnly), ErrExpired)
	}
	return s, nil
}

// header is the JWS header of a BLOB.
type header struct {
	Algorithm string   `json:"alg"`
	Critical  any      `json:"crit"`
	X5U       any      `json:"x5u"`
	X5C       []string `json:"x5c"`
}

// verify returns the payload of a JWS in compact form (RFC 7515 §5.2) once its signature and its signer are verified.
func verify(text string, by Signer, now time.Time) ([]byte, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || len(parts[0]) > maxHeader {
		return nil, fmt.Errorf("it is no JWT: %w", ErrMalformed)
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return nil, fmt.Errorf("it is not in base64url: %w", ErrMalformed)
		}
	}
	var h header
	if err := json.Unmarshal(decoded[0], &h); err != nil || h.Critical != nil || len(h.X5C) > maxChain {
		return nil, fmt.Errorf("its header can't be read: %w", ErrMalformed)
	}
	if h.X5U != nil {
		return nil, fmt.Errorf("its certificates are at an address, which nobody may choose: %w", ErrUntrusted)
	}
	signer, err := signerOf(h.X5C, by, now)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !signed(signer.PublicKey, h.Algorithm, digest[:], decoded[2]) {
		return nil, fmt.Errorf("its signature does not verify: %w", ErrUntrusted)
	}
	return decoded[1], nil
}

// signerOf returns the certificate that has to have signed. Without any in the header that is the root itself.
func signerOf(x5c []string, by Signer, now time.Time) (*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(x5c))
	for i, text := range x5c {
		var err error
		if chain[i], err = certificate(text); err != nil {
			return nil, fmt.Errorf("certificate %d of its header can't be read: %w", i+1, ErrMalformed)
		}
	}
	if len(chain) == 0 {
		chain = append(chain, by.Root)
	}
	if !leadsTo([]*x509.Certificate{by.Root}, chain, now) {
		return nil, fmt.Errorf("its certificates do not chain to the root: %w", ErrUntrusted)
	}
	if len(by.Names) > 0 && !slices.ContainsFunc(by.Names, func(name string) bool { return chain[0].VerifyHostname(name) == nil }) {
		return nil, fmt.Errorf("its certificate is another's than %s: %w", by.Names[0], ErrUntrusted)
	}
	return chain[0], nil
}

// signed verifies a signature by one of the two algorithms that BLOBs have (RFC 7518 §3.3 and §3.4).
func signed(key crypto.PublicKey, algorithm string, digest, signature []byte) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return algorithm == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest, signature) == nil
	case *ecdsa.PublicKey:
		if algorithm != "ES256" || key.Curve != elliptic.P256() || len(signature) != 64 {
			return false
		}
		return ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return false
}

// leadsTo reports whether a chain, the leaf first, leads to one of the roots. A root may be the leaf itself (FIDO Metadata
// Statements v3.1.1, attestationRootCertificates).
func leadsTo(roots, chain []*x509.Certificate, now time.Time) bool {
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, root := range roots {
		options.Roots.AddCert(root)
	}
	for _, between := range chain[1:] {
		options.Intermediates.AddCert(between)
	}
	_, err := chain[0].Verify(options)
	return err == nil
}

func certificate(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// document is what a payload says (§3.1.6), as far as it is of use here; see entry.
type document struct {
	Number     int               `json:"no"`
	NextUpdate string            `json:"nextUpdate"`
	Entries    []json.RawMessage `json:"entries"`
}

// entry is what it says of one model. go-webauthn's own type has everything else too, and gives an entry up for an odd
// address or icon in it.
type entry struct {
	AAGUID    string `json:"aaguid"`
	Statement struct {
		Roots []string                           `json:"attestationRootCertificates"`
		Types fido.AuthenticatorAttestationTypes `json:"attestationTypes"`
	} `json:"metadataStatement"`
	Reports []struct {
		Status    fido.AuthenticatorStatus `json:"status"`
		Effective string                   `json:"effectiveDate"`
		Sunset    string                   `json:"sunsetDate"`
	} `json:"statusReports"`
}

// parse reads a payload whose signature was verified. Entries that can't be read are left out, and so are roots: what is
// not known is not trusted, and may be anybody's.
func parse(payload []byte) (*Snapshot, error) {
	var all document
	if err := json.Unmarshal(payload, &all); err != nil {
		return nil, fmt.Errorf("its payload is not the JSON it should be: %w", ErrMalformed)
	}
	if all.Number < 1 {
		return nil, fmt.Errorf("it has no number: %w", ErrMalformed)
	}
	next, err := time.Parse(time.DateOnly, all.NextUpdate)
	if err != nil {
		return nil, fmt.Errorf("it does not say when the next is due: %w", ErrMalformed)
	}
	s := &Snapshot{Number: all.Number, NextUpdate: next, models: map[[16]byte]*model{}}
	roots := newRoots()
	for i, text := range all.Entries {
		roots.read(i, text)
		var e entry
		aaguid, m, err := [16]byte{}, new(model), json.Unmarshal(text, &e)
		if err == nil {
			aaguid, m, err = e.read()
		}
		if err != nil {
			s.Unread++
		}
		if aaguid == ([16]byte{}) {
			continue // of UAF or U2F, or not to be read
		}
		if _, twice := s.models[aaguid]; twice {
			m = nil // whichever of the two holds, the other says something else
		}
		if s.models[aaguid] = m; m != nil {
			m.entry = i
		}
	}
	for _, m := range s.models {
		if m != nil {
			m.shares = slices.ContainsFunc(m.roots, func(root *x509.Certificate) bool { return roots.shared(m.entry, root) })
		}
	}
	return s, nil
}

// read returns the model that an entry is about, without the roots that can't be read, and an error where there are such.
// A day that can't be read leaves a report in effect.
func (e entry) read() (aaguid [16]byte, m *model, err error) {
	m = &model{types: e.Statement.Types}
	if e.AAGUID != "" {
		parsed, err := uuid.Parse(e.AAGUID)
		if err != nil {
			return aaguid, m, err
		}
		aaguid = parsed
	}
	for _, text := range e.Statement.Roots {
		root, bad := certificate(unfolded(text))
		if bad != nil {
			err = bad
			continue
		}
		m.roots = append(m.roots, root)
	}
	for _, r := range e.Reports {
		report := fido.StatusReport{Status: r.Status}
		if day, err := time.Parse(time.DateOnly, r.Effective); err == nil {
			report.EffectiveDate = &day
		}
		if day, err := time.Parse(time.DateOnly, r.Sunset); err == nil {
			report.SunsetDate = &day
		}
		m.reports = append(m.reports, report)
	}
	return aaguid, m, err
}
