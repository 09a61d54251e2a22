package janus_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/janus"
	"github.com/stepgate/stepgate/internal/passkey"
)

const id = "sixteen bytes id"

func TestConvert(t *testing.T) {
	full := passkey.Passkey{
		ID: []byte(id), PublicKey: key, SignCount: 7, BackupUnknown: true, AAGUID: model, Name: "Laptop",
		CreatedAt:  time.Date(2025, 6, 1, 12, 34, 56, 123456789, time.UTC),
		LastUsedAt: time.Date(2026, 1, 2, 3, 4, 5, 678000000, time.UTC),
	}
	with := func(change func(*passkey.Passkey)) passkey.Passkey {
		p := full
		change(&p)
		return p
	}
	for name, test := range map[string]struct {
		row  janus.Row
		want passkey.Passkey
	}{
		"full":         {newRow("ada", id), full},
		"never used":   {newRow("ada", id, without("lastUsedTime")), with(func(p *passkey.Passkey) { p.LastUsedAt = time.Time{} })},
		"without name": {newRow("ada", id, without("passkeyName")), with(func(p *passkey.Passkey) { p.Name = "" })},
		"empty name":   {newRow("ada", id, set("passkeyName", s(""))), with(func(p *passkey.Passkey) { p.Name = "" })},
		"any name":     {newRow("ada", id, set("passkeyName", s(" a\x00 "))), with(func(p *passkey.Passkey) { p.Name = " a\x00 " })},
		"long name":    {newRow("ada", id, set("passkeyName", s(strings.Repeat("é", 1<<17)))), with(func(p *passkey.Passkey) { p.Name = strings.Repeat("é", 130) })},
		"no model":     {newRow("ada", id, without("aaguid")), full},
		"upper case":   {newRow("ada", id, set("aaguid", s("ADCE0002-35BC-C60A-648B-0B25F1F05503"))), full},
		"least to go by": {newRow("ada", id, without("attestationStatement", "authenticatorExtensions", "aaguid", "passkeyName", "lastUsedTime")),
			with(func(p *passkey.Passkey) { p.Name, p.LastUsedAt = "", time.Time{} })},
		"other attributes": {newRow("ada", id, set("colour", s("red")), set("attestationStatement", n("1"))), full},
		"highest count":    {newRow("ada", id, set("authCounter", n("4294967295"))), with(func(p *passkey.Passkey) { p.SignCount = 1<<32 - 1 })},
		"no count":         {newRow("ada", id, set("authCounter", n("0"))), with(func(p *passkey.Passkey) { p.SignCount = 0 })},
		"whole seconds": {newRow("ada", id, set("registrationTime", s("2025-06-01T12:34:56Z"))),
			with(func(p *passkey.Passkey) { p.CreatedAt = time.Date(2025, 6, 1, 12, 34, 56, 0, time.UTC) })},
		"microseconds": {newRow("ada", id, set("registrationTime", s("2025-06-01T12:34:56.000100Z"))),
			with(func(p *passkey.Passkey) { p.CreatedAt = time.Date(2025, 6, 1, 12, 34, 56, 100000, time.UTC) })},
		"longest id": {newRow("ada", strings.Repeat("i", 1023)), with(func(p *passkey.Passkey) { p.ID = bytes.Repeat([]byte("i"), 1023) })},
	} {
		user, p, err := janus.Convert(test.row, ceremony.CheckKey)
		if err != nil || user != "ada" {
			t.Errorf("%s: %q, %v", name, user, err)
			continue
		}
		t.Run(name, func(t *testing.T) { same(t, p, test.want) })
	}
	if user, _, err := janus.Convert(newRow(strings.Repeat("é", 32), id), ceremony.CheckKey); err != nil || len(user) != 64 {
		t.Errorf("the longest handle: %v", err)
	}
}

func TestConvertRefuses(t *testing.T) {
	credential := func(data []byte) func(janus.Row) { return set("credential", s(encode(data))) }
	mislabelled := append([]byte(nil), key...)
	mislabelled[4] = 0x27 // -8, which is EdDSA's
	offCurve := append([]byte(nil), key...)
	offCurve[len(offCurve)-1] ^= 1
	whole := attested([]byte(id), key)
	for _, test := range []struct {
		name string
		row  janus.Row
		want string
	}{
		// What Janus leaves when a passkey is used while it is removed.
		{"zombie", janus.Row{"username": s("ada"), "credentialId": s(encode([]byte(id))), "authCounter": n("8")}, "credential is missing"},
		{"empty", janus.Row{}, "username is missing"},
		{"no user", newRow("ada", id, without("username")), "username is missing"},
		{"empty user", newRow("", id), "username is empty"},
		{"a number for a user", newRow("ada", id, set("username", n("7"))), "username has another type"},
		{"user of another encoding", newRow("ad\xff", id), "username is not UTF-8"},
		{"long user", newRow(strings.Repeat("é", 32)+"a", id), "username is longer than the 64 bytes"},
		{"no id", newRow("ada", id, without("credentialId")), "credentialId is missing"},
		{"binary id", newRow("ada", id, set("credentialId", janus.Attribute{Type: "other"})), "credentialId has another type"},
		{"padded id", newRow("ada", id, set("credentialId", s(encode([]byte(id))+"=="))), "credentialId is not in base64url"},
		{"id over two lines", newRow("ada", id, set("credentialId", s(encode([]byte(id))[:8]+"\n"+encode([]byte(id))[8:]))), "credentialId is not in base64url"},
		{"id of another form", newRow("ada", id, set("credentialId", s("c2l4dGVlbiBieXRlcyBpZB"))), "credentialId is not in base64url"},
		{"long id", newRow("ada", strings.Repeat("i", 1024)), "credentialId is too long"},
		{"short id", newRow("ada", "fifteen bytes.."), "credential has an id of 15 bytes, not 16 to 1023"},
		{"another id", newRow("ada", id, set("credentialId", s(encode([]byte("another 16 bytes"))))), "credentialId is another one than the credential's"},
		{"standard base64", newRow("ada", id, set("credential", s("+/+/"))), "credential is not in base64url"},
		{"no credential data", newRow("ada", id, credential(whole[:17])), "credential is too short"},
		{"cut in the id", newRow("ada", id, credential(whole[:30])), "credential is cut short"},
		{"no key", newRow("ada", id, credential(whole[:34])), "credential is cut short"},
		{"cut in the key", newRow("ada", id, credential(whole[:len(whole)-1])), "public key that can't be used: checking the public key: no COSE key"},
		{"something behind the key", newRow("ada", id, credential(append(whole[:len(whole):len(whole)], 0))), "public key that can't be used"},
		{"off the curve", newRow("ada", id, credential(attested([]byte(id), offCurve))), "not on the curve: key_unusable"},
		{"other algorithm", newRow("ada", id, credential(attested([]byte(id), mislabelled))), "public key that can't be used"},
		{"huge", newRow("ada", id, set("credential", s(strings.Repeat("A", 400<<10)))), "credential is too long"},
		{"another model", newRow("ada", id, set("aaguid", s("00000000-0000-0000-0000-000000000000"))), "aaguid is another one than the credential's"},
		{"no model's text", newRow("ada", id, set("aaguid", s("adce000235bcc60a648b0b25f1f05503"))), "aaguid is another one"},
		{"a number for a model", newRow("ada", id, set("aaguid", n("1"))), "aaguid has another type"},
		{"no count", newRow("ada", id, without("authCounter")), "authCounter is missing"},
		{"text for a count", newRow("ada", id, set("authCounter", s("7"))), "authCounter has another type"},
		{"count too high", newRow("ada", id, set("authCounter", n("4294967296"))), "authCounter is no whole number from 0 to 4294967295"},
		{"negative count", newRow("ada", id, set("authCounter", n("-1"))), "authCounter is no whole number"},
		{"broken count", newRow("ada", id, set("authCounter", n("1.5"))), "authCounter is no whole number"},
		{"another spelling of a count", newRow("ada", id, set("authCounter", n("07"))), "authCounter is no whole number"},
		{"no date", newRow("ada", id, without("registrationTime")), "registrationTime is missing"},
		{"another zone", newRow("ada", id, set("registrationTime", s("2025-06-01T12:34:56+01:00"))), "registrationTime is no time"},
		{"two digits of a second", newRow("ada", id, set("registrationTime", s("2025-06-01T12:34:56.12Z"))), "registrationTime is no time"},
		{"30 February", newRow("ada", id, set("registrationTime", s("2025-02-30T12:34:56Z"))), "registrationTime is no time"},
		{"far future", newRow("ada", id, set("registrationTime", s("+10000-01-01T00:00:00Z"))), "registrationTime is no time"},
		{"year 9999", newRow("ada", id, set("registrationTime", s("9999-01-01T00:00:00Z"))), "registrationTime is no time"},
		{"year 0", newRow("ada", id, set("registrationTime", s("0000-01-01T00:00:00Z"))), "registrationTime is no time"},
		{"no last use's date", newRow("ada", id, set("lastUsedTime", s("yesterday"))), "lastUsedTime is no time"},
		{"empty last use", newRow("ada", id, set("lastUsedTime", s(""))), "lastUsedTime is empty"},
		{"a number for a name", newRow("ada", id, set("passkeyName", n("1"))), "passkeyName has another type"},
		{"name of another encoding", newRow("ada", id, set("passkeyName", s("\xff"))), "passkeyName is not UTF-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			user, p, err := janus.Convert(test.row, ceremony.CheckKey)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %s", err, test.want)
			}
			if user != "" {
				t.Errorf("%q", user)
			}
			same(t, p, passkey.Passkey{})
			if strings.Contains(err.Error(), encode([]byte(id))) || strings.Contains(err.Error(), "ada") {
				t.Errorf("the reason quotes the row: %v", err)
			}
		})
	}
}

// Whatever a row says, what is taken of it is what a registration would have taken, and encodes to the same row again.
func FuzzConvert(f *testing.F) {
	good := newRow("ada", id)
	f.Add("ada", good["credentialId"].Value, good["credential"].Value, "7", "Laptop", "2025-06-01T12:34:56Z", "")
	f.Add("", "", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, user, credentialID, credential, count, name, at, model string) {
		row := janus.Row{
			"username": s(user), "credentialId": s(credentialID), "credential": s(credential), "authCounter": n(count),
			"passkeyName": s(name), "registrationTime": s(at), "aaguid": s(model),
		}
		owner, p, err := janus.Convert(row, ceremony.CheckKey)
		if err != nil {
			return
		}
		data := append(append(append([]byte(nil), p.AAGUID[:]...), byte(len(p.ID)>>8), byte(len(p.ID))), append(append([]byte(nil), p.ID...), p.PublicKey...)...)
		if owner != user || len(user) < 1 || len(user) > 64 || encode(p.ID) != credentialID || encode(data) != credential ||
			len(p.ID) < passkey.MinIDLength || len(p.ID) > passkey.MaxIDLength || ceremony.CheckKey(p.PublicKey) != nil ||
			!p.BackupUnknown || p.BackupEligible || p.Trusted || p.Reach() != passkey.Verified || p.CreatedAt.IsZero() {
			t.Errorf("%q of %+v", owner, p)
		}
	})
}
