package ceremony_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares options, indented, with a file.
func golden(t *testing.T, name string, options []byte) {
	t.Helper()
	var got bytes.Buffer
	if err := json.Indent(&got, options, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	same(t, strings.Split(got.String(), "\n"), strings.Split(string(must(os.ReadFile(path))(t)), "\n"))
}

// bytesOf is a source of randomness of one byte.
type bytesOf byte

func (x bytesOf) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(x)
	}
	return len(b), nil
}

// TestOptionsJSON has what browsers get, byte for byte: pages and their fallback for old browsers depend on it.
func TestOptionsJSON(t *testing.T) {
	w := newWorld(t, withoutCodes)
	w.SetRandom(bytesOf(0xa5))
	usb := seeded(authtest.Config{Transports: []string{"nfc", "usb"}}, "usb")
	creation := w.startRegistration(ada, "", nil)
	golden(t, "create-first-use", creation)
	if _, err := w.finishRegistration(ada, "", must(usb.Register(creation, origin))(t)); err != nil {
		t.Fatal(err)
	}
	w.SetRandom(bytesOf(0x5a))
	request := w.start(ada, add)
	golden(t, "get-security-key", request)
	w.SetRandom(bytesOf(0x11))
	authorization := must(usb.Authenticate(request, origin))(t)
	creation = w.startRegistration(ada, "", authorization)
	golden(t, "create-another", creation)
	phone := seeded(authtest.Config{Synced: true, Transports: []string{"internal", "hybrid"}}, "phone")
	if _, err := w.finishRegistration(ada, "", must(phone.Register(creation, origin))(t)); err != nil {
		t.Fatal(err)
	}
	w.SetRandom(bytesOf(0x22))
	golden(t, "get-verified", w.start(ada, stepUp))
	w.SetRandom(bytesOf(0x33))
	golden(t, "get-device-bound", w.start(ada, deviceBound))
	w.SetRandom(bytesOf(0x44))
	golden(t, "get-present", w.start(ada, present))
}

// TestOptionsHints: a hint only where all passkeys are in one kind of place.
func TestOptionsHints(t *testing.T) {
	for _, test := range []struct {
		transports [][]string
		want       []string
	}{
		{[][]string{{"internal"}}, []string{"client-device"}},
		{[][]string{{"usb"}, {"ble", "nfc", "smart-card"}}, []string{"security-key"}},
		{[][]string{{"usb"}, {"internal"}}, nil},
		{[][]string{{"hybrid", "internal"}}, nil},
		{[][]string{{"usb"}, {}}, nil},
	} {
		w := newWorld(t)
		var first *authtest.Authenticator
		for _, transports := range test.transports {
			a := authtest.New(authtest.Config{Transports: transports})
			if first == nil {
				first = a
				w.enrol(ada, a)
			} else {
				w.enrolAnother(ada, first, a)
			}
		}
		var options struct{ PublicKey struct{ Hints []string } }
		if err := json.Unmarshal(w.start(ada, stepUp), &options); err != nil {
			t.Fatal(err)
		}
		same(t, options.PublicKey.Hints, test.want)
	}
}

// TestEveryStartDiffers: no challenge is handed out twice.
func TestEveryStartDiffers(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	seen := map[string]bool{}
	for range 200 {
		seen[string(challengeOf(t, w.start(ada, stepUp)))] = true
	}
	same(t, len(seen), 200)
}

func TestNew(t *testing.T) {
	valid := func() ceremony.Config {
		return ceremony.Config{RPID: rpID, Origins: []string{origin}, Store: &faulty{}}
	}
	if _, err := ceremony.New(valid()); err != nil {
		t.Fatalf("positive control: %v", err)
	}
	for _, o := range []string{"http://localhost", "http://localhost:8080", "http://a.localhost:8080", "https://example.com:8443", "https://xn--bcher-kva.example.com"} {
		c := valid()
		c.Origins = []string{o}
		if _, err := ceremony.New(c); err != nil {
			t.Errorf("%s: %v", o, err)
		}
	}
	for _, o := range []string{
		"", "example.com", "https://", "https://example.com/", "https://Example.com", "HTTPS://example.com", "https://example.com:443",
		"http://example.com", "http://localhost:80", "https://user@example.com", "https://example.com?x", "https://example.com#x", "null", "file://x",
		"android:apk-key-hash:x", "http://localhost.evil.com", "https://example.com:08443", "https://example.com:0", "https://example.com:00",
		"https://example.com:65536", "https://example.com:0443", "http://localhost:08080", "https://example.com:99999999999999999999",
	} {
		c := valid()
		c.Origins = []string{o}
		if _, err := ceremony.New(c); err == nil {
			t.Errorf("accepted origin %q", o)
		}
	}
	for name, change := range map[string]func(*ceremony.Config){
		"no store":       func(c *ceremony.Config) { c.Store = nil },
		"no RP ID":       func(c *ceremony.Config) { c.RPID = "" },
		"RP ID is a URL": func(c *ceremony.Config) { c.RPID = "https://example.com" },
		"RP ID is an IP": func(c *ceremony.Config) { c.RPID = "127.0.0.1" },
		"no origins":     func(c *ceremony.Config) { c.Origins = nil },
		"origin twice":   func(c *ceremony.Config) { c.Origins = []string{origin, origin} },
		"negative TTL":   func(c *ceremony.Config) { c.TTL = -1 },
		"negative limit": func(c *ceremony.Config) { c.MaxPasskeys = -1 },
	} {
		c := valid()
		change(&c)
		if _, err := ceremony.New(c); err == nil {
			t.Errorf("accepted a configuration with %s", name)
		}
	}
}

// TestPartyRefused: a mistake of the gate must not make a ceremony that is bound to nothing.
func TestPartyRefused(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		change func(*ceremony.Party)
		want   passkey.Refusal
	}{
		{func(p *ceremony.Party) { p.User = "" }, passkey.UserMissing},
		{func(p *ceremony.Party) { p.User = strings.Repeat("x", 10_000) }, passkey.UserInvalid}, // D8
		{func(p *ceremony.Party) { p.Origin = "" }, passkey.OriginUnknown},
		{func(p *ceremony.Party) { p.Origin = "https://CONSOLE.example.com" }, passkey.OriginUnknown},
		{func(p *ceremony.Party) { p.Browser = passkey.Digest{} }, passkey.BrowserMismatch},
	} {
		p := ada
		test.change(&p)
		_, err := w.Start(t.Context(), p, stepUp)
		refused(t, err, test.want)
		_, err = w.StartRegistration(t.Context(), p, "", nil)
		refused(t, err, test.want)
		_, err = w.Finish(t.Context(), p, stepUp, nil)
		refused(t, err, test.want)
		_, err = w.FinishRegistration(t.Context(), p, ceremony.Naming{}, nil)
		refused(t, err, test.want)
	}
}

// TestD7D8_UserHandle: the user handle is random, and the user's name only a label.
func TestD7D8_UserHandle(t *testing.T) {
	w := newWorld(t)
	long := person(strings.Repeat("ü", 256))
	a := key()
	w.enrol(long, a)
	handle := a.Credentials()[0].UserHandle
	if len(handle) != passkey.HandleLength || bytes.Contains(handle, []byte("ü")) {
		t.Errorf("user handle %x", handle)
	}
	for _, pair := range [][2]string{{"alice", "Alice"}, {"a#b", "a"}, {"caf\u00e9", "cafe\u0301"}, {"a\u0430", "aa"}} {
		a := key()
		w.enrol(person(pair[0]), a)
		_, err := w.Start(t.Context(), person(pair[1]), stepUp)
		refused(t, err, passkey.NoPasskey)
	}
}
