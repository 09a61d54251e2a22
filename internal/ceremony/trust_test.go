package ceremony_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/metadatatest"
	"github.com/stepgate/stepgate/internal/passkey"
)

var (
	attested = ceremony.Purpose{Action: passkey.StepUp, Level: passkey.Attested}

	authority = metadatatest.NewAuthority()
	acme      = authtest.NewMaker("Acme")
	bell      = authtest.NewMaker("Bell")

	acmeKey  = [16]byte{0xac, 1}
	acmeCard = [16]byte{0xac, 2}
	bellKey  = [16]byte{0xbe, 1}
)

// service of metadata, as a test wants it to be.
type mds struct {
	snapshot *metadata.Snapshot
	config   *ceremony.Attestation
	t        testing.TB
}

func newMDS(t testing.TB) *mds {
	m := &mds{t: t}
	m.config = &ceremony.Attestation{Metadata: func() *metadata.Snapshot { return m.snapshot }}
	return m
}

// knows puts a BLOB in force, in which the makers' models are, with these statuses of Acme's key.
func (m *mds) knows(statuses ...metadatatest.Status) *mds {
	m.t.Helper()
	return m.has(metadatatest.Model{AAGUID: acmeKey, Roots: []*x509.Certificate{acme.Root()}, Statuses: statuses},
		metadatatest.Model{AAGUID: acmeCard, Roots: []*x509.Certificate{acme.Root()}},
		metadatatest.Model{AAGUID: bellKey, Roots: []*x509.Certificate{bell.Root()}})
}

func (m *mds) has(models ...metadatatest.Model) *mds {
	m.t.Helper()
	now := time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	blob := authority.Blob(metadatatest.Blob{Number: 1, NextUpdate: now.AddDate(0, 1, 0), Models: models})
	m.snapshot = must(metadata.Read(blob, metadata.Signer{Root: authority.Root}, now))(m.t)
	return m
}

func (m *mds) in(c *ceremony.Config) { c.Attestation = m.config }

func madeBy(maker *authtest.Maker, aaguid [16]byte) authtest.Config {
	return authtest.Config{Attestation: authtest.Certified, Maker: maker, AAGUID: aaguid}
}

// TestAttested takes a person's key from registration to a step-up at level attested.
func TestAttested(t *testing.T) {
	m := newMDS(t).knows()
	w, a := newWorld(t, m.in), authtest.New(madeBy(acme, acmeKey))
	p := w.enrol(ada, a)
	if !p.Trusted || w.Reach(p) != passkey.Attested {
		t.Fatalf("registered %+v, reaching %s", p, w.Reach(p))
	}
	proof, err := w.authenticate(ada, attested, a)
	if err != nil || proof.Level != passkey.Attested {
		t.Fatalf("%v, %v", proof.Level, err)
	}
	if proof, err := w.authenticate(ada, present, a); err != nil || proof.Level != passkey.Present {
		t.Errorf("without user verification: %v, %v", proof.Level, err)
	}
	other := w.enrolAnother(ada, a, authtest.New(madeBy(bell, bellKey)))
	if !other.Trusted {
		t.Error("another maker's key is not trusted")
	}
}

// Each of these registrations succeeds, and makes a passkey that does not reach the level.
func TestNotAttested(t *testing.T) {
	for name, test := range map[string]struct {
		config authtest.Config
		mds    func(*mds)
	}{
		"no metadata yet":         {madeBy(acme, acmeKey), func(m *mds) { m.snapshot = nil }},
		"metadata out of force":   {madeBy(acme, acmeKey), func(m *mds) { m.snapshot.NextUpdate = m.snapshot.NextUpdate.AddDate(0, -6, 0) }},
		"not in the metadata":     {madeBy(acme, [16]byte{0xac, 9}), nil},
		"another model's maker":   {madeBy(acme, bellKey), nil},
		"a chain of its own":      {authtest.Config{Attestation: authtest.CertifiedByAnybody, AAGUID: acmeKey}, nil},
		"a maker of that name":    {authtest.Config{Attestation: authtest.Certified, Maker: authtest.NewMaker("Acme "), AAGUID: acmeKey}, nil},
		"self attestation":        {authtest.Config{Attestation: authtest.SelfAttestation, AAGUID: acmeKey}, nil},
		"none":                    {authtest.Config{AAGUID: acmeKey}, nil},
		"zero AAGUID":             {madeBy(acme, [16]byte{}), func(m *mds) { m.has(metadatatest.Model{Roots: []*x509.Certificate{acme.Root()}}) }},
		"zero AAGUID, allowed":    {madeBy(acme, [16]byte{}), func(m *mds) { m.config.Allow = [][16]byte{{}, acmeKey} }},
		"revoked":                 {madeBy(acme, acmeKey), func(m *mds) { m.knows(metadatatest.Status{Name: "REVOKED"}) }},
		"user verification fails": {madeBy(acme, acmeKey), func(m *mds) { m.knows(metadatatest.Status{Name: "USER_VERIFICATION_BYPASS"}) }},
		"key compromised":         {madeBy(acme, acmeKey), func(m *mds) { m.knows(metadatatest.Status{Name: "ATTESTATION_KEY_COMPROMISE"}) }},
		"makes no such thing": {madeBy(acme, acmeKey), func(m *mds) {
			m.has(metadatatest.Model{AAGUID: acmeKey, Roots: []*x509.Certificate{acme.Root()}, Types: []string{"basic_surrogate"}})
		}},
		"no roots known": {madeBy(acme, acmeKey), func(m *mds) { m.has(metadatatest.Model{AAGUID: acmeKey}) }},
		"denied":         {madeBy(acme, acmeKey), func(m *mds) { m.config.Deny = [][16]byte{acmeKey} }},
		"not allowed":    {madeBy(acme, acmeKey), func(m *mds) { m.config.Allow = [][16]byte{acmeCard} }},
		"allowed, denied": {madeBy(acme, acmeKey), func(m *mds) {
			m.config.Allow, m.config.Deny = [][16]byte{acmeKey}, [][16]byte{acmeKey}
		}},
		"synced": {authtest.Config{Attestation: authtest.Certified, Maker: acme, AAGUID: acmeKey, Synced: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMDS(t).knows()
			if test.mds != nil {
				test.mds(m)
			}
			w, a := newWorld(t, m.in), authtest.New(test.config)
			reply := must(a.Register(w.startRegistration(ada, "", nil), ada.Origin))(t)
			registered, err := w.finishRegistration(ada, "", reply)
			if err != nil {
				t.Fatal(err)
			}
			if p := registered.Passkey; p.Trusted && !test.config.Synced || p.Reach() == passkey.Attested || w.Reach(p) == passkey.Attested {
				t.Fatalf("trusted: %+v", p)
			}
			_, err = w.Start(t.Context(), ada, attested)
			refused(t, err, passkey.LevelUnreachable)
			m.snapshot = newMDS(t).knows().snapshot // nor later, when everything is known
			_, err = w.Start(t.Context(), ada, attested)
			refused(t, err, passkey.LevelUnreachable)
		})
	}
}

// A certificate that does not name its model will do where its root is that of one model only.
func TestModelIsNamed(t *testing.T) {
	maker := authtest.NewMaker("Acme")
	maker.Anonymous = true
	m := newMDS(t).has(metadatatest.Model{AAGUID: acmeKey, Roots: []*x509.Certificate{maker.Root()}})
	w := newWorld(t, m.in)
	if p := w.enrol(ada, authtest.New(madeBy(maker, acmeKey))); !p.Trusted {
		t.Error("the only model of its root is not trusted")
	}
	m.knows() // in which the root is that of two models
	if p := w.enrol(bob, authtest.New(madeBy(maker, acmeKey))); p.Trusted {
		t.Error("which of two models it is, only the authenticator said")
	}
	m.has(metadatatest.Model{AAGUID: acmeKey, Roots: []*x509.Certificate{maker.Root()}}, metadatatest.Model{Roots: []*x509.Certificate{maker.Root()}})
	if p := w.enrol(person("eve"), authtest.New(madeBy(maker, acmeKey))); p.Trusted {
		t.Error("it could be one of U2F, that has no model")
	}
	// One that names another model than it claims never is.
	other := authtest.NewMaker("Acme")
	other.Model = acmeCard
	for user, models := range map[string][]metadatatest.Model{
		"mallory": {{AAGUID: acmeKey, Roots: []*x509.Certificate{other.Root()}}},
		"trudy":   {{AAGUID: acmeKey, Roots: []*x509.Certificate{other.Root()}}, {AAGUID: acmeCard, Roots: []*x509.Certificate{other.Root()}}},
	} {
		m.has(models...)
		if p := w.enrol(person(user), authtest.New(madeBy(other, acmeKey))); p.Trusted {
			t.Errorf("%s: trusted as a model, with the certificate of another", user)
		}
	}
}

// A statement that does not verify is still refused, and one of a certificate that ended makes no trusted passkey.
func TestAttestationInvalid(t *testing.T) {
	m := newMDS(t).knows()
	w, a := newWorld(t, m.in), authtest.New(madeBy(acme, acmeKey))
	options := w.startRegistration(ada, "", nil)
	_, err := w.finishRegistration(ada, "", must(a.Register(options, ada.Origin, authtest.AfterSigning(func(d *authtest.Draft) {
		d.ClientDataJSON = append(slices.Clone(d.ClientDataJSON), ' ')
	})))(t))
	refused(t, err, passkey.AttestationInvalid)

	old := authtest.NewMaker("Acme")
	old.Until = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	if p := w.enrol(bob, authtest.New(madeBy(old, acmeKey))); p.Trusted {
		t.Error("trusted by a certificate that ended long ago")
	}
	m.snapshot.NextUpdate = m.snapshot.NextUpdate.AddDate(100, 0, 0)
	w.clock.Advance(25 * 365 * 24 * time.Hour) // our clock, not that of go-webauthn, for which the certificate is good
	if p := w.enrol(ada, a); p.Trusted {
		t.Error("trusted by a certificate that has ended")
	}
}

// What was trusted is held to what is known at each use: then it proves what the authenticator claims, and no more.
func TestTrustLost(t *testing.T) {
	for name, lose := range map[string]func(*mds){
		"metadata gone": func(m *mds) { m.snapshot = nil },
		"out of force":  func(m *mds) { m.snapshot.NextUpdate = m.snapshot.NextUpdate.AddDate(0, -6, 0) },
		"revoked":       func(m *mds) { m.knows(metadatatest.Status{Name: "REVOKED"}) },
		"retired": func(m *mds) {
			m.knows(metadatatest.Status{Name: "FIDO_CERTIFIED_L1"}, metadatatest.Status{Name: "RETIRED"})
		},
		"not listed":  func(m *mds) { m.has() },
		"denied":      func(m *mds) { m.config.Deny = [][16]byte{acmeKey} },
		"not allowed": func(m *mds) { m.config.Allow = [][16]byte{bellKey} },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMDS(t).knows()
			w, a := newWorld(t, m.in), authtest.New(madeBy(acme, acmeKey))
			p := w.enrol(ada, a)
			started := must(a.Authenticate(w.start(ada, attested), ada.Origin))(t)
			lose(m)
			if w.Reach(p) != passkey.DeviceBound {
				t.Errorf("reaches %s", w.Reach(p))
			}
			_, err := w.Start(t.Context(), ada, attested)
			refused(t, err, passkey.LevelUnreachable)
			_, err = w.finish(ada, attested, started) // begun while it was trusted
			refused(t, err, passkey.LevelUnreachable)
			proof, err := w.authenticate(ada, deviceBound, a)
			if err != nil || proof.Level != passkey.DeviceBound {
				t.Errorf("as any other: %v, %v", proof.Level, err)
			}
			*m.config = *newMDS(t).knows().config
			if proof, err := w.authenticate(ada, attested, a); err != nil || proof.Level != passkey.Attested {
				t.Errorf("trusted again: %v, %v", proof.Level, err)
			}
		})
	}
}

// An outage of the metadata must not be worth anything: while it lasts, nothing weaker than the records say adds or
// removes a passkey.
func TestOutageWeakensNothing(t *testing.T) {
	m := newMDS(t).knows()
	w, strong, weak := newWorld(t, m.in), authtest.New(madeBy(acme, acmeKey)), key()
	best := w.enrol(ada, strong)
	worse := w.enrolAnother(ada, strong, weak)
	authorization := w.reply(ada, add, strong)
	pending := w.startRegistration(ada, "", w.reply(ada, add, strong))

	m.snapshot = nil
	for _, purpose := range []ceremony.Purpose{add, removal(best)} {
		_, err := w.Start(t.Context(), ada, purpose)
		refused(t, err, passkey.LevelUnreachable)
	}
	_, err := w.StartRegistration(t.Context(), ada, "", authorization) // proved while it was trusted, and finished now
	refused(t, err, passkey.LevelUnreachable)
	_, err = w.finishRegistration(ada, "", must(key().Register(pending, origin))(t))
	refused(t, err, passkey.AuthorizationNeeded)
	if _, err := w.Remove(t.Context(), ada, worse.ShortID(), w.reply(ada, removal(worse), strong), false); err != nil {
		t.Errorf("removing the weaker one needs no more than that: %v", err)
	}

	m.knows()
	if p := w.enrolAnother(ada, strong, key()); p.Trusted {
		t.Error("trusted without attestation")
	}
	_, err = w.Start(t.Context(), ada, attested)
	if err != nil {
		t.Errorf("after the outage: %v", err)
	}
}

// What was proved a moment ago is held to what is known when recovery codes are written: they outlive the passkey.
func TestOutageWhileCodesAreMade(t *testing.T) {
	m, f := newMDS(t).knows(), new(faulty)
	w, strong := newWorld(t, m.in, onFaulty(f)), authtest.New(madeBy(acme, acmeKey))
	w.enrol(ada, strong)
	codes := ceremony.Purpose{Action: passkey.MakeCodes}
	before := w.account(ada.User).User.Recovery
	authorization := w.reply(ada, codes, strong)
	f.use = func(passkey.Use) error {
		m.snapshot = nil
		return nil
	}
	_, err := w.MakeCodes(t.Context(), ada, authorization)
	refused(t, err, passkey.AuthorizationNeeded)
	same(t, w.account(ada.User).User.Recovery, before)
	_, err = w.Start(t.Context(), ada, codes)
	refused(t, err, passkey.LevelUnreachable)
}

// A weaker passkey, when the outage is over, still may not do what the stronger one may.
func TestWeakerChangesNothing(t *testing.T) {
	m := newMDS(t).knows()
	w, strong, weak := newWorld(t, m.in), authtest.New(madeBy(acme, acmeKey)), key()
	best := w.enrol(ada, strong)
	w.enrolAnother(ada, strong, weak)
	for _, purpose := range []ceremony.Purpose{add, removal(best)} {
		for _, snapshot := range []*metadata.Snapshot{m.snapshot, nil} {
			whole := m.snapshot
			options := w.start(ada, purpose)
			m.snapshot = snapshot
			_, err := w.finish(ada, purpose, must(weak.Authenticate(options, origin, authtest.Obstinate()))(t))
			refused(t, err, passkey.LevelUnreachable)
			m.snapshot = whole
		}
	}
}

// Where no attestation is configured, none is asked for, and a record that says more counts as any other.
func TestWithoutAttestation(t *testing.T) {
	w, a := newWorld(t), authtest.New(madeBy(acme, acmeKey))
	options := w.startRegistration(ada, "", nil)
	same(t, conveyance(t, options), "none")
	p := must(w.finishRegistration(ada, "", must(a.Register(options, origin))(t)))(t).Passkey
	if p.Trusted {
		t.Fatal("trusted")
	}
	p.Trusted = true
	if w.Reach(p) != passkey.DeviceBound {
		t.Errorf("reaches %s", w.Reach(p))
	}

	m := newMDS(t).knows()
	asking := newWorld(t, m.in)
	same(t, conveyance(t, asking.startRegistration(ada, "", nil)), "direct")
	asking.enrol(bob, authtest.New(madeBy(acme, acmeKey)))
	forgot := must(ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{origin}, Now: asking.clock.Now, Store: asking.store}))(t)
	world := &world{forgot, t, asking.store, asking.clock}
	again := world.account(bob.User).Passkeys[0]
	if !again.Trusted || world.Reach(again) != passkey.DeviceBound {
		t.Errorf("%+v reaches %s", again, world.Reach(again))
	}
	_, err := world.Start(t.Context(), bob, attested)
	refused(t, err, passkey.LevelUnreachable)
	if _, err := world.Start(t.Context(), bob, add); err != nil {
		t.Errorf("adding needs a level that does not exist any more: %v", err)
	}
}

func conveyance(t *testing.T, options []byte) string {
	t.Helper()
	var o struct{ PublicKey struct{ Attestation string } }
	if err := json.Unmarshal(options, &o); err != nil {
		t.Fatal(err)
	}
	return o.PublicKey.Attestation
}

// A bound of recovery holds whatever the authenticator is.
func TestBoundedTrust(t *testing.T) {
	m := newMDS(t).knows()
	w := newWorld(t, m.in)
	for bound, want := range map[passkey.Level]passkey.Level{0: passkey.Attested, passkey.DeviceBound: passkey.DeviceBound, passkey.Verified: passkey.Verified, passkey.Attested: passkey.Attested} {
		if got := w.Reach(passkey.Passkey{Trusted: true, AAGUID: acmeKey, MaxLevel: bound}); got != want {
			t.Errorf("bound %s: %s", bound, got)
		}
	}
}

// TestW3CAttestation has the registrations of the specification whose chains end in its root.
func TestW3CAttestation(t *testing.T) {
	var file struct{ AttestationRoot string }
	if err := json.Unmarshal(must(os.ReadFile("testdata/w3c-l3-vectors.json"))(t), &file); err != nil {
		t.Fatal(err)
	}
	root := must(x509.ParseCertificate(must(hex.DecodeString(file.AttestationRoot))(t)))(t)
	registrations, _ := vectors(t)
	for _, test := range []struct {
		name    string
		root    *x509.Certificate
		trusted bool
	}{
		{"packed-es256", root, true}, {"packed-es256", acme.Root(), false},
		{"packed-rs256", root, true}, {"packed-rs256", acme.Root(), false},
		{"packed-self-es256", root, false},
	} {
		v := registrations[test.name]
		m := newMDS(t).has(metadatatest.Model{AAGUID: [16]byte(must(hex.DecodeString(v.AAGUID))(t)), Roots: []*x509.Certificate{test.root}, Types: []string{"basic_full", "basic_surrogate"}})
		w := newWorld(t, func(c *ceremony.Config) { c.RPID, c.Origins, c.Attestation = v.RPID, []string{v.Origin}, m.config })
		p := ada
		p.Origin = v.Origin
		w.SetRandom(script{v.Challenge})
		w.startRegistration(p, "", nil)
		registered, err := w.finishRegistration(p, "", v.Credential)
		if err != nil || registered.Passkey.Trusted != test.trusted {
			t.Errorf("%s: %+v, %v", test.name, registered.Passkey, err)
		}
	}
}

// Hints follow the level; they never become an authenticatorAttachment.
func TestRegistrationHints(t *testing.T) {
	w := newWorld(t)
	options := w.startRegistration(ada, "", nil)
	for level, want := range map[passkey.Level][]string{
		0: nil, passkey.Present: nil, passkey.Verified: nil, passkey.DeviceBound: {"security-key", "client-device"}, passkey.Attested: {"security-key"},
	} {
		var before, after struct{ PublicKey map[string]any }
		hinted := ceremony.Hint(options, level)
		if json.Unmarshal(options, &before) != nil || json.Unmarshal(hinted, &after) != nil {
			t.Fatalf("%s", hinted)
		}
		var got []string
		if hints, _ := after.PublicKey["hints"].([]any); hints != nil {
			for _, hint := range hints {
				got = append(got, hint.(string))
			}
		}
		same(t, got, want)
		delete(after.PublicKey, "hints")
		same(t, after, before)
	}
	same(t, string(ceremony.Hint([]byte("nothing"), passkey.Attested)), "nothing")
}
