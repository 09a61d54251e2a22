package caddymodule_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/caddymodule"
	"github.com/stepgate/stepgate/internal/passkey"
)

// leftOut are the stored fields that a person is not shown, and why. docs/privacy.md names them.
var leftOut = map[string]string{
	"User.Epoch":     "random; of use only to whoever forges grants",
	"User.Passkeys":  "repeats the passkeys' own records",
	"Invitation.ID":  "digest of a code",
	"Recovery.Codes": "digests of codes; how many there are is shown",
}

// What is stored about a person is shown to them: a field that is new is shown, or left out for a reason.
func TestStoredIsShown(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	account := func() passkey.Account {
		return passkey.Account{
			User: passkey.User{
				Name: "ada", Version: 7, Handle: []byte("the handle"), Epoch: passkey.Epoch{1, 2, 3},
				Passkeys: []passkey.Ref{{ID: []byte("credential"), Folded: "key"}},
				Recovery: passkey.Recovery{Codes: []passkey.Digest{passkey.CodeDigest("one"), passkey.CodeDigest("two")}, MadeAt: now},
			},
			Passkeys: []passkey.Passkey{{
				ID: []byte("credential"), PublicKey: []byte("public"), SignCount: 3, Transports: []string{"usb"}, AAGUID: [16]byte{9},
				AttestationFormat: "packed", MaxLevel: passkey.Verified, Name: "Key", CreatedAt: now, LastUsedAt: now, LastUsedOn: "https://a.example",
				LastCeremony: "ceremony",
			}},
			Invitation: passkey.Invitation{ID: "invitation", Expires: now.Add(time.Hour)},
		}
	}
	shown := func(a passkey.Account) string {
		t.Helper()
		text, err := json.Marshal(caddymodule.StoredRecordOf(a, now))
		if err != nil {
			t.Fatal(err)
		}
		var record map[string]any
		if err := json.Unmarshal(text, &record); err != nil {
			t.Fatal(err)
		}
		delete(record, "tag") // it changes with everything, and tells nothing
		text, err = json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := shown(account())
	fields := 0
	for _, of := range []struct {
		name string
		part func(*passkey.Account) any
	}{
		{"User", func(a *passkey.Account) any { return &a.User }},
		{"Recovery", func(a *passkey.Account) any { return &a.User.Recovery }},
		{"Passkey", func(a *passkey.Account) any { return &a.Passkeys[0] }},
		{"Invitation", func(a *passkey.Account) any { return &a.Invitation }},
	} {
		kind := reflect.TypeOf(of.part(new(account()))).Elem()
		for i := range kind.NumField() {
			field := of.name + "." + kind.Field(i).Name
			if field == "User.Recovery" {
				continue // field by field
			}
			fields++
			a := account()
			differ(t, field, reflect.ValueOf(of.part(&a)).Elem().Field(i))
			_, out := leftOut[field]
			if changed := shown(a) != before; changed == out {
				t.Errorf("%s: shown %t, left out %t", field, changed, out)
			}
		}
	}
	if fields != 25 {
		t.Errorf("%d fields: has one been added? docs/privacy.md lists them in words", fields)
	}
	if kind := reflect.TypeFor[passkey.Account](); kind.NumField() != 3 {
		t.Errorf("%d parts of an account", kind.NumField())
	}
	digest := passkey.CodeDigest("one")
	for _, secret := range []string{base64.RawURLEncoding.EncodeToString(digest[:]), base64.StdEncoding.EncodeToString(digest[:]), hex.EncodeToString(digest[:]), `"invitation"`} {
		if strings.Contains(before, secret) {
			t.Errorf("%s is shown", secret)
		}
	}
	// Codes that are spent count, and an invitation that has expired is told of.
	a := account()
	a.User.Recovery.Codes = a.User.Recovery.Codes[:1]
	a.Invitation.Expires = now
	if text := shown(a); !strings.Contains(text, `"recovery_codes":{"left":1,`) || !strings.Contains(text, `"invitation_expired_at"`) || strings.Contains(text, "invited_until") {
		t.Errorf("%s", text)
	}
}

// differ gives a field another value.
func differ(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch value := v.Addr().Interface().(type) {
	case *string:
		*value += "x"
	case *bool:
		*value = !*value
	case *uint32:
		*value++
	case *uint64:
		*value++
	case *[]byte:
		*value = append([]byte("x"), *value...)
	case *[16]byte:
		value[0]++
	case *passkey.Epoch:
		value[0]++
	case *[]string:
		*value = append(*value, "nfc")
	case *passkey.Level:
		*value++
	case *time.Time:
		*value = value.Add(time.Minute)
	case *[]passkey.Ref:
		*value = nil
	case *[]passkey.Digest:
		(*value)[0][0]++
	default:
		t.Fatalf("%s: a field of type %s", name, v.Type())
	}
}
