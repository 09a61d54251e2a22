package passkey_test

import (
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// A user's list and the passkeys' records must say the same.
func TestAccountOf(t *testing.T) {
	at := time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	a := passkey.Passkey{ID: []byte("a"), Name: "Laptop", CreatedAt: at.Add(time.Hour)}
	b := passkey.Passkey{ID: []byte("b"), Name: "Phone", CreatedAt: at}
	c := passkey.Passkey{ID: []byte("c"), Name: "Key", CreatedAt: at}
	listing := func(passkeys ...passkey.Passkey) (u passkey.User) {
		for _, p := range passkeys {
			u.Passkeys = append(u.Passkeys, passkey.Ref{ID: p.ID, Folded: passkey.FoldName(p.Name)})
		}
		return u
	}
	account, agree := passkey.AccountOf(listing(a, c, b), []passkey.Passkey{a, b, c})
	if !agree || string(account.Passkeys[0].ID) != "c" || string(account.Passkeys[1].ID) != "b" || string(account.Passkeys[2].ID) != "a" {
		t.Errorf("%t, %+v", agree, account) // oldest first; of one instant, in the list's order
	}
	if _, agree := passkey.AccountOf(listing(), nil); !agree {
		t.Error("nobody and nothing disagree")
	}
	renamed := a
	renamed.Name = "Desktop"
	for name, test := range map[string]struct {
		user     passkey.User
		passkeys []passkey.Passkey
	}{
		"a record is missing":           {listing(a, b), []passkey.Passkey{a}},
		"a record is not listed":        {listing(a), []passkey.Passkey{a, b}},
		"another one is listed":         {listing(a, c), []passkey.Passkey{a, b}},
		"a record is there twice":       {listing(a, b), []passkey.Passkey{a, a}},
		"one is listed twice":           {listing(a, a), []passkey.Passkey{a, a}},
		"it is listed under other name": {listing(renamed), []passkey.Passkey{a}},
	} {
		if account, agree := passkey.AccountOf(test.user, test.passkeys); agree {
			t.Errorf("%s: %+v", name, account)
		}
	}
}
