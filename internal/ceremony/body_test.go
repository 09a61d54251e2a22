package ceremony_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// damage is a change to the text of a reply after which it does not parse.
type damage struct {
	name string
	lie  authtest.Lie
}

func wire(change func(body string) string) authtest.Lie {
	return authtest.OnTheWire(func(b []byte) []byte { return []byte(change(string(b))) })
}

func replaced(from, to string) authtest.Lie {
	return wire(func(body string) string {
		if !strings.Contains(body, from) {
			panic("no " + from + " in " + body)
		}
		return strings.Replace(body, from, to, 1)
	})
}

func clientData(from, to string) authtest.Lie {
	return authtest.ClientDataJSON(func(text []byte) []byte {
		if !bytes.Contains(text, []byte(from)) {
			panic("no " + from + " in " + string(text))
		}
		return bytes.Replace(text, []byte(from), []byte(to), 1)
	})
}

// damages are common to both kinds of reply.
var damages = []damage{
	{"nothing", wire(func(string) string { return "" })},
	{"null", wire(func(string) string { return "null" })},
	{"array", wire(func(body string) string { return "[" + body + "]" })},
	{"text", wire(func(body string) string { return fmt.Sprintf("%q", body) })},
	{"truncated", wire(func(body string) string { return body[:len(body)-1] })},
	{"trailing data", wire(func(body string) string { return body + "{}" })},
	{"trailing comma", wire(func(body string) string { return body[:len(body)-1] + ",}" })},
	{"comment", wire(func(body string) string { return "/**/" + body })},
	{"byte order mark", wire(func(body string) string { return "\ufeff" + body })},
	{"UTF-16", wire(func(body string) string {
		var b []byte
		for _, u := range utf16.Encode([]rune(body)) {
			b = append(b, byte(u), byte(u>>8))
		}
		return string(b)
	})},
	{"invalid UTF-8", authtest.BodyMember("x", "@@").Then(replaced("@@", "\xff"))},
	{"A42 deep arrays", authtest.BodyMember("x", "@@").Then(replaced(`"@@"`, strings.Repeat("[", 20000)+strings.Repeat("]", 20000)))},
	{"A42 deep objects", authtest.BodyMember("x", "@@").Then(replaced(`"@@"`, strings.Repeat(`{"a":`, 33)+"1"+strings.Repeat("}", 33)))},
	{"member twice", authtest.BodyMember("type", "public-key")},
	{"member twice, escaped", authtest.BodyMember("@@", "public-key").Then(replaced("@@", `\u0074ype`))},
	{"unknown member twice", authtest.BodyMember("x", 1).Then(authtest.BodyMember("x", 1))},
	{"member in capitals as well", authtest.BodyMember("RAWID", "AAAA")},
	{"member in capitals only", replaced(`"rawId"`, `"rawid"`)},
	{"member with a Kelvin sign", authtest.BodyMember("clientExten\u017fionResults", map[string]any{})}, // folds to s
	{"response member twice", authtest.ResponseMember("clientDataJSON", "e30")},
	{"response member in capitals", authtest.ResponseMember("ClientDataJSON", "e30")},
	{"extension twice", authtest.Extension("appid", false).Then(authtest.Extension("appid", false))},
	{"extension in capitals", authtest.Extension("AppID", true)},
	{"extension of another type", authtest.Extension("appid", "true")},
	{"extension null", authtest.Extension("appid", nil)},
	{"credProps of another type", authtest.AfterSigning(func(d *authtest.Draft) { d.Extensions.Set("credProps", true) })},
	{"credProps.rk of another type", authtest.AfterSigning(func(d *authtest.Draft) { d.Extensions.Set("credProps", map[string]any{"rk": 1}) })},
	{"extensions null", authtest.AfterSigning(func(d *authtest.Draft) { d.Extensions = nil }).Then(replaced(`"clientExtensionResults":{}`, `"clientExtensionResults":null`))},
	{"type", replaced(`"public-key"`, `"Public-Key"`)},
	{"type missing", replaced(`"type":"public-key",`, ``)},
	{"id missing", wire(func(body string) string { return `{` + body[strings.Index(body, `"rawId"`):] })},
	{"id is not rawId", authtest.RawID(make([]byte, 32))},
	{"id empty", authtest.As(nil)},
	{"rawId is a number", replaced(`"rawId":"`, `"rawId":1,"x":"`)},
	{"attachment is a number", authtest.AfterSigning(func(d *authtest.Draft) { d.Attachment = "@@" }).Then(replaced(`"@@"`, `1`))},
	{"response is text", replaced(`"response":{`, `"response":"","x":{`)},
	{"response missing", replaced(`"response":{`, `"reply":{`)},
	{"clientDataJSON padded", replaced(`"clientDataJSON":"`, `"clientDataJSON":"=`)},
	{"clientDataJSON with a line break", replaced(`"clientDataJSON":"`, `"clientDataJSON":"\n`)},
	{"clientDataJSON in standard base64", authtest.MoreClientData("x", "\u00ff?>\u00ff?>~~~").Then(wire(func(body string) string {
		i := strings.Index(body, `"clientDataJSON":"`)
		return body[:i] + strings.NewReplacer("-", "+", "_", "/").Replace(body[i:])
	}))},
	{"client data empty", authtest.ClientDataJSON(func([]byte) []byte { return []byte{} })},
	{"client data is no object", authtest.ClientDataJSON(func([]byte) []byte { return []byte(`"x"`) })},
	{"client data with a byte order mark", authtest.ClientDataJSON(func(b []byte) []byte { return slices.Concat([]byte("\ufeff"), b) })},
	{"client data in invalid UTF-8", authtest.MoreClientData("x", "@@").Then(authtest.BeforeSigning(func(d *authtest.Draft) {
		text, err := d.ClientData.MarshalJSON()
		if err != nil {
			panic(err)
		}
		d.ClientDataJSON = bytes.Replace(text, []byte("@@"), []byte("\xff"), 1)
	}))},
	{"client data with trailing data", authtest.ClientDataJSON(func(b []byte) []byte { return append(b, '1') })},
	{"origin twice", authtest.MoreClientData("origin", origin)},
	{"Origin beside origin", authtest.MoreClientData("Origin", origin)},
	{"Origin before origin", clientData(`{"type"`, `{"Origin":"https://evil.example","type"`)},
	{"Origin in place of origin", clientData(`"origin"`, `"Origin"`)},
	{"challenge twice", authtest.MoreClientData("challenge", strings.Repeat("A", 43))},
	{"type twice", authtest.MoreClientData("Type", "webauthn.get")},
	{"no challenge", authtest.NoClientData("challenge")},
	{"no origin", authtest.NoClientData("origin")},
	{"no type", authtest.NoClientData("type")},
	{"challenge is a number", authtest.ClientData("challenge", 1)},
	{"A10 short challenge", authtest.Challenge(make([]byte, 31))},
	{"A10 long challenge", authtest.Challenge(make([]byte, 33))},
	{"A10 empty challenge", authtest.Challenge(nil)},
	{"challenge padded", authtest.ClientData("challenge", base64.URLEncoding.EncodeToString(make([]byte, 32)))},
	{"challenge with unused bits", authtest.ClientData("challenge", strings.Repeat("A", 42)+"B")},
	{"crossOrigin is text", authtest.ClientData("crossOrigin", "false")},
	{"crossOrigin null", authtest.ClientData("crossOrigin", nil)},
	{"crossorigin", authtest.MoreClientData("crossorigin", true)},
}

var assertionDamages = []damage{
	{"no signature", replaced(`"signature"`, `"sig"`)},
	{"signature is no base64url", replaced(`"signature":"`, `"signature":"*`)},
	{"signature null", replaced(`"signature":"`, `"signature":null,"x":"`)},
	{"no authenticator data", replaced(`"authenticatorData"`, `"authData"`)},
	{"authenticator data is no base64url", replaced(`"authenticatorData":"`, `"authenticatorData":"=`)},
	{"authenticator data of 36 bytes", authtest.AuthenticatorData(func(b []byte) []byte { return b[:36] })},
	{"authenticator data of 38 bytes", authtest.AuthenticatorData(func(b []byte) []byte { return append(b, 0) })},
	{"extensions promised, none there", authtest.Set(authtest.ED)},
	{"credential data promised, none there", authtest.AuthenticatorData(func(b []byte) []byte { b[32] |= authtest.AT; return b })},
	{"userHandle is a number", authtest.UserHandle(nil).Then(authtest.ResponseMember("userHandle", 1))},
	{"userHandle twice", authtest.ResponseMember("userHandle", "AAAA")},
	{"Userhandle", authtest.ResponseMember("Userhandle", "AAAA")},
	{"Signature", authtest.ResponseMember("Signature", "AAAA")},
}

var attestationDamages = []damage{
	{"no attestation object", replaced(`"attestationObject"`, `"attObj"`)},
	{"attestation object is no base64url", replaced(`"attestationObject":"`, `"attestationObject":"*`)},
	{"attestation object empty", authtest.Attested(func([]byte) []byte { return nil })},
	{"attestation object truncated", authtest.Attested(func(b []byte) []byte { return b[:len(b)-1] })},
	{"attestation object with trailing data", authtest.Attested(func(b []byte) []byte { return append(b, 0) })},
	{"attestation object is an array", authtest.Attested(func(b []byte) []byte { return append([]byte{0x81}, b...) })},
	{"attestation object of indefinite length", authtest.Attested(func(b []byte) []byte { return append(append([]byte{0xbf}, b[1:]...), 0xff) })},
	{"attestation object tagged", authtest.Attested(func(b []byte) []byte { return append([]byte{0xc1}, b...) })},
	{"FMT", authtest.Attested(func(b []byte) []byte { return bytes.Replace(b, []byte("cfmt"), []byte("cFMT"), 1) })},
	{"attstmt", authtest.Attested(func(b []byte) []byte { return bytes.Replace(b, []byte("attStmt"), []byte("attstmt"), 1) })},
	{"no attStmt", authtest.Attested(func(b []byte) []byte {
		return bytes.Replace(append([]byte{0xa2}, b[1:]...), []byte("gattStmt\xa0"), nil, 1)
	})},
	{"attStmt is null", authtest.Attested(func(b []byte) []byte { return bytes.Replace(b, []byte("gattStmt\xa0"), []byte("gattStmt\xf6"), 1) })},
	{"fmt twice", authtest.Attested(func(b []byte) []byte { return append(append([]byte{0xa4}, b[1:]...), []byte("cfmtdnone")...) })},
	{"another member", authtest.Attested(func(b []byte) []byte { return append(append([]byte{0xa4}, b[1:]...), []byte("axax")...) })},
	{"length not in the shortest form", authtest.Attested(func(b []byte) []byte {
		return bytes.Replace(b, []byte("cfmtdnone"), []byte("cfmtx\x04none"), 1)
	})},
	{"public key not in the shortest form", authtest.RawKey([]byte{0xa1, 0x01, 0x18, 0x02})},
	{"public key with a member twice", authtest.RawKey([]byte{0xa2, 0x01, 0x02, 0x01, 0x02})},
	{"public key with trailing data", authtest.RawKey([]byte{0xa1, 0x01, 0x02, 0x00})},
	{"public key missing", authtest.RawKey([]byte{})},
	{"no attested credential data", authtest.Clear(authtest.AT)},
	{"extensions promised, none there", authtest.Set(authtest.ED)},
	{"extensions with trailing data", authtest.BeforeSigning(func(d *authtest.Draft) {
		d.Flags |= authtest.ED
		d.AuthenticatorExtensions = []byte{0xa0, 0xa0}
	})},
	{"transports is text", wire(func(body string) string { return strings.Replace(body, `["usb"]`, `"usb"`, 1) })},
	{"transports of numbers", replaced(`["usb"]`, `[1]`)},
	{"AttestationObject", authtest.ResponseMember("AttestationObject", "AAAA")},
}

// TestMalformedAssertions: what does not parse is refused as such, and does not use up the challenge, or everybody who
// can reach the gateway's path could spoil ceremonies with rubbish.
func TestMalformedAssertions(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	for _, test := range slices.Concat(damages, assertionDamages) {
		t.Run(test.name, func(t *testing.T) {
			options := w.start(ada, stepUp)
			_, err := w.finish(ada, stepUp, must(a.Authenticate(options, origin, test.lie))(t))
			refused(t, err, passkey.BodyMalformed)
			if _, err := w.finish(ada, stepUp, must(a.Authenticate(options, origin))(t)); err != nil {
				t.Errorf("the challenge was used up: %v", err)
			}
		})
	}
}

func TestMalformedAttestations(t *testing.T) {
	w := newWorld(t)
	for i, test := range slices.Concat(damages, attestationDamages) {
		t.Run(test.name, func(t *testing.T) {
			p, a := person(fmt.Sprint("user ", i)), key()
			options := w.startRegistration(p, "", nil)
			_, err := w.finishRegistration(p, "", must(a.Register(options, origin, test.lie))(t))
			refused(t, err, passkey.BodyMalformed)
			if _, err := w.finishRegistration(p, "", must(key().Register(options, origin))(t)); err != nil {
				t.Errorf("the challenge was used up: %v", err)
			}
		})
	}
}

// TestKindsOfReplyDoNotMix: a reply of one kind does not parse as one of the other.
func TestKindsOfReplyDoNotMix(t *testing.T) {
	w, a := newWorld(t), key()
	creation := w.startRegistration(ada, "", nil)
	created := must(a.Register(creation, origin))(t)
	_, err := w.finish(ada, stepUp, created)
	refused(t, err, passkey.BodyMalformed)
	must(w.finishRegistration(ada, "", created))(t)
	signed := w.reply(ada, stepUp, a)
	_, err = w.finishRegistration(ada, "", signed)
	refused(t, err, passkey.BodyMalformed)
	must(w.finish(ada, stepUp, signed))(t)
}

// TestLongCredentialID is refused before go-webauthn's parser, so that it has its name.
func TestLongCredentialID(t *testing.T) {
	w, a := newWorld(t), authtest.New(authtest.Config{IDLength: 1024})
	_, err := w.finishRegistration(ada, "", must(a.Register(w.startRegistration(ada, "", nil), origin))(t))
	refused(t, err, passkey.CredentialIDInvalid)
}

func TestA42_BodySize(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	padded := func(size int) []byte {
		reply := w.reply(ada, stepUp, a)
		return append(reply, bytes.Repeat([]byte(" "), size-len(reply))...)
	}
	if _, err := w.finish(ada, stepUp, padded(64<<10)); err != nil {
		t.Errorf("64 KiB: %v", err)
	}
	for _, size := range []int{64<<10 + 1, 1 << 20} {
		_, err := w.finish(ada, stepUp, padded(size))
		refused(t, err, passkey.BodyTooLarge)
		_, err = w.finishRegistration(ada, "", padded(size))
		refused(t, err, passkey.BodyTooLarge)
		_, err = w.remove(ada, strings.Repeat("A", 22), padded(size))
		refused(t, err, passkey.BodyTooLarge)
	}
}

func TestNestingAllowed(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	depth := strictjson.MaxDepth - 1 // the body itself is one
	nested := authtest.BodyMember("x", "@@").Then(replaced(`"@@"`, strings.Repeat("[", depth)+strings.Repeat("]", depth)))
	if _, err := w.authenticate(ada, stepUp, a, nested); err != nil {
		t.Error(err)
	}
}
