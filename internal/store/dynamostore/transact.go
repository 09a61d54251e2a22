package dynamostore

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// outcome is what became of one part of a transaction whose conditions did not all hold.
type outcome struct {
	failed bool       // this part's condition did not hold
	item   attributes // the record as it is; nil when there is none
}

// transact writes all items or none. When conditions did not hold, it returns what became of each item, and no error.
// What came between another transaction is tried again within the budget; if that never ends, it is a conflict.
//
// All attempts bear one ClientRequestToken: DynamoDB then knows an attempt whose first try was applied and its answer
// lost, and says that it succeeded.
func (s *Store) transact(ctx context.Context, items ...types.TransactWriteItem) ([]outcome, error) {
	_, err := s.db.client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: items, ClientRequestToken: aws.String(rand.Text()), ReturnConsumedCapacity: s.db.capacity,
	})
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) {
		return nil, err
	}
	outcomes, failed := make([]outcome, len(items)), false
	for i, reason := range cancelled.CancellationReasons {
		if i < len(items) && aws.ToString(reason.Code) == "ConditionalCheckFailed" {
			outcomes[i] = outcome{failed: true, item: reason.Item}
			failed = true
		}
	}
	switch {
	case failed:
		return outcomes, nil
	case conflicting(err) == aws.TrueTernary && ctx.Err() == nil:
		return nil, errors.Join(passkey.Conflict, err)
	}
	return nil, err
}

// wait waits before another read or write, longer each time.
func wait(ctx context.Context, attempt int) error {
	delay, _ := pause(attempt-1, nil)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
