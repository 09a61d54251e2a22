package caddymodule

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// dynamoOperations are the calls of DynamoDB's API that a gateway makes, as metrics name them.
var dynamoOperations = []string{
	"Query", "GetItem", "PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "Scan", "DescribeTable", "DescribeTimeToLive",
}

const dynamoOther = "other"

// How a call of DynamoDB ended.
const (
	dynamoOK        = "ok"
	dynamoCondition = "condition_failed" // as when somebody else was first
	dynamoConflict  = "conflict"         // it came between another transaction, too often
	dynamoThrottled = "throttled"
	dynamoDenied    = "denied" // credentials or permissions
	dynamoMissing   = "missing"
	dynamoTimeout   = "timeout" // of the budget, or whoever asked went away
	dynamoError     = "error"
)

var dynamoResults = []string{dynamoOK, dynamoCondition, dynamoConflict, dynamoThrottled, dynamoDenied, dynamoMissing, dynamoTimeout, dynamoError}

// observeDynamoDB counts a call of DynamoDB's API.
func (m *meters) observeDynamoDB(call dynamostore.Call) {
	operation := call.Operation
	if !slices.Contains(dynamoOperations, operation) {
		operation = dynamoOther
	}
	m.dynamoCalls.WithLabelValues(operation, dynamoResult(call.Err)).Inc()
	m.dynamoUnits.WithLabelValues("read").Add(max(call.ReadUnits, 0))
	m.dynamoUnits.WithLabelValues("write").Add(max(call.WriteUnits, 0))
}

// dynamoCodes are error codes of DynamoDB and what they come to.
var dynamoCodes = map[string]string{
	"ConditionalCheckFailedException":        dynamoCondition,
	"TransactionConflictException":           dynamoConflict,
	"TransactionInProgressException":         dynamoConflict,
	"ProvisionedThroughputExceededException": dynamoThrottled,
	"RequestLimitExceeded":                   dynamoThrottled,
	"ThrottlingException":                    dynamoThrottled,
	"Throttling":                             dynamoThrottled,
	"AccessDeniedException":                  dynamoDenied,
	"AccessDenied":                           dynamoDenied,
	"ExpiredTokenException":                  dynamoDenied,
	"ExpiredToken":                           dynamoDenied,
	"IncompleteSignature":                    dynamoDenied,
	"IncompleteSignatureException":           dynamoDenied,
	"InvalidClientTokenId":                   dynamoDenied,
	"InvalidSignatureException":              dynamoDenied,
	"MissingAuthenticationToken":             dynamoDenied,
	"MissingAuthenticationTokenException":    dynamoDenied,
	"SignatureDoesNotMatch":                  dynamoDenied,
	"UnrecognizedClientException":            dynamoDenied,
	"ResourceNotFoundException":              dynamoMissing,
}

// dynamoResult sorts an error of the SDK into the closed list. A code comes first: a call that was throttled until its time
// was up was throttled.
func dynamoResult(err error) string {
	var (
		api interface { // what every error that DynamoDB answers with has
			error
			ErrorCode() string
			ErrorMessage() string
		}
		network net.Error
	)
	switch {
	case err == nil:
		return dynamoOK
	case errors.As(err, &api):
		if result, ok := dynamoCodes[api.ErrorCode()]; ok {
			return result
		}
		if api.ErrorCode() == "TransactionCanceledException" { // the reasons stand in the message, one for each item
			switch reasons := api.ErrorMessage(); {
			case strings.Contains(reasons, "ConditionalCheckFailed"):
				return dynamoCondition
			case strings.Contains(reasons, "TransactionConflict"):
				return dynamoConflict
			case strings.Contains(reasons, "Throttl"), strings.Contains(reasons, "ThroughputExceeded"):
				return dynamoThrottled
			}
		}
		return dynamoError
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &network) && network.Timeout():
		return dynamoTimeout
	}
	return dynamoError
}
