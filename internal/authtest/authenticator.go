package authtest

import (
	"bytes"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
)

// What an honest browser or authenticator reports instead of a credential.
var (
	ErrExcluded         = errors.New("authtest: this authenticator holds an excluded credential") // InvalidStateError
	ErrNoCredential     = errors.New("authtest: this authenticator holds no allowed credential")  // NotAllowedError
	ErrAlgorithm        = errors.New("authtest: no common algorithm")                             // NotSupportedError
	ErrUserVerification = errors.New("authtest: cannot verify the user")                          // NotAllowedError
)

// Attestation is the kind of attestation statement that an authenticator makes.
type Attestation int

// The kinds of attestation. Unlike a browser's, they do not depend on what the options ask for.
const (
	NoAttestation      Attestation = iota // fmt "none"
	SelfAttestation                       // fmt "packed", signed with the credential's own key
	CertifiedByAnybody                    // fmt "packed", with a certificate chain that ends in a CA made here
	Certified                             // fmt "packed", with a certificate of the authenticator's Maker
)

// Flags of authenticator data (WebAuthn L3 §6.1).
const (
	UP byte = 1 << iota // user present
	RFU1
	UV // user verified
	BE // backup eligible
	BS // backup state
	RFU2
	AT // attested credential data
	ED // extension data
)

// Config says what an authenticator is like. The zero Config is a security key: ES256, no attestation, bound to the
// device, verifies its user, keeps no sign count.
type Config struct {
	Seed        string    // the same seed makes the same keys, ids and signatures; "" draws from the system
	Algorithm   Algorithm // ES256 when zero
	RSABits     int       // 2048 when zero
	Attestation Attestation
	Maker       *Maker   // who certifies it, with Attestation Certified
	Synced      bool     // backup eligible and backed up
	NotBackedUp bool     // with Synced: eligible, but not backed up yet
	CannotUV    bool     // has no way to verify the user
	AlwaysUV    bool     // verifies the user even when that is discouraged
	Counts      bool     // keeps a sign count: 1 at registration, one more at each authentication
	AAGUID      [16]byte // the model
	Transports  []string // ["usb"] when nil
	IDLength    int      // bytes in a credential id; 32 when zero
}

// Authenticator holds credentials. It is safe for concurrent use.
type Authenticator struct {
	config Config

	mu          sync.Mutex
	random      io.Reader
	credentials []*Credential
}

// Credential is what an authenticator keeps about one credential.
type Credential struct {
	ID         []byte
	RPID       string
	UserHandle []byte
	SignCount  uint32
	key        key
}

// New returns an authenticator without credentials.
func New(config Config) *Authenticator {
	if config.Algorithm == 0 {
		config.Algorithm = ES256
	}
	if config.RSABits == 0 {
		config.RSABits = 2048
	}
	if config.Transports == nil {
		config.Transports = []string{"usb"}
	}
	if config.IDLength == 0 {
		config.IDLength = 32
	}
	a := &Authenticator{config: config, random: crand.Reader}
	if config.Seed != "" {
		a.random = rand.NewChaCha8(sha256.Sum256([]byte(config.Seed)))
	}
	return a
}

// Credentials returns the credentials held, oldest first.
func (a *Authenticator) Credentials() []Credential {
	a.mu.Lock()
	defer a.mu.Unlock()
	held := make([]Credential, len(a.credentials))
	for i, c := range a.credentials {
		held[i] = *c
	}
	return held
}

// Hold adds a credential whose private key is known: raw is the scalar of an EC key, or the seed of an Ed25519 key. A
// credential with the same id is replaced.
func (a *Authenticator) Hold(c Credential, algorithm Algorithm, raw []byte) error {
	k, err := newKey(algorithm, 0, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	c.key = k
	a.Forget(c.ID)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.credentials = append(a.credentials, &c)
	return nil
}

// Forget removes a credential, as a user who resets the authenticator would.
func (a *Authenticator) Forget(id []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.credentials = slices.DeleteFunc(a.credentials, func(c *Credential) bool { return bytes.Equal(c.ID, id) })
}

// Register makes a credential for creation options, {"publicKey": …}, as a page on origin would, and returns the JSON of
// the reply.
func (a *Authenticator) Register(options []byte, origin string, lies ...Lie) ([]byte, error) {
	o, err := parseOptions(options)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	honest := !obstinate(lies)
	if honest && slices.ContainsFunc(o.Exclude, a.holds) {
		return nil, ErrExcluded
	}
	if honest && !slices.Contains(o.algorithms(), a.config.Algorithm) {
		return nil, ErrAlgorithm
	}
	verified, err := a.verify(o.Selection.UserVerification)
	if err != nil && honest {
		return nil, err
	}
	c := &Credential{ID: a.draw(a.config.IDLength), RPID: o.RP.ID, UserHandle: o.User.ID.bytes()}
	if c.key, err = newKey(a.config.Algorithm, a.config.RSABits, a.random); err != nil {
		return nil, err
	}
	if a.config.Counts {
		c.SignCount = 1
	}
	d := a.draft(c, "webauthn.create", o.Challenge.bytes(), origin, verified)
	d.Flags |= AT
	d.AAGUID = a.config.AAGUID
	d.PublicKey = c.key.cose()
	d.Transports = slices.Clone(a.config.Transports)
	d.Extensions = Members{{"credProps", Members{{"rk", true}}}}
	reply, err := d.finish(lies, func() error { return a.attest(d, c) })
	if err != nil {
		return nil, err
	}
	c.ID = d.CredentialID
	a.credentials = append(a.credentials, c)
	return reply, nil
}

// Authenticate signs request options, {"publicKey": …}, as a page on origin would, with the newest credential that they
// allow, and returns the JSON of the reply.
func (a *Authenticator) Authenticate(options []byte, origin string, lies ...Lie) ([]byte, error) {
	o, err := parseOptions(options)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	honest := !obstinate(lies)
	var c *Credential
	for _, held := range a.credentials {
		allowed := len(o.Allow) == 0 || slices.ContainsFunc(o.Allow, func(d descriptor) bool { return bytes.Equal(d.ID.bytes(), held.ID) })
		if held.RPID == o.RPID && allowed || !honest {
			c = held
		}
	}
	if c == nil {
		return nil, ErrNoCredential
	}
	verified, err := a.verify(o.UserVerification)
	if err != nil && honest {
		return nil, err
	}
	if a.config.Counts {
		c.SignCount++
	}
	d := a.draft(c, "webauthn.get", o.Challenge.bytes(), origin, verified)
	d.RPIDHash = hash([]byte(o.RPID))
	d.UserHandle = c.UserHandle
	return d.finish(lies, func() error {
		var err error
		d.Signature, err = c.key.sign(slices.Concat(d.AuthenticatorData, hash(d.ClientDataJSON)))
		return err
	})
}

// draft fills in what both kinds of reply have in common.
func (a *Authenticator) draft(c *Credential, kind string, challenge []byte, origin string, verified bool) *Draft {
	d := &Draft{
		ClientData: Members{
			{"type", kind}, {"challenge", encode(challenge)}, {"origin", origin}, {"crossOrigin", false},
		},
		RPIDHash:     hash([]byte(c.RPID)),
		Flags:        UP,
		SignCount:    c.SignCount,
		CredentialID: c.ID,
		Attachment:   "cross-platform",
		registration: kind == "webauthn.create",
	}
	if slices.Contains(a.config.Transports, "internal") {
		d.Attachment = "platform"
	}
	if verified {
		d.Flags |= UV
	}
	if a.config.Synced {
		d.Flags |= BE
		if !a.config.NotBackedUp {
			d.Flags |= BS
		}
	}
	return d
}

// verify tells whether the user is verified for a requirement.
func (a *Authenticator) verify(requirement string) (bool, error) {
	switch {
	case a.config.CannotUV && requirement == "required":
		return false, ErrUserVerification
	case a.config.CannotUV:
		return false, nil
	}
	return requirement != "discouraged" || a.config.AlwaysUV, nil
}

func (a *Authenticator) holds(d descriptor) bool {
	return slices.ContainsFunc(a.credentials, func(c *Credential) bool { return bytes.Equal(c.ID, d.ID.bytes()) })
}

func (a *Authenticator) draw(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(a.random, b); err != nil {
		panic(err) // neither source fails
	}
	return b
}

func hash(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func big32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
