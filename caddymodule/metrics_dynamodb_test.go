package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// apiError is an error that DynamoDB answers with, as the SDK has it.
type apiError struct{ code, message string }

func (e apiError) Error() string        { return e.code + ": " + e.message }
func (e apiError) ErrorCode() string    { return e.code }
func (e apiError) ErrorMessage() string { return e.message }

func TestDynamoDBResults(t *testing.T) {
	cancelled := func(reasons string) error {
		return apiError{"TransactionCanceledException", "Transaction cancelled, please refer cancellation reasons for specific reasons " + reasons}
	}
	for want, errs := range map[string][]error{
		dynamoOK:        {nil},
		dynamoCondition: {apiError{code: "ConditionalCheckFailedException"}, cancelled("[None, ConditionalCheckFailed, TransactionConflict]")},
		dynamoConflict:  {apiError{code: "TransactionConflictException"}, cancelled("[TransactionConflict, None]")},
		dynamoThrottled: {apiError{code: "ThrottlingException"}, cancelled("[ThrottlingError]"), errors.Join(context.DeadlineExceeded, apiError{code: "RequestLimitExceeded"})},
		dynamoDenied:    {apiError{code: "AccessDeniedException"}, apiError{code: "ExpiredTokenException"}},
		dynamoMissing:   {apiError{code: "ResourceNotFoundException"}},
		dynamoTimeout:   {context.DeadlineExceeded, fmt.Errorf("canceled: %w", context.Canceled)},
		dynamoError:     {errors.New("anything"), apiError{code: "InternalServerError"}, cancelled("[ValidationError]")},
	} {
		for _, err := range errs {
			if got := dynamoResult(err); got != want {
				t.Errorf("%v is %s, want %s", err, got, want)
			}
		}
	}
	if len(dynamoResults) != 8 {
		t.Error("another result: test it")
	}
}

// A call of DynamoDB is counted with what it consumed.
func TestDynamoDBCallsAreCounted(t *testing.T) {
	m := newMeters()
	before := m.counts(t)
	m.observeDynamoDB(dynamostore.Call{Operation: "Query", ReadUnits: 1.5})
	m.observeDynamoDB(dynamostore.Call{Operation: "TransactWriteItems", WriteUnits: 6, Err: apiError{code: "ThrottlingException"}})
	m.observeDynamoDB(dynamostore.Call{Operation: "DropTable"})
	want := map[string]float64{
		"stepgate_dynamodb_calls_total{operation=Query,result=ok}":                     1,
		"stepgate_dynamodb_calls_total{operation=TransactWriteItems,result=throttled}": 1,
		"stepgate_dynamodb_calls_total{operation=other,result=ok}":                     1,
		"stepgate_dynamodb_consumed_units_total{kind=read}":                            1.5,
		"stepgate_dynamodb_consumed_units_total{kind=write}":                           6,
	}
	if diff := cmp.Diff(want, m.since(t, before)); diff != "" {
		t.Error(diff)
	}
}
