package ceremony

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"slices"
	"time"

	fido "github.com/go-webauthn/webauthn/metadata"
	"github.com/go-webauthn/webauthn/protocol"
)

// verifiedTypes lists the formats of attestation statements that can count, with the attestation type that go-webauthn
// finds in one whose signature it verified with the key of the first certificate of x5c. A format belongs here only if
// its handler does verify with x5c[0]: the chain that is held to the metadata is that of x5c. "android-safetynet" and
// "compound" are signed by something else, and x5c is then whatever the client put there. "fido-u2f" is, but signs
// neither the AAGUID nor the flags (WebAuthn L3 §8.6).
var verifiedTypes = map[protocol.AttestationFormat]string{
	protocol.AttestationFormatPacked:     string(fido.BasicFull),
	protocol.AttestationFormatTPM:        string(fido.AttCA),
	protocol.AttestationFormatAndroidKey: string(fido.BasicFull),
}

// certificates returns what a statement has in x5c, the leaf first; nil where it has none, or one that can't be read.
// Whether anything was signed with them depends on the format: see [verifiedTypes].
func certificates(statement protocol.AttestationObject) []*x509.Certificate {
	list, _ := statement.AttStatement["x5c"].([]any)
	chain := make([]*x509.Certificate, 0, len(list))
	for _, one := range list {
		der, _ := one.([]byte)
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, parsed)
	}
	return chain
}

// ended reports whether a certificate of a statement has ended. The statement proves nothing any more, and is worth what
// no statement is worth; go-webauthn would refuse the whole registration, of an authenticator that works.
func ended(statement protocol.AttestationObject, now time.Time) bool {
	return slices.ContainsFunc(certificates(statement), func(c *x509.Certificate) bool {
		return now.Before(c.NotBefore) || now.After(c.NotAfter)
	})
}

// forget makes a statement none, as browsers do where no attestation is asked for.
func forget(statement *protocol.AttestationObject) {
	statement.Format, statement.AttStatement, statement.SubStatements = string(protocol.AttestationFormatNone), nil, nil
}

// counts reports whether a statement shows that an authenticator is of the model it claims, once its signature is
// verified: WebAuthn L3 §7.1 steps 23 and 24. It is asked before the signature is, so that a statement which could not
// count anyway is forgotten instead of verified: an authenticator that registers where nobody asks for attestation has to
// register where somebody does, also when go-webauthn can't read what it sends. One that may be synced can count, and
// reaches the level as little as any.
func (s *Service) counts(object attestationObject, statement protocol.AttestationObject) bool {
	format := protocol.AttestationFormat(statement.Format)
	kind, listed := verifiedTypes[format]
	if len(statement.AuthData.AttData.AAGUID) != 16 || object.check() != nil {
		return false
	}
	aaguid := [16]byte(statement.AuthData.AttData.AAGUID)
	if !listed || !s.config.Attestation.accepts(aaguid) {
		return false
	}
	chain := certificates(statement)
	if len(chain) == 0 {
		return false
	}
	if format == protocol.AttestationFormatTPM {
		if !staysInTPM(statement) {
			return false
		}
		chain[0].UnhandledCriticalExtensions = slices.DeleteFunc(chain[0].UnhandledCriticalExtensions, subjectAltName.Equal)
	}
	known := s.config.Attestation.Metadata()
	if known.Shares(aaguid) && !named(chain[0]) || named(chain[0]) && !names(chain[0], aaguid) {
		return false
	}
	return known.Trusts(aaguid, kind, chain, s.config.Now())
}

// named reports whether a certificate names a model. WebAuthn L3 §8.2.1 has it named where a root is used for several:
// otherwise whoever holds the attestation key of a weak model, or one that was revoked, could claim to be of another. It
// asks that of "packed" alone; in the other formats the same holds.
func named(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(modelExtension) })
}

// names reports whether a certificate names this very model. go-webauthn does not look in every format.
func names(leaf *x509.Certificate, aaguid [16]byte) bool {
	value, err := asn1.Marshal(aaguid[:])
	return err == nil && slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool {
		return e.Id.Equal(modelExtension) && slices.Equal(e.Value, value)
	})
}

// modelExtension is id-fido-gen-ce-aaguid: the AAGUID as an OCTET STRING.
var modelExtension = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}

// subjectAltName is a critical extension of a TPM's certificate, which crypto/x509 does not know in that form.
// go-webauthn verifies it (WebAuthn L3 §8.3.1).
var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// madeInTPM are the attributes fixedTPM, fixedParent and sensitiveDataOrigin of TPMA_OBJECT (TPM 2.0 Library, Part 2,
// §8.3): the key was made in the TPM and can't leave it.
const madeInTPM = 1<<1 | 1<<4 | 1<<5

// staysInTPM reports whether the key of a TPM's statement was made there, and stays. Neither WebAuthn nor go-webauthn
// asks: a TPM certifies keys too that a program made and loaded. The attributes are part of what it signs: they follow
// the type and the hash algorithm, two bytes each, of pubArea (TPMT_PUBLIC, Part 2, §12.2.4).
func staysInTPM(statement protocol.AttestationObject) bool {
	area, _ := statement.AttStatement["pubArea"].([]byte)
	return len(area) >= 8 && binary.BigEndian.Uint32(area[4:])&madeInTPM == madeInTPM
}
