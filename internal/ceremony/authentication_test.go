package ceremony_test

import (
	"errors"
	"math/big"
	"slices"
	"testing"

	"encoding/asn1"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// TestAuthenticationProof is the positive control of everything below: what an honest reply proves.
func TestAuthenticationProof(t *testing.T) {
	for _, test := range []struct {
		name    string
		config  authtest.Config
		purpose ceremony.Purpose
		level   passkey.Level
	}{
		{"ES256", authtest.Config{}, stepUp, passkey.DeviceBound},
		{"EdDSA", authtest.Config{Algorithm: authtest.EdDSA}, stepUp, passkey.DeviceBound},
		{"RS256", authtest.Config{Algorithm: authtest.RS256, Seed: "RS256"}, stepUp, passkey.DeviceBound},
		{"device bound", authtest.Config{}, deviceBound, passkey.DeviceBound},
		{"synced", authtest.Config{Synced: true}, stepUp, passkey.Verified},
		{"eligible, not yet backed up", authtest.Config{Synced: true, NotBackedUp: true}, stepUp, passkey.Verified},
		{"presence only", authtest.Config{}, present, passkey.Present},
		{"presence asked for, verified all the same", authtest.Config{AlwaysUV: true}, present, passkey.DeviceBound},
		{"counting", authtest.Config{Counts: true}, stepUp, passkey.DeviceBound},
		{"A26 never counting", authtest.Config{}, stepUp, passkey.DeviceBound},
		{"shortest id", authtest.Config{IDLength: 16}, stepUp, passkey.DeviceBound},
		{"longest id", authtest.Config{IDLength: 1023}, stepUp, passkey.DeviceBound},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			a := authtest.New(test.config)
			enrolled := w.enrol(ada, a)
			w.clock.Advance(1e9)
			for range 2 {
				options := w.start(ada, test.purpose)
				proof, err := w.finish(ada, test.purpose, must(a.Authenticate(options, origin))(t))
				if err != nil {
					t.Fatal(err)
				}
				account := w.account(ada.User)
				want := enrolled
				want.SignCount = a.Credentials()[0].SignCount
				want.LastUsedAt, want.LastUsedOn = w.clock.Now(), origin
				want.LastCeremony = passkey.ChallengeID(challengeOf(t, options))
				same(t, proof, ceremony.Proof{Passkey: want, Level: test.level, At: w.clock.Now(), Epoch: account.User.Epoch})
				same(t, account.Passkeys, []passkey.Passkey{want})
			}
		})
	}
}

// TestAuthenticationRefusals tells one lie at a time. Each must be refused for its own reason, use up the challenge, and
// leave the account as it was.
func TestAuthenticationRefusals(t *testing.T) {
	shape := func(t *testing.T, signature []byte) (r, s *big.Int) {
		var v struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &v); err != nil {
			t.Error(err)
		}
		return v.R, v.S
	}
	signature := func(b []byte) authtest.Lie { return authtest.Signature(func([]byte) []byte { return b }) }
	for _, test := range []struct {
		name string
		lie  authtest.Lie
		want passkey.Refusal
	}{
		{"A14 type create", authtest.Type("webauthn.create"), passkey.CeremonyMismatch},
		{"A14 type payment", authtest.Type("payment.get"), passkey.CeremonyMismatch},
		{"A14 type in capitals", authtest.Type("WEBAUTHN.GET"), passkey.CeremonyMismatch},
		{"A14 no type", authtest.Type(""), passkey.CeremonyMismatch},
		{"A17 sub-domain", authtest.Origin("https://evil.console.example.com"), passkey.OriginMismatch},
		{"A17 parent", authtest.Origin("https://example.com"), passkey.OriginMismatch},
		{"A17 other origin of the relying party", authtest.Origin(other), passkey.OriginMismatch},
		{"A17 http", authtest.Origin("http://console.example.com"), passkey.OriginMismatch},
		{"A17 other port", authtest.Origin(origin + ":8443"), passkey.OriginMismatch},
		{"A17 default port", authtest.Origin(origin + ":443"), passkey.OriginMismatch},
		{"A17 trailing dot", authtest.Origin(origin + "."), passkey.OriginMismatch},
		{"A17 trailing slash", authtest.Origin(origin + "/"), passkey.OriginMismatch},
		{"A17 path and query", authtest.Origin(origin + "/evil?x#y"), passkey.OriginMismatch},
		{"A17 user info", authtest.Origin("https://user@console.example.com"), passkey.OriginMismatch},
		{"A17 upper case", authtest.Origin("https://Console.example.com"), passkey.OriginMismatch},
		{"A17 white space", authtest.Origin(" " + origin), passkey.OriginMismatch},
		{"A17 null", authtest.Origin("null"), passkey.OriginMismatch},
		{"A17 empty", authtest.Origin(""), passkey.OriginMismatch},
		{"A17 app", authtest.Origin("android:apk-key-hash:AAAA"), passkey.OriginMismatch},
		{"A20 in a frame", authtest.CrossOrigin(true), passkey.CrossOrigin},
		{"A20 top origin", authtest.TopOrigin("https://evil.example"), passkey.CrossOrigin},
		{"A20 own top origin", authtest.TopOrigin(origin), passkey.CrossOrigin},
		{"A20 empty top origin", authtest.TopOrigin(""), passkey.CrossOrigin},
		{"A20 null top origin", authtest.ClientData("topOrigin", nil), passkey.CrossOrigin},
		{"A21 parent", authtest.RPID("com"), passkey.RelyingPartyMismatch},
		{"A21 sub-domain", authtest.RPID("console.example.com"), passkey.RelyingPartyMismatch},
		{"A21 other tenant", authtest.RPID("example.org"), passkey.RelyingPartyMismatch},
		{"A21 nothing", authtest.RPID(""), passkey.RelyingPartyMismatch},
		{"A22 not verified", authtest.Clear(authtest.UV), passkey.UserVerificationMissing},
		{"A23 not present", authtest.Clear(authtest.UP), passkey.UserPresenceMissing},
		{"A23 neither", authtest.Clear(authtest.UP | authtest.UV), passkey.UserPresenceMissing},
		{"A24 backed up, not eligible", authtest.Set(authtest.BS), passkey.BackupFlagsInconsistent},
		{"A24 became eligible", authtest.Set(authtest.BE), passkey.BackupFlagsInconsistent},
		{"A24 became synced", authtest.Set(authtest.BE | authtest.BS), passkey.BackupFlagsInconsistent},
		{"A25 equal", authtest.SignCount(10), passkey.CounterRegressed},
		{"A25 lower", authtest.SignCount(9), passkey.CounterRegressed},
		{"A25 0 after 10", authtest.SignCount(0), passkey.CounterRegressed},
		{"A28 nobody's id", authtest.As(make([]byte, 32)), passkey.PasskeyUnknown},
		{"A28 id of one byte", authtest.As([]byte{1}), passkey.PasskeyUnknown},
		{"A32 empty signature", signature(nil), passkey.SignatureInvalid},
		{"A32 raw r||s", authtest.Signature(func(b []byte) []byte {
			r, s := shape(t, b)
			return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32)))
		}), passkey.SignatureInvalid},
		{"A32 BER, long form of the length", authtest.Signature(func(b []byte) []byte {
			return slices.Concat([]byte{0x30, 0x81, b[1]}, b[2:])
		}), passkey.SignatureInvalid},
		{"A32 trailing byte", authtest.Signature(func(b []byte) []byte { return append(slices.Clone(b), 0) }), passkey.SignatureInvalid},
		{"A32 r=s=0", signature([]byte{0x30, 6, 2, 1, 0, 2, 1, 0}), passkey.SignatureInvalid},
		{"A32 one bit", authtest.Signature(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), passkey.SignatureInvalid},
		{"A32 s negated and not reduced", authtest.Signature(func(b []byte) []byte {
			r, s := shape(t, b)
			b, err := asn1.Marshal(struct{ R, S *big.Int }{r, s.Neg(s)})
			if err != nil {
				t.Error(err)
			}
			return b
		}), passkey.SignatureInvalid},
		{"sign count raised after signing", authtest.AuthenticatorData(func(b []byte) []byte { b[36]++; return b }), passkey.SignatureInvalid},
		{"client data changed after signing", authtest.AfterSigning(func(d *authtest.Draft) {
			d.ClientDataJSON = append(slices.Clone(d.ClientDataJSON), ' ')
		}), passkey.SignatureInvalid},
		{"signed over other authenticator data", authtest.BeforeSigning(func(d *authtest.Draft) { d.Flags |= authtest.RFU1 }).Then(
			authtest.AuthenticatorData(func(b []byte) []byte { b[32] &^= authtest.RFU1; return b })), passkey.SignatureInvalid},
		{"A38 user handle of somebody else", authtest.UserHandle(make([]byte, 64)), passkey.UserHandleMismatch},
		{"A38 user handle is the user name", authtest.UserHandle([]byte(ada.User)), passkey.UserHandleMismatch},
		{"A45 appid true", authtest.Extension("appid", true), passkey.ExtensionRefused},
		{"A45 remoteClientDataJSON", authtest.Extension("remoteClientDataJSON", true), passkey.ExtensionRefused},
		{"A45 remoteClientDataJSON false", authtest.Extension("remoteClientDataJSON", false), passkey.ExtensionRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, a := newWorld(t), key()
			w.enrol(ada, a)
			if _, err := w.authenticate(ada, stepUp, a, authtest.SignCount(10)); err != nil {
				t.Fatalf("positive control: %v", err)
			}
			before := w.account(ada.User)
			options := w.start(ada, stepUp)
			lying := []authtest.Lie{authtest.SignCount(20), test.lie}
			_, err := w.finish(ada, stepUp, must(a.Authenticate(options, origin, lying...))(t))
			refused(t, err, test.want)
			same(t, w.account(ada.User), before)

			_, err = w.finish(ada, stepUp, must(a.Authenticate(options, origin, authtest.SignCount(21)))(t))
			refused(t, err, passkey.ChallengeUsed) // A49: the first try used it up
			if _, err := w.authenticate(ada, stepUp, a, authtest.SignCount(22)); err != nil {
				t.Fatalf("positive control afterwards: %v", err)
			}
		})
	}
}

// TestAuthenticationTolerates has replies that are odd and right.
func TestAuthenticationTolerates(t *testing.T) {
	for _, test := range []struct {
		name string
		lie  authtest.Lie
	}{
		{"A44 Safari's appid false", authtest.Extension("appid", false)},
		{"an unknown extension", authtest.Extension("prf", map[string]any{"results": map[string]any{"first": "AAAA"}})},
		{"A38 members of others", authtest.BodyMember("username", bob.User)},
		{"A38 user handle beside the response", authtest.BodyMember("userHandle", "AAAA")},
		{"A50 options in the reply", authtest.BodyMember("userVerification", "discouraged")},
		{"A50 challenge beside the client data", authtest.BodyMember("challenge", "AAAA")},
		{"public key in the response", authtest.ResponseMember("publicKey", "AAAA")},
		{"no user handle", authtest.UserHandle(nil)},
		{"empty user handle", authtest.UserHandle([]byte{})},
		{"null user handle", authtest.UserHandle(nil).Then(authtest.ResponseMember("userHandle", nil))},
		{"null attachment", authtest.AfterSigning(func(d *authtest.Draft) { d.Attachment = "" })},
		{"new members of client data", authtest.MoreClientData("new_keys_may_be_added_here", "do not compare clientDataJSON against a template")},
		{"no crossOrigin", authtest.NoClientData("crossOrigin")},
		{"token binding of old", authtest.MoreClientData("tokenBinding", map[string]any{"status": "supported"})},
		{"white space in client data", authtest.ClientDataJSON(func(b []byte) []byte { return slices.Concat([]byte("\n "), b, []byte("\t")) })},
		{"escapes in client data", authtest.ClientDataJSON(func(b []byte) []byte {
			return slices.Concat([]byte(`{"\u0074ype":"webauthn.\u0067et",`), b[len(`{"type":"webauthn.get",`):])
		})},
		{"authenticator extensions", authtest.AuthenticatorExtensions(map[string]any{"credProtect": 2})},
		{"reserved flags", authtest.Set(authtest.RFU1 | authtest.RFU2)},
		{"sign count jumps", authtest.SignCount(1<<32 - 1)},
		{"A32 malleated signature, once", authtest.Signature(negated)},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, a := newWorld(t), key()
			w.enrol(ada, a)
			proof, err := w.authenticate(ada, stepUp, a, test.lie)
			if err != nil {
				t.Fatal(err)
			}
			if proof.Level != passkey.DeviceBound {
				t.Errorf("level %v", proof.Level)
			}
		})
	}
}

// negated turns an ECDSA signature (r, s) into (r, n-s), which verifies too: hence no signature may serve as a key
// against replay.
func negated(signature []byte) []byte {
	var v struct{ R, S *big.Int }
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	_, err1 := asn1.Unmarshal(signature, &v)
	v.S.Sub(n, v.S)
	b, err2 := asn1.Marshal(v)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	return b
}

// TestBackupState: a passkey that may be synced reports whether it is, and may change its mind.
func TestBackupState(t *testing.T) {
	w, a := newWorld(t), authtest.New(authtest.Config{Synced: true, NotBackedUp: true})
	w.enrol(ada, a)
	for _, step := range []struct {
		lie  authtest.Lie
		want bool
	}{{authtest.Set(authtest.BS), true}, {authtest.Clear(authtest.BS), false}} {
		proof, err := w.authenticate(ada, stepUp, a, step.lie)
		if err != nil || proof.Passkey.BackedUp != step.want || w.account(ada.User).Passkeys[0].BackedUp != step.want {
			t.Errorf("backed up %v, %v, want %v", proof.Passkey.BackedUp, err, step.want)
		}
	}
	_, err := w.authenticate(ada, stepUp, a, authtest.Clear(authtest.BE|authtest.BS))
	refused(t, err, passkey.BackupFlagsInconsistent)
}

// TestLevels has what each kind of passkey is good for.
func TestLevels(t *testing.T) {
	w, usb, phone := newWorld(t), key(), synced()
	w.enrol(ada, phone)
	_, err := w.Start(t.Context(), ada, deviceBound)
	refused(t, err, passkey.LevelUnreachable)
	_, err = w.Start(t.Context(), ada, ceremony.Purpose{Action: passkey.StepUp, Level: passkey.Attested})
	refused(t, err, passkey.LevelUnreachable)

	w.enrolAnother(ada, phone, usb)
	if _, err := w.authenticate(ada, deviceBound, usb); err != nil {
		t.Fatal(err)
	}
	// The phone's passkey is not among those offered. It signs all the same.
	_, err = w.authenticate(ada, deviceBound, phone, authtest.Obstinate())
	refused(t, err, passkey.LevelUnreachable)
	// Nor does it reach what adding needs, now that a stronger passkey is there.
	_, err = w.authenticate(ada, add, phone, authtest.Obstinate())
	refused(t, err, passkey.LevelUnreachable)
	_, err = w.authenticate(ada, deviceBound, usb, authtest.Clear(authtest.UV))
	refused(t, err, passkey.UserVerificationMissing)
	_, err = w.authenticate(ada, add, usb, authtest.Clear(authtest.UV))
	refused(t, err, passkey.UserVerificationMissing)
}

// TestAddStrengthens: the highest level counts as it is at the finish. A passkey added meanwhile raises it.
func TestAddStrengthens(t *testing.T) {
	w, usb, phone := newWorld(t), key(), synced()
	w.enrol(ada, phone)
	early := w.reply(ada, add, phone)
	w.enrolAnother(ada, phone, usb)
	_, err := w.finish(ada, add, early)
	refused(t, err, passkey.LevelUnreachable)
}

// TestCounterWarn lets backup-eligible passkeys pass whose count did not rise, says so, and lets no others pass.
func TestCounterWarn(t *testing.T) {
	w := newWorld(t, func(c *ceremony.Config) { c.CounterWarn = true })
	phone, usb := synced(), key()
	w.enrol(ada, phone)
	w.enrol(bob, usb)
	for _, step := range []struct {
		count, stored uint32
		regress       bool
	}{{10, 10, false}, {10, 10, true}, {3, 10, true}, {0, 10, true}, {11, 11, false}} {
		proof, err := w.authenticate(ada, stepUp, phone, authtest.SignCount(step.count))
		if err != nil || proof.Regress != step.regress || proof.Passkey.SignCount != step.stored {
			t.Errorf("count %d: %+v, %v", step.count, proof, err)
		}
		same(t, w.account(ada.User).Passkeys[0].SignCount, step.stored)
	}
	if _, err := w.authenticate(bob, stepUp, usb, authtest.SignCount(10)); err != nil {
		t.Fatal(err)
	}
	_, err := w.authenticate(bob, stepUp, usb, authtest.SignCount(10))
	refused(t, err, passkey.CounterRegressed)
}

// TestCounterRace: another assertion is recorded between reading the account and recording this one.
func TestCounterRace(t *testing.T) {
	for _, warn := range []bool{false, true} {
		f := &faulty{}
		w := newWorld(t, onFaulty(f), func(c *ceremony.Config) { c.CounterWarn = warn })
		a := synced()
		p := w.enrol(ada, a)
		f.use = func(use passkey.Use) error {
			f.use = nil
			return f.Store.Use(t.Context(), ada.User, passkey.Use{ID: p.ID, Ceremony: "another", SignCount: 7, BackedUp: true, At: w.clock.Now()})
		}
		proof, err := w.authenticate(ada, stepUp, a, authtest.SignCount(5))
		if !warn {
			refused(t, err, passkey.CounterRegressed)
		} else if err != nil || !proof.Regress {
			t.Errorf("%+v, %v", proof, err)
		}
		same(t, w.account(ada.User).Passkeys[0].SignCount, uint32(7))
	}
}
