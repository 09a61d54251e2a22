package passkey

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Tag names the state that an account is in. Whatever is written about the user gives another one: a passkey that is
// registered, renamed, removed or used (which is written once a minute), ended grants, other recovery codes, an invitation. Who is erased and comes back under the
// same name has another one too, because handles are random. It is for telling whether somebody is still as they were when they
// were looked at, and no secret.
func (a Account) Tag() string {
	sum := sha256.New()
	write := func(part []byte) {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // so that no two lists of parts are the same bytes
		sum.Write(part)
	}
	write([]byte(a.User.Name))
	write(binary.BigEndian.AppendUint64(nil, a.User.Version))
	write(a.User.Handle)
	write([]byte(a.Invitation.ID))
	for _, p := range a.Passkeys {
		write(p.ID)
		write([]byte(p.LastCeremony)) // a use changes nothing else of the account
	}
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:16])
}
