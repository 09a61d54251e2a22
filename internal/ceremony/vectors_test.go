package ceremony_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// vector is one ceremony of "Test Vectors" in the W3C editor's draft of WebAuthn Level 3.
type vector struct {
	ID           string
	RPID         string
	Origin       string
	Challenge    b64
	AAGUID       string
	PublicKey    b64 `json:"credentialPublicKeyCose"`
	PrivateKeys  map[string]string
	Registration string
	StoredRecord struct {
		BackupEligible bool
		BackupState    bool
	}
	Credential json.RawMessage
}

type b64 []byte

func (b *b64) UnmarshalText(text []byte) (err error) {
	*b, err = base64.RawURLEncoding.DecodeString(string(text))
	return err
}

// credentialID is what the vector's reply names.
func (v vector) credentialID(t testing.TB) []byte {
	var c struct{ RawID b64 }
	if err := json.Unmarshal(v.Credential, &c); err != nil {
		t.Fatal(err)
	}
	return c.RawID
}

func (v vector) name() string { name, _, _ := strings.Cut(v.ID, "/"); return name }

// vectors returns the registrations, and the authentications that go with them, by name.
func vectors(t testing.TB) (registrations, authentications map[string]vector) {
	t.Helper()
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(must(os.ReadFile("testdata/w3c-l3-vectors.json"))(t), &file); err != nil {
		t.Fatal(err)
	}
	registrations, authentications = map[string]vector{}, map[string]vector{}
	for _, v := range file.Vectors {
		if v.Registration == "" {
			registrations[v.name()] = v
		} else {
			authentications[v.name()] = v
		}
	}
	return registrations, authentications
}

// w3c says what becomes of each vector here, where user verification is needed to register, crossOrigin is refused,
// only EdDSA, ES256 and RS256 are offered, and challenges have 32 bytes. "" is accepted. info is the label that the
// specification derives the vector's values from.
var w3c = []struct {
	name         string
	info         string
	algorithm    authtest.Algorithm // 0 when authtest has no such keys
	registration passkey.Refusal
	present      passkey.Refusal // the authentication, at level present, had the credential been registered
	verified     passkey.Refusal // the same at level verified
	fresh        passkey.Refusal // a new registration with the derived key, verified, and not in a frame
}{
	{"none-es256", "none.ES256", authtest.ES256, passkey.UserVerificationMissing, "", passkey.UserVerificationMissing, ""},
	{"packed-self-es256", "packed-self.ES256", authtest.ES256, "", "", passkey.UserVerificationMissing, ""},
	{"none-es256-crossOrigin", "none.ES256.crossOrigin", authtest.ES256, passkey.CrossOrigin, passkey.CrossOrigin, passkey.CrossOrigin, ""},
	{"none-es256-topOrigin", "none.ES256.topOrigin", authtest.ES256, passkey.CrossOrigin, passkey.CrossOrigin, passkey.CrossOrigin, ""},
	{"none-es256-long-credential-id", "none.ES256.long-credential-id", authtest.ES256, passkey.UserVerificationMissing, "", "", ""},
	{"packed-es256", "packed.ES256", authtest.ES256, "", "", "", ""},
	{"packed-es384", "packed.ES384", authtest.ES384, passkey.UserVerificationMissing, "", "", passkey.AlgorithmRefused},
	// Its challenges have 128 bytes, so they are none of ours.
	{"packed-es512", "packed.ES512", authtest.ES512, passkey.BodyMalformed, passkey.BodyMalformed, passkey.BodyMalformed, passkey.AlgorithmRefused},
	{"packed-rs256", "packed.RS256", 0, "", "", passkey.UserVerificationMissing, ""},
	{"packed-eddsa", "packed.EdDSA", authtest.EdDSA, passkey.UserVerificationMissing, "", passkey.UserVerificationMissing, ""},
	{"packed-ed448", "packed.Ed448", 0, passkey.UserVerificationMissing, passkey.SignatureInvalid, passkey.SignatureInvalid, passkey.AlgorithmRefused},
	// The next two hang on a manufacturer and on a root that exist only in the specification.
	{"tpm-es256", "tpm.ES256", authtest.ES256, passkey.AttestationInvalid, "", "", ""},
	{"android-key-es256", "android-key.ES256", authtest.ES256, passkey.AttestationInvalid, "", passkey.UserVerificationMissing, ""},
	{"apple-es256", "apple.ES256", authtest.ES256, passkey.UserVerificationMissing, "", passkey.UserVerificationMissing, ""},
	{"fido-u2f-es256", "fido-u2f.ES256", authtest.ES256, passkey.UserVerificationMissing, "", passkey.UserVerificationMissing, ""},
}

func TestW3CVectorsAreAllHere(t *testing.T) {
	registrations, authentications := vectors(t)
	for _, test := range w3c {
		delete(registrations, test.name)
		delete(authentications, test.name)
	}
	if len(registrations)+len(authentications) != 0 {
		t.Errorf("no expectation for %v %v", registrations, authentications)
	}
}

// TestW3CDerivation derives the values of the vectors from their labels, as the specification did, so that the data is
// known to be the specification's.
func TestW3CDerivation(t *testing.T) {
	derive := func(info string, salt byte, length int) []byte {
		return must(hkdf.Key(sha256.New, []byte("WebAuthn test vectors"), []byte{salt}, info, length))(t)
	}
	registrations, authentications := vectors(t)
	for _, test := range w3c {
		v := registrations[test.name]
		same(t, []byte(v.Challenge), derive(test.info, 0, len(v.Challenge)))
		private := v.PrivateKeys["credential_private_key"] + v.PrivateKeys["private_key"]
		if private != "" {
			same(t, private, hex.EncodeToString(derive(test.info, 1, len(private)/2)))
		}
		// Which salts come next depends on which optional values a vector has.
		among := func(value []byte) {
			t.Helper()
			for salt := range byte(16) {
				if bytes.Equal(value, derive(test.info, salt, len(value))) {
					return
				}
			}
			t.Errorf("%s: %x is not derived from its label", test.name, value)
		}
		among(must(hex.DecodeString(v.AAGUID))(t))
		among(v.credentialID(t))
		among(authentications[test.name].Challenge)
	}
}

// script is a source of randomness that gives out a challenge of the test's, and random bytes for all else.
type script struct{ challenge []byte }

func (s script) Read(b []byte) (int, error) {
	if len(b) == len(s.challenge) {
		return copy(b, s.challenge), nil
	}
	return io.ReadFull(rand.Reader, b)
}

func newW3CWorld(t *testing.T, v vector) (*world, ceremony.Party) {
	w := newWorld(t, func(c *ceremony.Config) { c.RPID, c.Origins = v.RPID, []string{v.Origin} })
	p := ada
	p.Origin = v.Origin
	w.SetRandom(script{v.Challenge})
	return w, p
}

// TestA46_W3CVectors runs every vector through the service: the first time with the result of our policy, the second time
// refused.
func TestA46_W3CVectors(t *testing.T) {
	registrations, authentications := vectors(t)
	check := func(t *testing.T, err error, want passkey.Refusal) {
		t.Helper()
		if want != "" {
			refused(t, err, want)
		} else if err != nil {
			t.Error(err)
		}
	}
	again := func(first passkey.Refusal) passkey.Refusal {
		if first == passkey.BodyMalformed {
			return first
		}
		return passkey.ChallengeUsed
	}
	for _, test := range w3c {
		t.Run(test.name+"/registration", func(t *testing.T) {
			v := registrations[test.name]
			w, p := newW3CWorld(t, v)
			w.startRegistration(p, "", nil)
			registered, err := w.finishRegistration(p, "", v.Credential)
			check(t, err, test.registration)
			if err == nil {
				same(t, registered.Passkey.PublicKey, []byte(v.PublicKey))
				same(t, hex.EncodeToString(registered.Passkey.AAGUID[:]), v.AAGUID)
			}
			_, err = w.finishRegistration(p, "", v.Credential)
			check(t, err, again(test.registration))
		})
		for purpose, want := range map[ceremony.Purpose]passkey.Refusal{present: test.present, stepUp: test.verified} {
			t.Run(test.name+"/authentication/"+purpose.Level.String(), func(t *testing.T) {
				v := authentications[test.name]
				w, p := newW3CWorld(t, v)
				credential := passkey.Passkey{
					ID: v.credentialID(t), PublicKey: v.PublicKey, Name: "vector", CreatedAt: w.clock.Now(), LastCeremony: "registration",
					BackupEligible: v.StoredRecord.BackupEligible, BackedUp: v.StoredRecord.BackupState, AttestationFormat: "none",
				}
				user := must(passkey.User{Name: p.User, Handle: make([]byte, passkey.HandleLength)}.Adding(credential))(t)
				if err := w.store.Register(t.Context(), user, credential); err != nil {
					t.Fatal(err)
				}
				w.start(p, purpose)
				_, err := w.finish(p, purpose, v.Credential)
				check(t, err, want)
				_, err = w.finish(p, purpose, v.Credential)
				check(t, err, again(want))
			})
		}
	}
}

// TestW3CKeys signs fresh challenges with the derived keys: registrations and authentications that the vectors can't show
// because they lack user verification or come from a frame.
func TestW3CKeys(t *testing.T) {
	registrations, _ := vectors(t)
	for _, test := range w3c {
		v := registrations[test.name]
		t.Run(test.name, func(t *testing.T) {
			w, p := newWorld(t), ada
			a := authtest.New(authtest.Config{Synced: true})
			reply := must(a.Register(w.startRegistration(p, "", nil), p.Origin, authtest.CredentialID(v.credentialID(t)),
				authtest.RawKey(v.PublicKey)))(t)
			_, err := w.finishRegistration(p, "", reply)
			if test.fresh != "" {
				refused(t, err, test.fresh)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.algorithm == 0 {
				return
			}
			private := must(hex.DecodeString(v.PrivateKeys["credential_private_key"] + v.PrivateKeys["private_key"]))(t)
			held := a.Credentials()[0]
			if err := a.Hold(held, test.algorithm, private); err != nil {
				t.Fatal(err)
			}
			if _, err := w.authenticate(p, stepUp, a); err != nil {
				t.Error(err)
			}
		})
	}
}
