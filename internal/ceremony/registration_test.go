package ceremony_test

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// yubikey is the AAGUID of a YubiKey 5, which anybody can claim.
var yubikey = [16]byte{0xcb, 0x69, 0x48, 0x1e, 0x8f, 0xf7, 0x40, 0x39, 0x93, 0xec, 0x0a, 0x27, 0x29, 0xa1, 0x54, 0xa8}

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
		{"A37 certified by anybody", authtest.Config{Attestation: authtest.CertifiedByAnybody, AAGUID: yubikey}, nil,
			passkey.Passkey{AttestationFormat: "packed", AAGUID: yubikey, Transports: []string{"usb"}}},
		{"A37 AAGUID without attestation", authtest.Config{AAGUID: yubikey}, nil,
			passkey.Passkey{AttestationFormat: "none", AAGUID: yubikey, Transports: []string{"usb"}}},
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
	x := func(h string) []byte { return must(hex.DecodeString(h))(t) }
	offCurve := authtest.Key(-3, bytes.Repeat([]byte{1}, 32))
	for _, test := range []struct {
		name   string
		config authtest.Config
		lie    authtest.Lie
		want   passkey.Refusal
	}{
		{"A14 type get", authtest.Config{}, authtest.Type("webauthn.get"), passkey.CeremonyMismatch},
		{"A17 sub-domain", authtest.Config{}, authtest.Origin("https://evil.console.example.com"), passkey.OriginMismatch},
		{"A17 user info", authtest.Config{}, authtest.Origin("https://user@console.example.com"), passkey.OriginMismatch},
		{"A17 other origin of the relying party", authtest.Config{}, authtest.Origin(other), passkey.OriginMismatch},
		{"A20 in a frame", authtest.Config{}, authtest.CrossOrigin(true), passkey.CrossOrigin},
		{"A20 top origin", authtest.Config{}, authtest.TopOrigin(origin), passkey.CrossOrigin},
		{"A21 other relying party", authtest.Config{}, authtest.RPID("example.org"), passkey.RelyingPartyMismatch},
		{"A22 not verified", authtest.Config{}, authtest.Clear(authtest.UV), passkey.UserVerificationMissing},
		{"A23 F16 not present", authtest.Config{}, authtest.Clear(authtest.UP), passkey.UserPresenceMissing},
		{"A24 backed up, not eligible", authtest.Config{}, authtest.Set(authtest.BS), passkey.BackupFlagsInconsistent},
		{"A34 alg RS1", authtest.Config{}, authtest.Key(3, -65535), passkey.AlgorithmRefused},
		{"A34 alg ESP256", authtest.Config{}, authtest.Key(3, -9), passkey.AlgorithmRefused},
		{"A34 alg Ed448", authtest.Config{}, authtest.Key(3, -53), passkey.AlgorithmRefused},
		{"A34 alg ES384, real key", authtest.Config{Algorithm: authtest.ES384}, authtest.Obstinate(), passkey.AlgorithmRefused},
		{"A34 alg missing", authtest.Config{}, authtest.Key(3, nil), passkey.AlgorithmRefused},
		{"A34 alg is text", authtest.Config{}, authtest.Key(3, "ES256"), passkey.AlgorithmRefused},
		{"A34 EC key, alg RS256", authtest.Config{}, authtest.Key(3, -257), passkey.KeyUnusable},
		{"A34 EC key, alg EdDSA", authtest.Config{}, authtest.Key(3, -8), passkey.KeyUnusable},
		{"A34 RSA key, alg ES256", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, authtest.Key(3, -7), passkey.KeyUnusable},
		{"A34 kty 99", authtest.Config{}, authtest.Key(1, 99), passkey.KeyUnusable},
		{"A34 kty missing", authtest.Config{}, authtest.Key(1, nil), passkey.KeyUnusable},
		{"A34 other curve", authtest.Config{}, authtest.Key(-1, 2), passkey.KeyUnusable},
		{"A34 no curve", authtest.Config{}, authtest.Key(-1, nil), passkey.KeyUnusable},
		{"A34 off the curve", authtest.Config{}, offCurve, passkey.KeyUnusable},
		{"A34 no coordinates", authtest.Config{}, authtest.Key(-2, nil).Then(authtest.Key(-3, nil)), passkey.KeyUnusable},
		{"A34 compressed point", authtest.Config{}, authtest.Key(-3, true), passkey.KeyUnusable},
		{"A34 point at infinity", authtest.Config{}, authtest.Key(-2, make([]byte, 32)).Then(authtest.Key(-3, make([]byte, 32))), passkey.KeyUnusable},
		{"A34 long coordinate", authtest.Config{}, authtest.Key(-2, make([]byte, 33)), passkey.KeyUnusable},
		{"A34 private key as well", authtest.Config{}, authtest.Key(-4, make([]byte, 32)), passkey.KeyUnusable},
		{"A34 key id as well", authtest.Config{}, authtest.Key(2, []byte("id")), passkey.KeyUnusable},
		{"A34 no map", authtest.Config{}, authtest.RawKey([]byte{0x80}), passkey.KeyUnusable},
		{"A34 text for labels", authtest.Config{}, authtest.RawKey(x("a1613102")), passkey.KeyUnusable},
		{"A35 RSA-512", authtest.Config{Algorithm: authtest.RS256, RSABits: 512, Seed: "512"}, authtest.Obstinate(), passkey.KeyUnusable},
		{"A35 RSA-1024", authtest.Config{Algorithm: authtest.RS256, RSABits: 1024, Seed: "1024"}, authtest.Obstinate(), passkey.KeyUnusable},
		{"A35 RSA-1024, self-attested", authtest.Config{Algorithm: authtest.RS256, RSABits: 1024, Seed: "1024", Attestation: authtest.SelfAttestation},
			authtest.Obstinate(), passkey.KeyUnusable},
		{"A35 RSA exponent 1", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, authtest.Key(-2, []byte{1}), passkey.KeyUnusable},
		{"A35 RSA exponent even", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, authtest.Key(-2, []byte{1, 0, 0}), passkey.KeyUnusable},
		{"A35 RSA exponent huge", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, authtest.Key(-2, []byte{0x80, 0, 0, 1}), passkey.KeyUnusable},
		{"A35 RSA exponent padded", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, authtest.Key(-2, []byte{0, 1, 0, 1}), passkey.KeyUnusable},
		{"A35 RSA modulus of 10 kB", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, authtest.Key(-1, bytes.Repeat([]byte{0xff}, 10000)), passkey.KeyUnusable},
		{"A35 RSA modulus even", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, authtest.Key(-1, append(bytes.Repeat([]byte{0xff}, 255), 0)), passkey.KeyUnusable},
		{"A35 RSA modulus missing", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, authtest.Key(-1, nil), passkey.KeyUnusable},
		{"A35 Ed25519 of 31 bytes", authtest.Config{Algorithm: authtest.EdDSA}, authtest.Key(-2, make([]byte, 31)), passkey.KeyUnusable},
		{"A35 Ed25519 off the curve", authtest.Config{Algorithm: authtest.EdDSA}, authtest.Key(-2, append([]byte{2}, make([]byte, 31)...)), passkey.KeyUnusable},
		{"A35 Ed25519 on X25519", authtest.Config{Algorithm: authtest.EdDSA}, authtest.Key(-1, 4), passkey.KeyUnusable},
		{"A35 Ed25519 without curve", authtest.Config{Algorithm: authtest.EdDSA}, authtest.Key(-1, nil), passkey.KeyUnusable},
		{"A45 appid true", authtest.Config{}, authtest.Extension("appid", true), passkey.ExtensionRefused},
		{"A45 remoteClientDataJSON", authtest.Config{}, authtest.Extension("remoteClientDataJSON", true), passkey.ExtensionRefused},
		{"id of 15 bytes", authtest.Config{IDLength: 15}, authtest.Set(0), passkey.CredentialIDInvalid},
		{"rawId is not the attested id", authtest.Config{}, authtest.As(make([]byte, 32)), passkey.CredentialIDInvalid},
		{"format unknown", authtest.Config{}, authtest.Statement("nonsense", map[string]any{}), passkey.AttestationInvalid},
		{"format in capitals", authtest.Config{}, authtest.Statement("NONE", map[string]any{}), passkey.AttestationInvalid},
		{"none with a statement", authtest.Config{}, authtest.Statement("none", map[string]any{"alg": -7}), passkey.AttestationInvalid},
		{"packed without a statement", authtest.Config{}, authtest.Statement("packed", map[string]any{}), passkey.AttestationInvalid},
		{"packed, wrong signature", authtest.Config{}, authtest.Statement("packed", map[string]any{"alg": -7, "sig": make([]byte, 70)}), passkey.AttestationInvalid},
		{"packed, empty chain", authtest.Config{}, authtest.Statement("packed", map[string]any{"alg": -7, "sig": make([]byte, 70), "x5c": []any{}}), passkey.AttestationInvalid},
		{"packed, no certificate", authtest.Config{}, authtest.Statement("packed", map[string]any{"alg": -7, "sig": make([]byte, 70), "x5c": []any{[]byte{1}}}), passkey.AttestationInvalid},
		{"statement of 20 kB", authtest.Config{}, authtest.Statement("packed", map[string]any{"sig": make([]byte, 20000)}), passkey.AttestationInvalid},
		{"self-attested, other client data", authtest.Config{Attestation: authtest.SelfAttestation}, authtest.AfterSigning(func(d *authtest.Draft) {
			d.ClientDataJSON = append(slices.Clone(d.ClientDataJSON), ' ')
		}), passkey.AttestationInvalid},
		{"certified by anybody for another model", authtest.Config{Attestation: authtest.CertifiedByAnybody}, authtest.AfterSigning(func(d *authtest.Draft) {
			d.AttestationObject = bytes.Replace(d.AttestationObject, make([]byte, 16), yubikey[:], 1)
		}), passkey.AttestationInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, a := newWorld(t), authtest.New(test.config)
			options := w.startRegistration(ada, "", nil)
			_, err := w.finishRegistration(ada, "", must(a.Register(options, origin, test.lie, authtest.Obstinate()))(t))
			refused(t, err, test.want)
			same(t, w.account(ada.User).User.Version, uint64(0))

			honest := key()
			_, err = w.finishRegistration(ada, "", must(honest.Register(options, origin))(t))
			refused(t, err, passkey.ChallengeUsed)
			w.enrol(ada, honest) // positive control
		})
	}
}

// smallOrder are the encodings of the eight points of small order on Edwards25519, the canonical ones first, from
// "Taming the many EdDSAs", table 2. With such a key one constant signature verifies for every challenge.
var smallOrder = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"0100000000000000000000000000000000000000000000000000000000000080", // not canonical from here on
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

func TestA35_SmallOrder(t *testing.T) {
	w := newWorld(t)
	for _, point := range smallOrder {
		a := authtest.New(authtest.Config{Algorithm: authtest.EdDSA})
		x := must(hex.DecodeString(point))(t)
		_, err := w.finishRegistration(ada, "", must(a.Register(w.startRegistration(ada, "", nil), origin, authtest.Key(-2, x)))(t))
		refused(t, err, passkey.KeyUnusable)
	}
	w.enrol(ada, authtest.New(authtest.Config{Algorithm: authtest.EdDSA})) // positive control
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
