package boltstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// A key is its type's tag, then the RP ID and the user's name, each with its length in front, then what tells the
// record from the user's others. The length comes first, so no key of one user is a prefix of, or equal to, a key of
// another, whatever the names hold. The expiry index is the exception: it serves all relying parties, and its keys end
// in the whole key of a challenge.
const (
	userTag      = 'u' // RP ID, user
	passkeyTag   = 'p' // RP ID, user, SHA-256 of the credential id
	ownerTag     = 'o' // RP ID, SHA-256 of the credential id
	challengeTag = 'c' // RP ID, user, challenge id
	inviteTag    = 'i' // RP ID, user
	expiryTag    = 'x' // seconds, nanoseconds, key of the challenge
)

func keyOf(tag byte, names ...string) []byte {
	key := []byte{tag}
	for _, name := range names {
		key = binary.BigEndian.AppendUint32(key, uint32(len(name))) // #nosec G115 -- names are bounded, by passkey.MaxUserLength and by DNS
		key = append(key, name...)
	}
	return key
}

func (t tx) userKey(user string) []byte       { return keyOf(userTag, t.rpID, user) }
func (t tx) invitationKey(user string) []byte { return keyOf(inviteTag, t.rpID, user) }
func (t tx) passkeyPrefix(user string) []byte { return keyOf(passkeyTag, t.rpID, user) }

// passkeyKey and ownerKey hold a digest: a credential id may be longer than a key should be, and is chosen by the client.
func (t tx) passkeyKey(user string, credentialID []byte) []byte {
	sum := sha256.Sum256(credentialID)
	return append(t.passkeyPrefix(user), sum[:]...)
}

func (t tx) ownerKey(credentialID []byte) []byte {
	sum := sha256.Sum256(credentialID)
	return append(keyOf(ownerTag, t.rpID), sum[:]...)
}

func (t tx) challengeKey(user, id string) []byte {
	return append(keyOf(challengeTag, t.rpID, user), id...)
}

// expiryPrefixLength is the length of an expiry key before the challenge's key.
const expiryPrefixLength = 1 + 8 + 4

// expiryPrefix orders as time does: of the two's complement seconds the sign bit is flipped, so that bytes compare as
// the numbers do.
func expiryPrefix(at time.Time) []byte {
	key := binary.BigEndian.AppendUint64([]byte{expiryTag}, uint64(at.Unix())^(1<<63)) // #nosec G115 -- two's complement, as the comment says
	return binary.BigEndian.AppendUint32(key, uint32(at.Nanosecond()))                 // #nosec G115 -- below 1e9
}

func expiryKey(at time.Time, challengeKey []byte) []byte {
	return append(expiryPrefix(at), challengeKey...)
}

// expiredBy tells whether an expiry key's time is not after now, as [passkey.Challenge.Check] has it.
func expiredBy(expiryKey []byte, now time.Time) bool {
	return bytes.Compare(expiryKey[:expiryPrefixLength], expiryPrefix(now)) <= 0
}
