package dynamostore

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	transport "github.com/aws/smithy-go/endpoints"
)

// maxEndpoints bounds how many answers are kept. There are two tables; the account changes only with the credentials.
const maxEndpoints = 32

// endpoints keeps what the SDK's own rules say of where calls go: they say the same of the same parameters, and working it out
// anew takes longer than any other part of a call but its signature.
type endpoints struct {
	dynamodb.EndpointResolverV2
	mu    sync.Mutex
	known map[parameters]transport.Endpoint
}

// parameters are all that an endpoint can depend on, but for lists.
type parameters struct {
	region, endpoint, account, accountMode, resource string
	dualStack, fips, search                          bool
	given                                            [8]bool // which of them
}

func newEndpoints(rules dynamodb.EndpointResolverV2) *endpoints {
	return &endpoints{EndpointResolverV2: rules, known: map[parameters]transport.Endpoint{}}
}

// ResolveEndpoint implements [dynamodb.EndpointResolverV2]. What it returns is shared, and the SDK only reads it.
func (e *endpoints) ResolveEndpoint(ctx context.Context, p dynamodb.EndpointParameters) (transport.Endpoint, error) {
	if len(p.ResourceArnList) > 0 { // a transaction
		return e.EndpointResolverV2.ResolveEndpoint(ctx, p)
	}
	key := parameters{
		region: aws.ToString(p.Region), endpoint: aws.ToString(p.Endpoint), account: aws.ToString(p.AccountId),
		accountMode: aws.ToString(p.AccountIdEndpointMode), resource: aws.ToString(p.ResourceArn),
		dualStack: aws.ToBool(p.UseDualStack), fips: aws.ToBool(p.UseFIPS), search: aws.ToBool(p.IsSearchOperation),
		given: [8]bool{
			p.Region != nil, p.Endpoint != nil, p.AccountId != nil, p.AccountIdEndpointMode != nil, p.ResourceArn != nil,
			p.UseDualStack != nil, p.UseFIPS != nil, p.IsSearchOperation != nil,
		},
	}
	e.mu.Lock()
	endpoint, found := e.known[key]
	e.mu.Unlock()
	if found {
		return endpoint, nil
	}
	endpoint, err := e.EndpointResolverV2.ResolveEndpoint(ctx, p)
	if err != nil {
		return endpoint, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.known) >= maxEndpoints {
		clear(e.known)
	}
	e.known[key] = endpoint
	return endpoint, nil
}
