package dynamostore

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Erase implements [ceremony.Store].
func (s *Store) Erase(ctx context.Context, user passkey.User, invitation string) error {
	return s.within(ctx, "erasing user", user.Name, func(ctx context.Context) error {
		record := &types.Delete{
			TableName: &s.db.passkeys, Key: s.userKey(user.Name),
			ConditionExpression:                 aws.String("attribute_not_exists(pk)"),
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}
		if user.Version > 0 {
			record.ConditionExpression = aws.String("v = :v AND version = :version AND size(passkeys) = :none")
			record.ExpressionAttributeValues = attributes{":v": number(recordVersion), ":version": number(user.Version), ":none": number(0)}
		}
		invited := s.spend(user.Name, invitation)
		if invitation == "" {
			invited.Delete.ConditionExpression, invited.Delete.ExpressionAttributeValues = aws.String("attribute_not_exists(pk)"), nil
		}
		failed, err := s.transact(ctx, types.TransactWriteItem{Delete: record}, invited)
		if failed == nil {
			return err
		}
		if len(failed[1].item) > 0 {
			if _, err := s.decodeInvitation(failed[1].item, user.Name); err != nil {
				return err
			}
		}
		if len(failed[0].item) == 0 {
			return passkey.Conflict
		}
		before, err := s.decodeUser(failed[0].item, user.Name)
		switch {
		case err != nil:
			return err
		case before.Version == user.Version:
			return errList // it lists passkeys still
		}
		return passkey.Conflict
	})
}
