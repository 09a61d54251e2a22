package passkey

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Invitation lets one user register one passkey, whatever they have or had: an administrator's word in the place of an
// existing passkey. A user has one at a time. Like a challenge it is stored without the secret: whoever presents the code
// finds the record, and a reader of the store learns nothing to present.
type Invitation struct {
	ID      string    // see [CodeID]; "" for none
	Expires time.Time // it is dead at this instant, not after it
}

// PrintCode returns a code as people read it: in groups of four.
func PrintCode(letters string) string {
	var groups []string
	for group := range slices.Chunk([]byte(letters), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, "-")
}

// lettersOf returns the letters of a code. How they are grouped, and whether they are upper case, is how somebody typed them.
func lettersOf(code string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, code)
}

// CodeID returns the id of an invitation's or a recovery code: 43 base64url characters, the SHA-256 of its letters.
func CodeID(code string) string { return idOf(sha256.Sum256([]byte(lettersOf(code)))) }

func idOf(digest Digest) string { return base64.RawURLEncoding.EncodeToString(digest[:]) }

// Check tells why an invitation does not let somebody register who presents the code of this id, or nil.
func (i Invitation) Check(id string, now time.Time) error {
	switch {
	case i.ID == "" || i.ID != id:
		return InvitationInvalid
	case !now.Before(i.Expires):
		return InvitationExpired
	}
	return nil
}
