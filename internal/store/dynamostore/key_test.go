package dynamostore

import (
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// taken is a partition taken apart again.
type taken struct{ tag, rpID, user string }

// takeApart reads a partition as a reader would who knows nothing but its description, and no other text.
func takeApart(t *testing.T, partition string) (read taken) {
	t.Helper()
	sized := func(text string) (value, rest string) {
		length, rest, ok := strings.Cut(text, ":")
		n, err := strconv.Atoi(length)
		if !ok || err != nil || n > len(rest) || strconv.Itoa(n) != length {
			t.Fatalf("%q can't be taken apart", partition)
		}
		return rest[:n], rest[n:]
	}
	tag, rest, _ := strings.Cut(partition, "#")
	read.tag = tag
	read.rpID, rest = sized(rest)
	rest, ok := strings.CutPrefix(rest, "#")
	if read.user, rest = sized(rest); !ok || rest != "" {
		t.Fatalf("%q has %q behind it", partition, rest)
	}
	return read
}

// FuzzKeys: from each key it can be read whose record it is, so no two users or relying parties share one, whatever their
// names hold; and no record of a user has the key of another kind of record.
func FuzzKeys(f *testing.F) {
	for _, user := range []string{"ada", "", "a#b", "1:a", "3:ada#", "a\x00b", "\xff", "é", "é", "Ada", "user#11:example.com#3:ada", strings.Repeat("#", 500), "owner", "\U0001f511"} {
		f.Add("example.com", user, []byte(user), user)
		f.Add(user, "ada", []byte("passkey#"), "user")
	}
	f.Fuzz(func(t *testing.T, rpID, user string, credentialID []byte, challenge string) {
		s := &Store{rpID: rpID}
		parts := func(key attributes) (partition, sort string) {
			p, ok := key[partitionKey].(*types.AttributeValueMemberS)
			s, also := key[sortKey].(*types.AttributeValueMemberS)
			if !ok || !also || len(key) != 2 {
				t.Fatalf("%v is no key", key)
			}
			return p.Value, s.Value
		}
		sorts := map[string]bool{}
		for _, key := range []attributes{s.userKey(user), s.passkeyKey(user, credentialID), s.invitationKey(user)} {
			partition, sort := parts(key)
			if read := takeApart(t, partition); read != (taken{userTag, rpID, user}) {
				t.Fatalf("%q of %q is read as %+v", partition, user, read)
			}
			sorts[sort] = true
		}
		if len(sorts) != 3 {
			t.Fatalf("two records of %q have one key: %v", user, sorts)
		}
		partition, sort := parts(s.challengeKey(user, challenge))
		if read := takeApart(t, partition); read != (taken{challengeTag, rpID, user}) || sort != challenge {
			t.Fatalf("%q %q of %q is read as %+v", partition, sort, user, read)
		}
		owner, _ := parts(s.ownerKey(credentialID))
		rest, ok := strings.CutPrefix(owner, credentialTag+"#"+strconv.Itoa(len(rpID))+":"+rpID+"#")
		if !ok || rest != digest(credentialID) || len(rest) != 43 {
			t.Fatalf("%q is the owner of %x", owner, credentialID)
		}
		if checkUser(user) == nil && len(partition) > 2048-len("passkey#")-253 && len(rpID) <= 253 { // what DynamoDB takes
			t.Fatalf("a partition of %d bytes", len(partition))
		}
	})
}
