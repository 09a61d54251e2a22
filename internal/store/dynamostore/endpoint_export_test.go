package dynamostore

import "github.com/aws/aws-sdk-go-v2/service/dynamodb"

// NewEndpoints is what remembers where calls go.
func NewEndpoints(rules dynamodb.EndpointResolverV2) dynamodb.EndpointResolverV2 {
	return newEndpoints(rules)
}
