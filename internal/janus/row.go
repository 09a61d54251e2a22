package janus

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Attribute is one of a row's, as DynamoDB types it.
type Attribute struct {
	Type  string // "S" and "N", or any other
	Value string // of those two
}

// Row is one item of Janus's table: one passkey.
type Row map[string]Attribute

// The attributes that Janus writes.
const (
	username         = "username"
	credentialID     = "credentialId" // #nosec G101 -- the name of an attribute
	credential       = "credential"
	authCounter      = "authCounter"
	passkeyName      = "passkeyName"
	registrationTime = "registrationTime"
	lastUsedTime     = "lastUsedTime"
	aaguid           = "aaguid"
	statement        = "attestationStatement"    // not looked at: Janus verified none
	extensions       = "authenticatorExtensions" // of no use here
)

var known = map[string]bool{
	username: true, credentialID: true, credential: true, authCounter: true, passkeyName: true, registrationTime: true,
	lastUsedTime: true, aaguid: true, statement: true, extensions: true,
}

// Bounds, in bytes.
const (
	maxHandle    = 64   // of a WebAuthn user handle, L3 §5.4.3: Janus's is the user name
	maxPublicKey = 2048 // as in an export
	keyBehind    = 16 + 2
)

// Convert makes a passkey of a row, and returns Janus's name of the user whose it is. It is pure. Its error says what is
// wrong and quotes nothing of the row. checkKey is what a registration asks of a public key. The passkey's name is as
// Janus has it, which may be one that Stepgate does not take; of one that is far too long it is the beginning.
func Convert(row Row, checkKey func(key []byte) error) (user string, p passkey.Passkey, err error) {
	r := reading{row: row}
	user = r.text(username)
	id := r.bytes(credentialID, passkey.MaxIDLength)
	data := r.bytes(credential, keyBehind+passkey.MaxIDLength+maxPublicKey)
	p = passkey.Passkey{
		ID: id, SignCount: r.count(authCounter), BackupUnknown: true, Name: beginning(r.optional(passkeyName)),
		CreatedAt: r.instant(registrationTime), LastUsedAt: r.optionalInstant(lastUsedTime),
	}
	model := r.optional(aaguid)
	if r.err != nil {
		return "", passkey.Passkey{}, r.err
	}
	if len(user) > maxHandle {
		return "", passkey.Passkey{}, fmt.Errorf("username is longer than the %d bytes that a user handle can have", maxHandle)
	}
	if p.AAGUID, p.PublicKey, err = attested(data, id); err != nil {
		return "", passkey.Passkey{}, err
	}
	if model != "" && !strings.EqualFold(model, uuid(p.AAGUID)) {
		return "", passkey.Passkey{}, errors.New("aaguid is another one than the credential's")
	}
	if err := checkKey(p.PublicKey); err != nil {
		return "", passkey.Passkey{}, fmt.Errorf("credential holds a public key that can't be used: %w", err)
	}
	return user, p, nil
}

// maxKeptName is how much is kept of a name, in bytes: more than Stepgate takes, so that what is cut is still too long. An
// item may hold 400 KB, and a table 100,000 of them.
const maxKeptName = 4*passkey.MaxNameLength + 4

// beginning returns what is kept of a name, in memory of its own.
func beginning(name string) string {
	if len(name) <= maxKeptName {
		return name
	}
	return strings.Clone(strings.ToValidUTF8(name[:maxKeptName], ""))
}

// attested takes attested credential data apart (WebAuthn L3 §6.5.1): AAGUID, length of the id, id, public key. That
// nothing follows the key is for the key's check to see.
func attested(data, id []byte) (model [16]byte, key []byte, err error) {
	if len(data) < keyBehind {
		return model, nil, errors.New("credential is too short")
	}
	model = [16]byte(data)
	length := int(binary.BigEndian.Uint16(data[16:]))
	switch rest := data[keyBehind:]; {
	case length < passkey.MinIDLength || length > passkey.MaxIDLength:
		return model, nil, fmt.Errorf("credential has an id of %d bytes, not %d to %d", length, passkey.MinIDLength, passkey.MaxIDLength)
	case len(rest) <= length:
		return model, nil, errors.New("credential is cut short")
	case string(rest[:length]) != string(id):
		return model, nil, errors.New("credentialId is another one than the credential's")
	case len(rest)-length > maxPublicKey:
		return model, nil, errors.New("credential is too long")
	default:
		return model, rest[length:], nil
	}
}

// reading takes attributes out of a row. The first that is not as Janus writes it is the error.
type reading struct {
	row Row
	err error
}

func (r *reading) fail(name, why string) {
	if r.err == nil {
		r.err = errors.New(name + " " + why)
	}
}

// get returns an attribute's value; "" when it is missing or of another type, which is an error.
func (r *reading) get(name, kind string) string {
	a, found := r.row[name]
	switch {
	case !found:
		r.fail(name, "is missing")
	case a.Type != kind:
		r.fail(name, "has another type than Janus gives it")
	case a.Value == "":
		r.fail(name, "is empty")
	case !utf8.ValidString(a.Value):
		r.fail(name, "is not UTF-8")
	}
	return a.Value
}

func (r *reading) text(name string) string { return r.get(name, "S") }

// optional is a text that may be missing, or empty.
func (r *reading) optional(name string) string {
	if a, found := r.row[name]; !found || a == (Attribute{Type: "S"}) {
		return ""
	}
	return r.text(name)
}

// bytes is base64url as Janus writes it: without padding, and in the one form that encoding gives.
func (r *reading) bytes(name string, most int) []byte {
	text := r.text(name)
	if r.err != nil {
		return nil
	}
	if len(text) > base64.RawURLEncoding.EncodedLen(most) {
		r.fail(name, "is too long")
		return nil
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || base64.RawURLEncoding.EncodeToString(value) != text {
		r.fail(name, "is not in base64url")
	}
	return value
}

func (r *reading) count(name string) uint32 {
	text := r.get(name, "N")
	n, err := strconv.ParseUint(text, 10, 32)
	if r.err == nil && (err != nil || strconv.FormatUint(n, 10) != text) {
		r.fail(name, "is no whole number from 0 to 4294967295")
	}
	return uint32(n)
}

// written is what Java's Instant.toString writes of the years 0001 to 9998.
var written = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3}|\.[0-9]{6}|\.[0-9]{9})?Z$`)
})

func (r *reading) instant(name string) time.Time {
	text := r.text(name)
	at, err := time.Parse(time.RFC3339Nano, text)
	if r.err == nil && (err != nil || !written().MatchString(text) || at.Year() < 1 || at.Year() > 9998 || at.IsZero()) {
		r.fail(name, "is no time as Janus writes them")
	}
	return at.UTC()
}

func (r *reading) optionalInstant(name string) time.Time {
	if _, found := r.row[name]; !found {
		return time.Time{}
	}
	return r.instant(name)
}

func uuid(id [16]byte) string {
	text := hex.EncodeToString(id[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
