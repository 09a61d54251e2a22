package ceremony_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/metadatatest"
	"github.com/stepgate/stepgate/internal/passkey"
)

// ca certifies whatever a test wants, as makers do for formats that authtest has not.
type ca struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

var years = func(n int) time.Time { return time.Date(2026+n, 1, 1, 0, 0, 0, 0, time.UTC) }

// newCA returns a root, or one below another.
func newCA(t testing.TB, name string, above ...ca) ca {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: years(-1), NotAfter: years(20),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	by := ca{template, key}
	if len(above) > 0 {
		by = above[0]
	}
	return ca{must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, by.Certificate, key.Public(), by.key))(t)))(t), key}
}

// certify returns the certificate of a new key, with nothing in it but what is given.
func (c ca) certify(t testing.TB, leaf *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	leaf.SerialNumber, leaf.NotBefore, leaf.NotAfter, leaf.BasicConstraintsValid = big.NewInt(2), years(-1), years(20), true
	key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	return must(x509.CreateCertificate(rand.Reader, leaf, c.Certificate, key.Public(), c.key))(t), key
}

func signedWith(t testing.TB, key *ecdsa.PrivateKey, message ...[]byte) []byte {
	t.Helper()
	sum := sha256.Sum256(slices.Concat(message...))
	return must(key.Sign(rand.Reader, sum[:], crypto.SHA256))(t)
}

func clientDataHash(d *authtest.Draft) []byte {
	sum := sha256.Sum256(d.ClientDataJSON)
	return sum[:]
}

// point returns the coordinates of the passkey's public key.
func point(t testing.TB, d *authtest.Draft) (x, y []byte) {
	t.Helper()
	var key map[int]any
	if err := cbor.Unmarshal(d.PublicKey.CBOR(), &key); err != nil {
		t.Fatal(err)
	}
	return key[-2].([]byte), key[-3].([]byte)
}

// u2f makes the statement of WebAuthn L3 §8.6, which does not sign the AAGUID.
func (c ca) u2f(t testing.TB, d *authtest.Draft) (string, any) {
	der, key := c.certify(t, &x509.Certificate{Subject: pkix.Name{CommonName: "U2F Key"}})
	x, y := point(t, d)
	sig := signedWith(t, key, []byte{0}, d.AuthenticatorData[:32], clientDataHash(d), d.CredentialID, []byte{4}, x, y)
	return "fido-u2f", map[string]any{"sig": sig, "x5c": [][]byte{der}}
}

// packed makes the statement of WebAuthn L3 §8.2, with a certificate that names no model.
func (c ca) packed(t testing.TB, d *authtest.Draft) (string, any) {
	der, key := c.certify(t, &x509.Certificate{Subject: pkix.Name{
		Country: []string{"SE"}, Organization: []string{"Acme"}, OrganizationalUnit: []string{"Authenticator Attestation"}, CommonName: "Key",
	}})
	sig := signedWith(t, key, d.AuthenticatorData, clientDataHash(d))
	return "packed", map[string]any{"alg": -7, "sig": sig, "x5c": [][]byte{der, c.Raw}}
}

// The attributes of keys in a TPM: made there to stay and to sign for who says the PIN, and made elsewhere.
const (
	windowsHello = 0x00060472
	loaded       = 0x00060040
)

// tpm makes the statement of WebAuthn L3 §8.3, for a key with these attributes, and a certificate that names the model if
// one is given.
func (c ca) tpm(t testing.TB, d *authtest.Draft, attributes uint32, manufacturer string, model ...byte) (string, any) {
	oid := func(n ...int) asn1.ObjectIdentifier { return n }
	device := must(asn1.Marshal(pkix.RDNSequence{
		{{Type: oid(2, 23, 133, 2, 1), Value: manufacturer}}, {{Type: oid(2, 23, 133, 2, 2), Value: "Model"}}, {{Type: oid(2, 23, 133, 2, 3), Value: "id:1"}},
	}))(t)
	name := must(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: device}))(t)
	leaf := &x509.Certificate{
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oid(2, 23, 133, 8, 3)},
		ExtraExtensions:    []pkix.Extension{{Id: oid(2, 5, 29, 17), Critical: true, Value: must(asn1.Marshal([]asn1.RawValue{{FullBytes: name}}))(t)}},
	}
	if model != nil {
		leaf.ExtraExtensions = append(leaf.ExtraExtensions, pkix.Extension{Id: oid(1, 3, 6, 1, 4, 1, 45724, 1, 1, 4), Value: must(asn1.Marshal(model))(t)})
	}
	der, key := c.certify(t, leaf)
	x, y := point(t, d)
	sized := func(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }
	const ecc, sha, null, p256 = 0x23, 0x0b, 0x10, 3
	area := slices.Concat([]byte{0, ecc, 0, sha}, binary.BigEndian.AppendUint32(nil, attributes), sized(nil),
		[]byte{0, null, 0, null, 0, p256, 0, null}, sized(x), sized(y))
	areaHash, extra := sha256.Sum256(area), sha256.Sum256(slices.Concat(d.AuthenticatorData, clientDataHash(d)))
	info := slices.Concat([]byte("\xffTCG\x80\x17"), sized(nil), sized(extra[:]), make([]byte, 8+4+4+1+8),
		sized(append([]byte{0, sha}, areaHash[:]...)), sized(nil))
	return "tpm", map[string]any{"ver": "2.0", "alg": -7, "sig": signedWith(t, key, info), "certInfo": info, "pubArea": area, "x5c": [][]byte{der}}
}

// registerWith registers a passkey of a model, with a statement that is made once everything else is.
func (w *world) registerWith(aaguid [16]byte, statement func(*authtest.Draft) (string, any)) (passkey.Passkey, error) {
	w.t.Helper()
	reply := must(authtest.New(authtest.Config{AAGUID: aaguid}).Register(w.startRegistration(ada, "", nil), ada.Origin, authtest.AfterSigning(func(d *authtest.Draft) {
		format, made := statement(d)
		d.AttestationObject = authtest.AttestationObject(format, made, d.AuthenticatorData)
	})))(w.t)
	registered, err := w.finishRegistration(ada, "", reply)
	return registered.Passkey, err
}

// notTrusted registers a passkey like registerWith, which has to be one like any other.
func (w *world) notTrusted(aaguid [16]byte, statement func(*authtest.Draft) (string, any)) passkey.Passkey {
	w.t.Helper()
	p, err := w.registerWith(aaguid, statement)
	if err != nil {
		w.t.Fatal(err)
	}
	if p.Trusted || w.Reach(p) == passkey.Attested {
		w.t.Errorf("trusted: %+v", p)
	}
	return p
}

// one is a metadata service that knows one model only, of every type, and so trusts as easily as it can.
func one(t testing.TB, root *x509.Certificate) *mds {
	return newMDS(t).has(metadatatest.Model{AAGUID: acmeKey, Roots: []*x509.Certificate{root}, Types: []string{"basic_full", "attca", "anonca", "basic_surrogate"}})
}

// A U2F key signs no AAGUID: with the certificate of any U2F key, a program could claim to be of any model of its maker's.
func TestU2FIsNoModel(t *testing.T) {
	root := newCA(t, "Acme's Root")
	for name, m := range map[string]*mds{"asked for": one(t, root.Certificate), "not asked for": nil} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if m != nil {
				w = newWorld(t, m.in)
			}
			p := w.notTrusted(acmeKey, func(d *authtest.Draft) (string, any) { return root.u2f(t, d) })
			if p.AAGUID != [16]byte{} {
				t.Errorf("kept the model %x, which nobody signed", p.AAGUID)
			}
		})
	}
	w := newWorld(t, one(t, root.Certificate).in)
	w.notTrusted([16]byte{}, func(d *authtest.Draft) (string, any) { return root.u2f(t, d) })
}

// In other formats x5c is nothing that was verified: certificates are public, and a program may put them there.
func TestForeignChain(t *testing.T) {
	// A CA of the web that the host trusts, for instance its owner's.
	web := newCA(t, "Web")
	file := filepath.Join(t.TempDir(), "web.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file) // read once per process, before anything else looks
	maker := newCA(t, "Acme's Root")
	stolen, _ := maker.certify(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Key"}})
	safetyNet := func(d *authtest.Draft) (string, any) {
		nonce := sha256.Sum256(slices.Concat(d.AuthenticatorData, clientDataHash(d)))
		key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
		leaf := &x509.Certificate{SerialNumber: big.NewInt(3), DNSNames: []string{"attest.android.com"}, NotBefore: years(-1), NotAfter: years(20), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		der := must(x509.CreateCertificate(rand.Reader, leaf, web.Certificate, key.Public(), web.key))(t)
		b64 := base64.RawURLEncoding.EncodeToString
		header := b64(must(json.Marshal(map[string]any{"alg": "RS256", "x5c": []string{base64.StdEncoding.EncodeToString(der)}}))(t))
		claims := b64(must(json.Marshal(map[string]any{"nonce": base64.StdEncoding.EncodeToString(nonce[:]), "timestampMs": time.Now().Add(-time.Second).UnixMilli(), "ctsProfileMatch": true}))(t))
		sum := sha256.Sum256([]byte(header + "." + claims))
		response := header + "." + claims + "." + b64(must(rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:]))(t))
		return "android-safetynet", map[string]any{"ver": "1", "response": []byte(response), "x5c": [][]byte{stolen}}
	}
	newWorld(t, one(t, maker.Certificate).in).notTrusted(acmeKey, safetyNet)
}

// Without a name in its certificate, no format shows which of two models of a root it is.
func TestSharedRootOfTPM(t *testing.T) {
	root := newCA(t, "TPM Root")
	m := one(t, root.Certificate)
	register := func(t *testing.T, model ...byte) passkey.Passkey {
		t.Helper()
		p, err := newWorld(t, m.in).registerWith(acmeKey, func(d *authtest.Draft) (string, any) { return root.tpm(t, d, windowsHello, "id:494E5443", model...) })
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := register(t); !p.Trusted || p.AttestationFormat != "tpm" {
		t.Errorf("the only model of its root is not trusted: %+v", p)
	}
	m.has(metadatatest.Model{AAGUID: acmeKey, Roots: []*x509.Certificate{root.Certificate}, Types: []string{"attca"}},
		metadatatest.Model{AAGUID: acmeCard, Roots: []*x509.Certificate{root.Certificate}, Statuses: []metadatatest.Status{{Name: "REVOKED"}}})
	if p := register(t); p.Trusted {
		t.Error("which of two models it is, only a program said")
	}
	if p := register(t, acmeCard[:]...); p.Trusted {
		t.Error("trusted as a model, with the certificate of another")
	}
	if p := register(t, acmeKey[:]...); !p.Trusted {
		t.Error("its certificate names the model")
	}
}

// A TPM certifies keys too that were made elsewhere, and may leave it.
func TestKeyStaysInTPM(t *testing.T) {
	root := newCA(t, "TPM Root")
	for _, attributes := range []uint32{loaded, loaded | 0x32 - 0x02, loaded | 0x32 - 0x10, loaded | 0x32 - 0x20} {
		newWorld(t, one(t, root.Certificate).in).notTrusted(acmeKey, func(d *authtest.Draft) (string, any) {
			return root.tpm(t, d, attributes, "id:494E5443")
		})
	}
}

// The metadata may list an intermediate for another model: its keys lead to this model's root all the same.
func TestIntermediateIsShared(t *testing.T) {
	root := newCA(t, "Acme's Root")
	below := newCA(t, "Acme's Cards", root)
	card := metadatatest.Model{AAGUID: acmeCard, Roots: []*x509.Certificate{below.Certificate}, Statuses: []metadatatest.Status{{Name: "REVOKED"}}}
	m := newMDS(t).has(metadatatest.Model{AAGUID: acmeKey, Roots: []*x509.Certificate{root.Certificate}}, card)
	newWorld(t, m.in).notTrusted(acmeKey, func(d *authtest.Draft) (string, any) { return below.packed(t, d) })
}

// Registrations that succeed where no attestation is asked for succeed where it is, whatever the statement is, as long as
// it could not have counted.
func TestForgotten(t *testing.T) {
	root, other := newCA(t, "Acme's Root"), newCA(t, "Somebody's Root")
	unsigned := func(members map[string]any) map[string]any {
		all := map[string]any{"ver": "2.0", "alg": -7, "sig": []byte{1}, "certInfo": []byte{1}, "pubArea": []byte{1}}
		for name, value := range members {
			all[name] = value
		}
		return all
	}
	der, _ := root.certify(t, &x509.Certificate{})
	for name, statement := range map[string]func(d *authtest.Draft) (string, any){
		"a format of the future":  func(*authtest.Draft) (string, any) { return "future", map[string]any{"x": 1} },
		"a format of 300 letters": func(*authtest.Draft) (string, any) { return string(make([]byte, 300)), map[string]any{} },
		"tpm with ECDAA":          func(*authtest.Draft) (string, any) { return "tpm", unsigned(map[string]any{"ecdaaKeyId": []byte{1}}) },
		"packed with ECDAA": func(*authtest.Draft) (string, any) {
			return "packed", unsigned(map[string]any{"ecdaaKeyId": []byte{1}})
		},
		"a TPM that nobody knows": func(d *authtest.Draft) (string, any) { return other.tpm(t, d, windowsHello, "id:00000000") },
		"a certificate in pieces": func(*authtest.Draft) (string, any) {
			return "packed", unsigned(map[string]any{"x5c": [][]byte{{0x30, 0}}})
		},
		"one behind a good one": func(*authtest.Draft) (string, any) {
			return "packed", unsigned(map[string]any{"x5c": [][]byte{der, {0x30, 0}}})
		},
		"certificates of no kind": func(*authtest.Draft) (string, any) { return "packed", unsigned(map[string]any{"x5c": "MII"}) },
		"no certificates":         func(*authtest.Draft) (string, any) { return "packed", unsigned(map[string]any{"x5c": [][]byte{}}) },
		"another maker's":         func(d *authtest.Draft) (string, any) { return other.packed(t, d) },
		"android-key of nobody":   func(d *authtest.Draft) (string, any) { _, s := other.packed(t, d); return "android-key", s },
		"android-safetynet": func(*authtest.Draft) (string, any) {
			return "android-safetynet", unsigned(map[string]any{"x5c": [][]byte{der}})
		},
		"apple":    func(*authtest.Draft) (string, any) { return "apple", unsigned(map[string]any{"x5c": [][]byte{der}}) },
		"fido-u2f": func(*authtest.Draft) (string, any) { return "fido-u2f", unsigned(map[string]any{"x5c": [][]byte{der}}) },
		"compound": func(*authtest.Draft) (string, any) {
			return "compound", []any{map[string]any{"fmt": "packed", "attStmt": unsigned(map[string]any{"x5c": [][]byte{der}})}}
		},
		"none, with something": func(*authtest.Draft) (string, any) { return "none", unsigned(nil) },
		"larger than we look at": func(*authtest.Draft) (string, any) {
			return "packed", unsigned(map[string]any{"x5c": [][]byte{make([]byte, 17<<10)}})
		},
		"self attestation, forged": func(*authtest.Draft) (string, any) { return "packed", unsigned(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			if p := newWorld(t, one(t, root.Certificate).in).notTrusted(acmeKey, statement); p.AttestationFormat != "none" {
				t.Errorf("recorded as %q, which was not verified", p.AttestationFormat)
			}
		})
	}
	forged := func(d *authtest.Draft) (string, any) {
		format, statement := root.packed(t, d)
		statement.(map[string]any)["sig"] = []byte{1}
		return format, statement
	}
	for name, change := range map[string]func(*mds){
		"denied": func(m *mds) { m.config.Deny = [][16]byte{acmeKey} }, "not allowed": func(m *mds) { m.config.Allow = [][16]byte{acmeCard} },
		"no metadata": func(m *mds) { m.snapshot = nil }, "not in it": func(m *mds) { m.has() },
	} {
		t.Run("forged, "+name, func(t *testing.T) {
			m := one(t, root.Certificate)
			change(m)
			newWorld(t, m.in).notTrusted(acmeKey, forged)
		})
	}
}

// An authenticator's statement comes through as it encoded it where it is asked for; everything else has one form.
func TestStatementOfOddForm(t *testing.T) {
	root := newCA(t, "Acme's Root")
	odd := func(from, to string) func(*authtest.Draft) {
		return func(d *authtest.Draft) {
			format, statement := root.packed(t, d)
			b := authtest.AttestationObject(format, statement, d.AuthenticatorData)
			if !bytes.Contains(b, []byte(from)) {
				t.Fatalf("there is no %q", from)
			}
			d.AttestationObject = bytes.Replace(b, []byte(from), []byte(to), 1)
		}
	}
	for name, test := range map[string]struct {
		from, to     string
		direct, none passkey.Refusal
	}{
		"a number of two bytes":          {"calg\x26", "calg\x38\x06", "", passkey.BodyMalformed},
		"a length of two bytes, within":  {"cx5c\x82", "cx5c\x98\x02", "", passkey.BodyMalformed},
		"a length of two bytes, of it":   {"gattStmt\xa3", "gattStmt\xb8\x03", "", passkey.BodyMalformed},
		"a length of two bytes, outside": {"cfmt\x66packed", "cfmt\x78\x06packed", passkey.BodyMalformed, passkey.BodyMalformed},
		"a name of two bytes' length":    {"gattStmt", "\x78\x07attStmt", passkey.BodyMalformed, passkey.BodyMalformed},
		"a member twice":                 {"gattStmt\xa3", "gattStmt\xa4calg\x26", passkey.BodyMalformed, passkey.BodyMalformed},
		"no length":                      {"cx5c\x82", "cx5c\x9f", passkey.BodyMalformed, passkey.BodyMalformed},
		"a tag":                          {"calg\x26", "calg\xc1\x26", passkey.BodyMalformed, passkey.BodyMalformed},
	} {
		for _, m := range []*mds{one(t, root.Certificate), nil} {
			w, want := newWorld(t), test.none
			if m != nil {
				w, want = newWorld(t, m.in), test.direct
			}
			reply := must(authtest.New(authtest.Config{AAGUID: acmeKey}).Register(w.startRegistration(ada, "", nil), ada.Origin, authtest.AfterSigning(odd(test.from, test.to))))(t)
			registered, err := w.finishRegistration(ada, "", reply)
			if want != "" {
				t.Log(name)
				refused(t, err, want)
			} else if err != nil || !registered.Passkey.Trusted {
				t.Errorf("%s: %+v, %v", name, registered.Passkey, err)
			}
		}
	}
}

// What could have counted, and does not verify, is refused; and so is everything where no attestation is asked for.
func TestRefusedStatements(t *testing.T) {
	root := newCA(t, "Acme's Root")
	forged := func(made func(d *authtest.Draft) (string, any)) func(d *authtest.Draft) (string, any) {
		return func(d *authtest.Draft) (string, any) {
			format, statement := made(d)
			statement.(map[string]any)["sig"] = []byte{1}
			return format, statement
		}
	}
	for name, statement := range map[string]func(d *authtest.Draft) (string, any){
		"packed": forged(func(d *authtest.Draft) (string, any) { return root.packed(t, d) }),
		"tpm":    forged(func(d *authtest.Draft) (string, any) { return root.tpm(t, d, windowsHello, "id:494E5443") }),
		// Its chain is good, but it does not hold what an Android certifies.
		"android-key": func(d *authtest.Draft) (string, any) { _, s := root.packed(t, d); return "android-key", s },
		// go-webauthn knows the makers of TPMs by a list of its own.
		"a TPM's unknown maker": func(d *authtest.Draft) (string, any) { return root.tpm(t, d, windowsHello, "id:00000000") },
	} {
		_, err := newWorld(t, one(t, root.Certificate).in).registerWith(acmeKey, statement)
		t.Log(name)
		refused(t, err, passkey.AttestationInvalid)
		_, err = newWorld(t).registerWith(acmeKey, statement)
		refused(t, err, passkey.AttestationInvalid)
	}
	_, err := newWorld(t).registerWith(acmeKey, func(*authtest.Draft) (string, any) { return "future", map[string]any{"x": 1} })
	refused(t, err, passkey.AttestationInvalid)
}
