package janus

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

// account makes an account of one user's passkeys, or refuses them all.
func (g *gathering) account(name, user string, passkeys []passkey.Passkey) {
	if len(passkeys) > transfer.MaxPasskeys { // first, because giving each a name of its own takes longer the more there are
		g.refuse(name, passkeys, fmt.Sprintf("the user %.80q can't be imported: it has %d passkeys; %d are the most", user, len(passkeys), transfer.MaxPasskeys))
		return
	}
	slices.SortFunc(passkeys, func(a, b passkey.Passkey) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	// The handle stays Janus's: a synced passkey sends back the one that it was made with (WebAuthn L3 §7.2 step 6).
	account := passkey.Account{User: passkey.User{Name: user, Version: 1, Handle: []byte(name)}, Passkeys: passkeys}
	taken, renamed := map[string]bool{}, 0
	for i := range passkeys {
		p := &passkeys[i]
		given := strings.TrimSpace(p.Name)
		if p.Name = unique(given, taken); p.Name != given {
			renamed++
		}
		folded := passkey.FoldName(p.Name)
		taken[folded] = true
		account.User.Passkeys = append(account.User.Passkeys, passkey.Ref{ID: p.ID, Folded: folded})
	}
	if err := transfer.Check(account); err != nil {
		g.refuse(name, passkeys, fmt.Sprintf("the user %.80q can't be imported: %v", user, err))
		return
	}
	g.batch.Renamed += renamed
	g.batch.Accounts = append(g.batch.Accounts, account)
}

// nameless is what a passkey is called whose name can't be kept. A name is decoration: nobody loses a passkey for one.
const nameless = "Passkey"

// unique returns a name that Stepgate takes and that is not taken.
func unique(name string, taken map[string]bool) string {
	name, err := passkey.CheckName(name)
	if err != nil {
		name = nameless
	}
	next := name
	for n := 2; taken[passkey.FoldName(next)]; n++ {
		number := fmt.Sprintf(" %d", n)
		next = cut(name, passkey.MaxNameLength-len(number)) + number
	}
	return next
}

// cut returns the beginning of a name, at most so many characters long.
func cut(name string, most int) string {
	if utf8.RuneCountInString(name) <= most {
		return name
	}
	return strings.TrimSpace(string([]rune(name)[:most]))
}

func encode(id []byte) string { return base64.RawURLEncoding.EncodeToString(id) }
