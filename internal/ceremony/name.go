package ceremony

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stepgate/stepgate/internal/passkey"
)

// defaultName is what a passkey is called that nobody named.
const defaultName = "Passkey"

// Naming is what a passkey is to be called. Where nobody says, it is the name given at the start, or else "Passkey". A Suggested
// name is the browser's guess, which nobody has typed: the authenticator's own name goes before it, where that is known.
type Naming struct {
	Name      string
	Suggested bool
}

// nameOf returns the name of a passkey about to be registered; it may be taken.
func (s *Service) nameOf(p passkey.Passkey, record passkey.Challenge, naming Naming) string {
	if naming.Suggested && s.config.ModelName != nil {
		if model, err := optionalName(s.config.ModelName(p.AAGUID)); err == nil && model != "" {
			return model
		}
	}
	if naming.Name != "" {
		return naming.Name
	}
	return record.Name
}

// optionalName is [passkey.CheckName] for a name that may be missing.
func optionalName(name string) (string, error) {
	if strings.TrimSpace(name) == "" {
		return "", nil
	}
	return passkey.CheckName(name)
}

func hasName(u passkey.User, name string) bool {
	folded := passkey.FoldName(name)
	return slices.ContainsFunc(u.Passkeys, func(r passkey.Ref) bool { return r.Folded == folded })
}

// freeName returns wanted, or with the lowest number from 2 on that makes it a name no other passkey of the user has.
func freeName(u passkey.User, wanted string) string {
	if wanted == "" {
		wanted = defaultName
	}
	name := wanted
	for n := 2; hasName(u, name); n++ {
		suffix := fmt.Sprintf(" %d", n)
		stem := []rune(wanted)
		stem = stem[:min(len(stem), passkey.MaxNameLength-len(suffix))]
		name = strings.TrimSpace(string(stem)) + suffix
	}
	return name
}
