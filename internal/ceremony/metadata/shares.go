package metadata

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"strings"
)

// roots are the certificates of all entries of a BLOB, those of UAF and U2F too, by what makes two of them one authority:
// the same key, or that one issued the other. Names stand for signatures, as no verifier takes another way up than by
// name: it makes a root shared at the worst that is not. What comes between two of them and is in no entry is not known.
type roots struct {
	keys, subjects, issuers map[string]int // which entry, or several

	unknown bool // an entry has some that can't be read
}

const several = -1

func newRoots() *roots {
	return &roots{keys: map[string]int{}, subjects: map[string]int{}, issuers: map[string]int{}}
}

// read notes the certificates of an entry, whatever else of it can be read.
func (r *roots) read(entry int, text json.RawMessage) {
	var listed struct {
		Statement struct {
			Roots []string `json:"attestationRootCertificates"`
		} `json:"metadataStatement"`
	}
	if err := json.Unmarshal(text, &listed); err != nil {
		r.unknown = true
		return
	}
	for _, root := range listed.Statement.Roots {
		der, err := base64.StdEncoding.DecodeString(unfolded(root))
		if err != nil {
			r.unknown = true
			continue
		}
		r.add(entry, der)
	}
}

// unfolded takes out the line breaks and blanks that some entries have within a certificate.
func unfolded(text string) string { return strings.Join(strings.Fields(text), "") }

// add notes a certificate of an entry.
func (r *roots) add(entry int, der []byte) {
	c, ok := outlineOf(der)
	if !ok {
		r.unknown = true
		return
	}
	for _, note := range []struct {
		of  map[string]int
		key []byte
	}{{r.keys, c.key}, {r.subjects, c.subject}, {r.issuers, c.issuer}} {
		if before, there := note.of[string(note.key)]; there && before != entry {
			note.of[string(note.key)] = several
		} else if !there {
			note.of[string(note.key)] = entry
		}
	}
}

// shared reports whether authenticators of another entry may lead to a root of this one, or the other way round.
func (r *roots) shared(entry int, root *x509.Certificate) bool {
	others := func(in map[string]int, key []byte) bool {
		which, there := in[string(key)]
		return there && which != entry
	}
	return r.unknown || others(r.keys, root.RawSubjectPublicKeyInfo) || others(r.subjects, root.RawIssuer) || others(r.issuers, root.RawSubject)
}

// outline is what can be told of a certificate also where crypto/x509 does not take it, for an odd serial number or
// extension: it can be another model's root all the same.
type outline struct{ issuer, subject, key []byte }

func outlineOf(der []byte) (outline, bool) {
	var c struct { // RFC 5280 §4.1
		Body struct {
			Version                   int `asn1:"optional,explicit,default:0,tag:0"`
			Serial, Algorithm, Issuer asn1.RawValue
			Validity, Subject, Key    asn1.RawValue
		}
	}
	_, err := asn1.Unmarshal(der, &c)
	return outline{c.Body.Issuer.FullBytes, c.Body.Subject.FullBytes, c.Body.Key.FullBytes}, err == nil
}
