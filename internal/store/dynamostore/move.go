package dynamostore

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

var _ transfer.Store = (*Store)(nil)

// Users implements [transfer.Store]. It scans the passkeys table for user records, in DynamoDB's order, and reads the account
// of each. The budget is for each page and each account; the whole takes as long as the table is large.
func (s *Store) Users(ctx context.Context, after string, yield func(passkey.Account) error) error {
	var from attributes
	if after != "" {
		if err := checkUser(after); err != nil {
			return describe(ctx, "listing users", err)
		}
		from = s.userKey(after)
	}
	for {
		names, next, err := s.userPage(ctx, from)
		if err != nil {
			return err
		}
		for _, name := range names {
			account, err := s.Account(ctx, name)
			if err != nil {
				return err
			}
			if account.User.Version == 0 {
				continue // erased since the page was read
			}
			if err := yield(account); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		from = next
	}
}

// userPage lists the users of one page of the table behind a key, and where the next page begins; nil at the end.
func (s *Store) userPage(ctx context.Context, from attributes) (names []string, next attributes, err error) {
	err = s.within(ctx, "listing users", "", func(ctx context.Context) error {
		page, err := s.db.client.Scan(ctx, &dynamodb.ScanInput{
			TableName:                 &s.db.passkeys,
			ConsistentRead:            aws.Bool(true),
			FilterExpression:          aws.String("sk = :sk AND begins_with(pk, :ours)"),
			ExpressionAttributeValues: attributes{":sk": text(userRecordKey), ":ours": text(partition(userTag, s.rpID))},
			ProjectionExpression:      aws.String("pk"),
			ExclusiveStartKey:         from,
			ReturnConsumedCapacity:    s.db.capacity,
		})
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			name, err := s.userIn(item)
			if err != nil {
				return err
			}
			names = append(names, name)
		}
		if len(page.LastEvaluatedKey) > 0 {
			next = page.LastEvaluatedKey
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return names, next, nil
}

// userIn returns the user whose partition an item is in.
func (s *Store) userIn(item attributes) (string, error) {
	key, ok := item[partitionKey].(*types.AttributeValueMemberS)
	if !ok {
		return "", errMisplaced
	}
	_, name, _ := strings.Cut(strings.TrimPrefix(key.Value, partition(userTag, s.rpID)), ":")
	if s.userPartition(name) != key.Value {
		return "", errMisplaced
	}
	return name, nil
}
