package passkey_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Whatever is written about a user gives the account another tag.
func TestTag(t *testing.T) {
	account := func() passkey.Account {
		return passkey.Account{
			User:       passkey.User{Name: "ada", Version: 3, Handle: []byte("handle")},
			Passkeys:   []passkey.Passkey{{ID: []byte("one"), LastCeremony: "c1"}, {ID: []byte("two"), LastCeremony: "c2"}},
			Invitation: passkey.Invitation{ID: "i", Expires: time.Unix(1, 0)},
		}
	}
	seen := map[string]string{account().Tag(): "nothing"}
	for name, change := range map[string]func(*passkey.Account){
		"the name":                 func(a *passkey.Account) { a.User.Name = "adb" },
		"any change of the record": func(a *passkey.Account) { a.User.Version++ },
		"erased and come back":     func(a *passkey.Account) { a.User.Handle = []byte("handl2") },
		"invited":                  func(a *passkey.Account) { a.Invitation.ID = "j" },
		"no longer invited":        func(a *passkey.Account) { a.Invitation = passkey.Invitation{} },
		"a passkey was used":       func(a *passkey.Account) { a.Passkeys[1].LastCeremony = "c3" },
		"a passkey is gone":        func(a *passkey.Account) { a.Passkeys = a.Passkeys[:1] },
		"another passkey":          func(a *passkey.Account) { a.Passkeys[0].ID = []byte("onE") },
		"shifted":                  func(a *passkey.Account) { a.Passkeys[0].ID, a.Passkeys[0].LastCeremony = []byte("onec"), "1" },
	} {
		a := account()
		a.Passkeys = slices.Clone(a.Passkeys)
		change(&a)
		if same, taken := seen[a.Tag()]; taken {
			t.Errorf("%s has the tag of %s", name, same)
		}
		seen[a.Tag()] = name
	}
	one, same := account(), account()
	if one.Tag() != same.Tag() || len(one.Tag()) != 22 {
		t.Errorf("tags %q and %q", one.Tag(), same.Tag())
	}
}
