package boltstore

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"
)

// takeApart reads n names with their lengths from a key, and what is behind them.
func takeApart(t *testing.T, key []byte, n int) (tag byte, names []string, rest []byte) {
	t.Helper()
	tag, rest = key[0], key[1:]
	for range n {
		if len(rest) < 4 || uint32(len(rest)-4) < binary.BigEndian.Uint32(rest) {
			t.Fatalf("%x can't be taken apart", key)
		}
		length := 4 + int(binary.BigEndian.Uint32(rest))
		names, rest = append(names, string(rest[4:length])), rest[length:]
	}
	return tag, names, rest
}

// FuzzKeys: from each key it can be read whose record it is, so no two users or relying parties share one, whatever their
// names hold, and the prefix of one user's passkeys is no other's.
func FuzzKeys(f *testing.F) {
	for _, user := range []string{"ada", "", "a#b", "a\x00b", "\x00\x00\x00\x03ada", "\xff", "é", "é", strings.Repeat("a", 600), "\U0001f511"} {
		f.Add("example.com", user, []byte(user), user, int64(0), int64(1))
		f.Add(user, "ada", []byte("ada"), "c", int64(-1), int64(1<<62))
	}
	f.Fuzz(func(t *testing.T, rpID, user string, credentialID []byte, challenge string, one, other int64) {
		s := tx{rpID: rpID}
		sum := sha256.Sum256(credentialID)
		for _, k := range []struct {
			key  []byte
			tag  byte
			rest []byte
		}{
			{s.userKey(user), userTag, nil}, {s.invitationKey(user), inviteTag, nil}, {s.passkeyPrefix(user), passkeyTag, nil},
			{s.passkeyKey(user, credentialID), passkeyTag, sum[:]}, {s.challengeKey(user, challenge), challengeTag, []byte(challenge)},
		} {
			tag, names, rest := takeApart(t, k.key, 2)
			if tag != k.tag || !slices.Equal(names, []string{rpID, user}) || !bytes.Equal(rest, k.rest) {
				t.Fatalf("%x of %q is read as %c %q %x", k.key, user, tag, names, rest)
			}
		}
		if tag, names, rest := takeApart(t, s.ownerKey(credentialID), 1); tag != ownerTag || names[0] != rpID || !bytes.Equal(rest, sum[:]) {
			t.Fatalf("the owner's key is read as %c %q %x", tag, names, rest)
		}

		// The index by expiry is in the order of time, and names the challenge.
		a, b := time.Unix(one, 5), time.Unix(other, 5)
		if got, want := bytes.Compare(expiryPrefix(a), expiryPrefix(b)), cmp.Compare(one, other); got != want {
			t.Fatalf("%v and %v compare as %d", a, b, got)
		}
		key := expiryKey(a, s.challengeKey(user, challenge))
		if !bytes.Equal(key[expiryPrefixLength:], s.challengeKey(user, challenge)) || expiredBy(key, b) != (one <= other) {
			t.Fatalf("%x: expired by %v: %v", key, b, expiredBy(key, b))
		}
	})
}
