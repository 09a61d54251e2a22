package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// challengeIDLength is the length of every [passkey.ChallengeID].
const challengeIDLength = 43

var errRepeated = errors.New("a challenge with this id is stored already")

// errUnsure is the end of a delete whose answer was lost: the challenge is gone, and nobody can tell by whom.
var errUnsure = errors.New("whether the challenge was consumed can't be told, so it counts as used up")

// Begin implements [ceremony.Store]: it reads the account and writes the challenge at the same time.
func (s *Store) Begin(ctx context.Context, c passkey.Challenge) (account passkey.Account, err error) {
	const doing = "storing challenge"
	if c.RPID != s.rpID {
		return passkey.Account{}, fmt.Errorf("%s: %w: it is another relying party's", doing, passkey.Internal)
	}
	err = s.within(ctx, doing, c.User, func(ctx context.Context) error {
		account, err = s.alongside(ctx, c.User, func(ctx context.Context) error { return s.putChallenge(ctx, c) })
		return err
	})
	if err != nil {
		return passkey.Account{}, err
	}
	return account, nil
}

// Issue implements [ceremony.Store].
func (s *Store) Issue(ctx context.Context, c passkey.Challenge) error {
	const doing = "storing challenge"
	if c.RPID != s.rpID {
		return fmt.Errorf("%s: %w: it is another relying party's", doing, passkey.Internal)
	}
	return s.within(ctx, doing, c.User, func(ctx context.Context) error {
		err := s.putChallenge(ctx, c)
		if off := s.db.clock.err(); off != nil {
			return off
		}
		return err
	})
}

// alongside reads the account while write runs. The write's error counts. It waits for both: giving up the read would
// cost its connection.
func (s *Store) alongside(ctx context.Context, user string, write func(context.Context) error) (passkey.Account, error) {
	type read struct {
		account passkey.Account
		err     error
	}
	done := make(chan read, 1)
	go func() {
		account, err := s.account(ctx, user)
		done <- read{account, err}
	}()
	err := write(ctx)
	got := <-done
	off := s.db.clock.err() // says more than what follows from it, such as a challenge that looks expired
	switch {
	case off != nil:
		return passkey.Account{}, off
	case err != nil:
		return passkey.Account{}, err
	}
	return got.account, got.err
}

func (s *Store) putChallenge(ctx context.Context, c passkey.Challenge) error {
	item, err := storable(s.encodeChallenge(c), func(item attributes) (passkey.Challenge, error) {
		return s.decodeChallenge(item, c.User, c.ID)
	})
	if err != nil {
		return err
	}
	ctx, note := noting(ctx)
	_, err = s.db.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &s.db.challenges, Item: item, ConditionExpression: aws.String("attribute_not_exists(pk)"),
		ReturnConsumedCapacity: s.db.capacity,
	}, onlyRefused(note))
	var failed *types.ConditionalCheckFailedException
	switch {
	case errors.As(err, &failed):
		return errRepeated
	case err != nil && note.made > 0 && !note.refused:
		// Whoever asks begins again with another challenge. Not at once: what is in trouble must not get more to do.
		return errors.Join(ceremony.ErrUnsure, err, wait(ctx, 1))
	}
	return err
}

// Consume implements [ceremony.Store]: it deletes the challenge and reads the account at the same time.
func (s *Store) Consume(ctx context.Context, claim passkey.Claim, now time.Time) (challenge passkey.Challenge, account passkey.Account, err error) {
	err = s.within(ctx, "consuming challenge", claim.User, func(ctx context.Context) error {
		if len(claim.ID) != challengeIDLength || claim.User == "" {
			return passkey.ChallengeUsed // never issued
		}
		account, err = s.alongside(ctx, claim.User, func(ctx context.Context) error {
			challenge, err = s.deleteChallenge(ctx, claim, now)
			return err
		})
		return err
	})
	if err != nil {
		return passkey.Challenge{}, passkey.Account{}, err
	}
	return challenge, account, nil
}

// deleteChallenge is where a challenge is used up. The condition says what [passkey.Challenge.Check] says: of any number
// of gateways that hold the same claim one deletes the record.
func (s *Store) deleteChallenge(ctx context.Context, claim passkey.Claim, now time.Time) (passkey.Challenge, error) {
	key := s.challengeKey(claim.User, claim.ID)
	ctx, note := noting(ctx)
	out, err := s.db.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName:                &s.db.challenges,
		Key:                      key,
		ConditionExpression:      aws.String("v = :v AND rp_id = :rp AND #user = :user AND #kind = :kind AND browser = :browser AND expires_at > :now"),
		ExpressionAttributeNames: map[string]string{"#user": "user", "#kind": "kind"},
		ExpressionAttributeValues: attributes{
			":v": number(recordVersion), ":rp": text(s.rpID), ":user": text(claim.User), ":kind": text(claim.Kind.String()),
			":browser": binary(claim.Browser[:]), ":now": number(now.Unix()), // for whole seconds, later than now is later than its second
		},
		ReturnValues:                        types.ReturnValueAllOld,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		ReturnConsumedCapacity:              s.db.capacity,
	})
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return passkey.Challenge{}, s.whyKept(ctx, claim, now, failed.Item, note.unsure)
	}
	if err != nil {
		return passkey.Challenge{}, err
	}
	challenge, err := s.decodeChallenge(out.Attributes, claim.User, claim.ID)
	if err == nil {
		err = challenge.Check(claim, now)
	}
	if err != nil {
		return passkey.Challenge{}, err
	}
	return challenge, nil
}

// whyKept tells why a challenge could not be consumed. item is the record where DynamoDB returned it.
func (s *Store) whyKept(ctx context.Context, claim passkey.Claim, now time.Time, item attributes, unsure bool) error {
	if len(item) == 0 {
		var err error
		if item, err = s.get(ctx, s.db.challenges, s.challengeKey(claim.User, claim.ID)); err != nil {
			return err
		}
	}
	if item == nil {
		if unsure {
			return errUnsure
		}
		return passkey.ChallengeUsed
	}
	challenge, err := s.decodeChallenge(item, claim.User, claim.ID)
	if err != nil {
		return err
	}
	if err := challenge.Check(claim, now); err != nil {
		return err
	}
	return errors.New("the challenge changed while it was looked at")
}
