package grant_test

import (
	"encoding/base64"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
)

const rpID = "example.com"

func sealer(t testing.TB, purpose grant.Purpose, rpID string, keys ...string) *grant.Sealer {
	t.Helper()
	parsed, err := grant.ParseKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parsed.Sealer(purpose, rpID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func full() grant.Grant {
	g := grant.Grant{
		User: passkey.DigestOf("alice"), Origin: passkey.DigestOf("https://console.example.com"),
		Session: passkey.DigestOf("session"), Epoch: passkey.Epoch{1, 2, 3},
	}
	for level := passkey.Attested; level >= passkey.Present; level-- {
		g.Add(grant.Proof{Passkey: grant.PasskeyID{byte(level)}, Level: level, At: 1000 - int64(level)})
	}
	return g
}

func open(s *grant.Sealer, text string) (grant.Grant, error) {
	var g grant.Grant
	err := g.Open(s, text)
	return g, err
}

func same(a, b grant.Grant) string {
	return cmp.Diff([]any{a.User, a.Origin, a.Session, a.Epoch, a.Proofs()}, []any{b.User, b.Origin, b.Session, b.Epoch, b.Proofs()})
}

func TestSealOpen(t *testing.T) {
	s := sealer(t, grant.ForGrant, rpID, grant.NewKey())
	g := full()
	text := g.Seal(s)
	if len(text) > grant.MaxLength || len(g.Proofs()) != grant.MaxProofs {
		t.Errorf("a full grant has %d proofs and %d bytes, at most %d allowed", len(g.Proofs()), len(text), grant.MaxLength)
	}
	got, err := open(s, text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := same(g, got); diff != "" {
		t.Error(diff)
	}
	if again := g.Seal(s); again == text {
		t.Error("two seals are equal: the nonce repeats")
	}
}

// Every refusal here must be of the one kind, and the same text untouched must open.
func TestOpenRefuses(t *testing.T) {
	key := grant.NewKey()
	s := sealer(t, grant.ForGrant, rpID, key)
	g := full()
	text := g.Seal(s)
	if _, err := open(s, text); err != nil {
		t.Fatalf("positive control: %v", err)
	}
	refuse := func(name string, s *grant.Sealer, text string) {
		t.Helper()
		if got, err := open(s, text); !errors.Is(err, grant.ErrUnreadable) || len(got.Proofs()) != 0 {
			t.Errorf("%s: got %v", name, err)
		}
	}
	refuse("other key", sealer(t, grant.ForGrant, rpID, grant.NewKey()), text)
	refuse("other relying party", sealer(t, grant.ForGrant, "example.org", key), text)
	refuse("other purpose", sealer(t, grant.ForDemand, rpID, key), text)
	refuse("empty", s, "")
	refuse("oversized", s, text+strings.Repeat("A", grant.MaxLength))
	refuse("padded", s, text+"=")
	refuse("line break inside", s, text[:10]+"\n"+text[10:])
	refuse("line break behind", s, text+"\r\n")
	refuse("other alphabet", s, strings.NewReplacer("-", "+", "_", "/").Replace(text)+"+")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			refuse("flipped bit", s, base64.RawURLEncoding.EncodeToString(raw))
			raw[i] ^= 1 << bit
		}
	}
	for n := range raw {
		refuse("truncated", s, base64.RawURLEncoding.EncodeToString(raw[:n]))
	}
	refuse("a demand's text", s, sealer(t, grant.ForDemand, rpID, key).Seal([]byte("{}")))
	for name, value := range map[string][]byte{
		"no proofs":       append(make([]byte, 112), 0),
		"count too large": append(make([]byte, 112), 5),
		"short":           make([]byte, 50),
		"trailing byte":   append(append(make([]byte, 112), 1), make([]byte, 26)...),
		"level zero":      append(append(make([]byte, 112), 1), make([]byte, 25)...),
	} {
		refuse("sealed by us, but "+name, s, s.Seal(value))
	}
}

func TestRotation(t *testing.T) {
	old, next := grant.NewKey(), grant.NewKey()
	g := full()
	sealedOld := g.Seal(sealer(t, grant.ForGrant, rpID, old))
	sealedNext := g.Seal(sealer(t, grant.ForGrant, rpID, next+" "+old))
	for name, test := range map[string]struct {
		keys []string
		text string
		ok   bool
	}{
		"old only, old grant":                {[]string{old}, sealedOld, true},
		"new behind old, new grant":          {[]string{old, next}, sealedNext, true},
		"new before old, old grant":          {[]string{next, old}, sealedOld, true},
		"old dropped, old grant":             {[]string{next}, sealedOld, false},
		"old dropped, new grant":             {[]string{next}, sealedNext, true},
		"not yet reloaded, grant of the new": {[]string{old}, sealedNext, false},
	} {
		if _, err := open(sealer(t, grant.ForGrant, rpID, test.keys...), test.text); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	key := grant.NewKey()
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"one":              {key, nil},
		"several":          {key + "\n" + grant.NewKey() + ", " + grant.NewKey(), nil},
		"none":             {" \n", grant.ErrNoKey},
		"repeated":         {key + " " + key, grant.ErrKeyRepeat},
		"without prefix":   {strings.TrimPrefix(key, "sgk_"), grant.ErrKeyFormat},
		"short":            {"sgk_AAAA", grant.ErrKeyFormat},
		"long":             {key + "AA", grant.ErrKeyFormat},
		"a password":       {"sgk_correct-horse-battery-staple", grant.ErrKeyFormat},
		"all the same":     {"sgk_" + base64.RawURLEncoding.EncodeToString(make([]byte, 32)), grant.ErrKeyWeak},
		"not canonical":    {key[:len(key)-1] + "B", grant.ErrKeyFormat},
		"padded":           {key + "=", grant.ErrKeyFormat},
		"other characters": {"sgk_" + strings.Repeat("!", 43), grant.ErrKeyFormat},
	} {
		_, err := grant.ParseKeys(test.text)
		if name == "not canonical" && err == nil {
			continue // the last character happened to be canonical
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), key[4:]) {
			t.Errorf("%s: the error quotes the key", name)
		}
	}
	if _, err := grant.ParseKeys(); !errors.Is(err, grant.ErrNoKey) {
		t.Errorf("nothing given: %v", err)
	}
	if _, err := grant.ParseKeys(key, key); !errors.Is(err, grant.ErrKeyRepeat) {
		t.Errorf("repeated across texts: %v", err)
	}
}

func TestAdd(t *testing.T) {
	at := func(level passkey.Level, at int64) grant.Proof { return grant.Proof{Level: level, At: at} }
	tests := []struct {
		name string
		add  []grant.Proof
		want []grant.Proof
	}{
		{"a new one replaces one of its level", []grant.Proof{at(2, 1), at(2, 5)}, []grant.Proof{at(2, 5)}},
		{"a stronger one replaces weaker ones", []grant.Proof{at(2, 1), at(1, 1), at(3, 5)}, []grant.Proof{at(3, 5)}},
		{"a weaker one leaves a stronger one alive", []grant.Proof{at(3, 1), at(2, 5)}, []grant.Proof{at(2, 5), at(3, 1)}},
		{"a new one counts though another clock was ahead", []grant.Proof{at(2, 5), at(2, 1)}, []grant.Proof{at(2, 1)}},
		{"in the middle", []grant.Proof{at(4, 1), at(1, 9), at(2, 5)}, []grant.Proof{at(2, 5), at(4, 1)}},
		{"one of each", []grant.Proof{at(4, 1), at(3, 2), at(2, 3), at(1, 4)}, []grant.Proof{at(1, 4), at(2, 3), at(3, 2), at(4, 1)}},
	}
	for _, test := range tests {
		var g grant.Grant
		for _, p := range test.add {
			g.Add(p)
		}
		if diff := cmp.Diff(test.want, g.Proofs()); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestForget(t *testing.T) {
	g := full() // made at 999, 998, 997, 996
	g.Forget(998)
	if n := len(g.Proofs()); n != 2 || g.Proofs()[1].At != 998 {
		t.Errorf("kept %v", g.Proofs())
	}
	g.Forget(math.MaxInt64)
	if len(g.Proofs()) != 0 {
		t.Errorf("kept %v", g.Proofs())
	}
}

func TestOpenAllocatesNothing(t *testing.T) {
	s := sealer(t, grant.ForGrant, rpID, grant.NewKey())
	g := full()
	text := g.Seal(s)
	var into grant.Grant
	if n := testing.AllocsPerRun(100, func() {
		if into.Open(s, text) != nil {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOpen(b *testing.B) {
	s := sealer(b, grant.ForGrant, rpID, grant.NewKey())
	var g grant.Grant
	g.Add(grant.Proof{Level: passkey.Verified, At: time.Now().UnixNano()})
	text := g.Seal(s)
	b.ReportAllocs()
	for b.Loop() {
		if g.Open(s, text) != nil {
			b.Fatal("refused")
		}
	}
}

// Whatever opens must be the one text that seals it, bit for bit, which only holds for what Seal made.
func FuzzOpen(f *testing.F) {
	s := sealer(f, grant.ForGrant, rpID, grant.NewKey())
	g := full()
	genuine := g.Seal(s)
	f.Add(genuine)
	f.Add(genuine + "=")
	f.Add(genuine[:len(genuine)-1])
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := open(s, text); err == nil && text != genuine {
			t.Fatalf("opened %q", text)
		}
	})
}

// The plaintext parser itself, behind the seal: what it accepts it seals again to the same plaintext.
func FuzzDecode(f *testing.F) {
	s := sealer(f, grant.ForGrant, rpID, grant.NewKey())
	g := full()
	if err := s.Open(g.Seal(s), func(value []byte) error { f.Add(append([]byte(nil), value...)); return nil }); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) > 512 {
			return
		}
		g, err := open(s, s.Seal(value))
		if err != nil {
			return
		}
		if err := s.Open(g.Seal(s), func(again []byte) error {
			if string(again) != string(value) {
				return errors.New("another plaintext")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
