package metadata_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/metadatatest"
)

func TestRead(t *testing.T) {
	s, err := metadata.Read(blob(7), signer, now)
	if err != nil {
		t.Fatal(err)
	}
	if s.Number != 7 || !s.NextUpdate.Equal(next) || !s.AsOf.Equal(now) || s.Models() != 2 || s.Unread != 0 {
		t.Errorf("read %+v", s)
	}
	if !s.Accepts(model, now) {
		t.Error("a model of it is not accepted")
	}
}

// Each of these could be sent by whoever controls the network or the file, and is refused for its reason.
func TestRefused(t *testing.T) {
	good := blob(7)
	parts := strings.Split(string(good), ".")
	payload := metadatatest.Blob{Number: 7, NextUpdate: next}.Payload()
	stranger := metadatatest.NewAuthority("mds.fidoalliance.org")
	b64 := base64.StdEncoding.EncodeToString
	header := func(change string, value any) []byte {
		h := map[string]any{"alg": "ES256", "x5c": []string{b64(authority.Signer.Raw), b64(authority.Root.Raw)}}
		h[change] = value
		return authority.SignWith(h, payload)
	}
	changed := bytes.Clone(good)
	changed[len(parts[0])+10] ^= 1
	forged := parts[0] + "." + base64.RawURLEncoding.EncodeToString(bytes.Replace(payload, []byte(`"no":7`), []byte(`"no":8`), 1)) + "." + parts[2]
	for name, test := range map[string]struct {
		blob []byte
		want error
	}{
		"empty":                     {nil, metadata.ErrMalformed},
		"a web page":                {[]byte("<html>sign in to the network</html>"), metadata.ErrMalformed},
		"truncated":                 {good[:len(good)/2], metadata.ErrMalformed},
		"truncated signature":       {good[:len(good)-2], metadata.ErrUntrusted},
		"one bit changed":           {changed, metadata.ErrUntrusted},
		"another payload":           {[]byte(forged), metadata.ErrUntrusted},
		"no signature":              {[]byte(parts[0] + "." + parts[1] + "."), metadata.ErrUntrusted},
		"padded base64":             {[]byte(parts[0] + "=." + parts[1] + "." + parts[2]), metadata.ErrMalformed},
		"signed by somebody else":   {stranger.Sign(payload), metadata.ErrUntrusted},
		"somebody else's signature": {stranger.SignWith(map[string]any{"alg": "ES256", "x5c": []string{b64(authority.Signer.Raw), b64(authority.Root.Raw)}}, payload), metadata.ErrUntrusted},
		"no certificates":           {authority.SignWith(map[string]any{"alg": "ES256"}, payload), metadata.ErrUntrusted}, // the root did not sign it
		"alg none":                  {header("alg", "none"), metadata.ErrUntrusted},
		"alg HS256":                 {header("alg", "HS256"), metadata.ErrUntrusted},
		"alg RS256, and an EC key":  {header("alg", "RS256"), metadata.ErrUntrusted},
		"certificates at a URL":     {header("x5u", "https://evil.example/x5c"), metadata.ErrUntrusted},
		"a critical extension":      {header("crit", []string{"exp"}), metadata.ErrMalformed},
		"certificates of no kind":   {header("x5c", "MII"), metadata.ErrMalformed},
		"a certificate in pieces":   {header("x5c", []string{b64(authority.Signer.Raw[:100])}), metadata.ErrMalformed},
		"too many certificates":     {header("x5c", make([]string, 9)), metadata.ErrMalformed},
		"a long header":             {header("x5c", []string{strings.Repeat("A", 64<<10)}), metadata.ErrMalformed},
		"no JSON":                   {authority.Sign([]byte("entries: []")), metadata.ErrMalformed},
		"no number":                 {authority.Sign([]byte(`{"nextUpdate":"2026-12-01","entries":[]}`)), metadata.ErrMalformed},
		"a negative number":         {authority.Sign([]byte(`{"no":-1,"nextUpdate":"2026-12-01","entries":[]}`)), metadata.ErrMalformed},
		"no day of the next":        {authority.Sign([]byte(`{"no":1,"entries":[]}`)), metadata.ErrMalformed},
		"months old":                {authority.Blob(metadatatest.Blob{Number: 7, NextUpdate: now.AddDate(0, 0, -31)}), metadata.ErrExpired},
		"too large":                 {bytes.Repeat([]byte("a"), metadata.MaxSize+1), metadata.ErrMalformed},
	} {
		if s, err := metadata.Read(test.blob, signer, now); !errors.Is(err, test.want) || s != nil {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	if _, err := metadata.Read(good, signer, now.AddDate(30, 0, 0)); !errors.Is(err, metadata.ErrUntrusted) {
		t.Errorf("with certificates that have ended: %v", err)
	}
	if _, err := metadata.Read(good, metadata.FIDO(), now); !errors.Is(err, metadata.ErrUntrusted) {
		t.Errorf("where the FIDO Alliance has to sign: %v", err)
	}
	if _, err := metadata.Read(authority.SignWith(map[string]any{"alg": "ES256"}, payload), metadata.FIDO(), now); !errors.Is(err, metadata.ErrUntrusted) {
		t.Errorf("without certificates, where the FIDO Alliance has to sign: %v", err)
	}
}

// The FIDO Alliance's root is GlobalSign's: anybody can have a certificate of it for a web site of theirs.
func TestReadChecksTheName(t *testing.T) {
	for name, want := range map[string]error{"mds.fidoalliance.org": nil, "mds3.fidoalliance.org": nil, "evil.example": metadata.ErrUntrusted, "fidoalliance.org": metadata.ErrUntrusted, "": metadata.ErrUntrusted} {
		web := metadatatest.NewAuthority(name)
		by := metadata.Signer{Root: web.Root, Names: metadata.FIDO().Names}
		if _, err := metadata.Read(web.Blob(metadatatest.Blob{Number: 7, NextUpdate: next}), by, now); !errors.Is(err, want) {
			t.Errorf("signed by %q: %v, want %v", name, err, want)
		}
	}
}

// The FIDO Alliance signs with RSA.
func TestReadRSA(t *testing.T) {
	alliance := metadatatest.NewRSAAuthority()
	b := metadatatest.Blob{Number: 7, NextUpdate: next}
	good := alliance.Blob(b)
	if _, err := metadata.Read(good, metadata.Signer{Root: alliance.Root}, now); err != nil {
		t.Error(err)
	}
	bad := bytes.Clone(good)
	if at := &bad[len(bad)-100]; *at == 'A' { // another letter of base64url
		*at = 'B'
	} else {
		*at = 'A'
	}
	if _, err := metadata.Read(bad, metadata.Signer{Root: alliance.Root}, now); !errors.Is(err, metadata.ErrUntrusted) {
		t.Errorf("one letter of the signature: %v", err)
	}
}

// A root may sign by itself.
func TestReadFromTheRoot(t *testing.T) {
	b := metadatatest.Blob{Number: 7, NextUpdate: next}
	if _, err := metadata.Read(authority.SignWith(map[string]any{"alg": "ES256"}, b.Payload()), metadata.Signer{Root: authority.Signer}, now); err != nil {
		t.Error(err)
	}
}

func TestAccepts(t *testing.T) {
	for status, want := range map[metadatatest.Status]bool{
		{Name: "FIDO_CERTIFIED_L1"}:                                 true,
		{Name: "NOT_FIDO_CERTIFIED"}:                                true,
		{Name: "UPDATE_AVAILABLE"}:                                  true,
		{Name: "SOMETHING_NEW"}:                                     true,
		{Name: "REVOKED"}:                                           false,
		{Name: "RETIRED"}:                                           false,
		{Name: "USER_VERIFICATION_BYPASS"}:                          false,
		{Name: "ATTESTATION_KEY_COMPROMISE"}:                        false,
		{Name: "USER_KEY_REMOTE_COMPROMISE"}:                        false,
		{Name: "USER_KEY_PHYSICAL_COMPROMISE"}:                      false,
		{Name: "REVOKED", From: "2026-11-03"}:                       false,
		{Name: "REVOKED", From: "2026-11-04"}:                       true,
		{Name: "REVOKED", From: "2026-01-01", Sunset: "2026-11-03"}: true,
		{Name: "REVOKED", From: "2026-01-01", Sunset: "2026-11-04"}: false,
		{Name: "ATTESTATION_KEY_COMPROMISE", From: "2020-01-01"}:    false,
	} {
		for where, statuses := range map[string][]metadatatest.Status{
			"alone": {status}, "before": {status, {Name: "FIDO_CERTIFIED_L2", From: "2026-10-01"}}, "after": {{Name: "FIDO_CERTIFIED"}, status},
		} {
			s, err := metadata.Read(blob(7, statuses...), signer, now)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Accepts(model, now); got != want {
				t.Errorf("%v %s: %v", status, where, got)
			}
			if !s.Accepts(other, now) {
				t.Errorf("%v says something of another model", status)
			}
		}
	}
	s, err := metadata.Read(blob(7), signer, now)
	if err != nil {
		t.Fatal(err)
	}
	for name, accepted := range map[string]bool{
		"an unknown model": s.Accepts([16]byte{9}, now),
		"no model":         s.Accepts([16]byte{}, now),
		"nothing loaded":   (*metadata.Snapshot)(nil).Accepts(model, now),
		"out of force":     s.Accepts(model, next.Add(metadata.Grace)),
	} {
		if accepted {
			t.Errorf("%s: accepted", name)
		}
	}
	if !s.Accepts(model, next.Add(metadata.Grace-1)) {
		t.Error("not accepted although still in force")
	}
}

// What is in a BLOB twice, or can't be read, is trusted in no version; the rest is.
func TestEntriesInDoubt(t *testing.T) {
	odd, half, acme := [16]byte{7}, [16]byte{8}, authtest.NewMaker("Acme").Root()
	payload := string(metadatatest.Blob{Number: 7, NextUpdate: next, Models: []metadatatest.Model{
		{AAGUID: model, Statuses: []metadatatest.Status{{Name: "REVOKED"}}}, {AAGUID: model}, {AAGUID: other}, {},
		{AAGUID: odd, Statuses: []metadatatest.Status{{Name: "REVOKED", From: "tomorrow, perhaps"}}},
		{AAGUID: half, Roots: []*x509.Certificate{acme}},
	}}.Payload())
	root := base64.StdEncoding.EncodeToString(acme.Raw)
	payload = strings.Replace(payload, `["`+root, `["AAAA","`+root[:40]+` `+root[40:], 1) // one that is none, and one in two lines
	payload = strings.Replace(payload, `"entries":[`, `"entries":[7,{"aaguid":"x"},{"aaguid":"09000000-0000-0000-0000-000000000000","statusReports":{}},`, 1)
	s, err := metadata.Read(authority.Sign([]byte(payload)), signer, now)
	if err != nil {
		t.Fatal(err)
	}
	if s.Accepts(model, now) || s.Accepts(odd, now) || s.Accepts([16]byte{9}, now) || s.Accepts([16]byte{}, now) || !s.Accepts(other, now) || s.Unread != 4 {
		t.Errorf("took a model in doubt: %+v", s)
	}
	if !s.Trusts(half, "basic_full", []*x509.Certificate{acme}, now) {
		t.Error("a root is lost with its neighbour")
	}
}

func TestTrusts(t *testing.T) {
	acme, bell := authtest.NewMaker("Acme"), authtest.NewMaker("Bell")
	s, err := metadata.Read(authority.Blob(metadatatest.Blob{Number: 1, NextUpdate: next, Models: []metadatatest.Model{
		{AAGUID: model, Roots: []*x509.Certificate{acme.Root()}},
		{AAGUID: other, Roots: []*x509.Certificate{bell.Root()}, Types: []string{"basic_surrogate", "anonca"}},
		{AAGUID: [16]byte{7}, Roots: []*x509.Certificate{acme.Root()}, Statuses: []metadatatest.Status{{Name: "REVOKED"}}},
		{AAGUID: [16]byte{8}},
	}}), signer, now)
	if err != nil {
		t.Fatal(err)
	}
	chain := func(of ...*x509.Certificate) []*x509.Certificate { return of }
	for name, test := range map[string]struct {
		aaguid [16]byte
		kind   string
		chain  []*x509.Certificate
		at     time.Time
		want   bool
	}{
		"the maker's root":           {model, "basic_full", chain(acme.Root()), now, true},
		"another model's root":       {model, "basic_full", chain(bell.Root()), now, false},
		"its own and another's":      {model, "basic_full", chain(bell.Root(), acme.Root()), now, false},
		"no chain":                   {model, "basic_full", nil, now, false},
		"self attestation":           {model, "basic_surrogate", chain(acme.Root()), now, false},
		"a type that it has not":     {model, "attca", chain(acme.Root()), now, false},
		"a type that does not count": {other, "anonca", chain(bell.Root()), now, false},
		"self, as it says it has":    {other, "basic_surrogate", chain(bell.Root()), now, false},
		"a revoked model":            {[16]byte{7}, "basic_full", chain(acme.Root()), now, false},
		"a model without roots":      {[16]byte{8}, "basic_full", chain(acme.Root()), now, false},
		"an unknown model":           {[16]byte{9}, "basic_full", chain(acme.Root()), now, false},
		"no model":                   {[16]byte{}, "basic_full", chain(acme.Root()), now, false},
		"out of force":               {model, "basic_full", chain(acme.Root()), next.Add(metadata.Grace), false},
	} {
		if got := s.Trusts(test.aaguid, test.kind, test.chain, test.at); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzRead has whoever does not sign send anything: none of it is taken but what was signed.
func FuzzRead(f *testing.F) {
	f.Add(blob(3))
	f.Add([]byte("e30.e30."))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := metadata.Read(text, signer, now)
		if (err == nil) == (s == nil) {
			t.Errorf("%v and %+v", err, s)
		}
		if err == nil && s.Number != 3 {
			t.Errorf("took %+v, which nobody signed", s)
		}
	})
}

// FuzzPayload has whoever signs say anything.
func FuzzPayload(f *testing.F) {
	f.Add(metadatatest.Blob{Number: 7, NextUpdate: next, Models: []metadatatest.Model{{AAGUID: model}, {AAGUID: model}}}.Payload())
	f.Add([]byte(`{"no":1,"nextUpdate":"2026-12-01","entries":[{"aaguid":"","metadataStatement":null,"statusReports":[{}]}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := metadata.Parse(payload)
		if err != nil {
			return
		}
		if s.Number < 1 || s.Accepts([16]byte{}, now) || s.Trusts(model, "basic_full", nil, now) {
			t.Errorf("took %+v", s)
		}
	})
}
