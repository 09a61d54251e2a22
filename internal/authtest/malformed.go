package authtest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// MalformedAssertions are replies to an authentication that do not parse. They must be refused as such and leave the challenge
// as it was, or everybody who can reach the relying party could spoil ceremonies with rubbish.
func MalformedAssertions(at Place) []Case {
	return malformed(append(damages(at), assertionDamages...))
}

// MalformedRegistrations are the same of replies to a registration.
func MalformedRegistrations(at Place) []Case {
	return malformed(append(damages(at), attestationDamages...))
}

func malformed(list []damage) (cases []Case) {
	for _, d := range list {
		cases = append(cases, Case{Name: "A42 malformed: " + strings.TrimPrefix(d.name, "A42 "), Lie: d.lie, Refusal: "body_malformed"})
	}
	return cases
}

// damage is a change to the text of a reply after which it does not parse.
type damage struct {
	name string
	lie  Lie
}

func wire(change func(body string) string) Lie {
	return OnTheWire(func(b []byte) []byte { return []byte(change(string(b))) })
}

// Replaced changes the first place where the JSON text of the reply has this.
func Replaced(from, to string) Lie {
	return wire(func(body string) string {
		if !strings.Contains(body, from) {
			panic("no " + from + " in " + body)
		}
		return strings.Replace(body, from, to, 1)
	})
}

func clientData(from, to string) Lie {
	return ClientDataJSON(func(text []byte) []byte {
		if !bytes.Contains(text, []byte(from)) {
			panic("no " + from + " in " + string(text))
		}
		return bytes.Replace(text, []byte(from), []byte(to), 1)
	})
}

// damages are common to both kinds of reply.
func damages(at Place) []damage {
	return []damage{
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
		{"invalid UTF-8", BodyMember("x", "@@").Then(Replaced("@@", "\xff"))},
		{"A42 deep arrays", BodyMember("x", "@@").Then(Replaced(`"@@"`, strings.Repeat("[", 20000)+strings.Repeat("]", 20000)))},
		{"A42 deep objects", BodyMember("x", "@@").Then(Replaced(`"@@"`, strings.Repeat(`{"a":`, 33)+"1"+strings.Repeat("}", 33)))},
		{"member twice", BodyMember("type", "public-key")},
		{"member twice, escaped", BodyMember("@@", "public-key").Then(Replaced("@@", `\u0074ype`))},
		{"unknown member twice", BodyMember("x", 1).Then(BodyMember("x", 1))},
		{"member in capitals as well", BodyMember("RAWID", "AAAA")},
		{"member in capitals only", Replaced(`"rawId"`, `"rawid"`)},
		{"member with a Kelvin sign", BodyMember("clientExten\u017fionResults", map[string]any{})}, // folds to s
		{"response member twice", ResponseMember("clientDataJSON", "e30")},
		{"response member in capitals", ResponseMember("ClientDataJSON", "e30")},
		{"extension twice", Extension("appid", false).Then(Extension("appid", false))},
		{"extension in capitals", Extension("AppID", true)},
		{"extension of another type", Extension("appid", "true")},
		{"extension null", Extension("appid", nil)},
		{"credProps of another type", AfterSigning(func(d *Draft) { d.Extensions.Set("credProps", true) })},
		{"credProps.rk of another type", AfterSigning(func(d *Draft) { d.Extensions.Set("credProps", map[string]any{"rk": 1}) })},
		{"extensions null", AfterSigning(func(d *Draft) { d.Extensions = nil }).Then(Replaced(`"clientExtensionResults":{}`, `"clientExtensionResults":null`))},
		{"type", Replaced(`"public-key"`, `"Public-Key"`)},
		{"type missing", Replaced(`"type":"public-key",`, ``)},
		{"id missing", wire(func(body string) string { return `{` + body[strings.Index(body, `"rawId"`):] })},
		{"id is not rawId", RawID(make([]byte, 32))},
		{"id empty", As(nil)},
		{"rawId is a number", Replaced(`"rawId":"`, `"rawId":1,"x":"`)},
		{"attachment is a number", AfterSigning(func(d *Draft) { d.Attachment = "@@" }).Then(Replaced(`"@@"`, `1`))},
		{"response is text", Replaced(`"response":{`, `"response":"","x":{`)},
		{"response missing", Replaced(`"response":{`, `"reply":{`)},
		{"clientDataJSON padded", Replaced(`"clientDataJSON":"`, `"clientDataJSON":"=`)},
		{"clientDataJSON with a line break", Replaced(`"clientDataJSON":"`, `"clientDataJSON":"\n`)},
		{"clientDataJSON in standard base64", MoreClientData("x", "\u00ff?>\u00ff?>~~~").Then(wire(func(body string) string {
			i := strings.Index(body, `"clientDataJSON":"`)
			return body[:i] + strings.NewReplacer("-", "+", "_", "/").Replace(body[i:])
		}))},
		{"client data empty", ClientDataJSON(func([]byte) []byte { return []byte{} })},
		{"client data is no object", ClientDataJSON(func([]byte) []byte { return []byte(`"x"`) })},
		{"client data with a byte order mark", ClientDataJSON(func(b []byte) []byte { return slices.Concat([]byte("\ufeff"), b) })},
		{"client data in invalid UTF-8", MoreClientData("x", "@@").Then(BeforeSigning(func(d *Draft) {
			text, err := d.ClientData.MarshalJSON()
			if err != nil {
				panic(err)
			}
			d.ClientDataJSON = bytes.Replace(text, []byte("@@"), []byte("\xff"), 1)
		}))},
		{"client data with trailing data", ClientDataJSON(func(b []byte) []byte { return append(b, '1') })},
		{"origin twice", MoreClientData("origin", at.Origin)},
		{"Origin beside origin", MoreClientData("Origin", at.Origin)},
		{"Origin before origin", clientData(`{"type"`, `{"Origin":"https://evil.example","type"`)},
		{"Origin in place of origin", clientData(`"origin"`, `"Origin"`)},
		{"challenge twice", MoreClientData("challenge", strings.Repeat("A", 43))},
		{"type twice", MoreClientData("Type", "webauthn.get")},
		{"no challenge", NoClientData("challenge")},
		{"no origin", NoClientData("origin")},
		{"no type", NoClientData("type")},
		{"challenge is a number", ClientData("challenge", 1)},
		{"short challenge", Challenge(make([]byte, 31))},
		{"long challenge", Challenge(make([]byte, 33))},
		{"empty challenge", Challenge(nil)},
		{"challenge padded", ClientData("challenge", base64.URLEncoding.EncodeToString(make([]byte, 32)))},
		{"challenge with unused bits", ClientData("challenge", strings.Repeat("A", 42)+"B")},
		{"crossOrigin is text", ClientData("crossOrigin", "false")},
		{"crossOrigin null", ClientData("crossOrigin", nil)},
		{"crossorigin", MoreClientData("crossorigin", true)},
	}
}

var assertionDamages = []damage{
	{"no signature", Replaced(`"signature"`, `"sig"`)},
	{"signature is no base64url", Replaced(`"signature":"`, `"signature":"*`)},
	{"signature null", Replaced(`"signature":"`, `"signature":null,"x":"`)},
	{"no authenticator data", Replaced(`"authenticatorData"`, `"authData"`)},
	{"authenticator data is no base64url", Replaced(`"authenticatorData":"`, `"authenticatorData":"=`)},
	{"authenticator data of 36 bytes", AuthenticatorData(func(b []byte) []byte { return b[:36] })},
	{"authenticator data of 38 bytes", AuthenticatorData(func(b []byte) []byte { return append(b, 0) })},
	{"extensions promised, none there", Set(ED)},
	{"credential data promised, none there", AuthenticatorData(func(b []byte) []byte { b[32] |= AT; return b })},
	{"userHandle is a number", UserHandle(nil).Then(ResponseMember("userHandle", 1))},
	{"userHandle twice", ResponseMember("userHandle", "AAAA")},
	{"Userhandle", ResponseMember("Userhandle", "AAAA")},
	{"Signature", ResponseMember("Signature", "AAAA")},
}

var attestationDamages = []damage{
	{"no attestation object", Replaced(`"attestationObject"`, `"attObj"`)},
	{"attestation object is no base64url", Replaced(`"attestationObject":"`, `"attestationObject":"*`)},
	{"attestation object empty", Attested(func([]byte) []byte { return nil })},
	{"attestation object truncated", Attested(func(b []byte) []byte { return b[:len(b)-1] })},
	{"attestation object with trailing data", Attested(func(b []byte) []byte { return append(b, 0) })},
	{"attestation object is an array", Attested(func(b []byte) []byte { return append([]byte{0x81}, b...) })},
	{"attestation object of indefinite length", Attested(func(b []byte) []byte { return append(append([]byte{0xbf}, b[1:]...), 0xff) })},
	{"attestation object tagged", Attested(func(b []byte) []byte { return append([]byte{0xc1}, b...) })},
	{"FMT", Attested(func(b []byte) []byte { return bytes.Replace(b, []byte("cfmt"), []byte("cFMT"), 1) })},
	{"attstmt", Attested(func(b []byte) []byte { return bytes.Replace(b, []byte("attStmt"), []byte("attstmt"), 1) })},
	{"no attStmt", Attested(func(b []byte) []byte {
		return bytes.Replace(append([]byte{0xa2}, b[1:]...), []byte("gattStmt\xa0"), nil, 1)
	})},
	{"attStmt is null", Attested(func(b []byte) []byte { return bytes.Replace(b, []byte("gattStmt\xa0"), []byte("gattStmt\xf6"), 1) })},
	{"fmt twice", Attested(func(b []byte) []byte { return append(append([]byte{0xa4}, b[1:]...), []byte("cfmtdnone")...) })},
	{"another member", Attested(func(b []byte) []byte { return append(append([]byte{0xa4}, b[1:]...), []byte("axax")...) })},
	{"length not in the shortest form", Attested(func(b []byte) []byte {
		return bytes.Replace(b, []byte("cfmtdnone"), []byte("cfmtx\x04none"), 1)
	})},
	{"public key not in the shortest form", RawKey([]byte{0xa1, 0x01, 0x18, 0x02})},
	{"public key with a member twice", RawKey([]byte{0xa2, 0x01, 0x02, 0x01, 0x02})},
	{"public key with trailing data", RawKey([]byte{0xa1, 0x01, 0x02, 0x00})},
	{"public key missing", RawKey([]byte{})},
	{"no attested credential data", Clear(AT)},
	{"extensions promised, none there", Set(ED)},
	{"extensions with trailing data", BeforeSigning(func(d *Draft) {
		d.Flags |= ED
		d.AuthenticatorExtensions = []byte{0xa0, 0xa0}
	})},
	{"transports is text", wire(func(body string) string { return strings.Replace(body, `["usb"]`, `"usb"`, 1) })},
	{"transports of numbers", Replaced(`["usb"]`, `[1]`)},
	{"AttestationObject", ResponseMember("AttestationObject", "AAAA")},
}
