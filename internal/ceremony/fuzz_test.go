package ceremony_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// signedPart is what of a reply is signed, or says whose signature it is, as encoded. Each has one encoding only. The
// signature is not among it: an ECDSA signature can be malleated.
func signedPart(t *testing.T, body []byte) (part struct {
	ID, RawID, Type string
	Response        struct{ ClientDataJSON, AuthenticatorData string }
}) {
	if err := json.Unmarshal(body, &part); err != nil {
		t.Fatalf("accepted what encoding/json does not read: %v", err)
	}
	return part
}

// seeds are replies of every kind and everything the table tests do to them.
func seeds(f *testing.F, honest func(...authtest.Lie) []byte, damaged []authtest.Case) {
	f.Add(honest())
	for _, d := range damaged {
		if body := honest(d.Lie); len(body) < 4096 {
			f.Add(body)
		}
	}
	registrations, authentications := vectors(f)
	for _, test := range w3c {
		f.Add([]byte(registrations[test.name].Credential))
		f.Add([]byte(authentications[test.name].Credential))
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30"}}`))
}

// fuzzWorld has a challenge that is not random, so that what one process of the fuzzer finds another can replay.
func fuzzWorld(f *testing.F) *world {
	w := newWorld(f, withoutCodes)
	w.SetRandom(bytesOf(0x5a))
	return w
}

// acceptable fails the test unless err is nil or one refusal from the closed list, and tells nothing it should not.
func acceptable(t *testing.T, err error) {
	t.Helper()
	var r passkey.Refusal
	if err == nil {
		return
	}
	if !errors.As(err, &r) || r == passkey.Internal || r == passkey.StoreUnavailable {
		t.Fatalf("refused with %v", err)
	}
	if leak.MatchString(err.Error()) {
		t.Fatalf("the refusal %q tells more than it should", err)
	}
}

// FuzzAuthenticationBody: no body makes an authentication panic, and none passes but those that say what the honest one
// says.
func FuzzAuthenticationBody(f *testing.F) {
	w := fuzzWorld(f)
	a := seeded(authtest.Config{}, "fuzz")
	w.enrol(ada, a)
	w.SetRandom(bytesOf(0x5b)) // two ceremonies never have one challenge
	options := w.start(ada, stepUp)
	honest := func(lies ...authtest.Lie) []byte { return must(a.Authenticate(options, origin, lies...))(f) }
	seeds(f, honest, authtest.MalformedAssertions(place))
	want, account := honest(), w.account(ada.User)
	if _, err := w.finish(ada, stepUp, want); err != nil {
		f.Fatalf("positive control: %v", err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := ceremony.ParseAssertion(body); err != nil {
			acceptable(t, err)
			return
		}
		w := with(t, account)
		w.start(ada, stepUp)
		_, err := w.finish(ada, stepUp, body)
		acceptable(t, err)
		if err == nil && signedPart(t, body) != signedPart(t, want) {
			t.Fatalf("accepted\n%s\nbeside\n%s", body, want)
		}
	})
}

// with returns a service on a store of its own that holds an account, so that one input can't spoil the next.
func with(t *testing.T, account passkey.Account) *world {
	t.Helper()
	w := newWorld(t, withoutCodes)
	w.SetRandom(bytesOf(0x5b))
	for _, p := range account.Passkeys {
		if err := w.store.Register(t.Context(), account.User, p); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// FuzzRegistrationBody: no body makes a registration panic, and what is registered is a key that could have been offered.
func FuzzRegistrationBody(f *testing.F) {
	w := fuzzWorld(f)
	options := w.startRegistration(ada, "", nil)
	honest := func(lies ...authtest.Lie) []byte {
		return must(seeded(authtest.Config{}, "fuzz").Register(options, origin, lies...))(f)
	}
	seeds(f, honest, authtest.MalformedRegistrations(place))
	f.Add(must(seeded(authtest.Config{Attestation: authtest.SelfAttestation}, "self").Register(options, origin))(f))
	f.Add(must(seeded(authtest.Config{Attestation: authtest.CertifiedByAnybody}, "anybody").Register(options, origin))(f))
	f.Add(must(seeded(authtest.Config{Algorithm: authtest.EdDSA}, "ed").Register(options, origin))(f))
	if _, err := w.finishRegistration(ada, "", honest()); err != nil {
		f.Fatalf("positive control: %v", err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := ceremony.ParseAttestation(body); err != nil {
			acceptable(t, err)
			return
		}
		w := newWorld(t, withoutCodes)
		w.SetRandom(bytesOf(0x5a))
		w.startRegistration(ada, "", nil)
		registered, err := w.finishRegistration(ada, "", body)
		acceptable(t, err)
		if err != nil {
			return
		}
		// Without attestation the key is the client's to choose, so other bodies may pass: but not other policies.
		p := registered.Passkey
		var said struct{ RawID b64 }
		if err := json.Unmarshal(body, &said); err != nil || !bytes.Equal(said.RawID, p.ID) {
			t.Fatalf("registered %x for %s: %v", p.ID, body, err)
		}
		if len(p.ID) < passkey.MinIDLength || len(p.ID) > passkey.MaxIDLength || ceremony.CheckKey(p.PublicKey) != nil || len(p.Transports) > 6 {
			t.Fatalf("registered %+v", p)
		}
		same(t, w.account(ada.User).Passkeys, []passkey.Passkey{p})
	})
}

// FuzzClientData: what our parser reads, encoding/json reads too, and no member of another name takes part.
func FuzzClientData(f *testing.F) {
	challenge := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0x5a}, 32))
	good := `{"type":"webauthn.get","challenge":"` + challenge + `","origin":"` + origin + `","crossOrigin":false}`
	f.Add([]byte(good))
	for _, extra := range []string{
		`"Origin":"x"`, `"origin":"x"`, `"topOrigin":"x"`, `"crossorigin":true`, `"a":{"b":[1,{"c":null}]}`, `"tokenBinding":{"status":"present","id":"x"}`,
		`"\u006frigin":"x"`, `"or\u0131gin":"x"`, `"CHALLENGE":""`, `"x":"\ud800"`,
	} {
		f.Add([]byte(strings.Replace(good, "{", "{"+extra+",", 1)))
		f.Add([]byte(strings.TrimSuffix(good, "}") + "," + extra + "}"))
	}
	f.Add([]byte("\ufeff" + good))
	f.Add([]byte(good + good))
	f.Fuzz(func(t *testing.T, text []byte) {
		kind, from, challenge, cross, top, err := ceremony.ParseClientData(text)
		if err != nil {
			refused(t, err, passkey.BodyMalformed)
			return
		}
		if len(challenge) != 32 {
			t.Fatalf("a challenge of %d bytes", len(challenge))
		}
		var lax struct {
			Type, Challenge, Origin string
			CrossOrigin             bool
			TopOrigin               json.RawMessage
		}
		if err := json.Unmarshal(text, &lax); err != nil {
			t.Fatalf("accepted what encoding/json does not read: %v", err)
		}
		if lax.Type != kind || lax.Origin != from || lax.CrossOrigin != cross || (lax.TopOrigin != nil) != top ||
			lax.Challenge != base64.RawURLEncoding.EncodeToString(challenge) {
			t.Fatalf("%s\nreads as %q %q %x %v %v, and elsewhere as %+v", text, kind, from, challenge, cross, top, lax)
		}
	})
}
