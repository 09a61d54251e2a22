package dynamostore

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Invite implements [ceremony.Store]. Made again it says the same, unless another one came between: the last one counts.
func (s *Store) Invite(ctx context.Context, user string, invitation passkey.Invitation) error {
	return s.within(ctx, "storing invitation", user, func(ctx context.Context) error {
		item, err := storable(s.encodeInvitation(user, invitation), func(item attributes) (passkey.Invitation, error) {
			return s.decodeInvitation(item, user)
		})
		if err != nil {
			return err
		}
		_, err = s.db.client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: &s.db.passkeys, Item: item,
			ConditionExpression:       aws.String("attribute_not_exists(pk) OR v = :v"),
			ExpressionAttributeValues: attributes{":v": number(recordVersion)},
			ReturnConsumedCapacity:    s.db.capacity,
		})
		var failed *types.ConditionalCheckFailedException
		if errors.As(err, &failed) {
			return errors.New("unreadable record: an invitation of another version is there")
		}
		return err
	})
}

// spend is the part of a transaction that uses an invitation up.
func (s *Store) spend(user, id string) types.TransactWriteItem {
	return types.TransactWriteItem{Delete: &types.Delete{
		TableName: &s.db.passkeys, Key: s.invitationKey(user),
		ConditionExpression:                 aws.String("v = :v AND id = :id"),
		ExpressionAttributeValues:           attributes{":v": number(recordVersion), ":id": text(id)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}}
}

// The attribute is not called expires_at: a time to live that is switched on by mistake must find nothing in this table.

func (s *Store) encodeInvitation(user string, i passkey.Invitation) attributes {
	item := s.record(s.invitationKey(user))
	item["user"] = text(user)
	putText(item, "id", i.ID)
	item["expires"] = instant(i.Expires)
	return item
}

func (s *Store) decodeInvitation(item attributes, user string) (passkey.Invitation, error) {
	r, err := s.open(item, s.invitationKey(user))
	if err != nil {
		return passkey.Invitation{}, err
	}
	owner := r.text("user")
	i := passkey.Invitation{ID: r.text("id"), Expires: r.instant("expires")}
	if err := r.done(); err != nil {
		return passkey.Invitation{}, err
	}
	if owner != user || i.Expires.Equal(time.Time{}) {
		return passkey.Invitation{}, errMisplaced
	}
	return i, nil
}
