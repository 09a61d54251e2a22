package dynamostore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// importedTogether is how many passkeys are written in one transaction, beside the check of the user record. A user may
// have more than any transaction holds, so an import is several.
const importedTogether = 4

// Import implements [transfer.Store]. Each step has the store's budget. First the user's place is taken, by a record that nobody can read: from then on
// nobody registers a first passkey, and a reader is told that the store is unavailable rather than half of the truth.
// Then come the passkeys and their owners, and last the user record itself. Every step is conditioned on the place being
// ours still. An import that was cut off is taken over by the next one of the same user handle.
func (s *Store) Import(ctx context.Context, account passkey.Account) error {
	place := place{s, account.User, rand.Text()}
	step := func(do func(context.Context) error) error {
		return s.within(ctx, "importing user", account.User.Name, do)
	}
	err := step(func(ctx context.Context) error {
		if err := s.importable(account); err != nil {
			return err
		}
		return place.take(ctx)
	})
	if err != nil {
		return err
	}
	// What is there without a user record: an earlier import's, perhaps of a file that had others.
	if err := step(func(ctx context.Context) error { return place.clear(ctx, account.Passkeys) }); err != nil {
		return err
	}
	for some := range slices.Chunk(account.Passkeys, importedTogether) {
		err := step(func(ctx context.Context) error { return place.put(ctx, some) })
		if errors.Is(err, passkey.PasskeyExists) {
			return errors.Join(err, step(place.leave))
		}
		if err != nil {
			return err
		}
	}
	return step(place.finish)
}

// importable refuses an account that could not be read back.
func (s *Store) importable(account passkey.Account) error {
	items := []attributes{s.encodeUser(account.User)}
	for _, p := range account.Passkeys {
		items = append(items, s.encodePasskey(account.User.Name, p))
	}
	if _, err := s.assemble(items, account.User.Name); err != nil {
		return fmt.Errorf("%w: refusing to write what could not be read back: %w", passkey.Internal, err)
	}
	if len(account.User.Handle) == 0 {
		return fmt.Errorf("%w: the user has no handle", passkey.Internal)
	}
	return nil
}

// place is a user's place, taken by one import.
type place struct {
	*Store
	user  passkey.User
	token string
}

// take writes the placeholder. It is not repeated unless it was refused: one that comes late would take the place again.
func (p place) take(ctx context.Context) error {
	ctx, note := noting(ctx)
	_, err := p.db.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &p.db.passkeys, Item: p.encodeImporting(p.user, p.token),
		ConditionExpression:       aws.String("attribute_not_exists(pk) OR (v = :importing AND handle = :handle)"),
		ExpressionAttributeValues: attributes{":importing": number(importing), ":handle": binary(p.user.Handle)},
		ReturnConsumedCapacity:    p.db.capacity,
	}, onlyRefused(note))
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return passkey.Conflict
	}
	return err
}

// mine is the condition of every further step.
func (p place) mine() (condition *string, values attributes) {
	return aws.String("v = :importing AND #import = :token"), attributes{":importing": number(importing), ":token": text(p.token)}
}

func (p place) check() types.TransactWriteItem {
	condition, values := p.mine()
	return types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{
		TableName: &p.db.passkeys, Key: p.userKey(p.user.Name), ConditionExpression: condition,
		ExpressionAttributeNames: map[string]string{"#import": "import"}, ExpressionAttributeValues: values,
	}}
}

// put writes passkeys and their owners. Those that an earlier import wrote are written again.
func (p place) put(ctx context.Context, passkeys []passkey.Passkey) error {
	items := []types.TransactWriteItem{p.check()}
	for _, k := range passkeys {
		items = append(items,
			types.TransactWriteItem{Put: &types.Put{
				TableName: &p.db.passkeys, Item: p.encodePasskey(p.user.Name, k),
				ConditionExpression:       aws.String("attribute_not_exists(pk) OR v = :v"),
				ExpressionAttributeValues: attributes{":v": number(recordVersion)},
			}},
			types.TransactWriteItem{Put: &types.Put{
				TableName: &p.db.passkeys, Item: p.encodeOwner(p.user.Name, k.ID),
				ConditionExpression:       aws.String("attribute_not_exists(pk) OR (v = :v AND #user = :user)"),
				ExpressionAttributeNames:  map[string]string{"#user": "user"},
				ExpressionAttributeValues: attributes{":v": number(recordVersion), ":user": text(p.user.Name)},
			}})
	}
	failed, err := p.transact(ctx, items...)
	switch {
	case failed == nil:
		return err
	case failed[0].failed:
		return passkey.Conflict // another import of this user took over
	}
	return passkey.PasskeyExists
}

// finish puts the user record into its place.
func (p place) finish(ctx context.Context) error {
	condition, values := p.mine()
	ctx, note := noting(ctx)
	_, err := p.db.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &p.db.passkeys, Item: p.encodeUser(p.user), ConditionExpression: condition,
		ExpressionAttributeNames: map[string]string{"#import": "import"}, ExpressionAttributeValues: values,
		ReturnConsumedCapacity: p.db.capacity,
	})
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		return err
	}
	if note.unsure {
		item, err := p.get(ctx, p.db.passkeys, p.userKey(p.user.Name))
		if err != nil {
			return err
		}
		if stored, err := p.decodeUser(item, p.user.Name); err == nil && stored.Epoch == p.user.Epoch {
			return nil // it was written and its answer lost: an import draws its own epoch
		}
	}
	return passkey.Conflict
}

// leave gives the place up, with everything in it.
func (p place) leave(ctx context.Context) error {
	if err := p.clear(ctx, nil); err != nil {
		return err
	}
	condition, values := p.mine()
	_, err := p.db.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: &p.db.passkeys, Key: p.userKey(p.user.Name), ConditionExpression: condition,
		ExpressionAttributeNames: map[string]string{"#import": "import"}, ExpressionAttributeValues: values,
		ReturnConsumedCapacity: p.db.capacity,
	})
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return nil // another import of this user took over
	}
	return err
}

// clear removes the passkeys in the place, and their owners, other than those to keep.
func (p place) clear(ctx context.Context, keep []passkey.Passkey) error {
	items, err := p.query(ctx, p.userPartition(p.user.Name))
	if err != nil {
		return err
	}
	for _, item := range items {
		if key, ok := item[sortKey].(*types.AttributeValueMemberS); !ok || !strings.HasPrefix(key.Value, passkeyRecordsKey) {
			continue
		}
		left, err := p.decodePasskey(item, p.user.Name, nil)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(keep, func(k passkey.Passkey) bool { return string(k.ID) == string(left.ID) }) {
			continue
		}
		failed, err := p.transact(ctx, p.check(),
			types.TransactWriteItem{Delete: &types.Delete{TableName: &p.db.passkeys, Key: p.passkeyKey(p.user.Name, left.ID)}},
			types.TransactWriteItem{Delete: &types.Delete{
				TableName: &p.db.passkeys, Key: p.ownerKey(left.ID),
				ConditionExpression:       aws.String("#user = :user"), // passkey and owner are written together
				ExpressionAttributeNames:  map[string]string{"#user": "user"},
				ExpressionAttributeValues: attributes{":user": text(p.user.Name)},
			}})
		switch {
		case failed != nil && failed[0].failed:
			return passkey.Conflict
		case failed != nil:
			return errDisagree
		case err != nil:
			return err
		}
	}
	return nil
}
