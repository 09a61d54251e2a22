package authtest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
)

const (
	origin    = "https://console.example.com"
	challenge = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	create    = `{"publicKey":{"rp":{"id":"example.com"},"user":{"id":"dXNlcg"},"challenge":"` + challenge + `",
		"pubKeyCredParams":[{"type":"public-key","alg":-8},{"type":"public-key","alg":-7},{"type":"public-key","alg":-257}],
		"authenticatorSelection":{"userVerification":"required"}}}`
	get = `{"publicKey":{"rpId":"example.com","challenge":"` + challenge + `","userVerification":"required"}}`
)

func TestSeedDecides(t *testing.T) {
	for _, algorithm := range []authtest.Algorithm{authtest.ES256, authtest.EdDSA, authtest.RS256} {
		for _, attestation := range []authtest.Attestation{authtest.NoAttestation, authtest.SelfAttestation, authtest.CertifiedByAnybody} {
			run := func(seed string) (replies []byte) {
				a := authtest.New(authtest.Config{Seed: seed, Algorithm: algorithm, Attestation: attestation})
				registered, err1 := a.Register([]byte(create), origin)
				signed, err2 := a.Authenticate([]byte(get), origin)
				if err := errors.Join(err1, err2); err != nil {
					t.Fatal(err)
				}
				return append(registered, signed...)
			}
			if !bytes.Equal(run("one"), run("one")) {
				t.Errorf("%d: the same seed made different replies", algorithm)
			}
			if bytes.Equal(run("one"), run("two")) {
				t.Errorf("%d: different seeds made the same replies", algorithm)
			}
		}
	}
}

func TestHonestRefusals(t *testing.T) {
	holder := authtest.New(authtest.Config{})
	if _, err := holder.Register([]byte(create), origin); err != nil {
		t.Fatal(err)
	}
	id := base64.RawURLEncoding.EncodeToString(holder.Credentials()[0].ID)
	with := func(options, member string) string {
		return strings.Replace(options, `{"publicKey":{`, `{"publicKey":{`+member+`,`, 1)
	}
	for _, test := range []struct {
		name    string
		a       *authtest.Authenticator
		options string
		want    error
	}{
		{"excluded", holder, with(create, `"excludeCredentials":[{"type":"public-key","id":"`+id+`"}]`), authtest.ErrExcluded},
		{"algorithm", authtest.New(authtest.Config{Algorithm: authtest.ES384}), create, authtest.ErrAlgorithm},
		{"cannot verify to register", authtest.New(authtest.Config{CannotUV: true}), create, authtest.ErrUserVerification},
		{"no credential", authtest.New(authtest.Config{}), get, authtest.ErrNoCredential},
		{"not allowed", holder, with(get, `"allowCredentials":[{"type":"public-key","id":"AAAA"}]`), authtest.ErrNoCredential},
		{"other relying party", holder, strings.Replace(get, "example.com", "example.org", 1), authtest.ErrNoCredential},
	} {
		call := test.a.Register
		if strings.Contains(test.options, "rpId") {
			call = test.a.Authenticate
		}
		if _, err := call([]byte(test.options), origin); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := holder.Authenticate([]byte(with(get, `"allowCredentials":[{"type":"public-key","id":"`+id+`"}]`)), origin); err != nil {
		t.Errorf("positive control: %v", err)
	}
	for _, options := range []string{"", "{}", `{"publicKey":null}`, `{"publicKey":{"challenge":"not+base64url"}}`} {
		if _, err := holder.Authenticate([]byte(options), origin); err == nil {
			t.Errorf("accepted options %q", options)
		}
	}
	holder.Forget(holder.Credentials()[0].ID)
	if _, err := holder.Authenticate([]byte(get), origin); !errors.Is(err, authtest.ErrNoCredential) {
		t.Errorf("forgotten: %v", err)
	}
}

// TestConcurrentUse counts signatures: each has its own sign count.
func TestConcurrentUse(t *testing.T) {
	a := authtest.New(authtest.Config{Counts: true})
	if _, err := a.Register([]byte(create), origin); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	counts := map[string]bool{}
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			reply, err := a.Authenticate([]byte(get), origin)
			var r struct {
				Response struct{ AuthenticatorData string }
			}
			if err := errors.Join(err, json.Unmarshal(reply, &r)); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			counts[r.Response.AuthenticatorData] = true
		})
	}
	group.Wait()
	if len(counts) != 32 || a.Credentials()[0].SignCount != 33 {
		t.Errorf("%d different counts, ended at %d", len(counts), a.Credentials()[0].SignCount)
	}
}
