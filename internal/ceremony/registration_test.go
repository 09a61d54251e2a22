package ceremony_test

import (
	"bytes"
	"crypto/ecdh"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// TestRegistration is the positive control: what an honest registration writes.
func TestRegistration(t *testing.T) {
	for _, test := range []struct {
		name   string
		config authtest.Config
		lies   []authtest.Lie
		want   passkey.Passkey
	}{
		{"ES256", authtest.Config{}, nil, passkey.Passkey{AttestationFormat: "none", Transports: []string{"usb"}}},
		{"EdDSA", authtest.Config{Algorithm: authtest.EdDSA}, nil, passkey.Passkey{AttestationFormat: "none", Transports: []string{"usb"}}},
		{"RS256", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, nil, passkey.Passkey{AttestationFormat: "none", Transports: []string{"usb"}}},
		{"self-attested", authtest.Config{Attestation: authtest.SelfAttestation}, nil, passkey.Passkey{AttestationFormat: "packed", Transports: []string{"usb"}}},
		{"self-attested EdDSA", authtest.Config{Algorithm: authtest.EdDSA, Attestation: authtest.SelfAttestation}, nil,
			passkey.Passkey{AttestationFormat: "packed", Transports: []string{"usb"}}},
		{"A37 certified by anybody", authtest.Config{Attestation: authtest.CertifiedByAnybody, AAGUID: authtest.YubiKey}, nil,
			passkey.Passkey{AttestationFormat: "packed", AAGUID: authtest.YubiKey, Transports: []string{"usb"}}},
		{"A37 AAGUID without attestation", authtest.Config{AAGUID: authtest.YubiKey}, nil,
			passkey.Passkey{AttestationFormat: "none", AAGUID: authtest.YubiKey, Transports: []string{"usb"}}},
		{"synced", authtest.Config{Synced: true}, nil,
			passkey.Passkey{AttestationFormat: "none", BackupEligible: true, BackedUp: true, Transports: []string{"usb"}}},
		{"counting", authtest.Config{Counts: true}, nil, passkey.Passkey{AttestationFormat: "none", SignCount: 1, Transports: []string{"usb"}}},
		{"transports in any order, twice, and unknown ones", authtest.Config{Transports: []string{
			"usb", "internal", "<script>", "usb", "nfc", "USB", "hybrid", "smart-card", "ble", "cable", "internal ",
		}}, nil, passkey.Passkey{AttestationFormat: "none", Transports: []string{"ble", "hybrid", "internal", "nfc", "smart-card", "usb"}}},
		{"5000 transports", authtest.Config{Transports: slices.Repeat([]string{"x"}, 5000)}, nil, passkey.Passkey{AttestationFormat: "none"}},
		{"no transports", authtest.Config{Transports: []string{}}, nil, passkey.Passkey{AttestationFormat: "none"}},
		{"A44 appid false", authtest.Config{}, []authtest.Lie{authtest.Extension("appid", false)},
			passkey.Passkey{AttestationFormat: "none", Transports: []string{"usb"}}},
		{"A38 members of others", authtest.Config{}, []authtest.Lie{
			authtest.BodyMember("username", bob.User), authtest.BodyMember("userHandle", "AAAA"), authtest.ResponseMember("userHandle", "AAAA"),
			authtest.BodyMember("name", "Bob's"),
		}, passkey.Passkey{AttestationFormat: "none", Transports: []string{"usb"}}},
		{"claims beside the attestation object", authtest.Config{}, []authtest.Lie{authtest.ResponseMember("publicKey", "AAAA"), authtest.AfterSigning(func(d *authtest.Draft) {
			d.AuthenticatorData = []byte("not read")
			d.PublicKey[3] = 12345 // becomes publicKeyAlgorithm
		})}, passkey.Passkey{AttestationFormat: "none", Transports: []string{"usb"}}},
		{"authenticator extensions", authtest.Config{}, []authtest.Lie{authtest.AuthenticatorExtensions(map[string]any{"credProtect": 2})},
			passkey.Passkey{AttestationFormat: "none", Transports: []string{"usb"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, a := newWorld(t), authtest.New(test.config)
			options := w.startRegistration(ada, " Blue key ", nil)
			registered, err := w.finishRegistration(ada, "", must(a.Register(options, origin, test.lies...))(t))
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			want.ID = a.Credentials()[0].ID
			want.PublicKey = registered.Passkey.PublicKey
			want.Name = "Blue key"
			want.CreatedAt = w.clock.Now()
			want.LastCeremony = passkey.ChallengeID(challengeOf(t, options))
			codes := registered.Codes
			same(t, registered, ceremony.Registered{Passkey: want, Action: passkey.FirstUse, Codes: codes, CodesLeft: len(codes)})
			account := w.account(ada.User)
			same(t, account.Passkeys, []passkey.Passkey{want})
			same(t, account.User, passkey.User{
				Name: ada.User, Version: 1, Handle: a.Credentials()[0].UserHandle, Epoch: account.User.Epoch,
				Passkeys: []passkey.Ref{{ID: want.ID, Folded: "blue key"}}, Recovery: account.User.Recovery,
			})
			if len(account.User.Handle) != passkey.HandleLength || account.User.Epoch == (passkey.Epoch{}) {
				t.Errorf("handle of %d bytes, epoch %x", len(account.User.Handle), account.User.Epoch)
			}
			if _, err := w.authenticate(ada, stepUp, a); err != nil {
				t.Errorf("signing in with it: %v", err)
			}
		})
	}
}

// TestRegistrationRefusals tells one lie at a time. Each must be refused for its own reason, use up the challenge, and
// write nothing.
func TestRegistrationRefusals(t *testing.T) {
	for _, test := range authtest.RefusedRegistrations(place) {
		t.Run(test.Name, func(t *testing.T) {
			w, a := newWorld(t), authtest.New(test.Config)
			options := w.startRegistration(ada, "", nil)
			_, err := w.finishRegistration(ada, "", must(a.Register(options, origin, test.Lie))(t))
			refused(t, err, passkey.Refusal(test.Refusal))
			same(t, w.account(ada.User).User.Version, uint64(0))

			honest := key()
			_, err = w.finishRegistration(ada, "", must(honest.Register(options, origin))(t))
			refused(t, err, passkey.ChallengeUsed)
			w.enrol(ada, honest) // positive control
		})
	}
}

// TestNotCanonicalEd25519: a y coordinate of p or more decodes in most libraries, to a point that has another encoding.
func TestNotCanonicalEd25519(t *testing.T) {
	for low := 0xed; low <= 0xff; low++ {
		x := append([]byte{byte(low)}, bytes.Repeat([]byte{0xff}, 31)...)
		for _, last := range []byte{0x7f, 0xff} {
			x[31] = last
			refused(t, ceremony.CheckKey(authtest.COSEKey{1: 1, 3: -8, -1: 6, -2: x}.CBOR()), passkey.KeyUnusable)
		}
	}
}

// TestLongStatement: a statement that verifies, with a member that makes it long.
func TestLongStatement(t *testing.T) {
	for size, want := range map[int]passkey.Refusal{100: "", 16 << 10: passkey.AttestationInvalid} {
		w, a := newWorld(t), authtest.New(authtest.Config{Attestation: authtest.SelfAttestation})
		long := authtest.AfterSigning(func(d *authtest.Draft) {
			var object struct {
				AttStmt map[string]any `cbor:"attStmt"`
			}
			if err := cbor.Unmarshal(d.AttestationObject, &object); err != nil {
				t.Fatal(err)
			}
			object.AttStmt["x"] = make([]byte, size)
			d.AttestationObject = authtest.AttestationObject("packed", object.AttStmt, d.AuthenticatorData)
		})
		_, err := w.finishRegistration(ada, "", must(a.Register(w.startRegistration(ada, "", nil), origin, long))(t))
		if want != "" {
			refused(t, err, want)
		} else if err != nil {
			t.Errorf("positive control: %v", err)
		}
	}
}

// TestInvalidCurvePoint: a point of another curve with the same prime, as in an invalid-curve attack.
func TestInvalidCurvePoint(t *testing.T) {
	good := must(ecdh.P256().NewPrivateKey(bytes.Repeat([]byte{1}, 32)))(t).PublicKey().Bytes()
	key := authtest.COSEKey{1: 2, 3: -7, -1: 1, -2: good[1:33], -3: good[33:]}
	if err := ceremony.CheckKey(key.CBOR()); err != nil {
		t.Fatalf("positive control: %v", err)
	}
	for i := range 32 {
		y := slices.Clone(good[33:])
		y[i] ^= 1
		key[-3] = y
		refused(t, ceremony.CheckKey(key.CBOR()), passkey.KeyUnusable)
	}
	key[-3] = good[33:]
	refused(t, ceremony.CheckKey(append(key.CBOR(), 0)), passkey.KeyUnusable)
	refused(t, ceremony.CheckKey(nil), passkey.KeyUnusable)
}

// TestFirstUseIsOnce has docs/rules.md, rule 10: the record of a user outlives their passkeys.
func TestFirstUseIsOnce(t *testing.T) {
	w, a := newWorld(t), key()
	early := w.startRegistration(ada, "", nil)
	p := w.enrol(ada, a)
	_, err := w.finishRegistration(ada, "", must(key().Register(early, origin))(t))
	refused(t, err, passkey.AuthorizationNeeded)
	_, err = w.StartRegistration(t.Context(), ada, "", nil) // F2
	refused(t, err, passkey.AuthorizationNeeded)

	early = w.reply(ada, add, a)
	if err := w.store.Remove(t.Context(), must(w.account(ada.User).User.Removing(p.ID))(t), p.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.StartRegistration(t.Context(), ada, "", nil)
	refused(t, err, passkey.RegistrationClosed)
	_, err = w.StartRegistration(t.Context(), ada, "", early)
	refused(t, err, passkey.PasskeyUnknown)
}

func TestF4_ParallelFirstUse(t *testing.T) {
	w := newWorld(t)
	replies := make([][]byte, 16)
	for i := range replies {
		replies[i] = must(key().Register(w.startRegistration(ada, "", nil), origin))(t)
	}
	results := make(chan error, len(replies))
	var group sync.WaitGroup
	for _, reply := range replies {
		group.Go(func() {
			_, err := w.finishRegistration(ada, "", reply)
			results <- err
		})
	}
	group.Wait()
	close(results)
	won := 0
	for err := range results {
		switch {
		case err == nil:
			won++
		case !strings.Contains(err.Error(), string(passkey.AuthorizationNeeded)): // consumed after the winner wrote
			refused(t, err, passkey.RegistrationClosed)
		}
	}
	same(t, won, 1)
	same(t, len(w.account(ada.User).Passkeys), 1)
}

// TestFirstUseLosesRace: somebody else's first passkey is written between consuming and writing.
func TestFirstUseLosesRace(t *testing.T) {
	f := &faulty{}
	w := newWorld(t, onFaulty(f))
	reply := must(key().Register(w.startRegistration(ada, "", nil), origin))(t)
	f.register = func() error {
		f.register = nil
		w.enrol(ada, key())
		return nil
	}
	_, err := w.finishRegistration(ada, "", reply)
	refused(t, err, passkey.RegistrationClosed)
	same(t, len(w.account(ada.User).Passkeys), 1)
}

func TestAnother(t *testing.T) {
	w, a, b := newWorld(t), key(), synced()
	w.enrol(ada, a)
	options := w.startRegistration(ada, "Phone", w.reply(ada, add, a))
	registered := must(w.finishRegistration(ada, "", must(b.Register(options, origin))(t)))(t)
	if registered.Action == passkey.FirstUse || registered.Passkey.Name != "Phone" || len(w.account(ada.User).Passkeys) != 2 {
		t.Errorf("%+v", registered)
	}
	if !bytes.Equal(b.Credentials()[0].UserHandle, a.Credentials()[0].UserHandle) {
		t.Error("the passkeys of one user have different user handles")
	}
	if _, err := w.authenticate(ada, stepUp, b); err != nil {
		t.Error(err)
	}
	// F14: what is there is excluded, what is another user's is not.
	_, err := a.Register(w.startRegistration(ada, "", w.reply(ada, add, a)), origin)
	same(t, err == authtest.ErrExcluded, true)
	w.enrol(bob, a)
}

// TestA39_CredentialExists: a credential id belongs to one user.
func TestA39_CredentialExists(t *testing.T) {
	w, a, b := newWorld(t), key(), key()
	p := w.enrol(ada, a)
	before := w.account(ada.User)
	_, err := w.finishRegistration(bob, "", must(b.Register(w.startRegistration(bob, "", nil), origin, authtest.CredentialID(p.ID)))(t))
	refused(t, err, passkey.PasskeyExists)
	_, err = w.finishRegistration(ada, "", must(b.Register(w.startRegistration(ada, "", w.reply(ada, add, a)), origin,
		authtest.CredentialID(p.ID), authtest.Obstinate()))(t))
	refused(t, err, passkey.PasskeyExists)
	same(t, w.account(ada.User).User, before.User)
	same(t, w.account(ada.User).Passkeys[0].PublicKey, p.PublicKey)
	same(t, w.account(bob.User).User.Version, uint64(0))
}

// TestAuthorizationIsOfAPasskey: removing the passkey that authorised a registration ends it.
func TestAuthorizationIsOfAPasskey(t *testing.T) {
	w, first, second := newWorld(t), key(), key()
	w.enrol(ada, first)
	p := w.enrolAnother(ada, first, second)
	options := w.startRegistration(ada, "", w.reply(ada, add, second))
	if _, err := w.remove(ada, p.ShortID(), w.reply(ada, removal(p), first)); err != nil {
		t.Fatal(err)
	}
	_, err := w.finishRegistration(ada, "", must(key().Register(options, origin))(t))
	refused(t, err, passkey.AuthorizationNeeded)
}

func TestRegistrationBindings(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name   string
		change func(*ceremony.Party)
		want   passkey.Refusal
	}{
		{"A2 browser", func(p *ceremony.Party) { p.Browser = bob.Browser }, passkey.BrowserMismatch},
		{"A2 session", func(p *ceremony.Party) { p.Session = bob.Session }, passkey.SessionMismatch},
		{"A6 user", func(p *ceremony.Party) { p.User = bob.User }, passkey.ChallengeUsed},
		{"A16 origin", func(p *ceremony.Party) { p.Origin = other }, passkey.OriginMismatch},
		{"unknown origin", func(p *ceremony.Party) { p.Origin = "https://evil.example" }, passkey.OriginUnknown},
	} {
		party := ada
		test.change(&party)
		_, err := w.finishRegistration(party, "", must(key().Register(w.startRegistration(ada, "", nil), origin))(t))
		refused(t, err, test.want)
	}
	options := w.startRegistration(ada, "", nil)
	w.clock.Advance(ceremony.DefaultTTL)
	_, err := w.finishRegistration(ada, "", must(key().Register(options, origin))(t))
	refused(t, err, passkey.ChallengeExpired)
}

func TestTooManyPasskeys(t *testing.T) {
	w, a := newWorld(t, func(c *ceremony.Config) { c.MaxPasskeys = 3 }), key()
	w.enrol(ada, a)
	w.enrolAnother(ada, a, key())
	late := w.startRegistration(ada, "", w.reply(ada, add, a))
	w.enrolAnother(ada, a, key())
	_, err := w.StartRegistration(t.Context(), ada, "", w.reply(ada, add, a))
	refused(t, err, passkey.TooManyPasskeys)
	_, err = w.finishRegistration(ada, "", must(key().Register(late, origin))(t))
	refused(t, err, passkey.TooManyPasskeys)
	same(t, len(w.account(ada.User).Passkeys), 3)
}

// TestTooManyPasskeysRace: the last free place goes to somebody else between deciding and writing.
func TestTooManyPasskeysRace(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f), func(c *ceremony.Config) { c.MaxPasskeys = 2 }), key()
	w.enrol(ada, a)
	reply := must(key().Register(w.startRegistration(ada, "", w.reply(ada, add, a)), origin))(t)
	f.register = func() error {
		f.register = nil
		w.enrolAnother(ada, a, key())
		return nil
	}
	_, err := w.finishRegistration(ada, "", reply)
	refused(t, err, passkey.TooManyPasskeys)
	same(t, len(w.account(ada.User).Passkeys), 2)
}

// TestHandleChanged: a registration for a user handle that is no longer the user's would make a passkey that signs in as
// nobody.
func TestHandleChanged(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f)), key()
	w.enrol(ada, a)
	reply := must(key().Register(w.startRegistration(ada, "", w.reply(ada, add, a)), origin))(t)
	f.record = func(c *passkey.Challenge) { c.Handle = make([]byte, passkey.HandleLength) }
	_, err := w.finishRegistration(ada, "", reply)
	refused(t, err, passkey.AuthorizationNeeded)
}

// TestParallelAnother: registrations at the same time are all written, up to the limit, and get different names.
func TestParallelAnother(t *testing.T) {
	const limit = 4
	w, a := newWorld(t, func(c *ceremony.Config) { c.MaxPasskeys = limit }), key()
	w.enrol(ada, a)
	replies := make([][]byte, limit)
	for i := range replies {
		replies[i] = must(key().Register(w.startRegistration(ada, "", w.reply(ada, add, a)), origin))(t)
	}
	results := make(chan error, len(replies))
	var group sync.WaitGroup
	for _, reply := range replies {
		group.Go(func() {
			_, err := w.finishRegistration(ada, "", reply)
			results <- err
		})
	}
	group.Wait()
	close(results)
	won := 1
	for err := range results {
		switch {
		case err == nil:
			won++
		case !strings.Contains(err.Error(), string(passkey.Conflict)): // three others were faster each time
			refused(t, err, passkey.TooManyPasskeys)
		}
	}
	account := w.account(ada.User)
	same(t, len(account.Passkeys), won)
	names := map[string]bool{}
	for _, p := range account.Passkeys {
		names[p.Name] = true
	}
	same(t, len(names), won)
}

// TestRegisterConflicts: another change of the user's record comes between, again and again.
func TestRegisterConflicts(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f)), key()
	w.enrol(ada, a)
	for _, test := range []struct {
		conflicts int
		want      passkey.Refusal
	}{{2, ""}, {3, passkey.Conflict}} {
		left := test.conflicts
		f.register = func() error {
			if left == 0 {
				return nil
			}
			left--
			return w.Revoke(t.Context(), ada.User) // the record has a new version now: the real store will say so
		}
		_, err := w.finishRegistration(ada, "", must(key().Register(w.startRegistration(ada, "", w.reply(ada, add, a)), origin))(t))
		if test.want != "" {
			refused(t, err, test.want)
		} else if err != nil {
			t.Error(err)
		}
	}
}
