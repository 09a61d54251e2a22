package janus_test

import (
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/janus"
)

var model = [16]byte{0xad, 0xce, 0, 2, 0x35, 0xbc, 0xc6, 0x0a, 0x64, 0x8b, 0x0b, 0x25, 0xf1, 0xf0, 0x55, 0x03}

// key is the public key of the private key 1.
var key = authtest.COSEKey{1: 2, 3: -7, -1: 1, -2: generator[1:33], -3: generator[33:]}.CBOR()

var generator = func() []byte {
	private, err := ecdh.P256().NewPrivateKey(append(make([]byte, 31), 1))
	if err != nil {
		panic(err)
	}
	return private.PublicKey().Bytes()
}()

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// attested is what webauthn4j's AttestedCredentialDataConverter writes.
func attested(id, key []byte) []byte {
	data := binary.BigEndian.AppendUint16(model[:], uint16(len(id)))
	return append(append(data, id...), key...)
}

func s(value string) janus.Attribute { return janus.Attribute{Type: "S", Value: value} }
func n(value string) janus.Attribute { return janus.Attribute{Type: "N", Value: value} }

// newRow is a row as Janus writes it.
func newRow(user, id string, changes ...func(janus.Row)) janus.Row {
	row := janus.Row{
		"username": s(user), "credentialId": s(encode([]byte(id))), "credential": s(encode(attested([]byte(id), key))),
		"attestationStatement": s("oA"), "authenticatorExtensions": s("oA"), "authCounter": n("7"), "passkeyName": s("Laptop"),
		"registrationTime": s("2025-06-01T12:34:56.123456789Z"), "aaguid": s("adce0002-35bc-c60a-648b-0b25f1f05503"),
		"lastUsedTime": s("2026-01-02T03:04:05.678Z"),
	}
	for _, change := range changes {
		change(row)
	}
	return row
}

func set(name string, a janus.Attribute) func(janus.Row) { return func(r janus.Row) { r[name] = a } }
func without(names ...string) func(janus.Row) {
	return func(r janus.Row) {
		maps.DeleteFunc(r, func(name string, _ janus.Attribute) bool { return in(names, name) })
	}
}

func in(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// pages is a table. before is asked before each page.
type pages struct {
	pages  [][]janus.Row
	before func(page int) error
}

func (p *pages) Page(_ context.Context, after any) ([]janus.Row, any, error) {
	at, _ := after.(int)
	if p.before != nil {
		if err := p.before(at); err != nil {
			return nil, nil, err
		}
	}
	if at == len(p.pages) {
		return nil, nil, nil
	}
	return p.pages[at], at + 1, nil
}

func impatient(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func same(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
