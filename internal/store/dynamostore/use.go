package dynamostore

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// useTries bounds how often a use is written anew because other uses of the same passkey came between.
const useTries = 5

// Use implements [ceremony.Store]. It is one conditional update: that the record is there and the sign count rose is
// decided by DynamoDB, so two gateways can't both accept one count.
func (s *Store) Use(ctx context.Context, user string, use passkey.Use) error {
	return s.within(ctx, "recording a passkey's use", user, func(ctx context.Context) error {
		keep := use.AllowReset // whoever asks has seen a higher count
		for range useTries {
			again, err := s.use(ctx, user, use, keep)
			if !again {
				return err
			}
			keep = use.AllowReset && !keep
		}
		return errors.New("other uses of this passkey came between every time")
	})
}

// use tries once to write a use: with its sign count where that rose, or, with keep, leaving a stored count alone that is
// not lower. again asks for another try: the record fits neither, or has changed since.
func (s *Store) use(ctx context.Context, user string, use passkey.Use, keep bool) (again bool, err error) {
	key := s.passkeyKey(user, use.ID)
	update := "SET backed_up = :backed_up, last_used_at = :at, last_ceremony = :ceremony"
	condition := "v = :v AND id = :id AND "
	switch {
	case keep:
		condition += "sign_count >= :count"
	case use.SignCount == 0: // the authenticator keeps none: WebAuthn L3 §7.2 step 22
		condition += "sign_count = :count"
	default:
		condition += "sign_count < :count"
		update += ", sign_count = :count"
	}
	values := attributes{
		":v": number(recordVersion), ":id": binary(use.ID), ":count": number(use.SignCount),
		":backed_up": flag(use.BackedUp), ":at": instant(use.At), ":ceremony": text(use.Ceremony),
	}
	var remove []string
	if use.LearnBackup {
		update += ", backup_eligible = :eligible"
		condition += " AND (attribute_exists(backup_unknown) OR backup_eligible = :eligible)"
		values[":eligible"] = flag(use.BackupEligible)
		remove = append(remove, "backup_unknown")
	}
	if use.On != "" {
		update += ", last_used_on = :on"
		values[":on"] = text(use.On)
	} else {
		remove = append(remove, "last_used_on")
	}
	if len(remove) > 0 {
		update += " REMOVE " + strings.Join(remove, ", ")
	}
	_, err = s.db.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &s.db.passkeys, Key: key, UpdateExpression: &update, ConditionExpression: &condition,
		ExpressionAttributeValues:           values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		ReturnConsumedCapacity:              s.db.capacity,
	})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		return false, err
	}
	item := failed.Item
	if len(item) == 0 {
		if item, err = s.get(ctx, s.db.passkeys, key); err != nil {
			return false, err
		}
	}
	if item == nil {
		return false, passkey.PasskeyUnknown
	}
	p, err := s.decodePasskey(item, user, use.ID)
	switch {
	case err != nil:
		return false, err
	case isSame(p.LastCeremony, use.Ceremony):
		return false, nil // this very use was written and its answer lost; judged as new, its count would not have risen
	}
	if use.LearnBackup && !p.BackupUnknown && p.BackupEligible != use.BackupEligible {
		return false, passkey.BackupFlagsInconsistent // another use was first, and learned otherwise
	}
	rose := use.SignCount > p.SignCount || use.SignCount == 0 && p.SignCount == 0
	if !rose && !use.AllowReset {
		return false, passkey.CounterRegressed
	}
	return true, nil
}

// isSame tells whether a record's last ceremony is the one that is being written. No ceremony is the same as none.
func isSame(stored, writing string) bool { return stored == writing && writing != "" }
