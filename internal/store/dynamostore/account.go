package dynamostore

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

var errDisagree = errors.New("unreadable account: the user's list, the passkeys' records and their owners disagree")

// accountReads is how often an account is read that does not agree with itself.
const accountReads = 5

// Account implements [ceremony.Store].
func (s *Store) Account(ctx context.Context, user string) (account passkey.Account, err error) {
	err = s.within(ctx, "reading account", user, func(ctx context.Context) error {
		if account, err = s.account(ctx, user); err == nil {
			err = s.db.clock.err()
		}
		return err
	})
	if err != nil {
		return passkey.Account{}, err
	}
	return account, nil
}

// account reads a user's partition. A query is strongly consistent item by item, not as a whole: it may see half of a
// transaction that is just being written. Then the user's list and the records disagree, and it is read again; what goes
// on disagreeing is damage.
func (s *Store) account(ctx context.Context, user string) (passkey.Account, error) {
	for read := 1; ; read++ {
		items, err := s.query(ctx, s.userPartition(user))
		if err != nil {
			return passkey.Account{}, err
		}
		account, err := s.assemble(items, user)
		if !errors.Is(err, errDisagree) || read == accountReads {
			return account, err
		}
		if err := wait(ctx, read); err != nil {
			return passkey.Account{}, err
		}
	}
}

// query returns all items of a partition of the passkeys table.
func (s *Store) query(ctx context.Context, partition string) (items []attributes, err error) {
	input := &dynamodb.QueryInput{
		TableName:                 &s.db.passkeys,
		ConsistentRead:            aws.Bool(true),
		KeyConditionExpression:    aws.String("pk = :pk"),
		ExpressionAttributeValues: attributes{":pk": text(partition)},
		ReturnConsumedCapacity:    s.db.capacity,
	}
	for {
		page, err := s.db.client.Query(ctx, input)
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if len(page.LastEvaluatedKey) == 0 {
			return items, nil
		}
		input.ExclusiveStartKey = page.LastEvaluatedKey
	}
}

// assemble makes the account of a user's items, passkeys oldest first. Records of kinds that it does not know are no part
// of the account.
func (s *Store) assemble(items []attributes, name string) (passkey.Account, error) {
	user := passkey.User{Name: name}
	var passkeys []passkey.Passkey
	var invitation passkey.Invitation
	seen := make(map[string]bool, len(items))
	for _, item := range items {
		key, ok := item[sortKey].(*types.AttributeValueMemberS)
		if !ok {
			return passkey.Account{}, errMisplaced
		}
		if seen[key.Value] { // no partition has two: which of them counts, nobody could say
			return passkey.Account{}, errDisagree
		}
		seen[key.Value] = true
		var err error
		switch {
		case key.Value == userRecordKey:
			user, err = s.decodeUser(item, name)
		case strings.HasPrefix(key.Value, passkeyRecordsKey):
			var p passkey.Passkey
			p, err = s.decodePasskey(item, name, nil)
			passkeys = append(passkeys, p)
		case key.Value == invitationKey:
			invitation, err = s.decodeInvitation(item, name)
		}
		if err != nil {
			return passkey.Account{}, err
		}
	}
	account, agree := passkey.AccountOf(user, passkeys)
	if !agree {
		return passkey.Account{}, errDisagree
	}
	account.Invitation = invitation
	return account, nil
}

// get reads one item, strongly consistently; nil when there is none.
func (s *Store) get(ctx context.Context, table string, key attributes) (attributes, error) {
	out, err := s.db.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &table, Key: key, ConsistentRead: aws.Bool(true), ReturnConsumedCapacity: s.db.capacity,
	})
	if err != nil {
		return nil, err
	}
	if len(out.Item) == 0 {
		return nil, nil
	}
	return out.Item, nil
}
