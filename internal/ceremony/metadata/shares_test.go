package metadata_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/metadatatest"
)

// ca is a root, or what one certified.
type ca struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// certified returns a CA of this name, certified by one above, or by itself.
func certified(t testing.TB, name string, key *ecdsa.PrivateKey, above *ca) *ca {
	t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x77), Subject: pkix.Name{CommonName: name}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if above == nil {
		above = &ca{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above.Certificate, key.Public(), above.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &ca{c, key}
}

// read reads a BLOB that somebody changed before it was signed.
func read(t testing.TB, models []metadatatest.Model, changes ...string) *metadata.Snapshot {
	t.Helper()
	payload := string(metadatatest.Blob{Number: 7, NextUpdate: next, Models: models}.Payload())
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(payload, changes[i]) {
			t.Fatalf("there is no %s", changes[i])
		}
		payload = strings.Replace(payload, changes[i], changes[i+1], 1)
	}
	s, err := metadata.Read(authority.Sign([]byte(payload)), signer, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestShares has what the model's root shares with another entry, in each way that two entries can lead to one root.
func TestShares(t *testing.T) {
	root := certified(t, "Root", nil, nil)
	below := certified(t, "Below", nil, root)
	deeper := certified(t, "Deeper", nil, below)
	alone := certified(t, "Alone", nil, nil)
	for name, test := range map[string]struct {
		own    []*ca
		others []*ca
		want   bool
	}{
		"nobody else":                 {[]*ca{root}, nil, false},
		"others of their own":         {[]*ca{root}, []*ca{alone}, false},
		"the same":                    {[]*ca{root}, []*ca{root}, true},
		"one of several":              {[]*ca{alone, root}, []*ca{root}, true},
		"the same key, issued again":  {[]*ca{root}, []*ca{certified(t, "Root", root.key, nil)}, true},
		"the same key, another name":  {[]*ca{root}, []*ca{certified(t, "Root 2", root.key, nil)}, true},
		"the key, cross-certified":    {[]*ca{root}, []*ca{certified(t, "Root", root.key, alone)}, true},
		"what the other's root made":  {[]*ca{below}, []*ca{root}, true},
		"what made the other's":       {[]*ca{root}, []*ca{below}, true},
		"two below, one between":      {[]*ca{root}, []*ca{alone, below, deeper}, true},
		"two below the same":          {[]*ca{below}, []*ca{certified(t, "Beside", nil, root)}, false}, // neither leads to the other
		"its own chain":               {[]*ca{root, below, deeper}, []*ca{alone}, false},
		"its own root twice":          {[]*ca{root, root}, []*ca{alone}, false},
		"its own key, issued again":   {[]*ca{root, certified(t, "Root", root.key, nil)}, []*ca{alone}, false},
		"the leaf that the root made": {[]*ca{deeper}, []*ca{below}, true},
	} {
		own := metadatatest.Model{AAGUID: model}
		for _, c := range test.own {
			own.Roots = append(own.Roots, c.Certificate)
		}
		others := []metadatatest.Model{{AAGUID: other}, {}} // one of FIDO2, one of U2F
		for i, c := range test.others {
			others[i%2].Roots = append(others[i%2].Roots, c.Certificate)
		}
		for order, models := range [][]metadatatest.Model{append([]metadatatest.Model{own}, others...), append(others, own)} {
			if s := read(t, models); s.Shares(model) != test.want || s.Unread != 0 {
				t.Errorf("%s, order %d: %v, unread %d", name, order, s.Shares(model), s.Unread)
			}
		}
	}
	if (*metadata.Snapshot)(nil).Shares(model) {
		t.Error("nothing shares")
	}
}

// What is in an entry that can't be read may be anybody's root.
func TestSharesWithTheUnread(t *testing.T) {
	root, alone := certified(t, "Root", nil, nil), certified(t, "Alone", nil, nil)
	b64 := base64.StdEncoding.EncodeToString
	// A certificate that crypto/x509 does not take: its serial number is negative.
	negative := func(c *ca) string {
		odd := bytes.Replace(c.Raw, []byte{2, 1, 0x77}, []byte{2, 1, 0x80 | 0x77}, 1)
		if _, err := x509.ParseCertificate(odd); err == nil {
			t.Fatal("it is taken")
		}
		return b64(odd)
	}
	models := []metadatatest.Model{{AAGUID: model, Roots: []*x509.Certificate{root.Certificate}}, {AAGUID: other, Roots: []*x509.Certificate{alone.Certificate}}}
	text := `"` + b64(alone.Raw) + `"`
	for name, test := range map[string]struct {
		from, to string
		want     bool
	}{
		"no certificate":                        {text, `"AAAA"`, true},
		"no base64":                             {text, `"-----BEGIN CERTIFICATE-----"`, true},
		"no text":                               {text, `7`, true},
		"an entry that is none":                 {`"entries":[`, `"entries":[7,`, true},
		"an odd certificate of its own":         {text, `"` + negative(alone) + `"`, false},
		"an odd certificate of that root":       {text, `"` + negative(root) + `"`, true},
		"an entry without statement":            {`"entries":[`, `"entries":[{"aaguid":"x"},`, false},
		"a bad entry with a root of its own":    {`"entries":[`, `"entries":[{"aaguid":"x","metadataStatement":{"attestationRootCertificates":[` + text + `]}},`, false},
		"a bad entry with that root":            {`"entries":[`, `"entries":[{"aaguid":"x","metadataStatement":{"attestationRootCertificates":["` + b64(root.Raw) + `"]}},`, true},
		"one whose reports are bad, of it":      {`"entries":[`, `"entries":[{"statusReports":{},"metadataStatement":{"attestationRootCertificates":["` + b64(root.Raw) + `"]}},`, true},
		"one whose reports are bad, of its own": {`"entries":[`, `"entries":[{"statusReports":{},"metadataStatement":{"attestationRootCertificates":[` + text + `]}},`, false},
	} {
		if s := read(t, models, test.from, test.to); s.Shares(model) != test.want || s.Unread != 1 {
			t.Errorf("%s: %v, unread %d", name, s.Shares(model), s.Unread)
		}
	}
}

// Thousands of entries with many roots each take no time that grows with their square.
func TestManyRoots(t *testing.T) {
	var models []metadatatest.Model
	c := certified(t, "Root", nil, nil)
	many := make([]*x509.Certificate, 20)
	for i := range many {
		many[i] = c.Certificate
	}
	for i := range 2000 {
		models = append(models, metadatatest.Model{AAGUID: [16]byte{1, byte(i), byte(i >> 8)}, Roots: many})
	}
	began := time.Now()
	s := read(t, models)
	if !s.Shares([16]byte{1}) || s.Models() != 2000 {
		t.Error("not shared")
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

// An entry without status reports says nothing of the model, not that all is well.
func TestNoReports(t *testing.T) {
	for _, reports := range []string{`[]`, `null`} {
		s := read(t, []metadatatest.Model{{AAGUID: model}}, `"statusReports":[{"status":"FIDO_CERTIFIED_L1"}]`, fmt.Sprintf(`"statusReports":%s`, reports))
		if s.Accepts(model, now) {
			t.Errorf("accepted with the reports %s", reports)
		}
	}
}
