package dynamostore

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
)

// Call is one call of DynamoDB's API, with all its attempts.
type Call struct {
	Operation  string        // for example "PutItem"
	Tables     []string      // that it consumed capacity of; empty where DynamoDB did not say
	ReadUnits  float64       // consumed
	WriteUnits float64       // consumed
	Took       time.Duration // from the first attempt to the last answer
	Err        error
}

// observing tells observe of every call; nil observes nothing.
func observing(observe func(Call)) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		if observe == nil {
			return nil
		}
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("StepgateObserve", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			began := time.Now()
			out, metadata, err := next.HandleInitialize(ctx, in)
			call := Call{Operation: middleware.GetOperationName(ctx), Took: time.Since(began), Err: err}
			for _, c := range consumed(out.Result) {
				call.Tables = append(call.Tables, aws.ToString(c.TableName))
				call.add(c)
			}
			observe(call)
			return out, metadata, err
		}), middleware.Before)
	}
}

// add counts what one table gave. Where reads and writes are not told apart, the operation tells.
func (call *Call) add(c types.ConsumedCapacity) {
	switch {
	case c.ReadCapacityUnits != nil || c.WriteCapacityUnits != nil:
		call.ReadUnits += aws.ToFloat64(c.ReadCapacityUnits)
		call.WriteUnits += aws.ToFloat64(c.WriteCapacityUnits)
	case call.Operation == "Query" || call.Operation == "GetItem" || call.Operation == "Scan":
		call.ReadUnits += aws.ToFloat64(c.CapacityUnits)
	default:
		call.WriteUnits += aws.ToFloat64(c.CapacityUnits)
	}
}

func consumed(result any) []types.ConsumedCapacity {
	one := func(c *types.ConsumedCapacity) []types.ConsumedCapacity {
		if c == nil {
			return nil
		}
		return []types.ConsumedCapacity{*c}
	}
	switch out := result.(type) {
	case *dynamodb.QueryOutput:
		return one(out.ConsumedCapacity)
	case *dynamodb.GetItemOutput:
		return one(out.ConsumedCapacity)
	case *dynamodb.PutItemOutput:
		return one(out.ConsumedCapacity)
	case *dynamodb.UpdateItemOutput:
		return one(out.ConsumedCapacity)
	case *dynamodb.DeleteItemOutput:
		return one(out.ConsumedCapacity)
	case *dynamodb.ScanOutput:
		return one(out.ConsumedCapacity)
	case *dynamodb.TransactWriteItemsOutput:
		return out.ConsumedCapacity
	}
	return nil
}
