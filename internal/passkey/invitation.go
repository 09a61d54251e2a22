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
	ID      string    // see [InvitationID]; "" for none
	Expires time.Time // it is dead at this instant, not after it
}

// InvitationCode returns a code as people read it: in groups of four.
func InvitationCode(letters string) string {
	var groups []string
	for group := range slices.Chunk([]byte(letters), 4) {
		groups = append(groups, string(group))
	}
	return strings.Join(groups, "-")
}

// InvitationID returns the id of an invitation's code: 43 base64url characters, the SHA-256 of its letters. How they are
// grouped, and whether they are upper case, is how somebody typed them.
func InvitationID(code string) string {
	letters := strings.Map(func(r rune) rune {
		if r == '-' || unicode.IsSpace(r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, code)
	sum := sha256.Sum256([]byte(letters))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

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
