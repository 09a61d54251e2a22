package dynamostore

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Register implements [ceremony.Store].
func (s *Store) Register(ctx context.Context, next passkey.User, p passkey.Passkey) error {
	return s.register(ctx, next, p)
}

// RegisterInvited implements [ceremony.Store].
func (s *Store) RegisterInvited(ctx context.Context, next passkey.User, p passkey.Passkey, invitation string) error {
	if invitation == "" {
		return fmt.Errorf("registering passkey: %w", passkey.InvitationInvalid)
	}
	return s.register(ctx, next, p, s.spend(next.Name, invitation))
}

// register is Register, and spends what authorised it in the same transaction.
func (s *Store) register(ctx context.Context, next passkey.User, p passkey.Passkey, spend ...types.TransactWriteItem) error {
	return s.within(ctx, "registering passkey", next.Name, func(ctx context.Context) error {
		if _, named := next.Named(p.ID, p.Name); !named {
			return errList
		}
		user, err := s.putUser(next, len(next.Passkeys)-1)
		if err != nil {
			return err
		}
		passkeyItem, err := s.storablePasskey(next.Name, p)
		if err != nil {
			return err
		}
		items := append([]types.TransactWriteItem{user, s.putNew(passkeyItem), s.putNew(s.encodeOwner(next.Name, p.ID))}, spend...)
		failed, err := s.transact(ctx, items...)
		if failed == nil {
			return err
		}
		if failed[1].failed {
			stored, err := s.decodePasskey(failed[1].item, next.Name, p.ID)
			if err != nil {
				return err
			}
			if isSame(stored.LastCeremony, p.LastCeremony) {
				return nil // this very registration was written and its answer lost
			}
		}
		taken := failed[1].failed || failed[2].failed
		if err := s.conflict(failed[0], next); err != nil && !(errors.Is(err, errList) && taken) {
			return err
		}
		if failed[2].failed {
			if _, err := s.decodeOwner(failed[2].item, p.ID); err != nil {
				return err
			}
		}
		if taken {
			return passkey.PasskeyExists
		}
		if spent := failed[3].item; len(spent) > 0 {
			if _, err := s.decodeInvitation(spent, next.Name); err != nil {
				return err
			}
		}
		return passkey.InvitationInvalid
	})
}

// Rename implements [ceremony.Store]. Where the passkey is gone and the user has changed, which go together, it says
// that the passkey is gone: trying again would not help.
func (s *Store) Rename(ctx context.Context, next passkey.User, credentialID []byte, name string) error {
	return s.within(ctx, "renaming passkey", next.Name, func(ctx context.Context) error {
		user, err := s.putUser(next, len(next.Passkeys))
		if err != nil {
			return err
		}
		if listed, named := next.Named(credentialID, name); listed && !named {
			return errList
		}
		failed, err := s.transact(ctx, user, types.TransactWriteItem{Update: &types.Update{
			TableName: &s.db.passkeys, Key: s.passkeyKey(next.Name, credentialID),
			UpdateExpression:                    aws.String("SET #name = :name"),
			ConditionExpression:                 aws.String("v = :v AND id = :id"),
			ExpressionAttributeNames:            map[string]string{"#name": "name"},
			ExpressionAttributeValues:           attributes{":v": number(recordVersion), ":id": binary(credentialID), ":name": text(name)},
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}})
		if failed == nil {
			return err
		}
		if err := s.gone(failed[1], next.Name, credentialID); err != nil {
			return err
		}
		return s.conflict(failed[0], next)
	})
}

// Remove implements [ceremony.Store]. It refuses as Rename does.
func (s *Store) Remove(ctx context.Context, next passkey.User, credentialID []byte) error {
	return s.within(ctx, "removing passkey", next.Name, func(ctx context.Context) error {
		if listed, _ := next.Named(credentialID, ""); listed {
			return errList
		}
		user, err := s.putUser(next, len(next.Passkeys)+1)
		if err != nil {
			return err
		}
		failed, err := s.transact(ctx, user,
			types.TransactWriteItem{Delete: &types.Delete{
				TableName: &s.db.passkeys, Key: s.passkeyKey(next.Name, credentialID),
				ConditionExpression:                 aws.String("v = :v AND id = :id"),
				ExpressionAttributeValues:           attributes{":v": number(recordVersion), ":id": binary(credentialID)},
				ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
			}},
			types.TransactWriteItem{Delete: &types.Delete{
				TableName: &s.db.passkeys, Key: s.ownerKey(credentialID),
				ConditionExpression:                 aws.String("v = :v AND id = :id AND #user = :user"),
				ExpressionAttributeNames:            map[string]string{"#user": "user"},
				ExpressionAttributeValues:           attributes{":v": number(recordVersion), ":id": binary(credentialID), ":user": text(next.Name)},
				ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
			}})
		if failed == nil {
			return err
		}
		if err := s.gone(failed[1], next.Name, credentialID); err != nil {
			return err
		}
		if err := s.conflict(failed[0], next); err != nil {
			return err
		}
		return errDisagree
	})
}

// ChangeUser implements [ceremony.Store]. For a user never seen it makes the record, which closes first use.
func (s *Store) ChangeUser(ctx context.Context, next passkey.User) error {
	return s.within(ctx, "changing user", next.Name, func(ctx context.Context) error {
		user, err := s.putUser(next, len(next.Passkeys))
		if err != nil {
			return err
		}
		failed, err := s.transact(ctx, user)
		if failed == nil {
			return err
		}
		return s.conflict(failed[0], next)
	})
}

// errList is a caller's mistake: the list of passkeys is what limits are decided on.
var errList = fmt.Errorf("%w: the user's list of passkeys does not fit the change", passkey.Internal)

// putUser is the part of a transaction that every limit and race is decided by: the user record replaces the one that it
// was made from, which lists so many passkeys, and no other.
func (s *Store) putUser(next passkey.User, listed int) (types.TransactWriteItem, error) {
	if next.Version == 0 {
		return types.TransactWriteItem{}, passkey.Conflict // no change leads there
	}
	item, err := storable(s.encodeUser(next), func(item attributes) (passkey.User, error) { return s.decodeUser(item, next.Name) })
	if err != nil {
		return types.TransactWriteItem{}, err
	}
	put := &types.Put{
		TableName: &s.db.passkeys, Item: item,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	switch {
	case next.Version == 1 && listed == 0:
		put.ConditionExpression = aws.String("attribute_not_exists(pk)")
	case next.Version == 1:
		put.ConditionExpression = aws.String("attribute_not_exists(pk) AND attribute_exists(passkeys)") // never: no record lists any
	default:
		put.ConditionExpression = aws.String("v = :v AND version = :before AND size(passkeys) = :listed")
		put.ExpressionAttributeValues = attributes{":v": number(recordVersion), ":before": number(next.Version - 1), ":listed": number(listed)}
	}
	return types.TransactWriteItem{Put: put}, nil
}

// putNew is the part of a transaction that writes a record only where there is none.
func (s *Store) putNew(item attributes) types.TransactWriteItem {
	return types.TransactWriteItem{Put: &types.Put{
		TableName: &s.db.passkeys, Item: item, ConditionExpression: aws.String("attribute_not_exists(pk)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}}
}

func (s *Store) storablePasskey(user string, p passkey.Passkey) (attributes, error) {
	return storable(s.encodePasskey(user, p), func(item attributes) (passkey.Passkey, error) { return s.decodePasskey(item, user, p.ID) })
}

// conflict tells why a user record could not be replaced; nil when that is not what failed.
func (s *Store) conflict(o outcome, next passkey.User) error {
	if !o.failed {
		return nil
	}
	if len(o.item) == 0 && next.Version == 1 {
		return errList
	}
	if len(o.item) == 0 {
		return passkey.Conflict
	}
	before, err := s.decodeUser(o.item, next.Name)
	if errors.Is(err, errImporting) {
		return passkey.Conflict // the import was first
	}
	if err != nil {
		return err
	}
	if before.Version == next.Version-1 {
		return errList // all else of the condition holds
	}
	return passkey.Conflict
}

// gone tells why a passkey could not be changed; nil when that is not what failed.
func (s *Store) gone(o outcome, user string, credentialID []byte) error {
	if !o.failed {
		return nil
	}
	if len(o.item) == 0 {
		return passkey.PasskeyUnknown
	}
	if _, err := s.decodePasskey(o.item, user, credentialID); err != nil {
		return err
	}
	return errMisplaced
}
