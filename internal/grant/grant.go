// Package grant mints and opens grants: the sealed proof, held by the client, that a user stepped up.
//
// A grant says who stepped up, where, in which first-factor session and epoch, and for each level the latest proof:
// with which passkey and when. It is sealed with AES-256-GCM under a key derived for this purpose alone and for one
// relying party, so a client can neither read nor change it, and no other sealed value passes for it. It carries no
// expiry and no authority of its own: package policy decides what it is worth on a route, now, against the user's
// present record. Someone who steals one can use it as that user, on that origin, until the route's maximum age is
// over, the passkey is removed, or the user's grants are revoked; nobody can make it last longer or prove more.
package grant

import (
	"encoding/binary"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// MaxLength is the longest text of a grant, in bytes. It holds for every number of proofs.
const MaxLength = 400

// MaxProofs is how many proofs a grant can hold: one for each level.
const MaxProofs = int(passkey.Attested)

// PasskeyID is the binary form of [passkey.ShortID].
type PasskeyID [16]byte

// Proof is one step-up.
type Proof struct {
	Passkey PasskeyID
	Level   passkey.Level
	At      int64 // nanoseconds since the Unix epoch, when the passkey was used
}

// Time returns when the passkey was used, in UTC.
func (p Proof) Time() time.Time { return time.Unix(0, p.At).UTC() }

// Grant is the opened form. The zero Grant proves nothing.
type Grant struct {
	User    passkey.Digest
	Origin  passkey.Digest
	Session passkey.Digest // zero when no first-factor session is bound
	Epoch   passkey.Epoch
	proofs  [MaxProofs]Proof // by rising level, one of each at most
	count   int
}

// Proofs returns the proofs, weakest level first.
func (g *Grant) Proofs() []Proof { return g.proofs[:g.count] }

// Add puts a new proof into the grant. It takes the place of those of its level and below, and leaves those of a higher
// level alone: a new step-up never replaces a live one that proved more. It is kept whatever the clocks of the gateways
// that made the others said, or somebody could step up again and again in vain.
func (g *Grant) Add(p Proof) {
	kept := [MaxProofs]Proof{p}
	n := 1
	for _, old := range g.Proofs() {
		if old.Level > p.Level {
			kept[n], n = old, n+1
		}
	}
	g.proofs, g.count = kept, n
}

// Latest returns when the most recent proof was made, in nanoseconds since the Unix epoch; 0 without proofs.
func (g *Grant) Latest() int64 {
	var latest int64
	for _, p := range g.Proofs() {
		latest = max(latest, p.At)
	}
	return latest
}

// Forget drops the proofs made before t, in nanoseconds since the Unix epoch: too old for any route.
func (g *Grant) Forget(t int64) {
	var kept [MaxProofs]Proof
	n := 0
	for _, p := range g.Proofs() {
		if p.At >= t {
			kept[n], n = p, n+1
		}
	}
	g.proofs, g.count = kept, n
}

const (
	fixedSize = 3*32 + 16 + 1
	proofSize = 16 + 1 + 8
)

// Seal returns the grant's text.
func (g *Grant) Seal(s *Sealer) string {
	value := make([]byte, 0, fixedSize+g.count*proofSize)
	value = append(value, g.User[:]...)
	value = append(value, g.Origin[:]...)
	value = append(value, g.Session[:]...)
	value = append(value, g.Epoch[:]...)
	value = append(value, byte(g.count)) // #nosec G115 -- at most MaxProofs
	for _, p := range g.Proofs() {
		value = append(value, p.Passkey[:]...)
		value = append(value, byte(p.Level))
		value = binary.BigEndian.AppendUint64(value, uint64(p.At)) // #nosec G115 -- two's complement; decode reads it back
	}
	return s.Seal(value)
}

// Open fills g from a grant's text. It fails with [ErrUnreadable] for anything but what [Grant.Seal] makes. It
// allocates nothing.
func (g *Grant) Open(s *Sealer, text string) error {
	if len(text) > MaxLength {
		return ErrUnreadable
	}
	buffer := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)
	value, err := s.open(buffer, text)
	if err != nil {
		return err
	}
	return g.decode(value)
}

func (g *Grant) decode(value []byte) error {
	*g = Grant{}
	if len(value) < fixedSize {
		return ErrUnreadable
	}
	var read Grant
	rest := value
	rest = rest[copy(read.User[:], rest):]
	rest = rest[copy(read.Origin[:], rest):]
	rest = rest[copy(read.Session[:], rest):]
	rest = rest[copy(read.Epoch[:], rest):]
	read.count, rest = int(rest[0]), rest[1:]
	if read.count < 1 || read.count > MaxProofs || len(rest) != read.count*proofSize {
		return ErrUnreadable
	}
	for i := range read.count {
		p := &read.proofs[i]
		rest = rest[copy(p.Passkey[:], rest):]
		p.Level, rest = passkey.Level(rest[0]), rest[1:]
		p.At, rest = int64(binary.BigEndian.Uint64(rest)), rest[8:] // #nosec G115 -- what turns negative is refused below
		inOrder := i == 0 || p.Level > read.proofs[i-1].Level
		if !p.Level.Valid() || !inOrder || p.At < 0 {
			return ErrUnreadable
		}
	}
	*g = read
	return nil
}
