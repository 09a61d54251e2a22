package dynamostore

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// A partition is a type's tag, the RP ID and the user's name, the last two with their length in bytes in front:
//
//	user#11:example.com#3:ada            the user's records, in the passkeys table
//	credential#11:example.com#<digest>   who owns a credential id, in the passkeys table
//	challenge#11:example.com#3:ada       the user's challenges, in the challenges table
//
// The length comes first, so that no two users share a partition, whatever their names hold. People can read the keys
// and find a user by them.
const (
	userTag       = "user"
	credentialTag = "credential"
	challengeTag  = "challenge"
)

// Sort keys of the passkeys table. Those of the challenges table are the challenges' ids.
const (
	userRecordKey     = "user"
	ownerRecordKey    = "owner"
	passkeyRecordsKey = "passkey#" // and the digest of the credential id
	invitationKey     = "invitation"
)

// attributes is an item, or the key of one.
type attributes = map[string]types.AttributeValue

func partition(tag, rpID string) string { return fmt.Sprintf("%s#%d:%s#", tag, len(rpID), rpID) }

func (s *Store) userPartition(user string) string {
	return fmt.Sprintf("%s%d:%s", partition(userTag, s.rpID), len(user), user)
}

func (s *Store) userKey(user string) attributes {
	return attributes{partitionKey: text(s.userPartition(user)), sortKey: text(userRecordKey)}
}

func (s *Store) passkeyKey(user string, credentialID []byte) attributes {
	return attributes{partitionKey: text(s.userPartition(user)), sortKey: text(passkeyRecordsKey + digest(credentialID))}
}

func (s *Store) invitationKey(user string) attributes {
	return attributes{partitionKey: text(s.userPartition(user)), sortKey: text(invitationKey)}
}

func (s *Store) ownerKey(credentialID []byte) attributes {
	return attributes{partitionKey: text(partition(credentialTag, s.rpID) + digest(credentialID)), sortKey: text(ownerRecordKey)}
}

func (s *Store) challengeKey(user, id string) attributes {
	return attributes{partitionKey: text(fmt.Sprintf("%s%d:%s", partition(challengeTag, s.rpID), len(user), user)), sortKey: text(id)}
}

// digest keys a credential id, which may be longer than a sort key may be, and is chosen by the client.
func digest(credentialID []byte) string {
	sum := sha256.Sum256(credentialID)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// checkUser refuses names that a key can't hold. The gate refused them before.
func checkUser(user string) error {
	if len(user) > passkey.MaxUserLength || !utf8.ValidString(user) {
		return passkey.UserInvalid
	}
	return nil
}
