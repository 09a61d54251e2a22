package dynamostore_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	transport "github.com/aws/smithy-go/endpoints"

	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// countingRules are the SDK's rules, and how often they were asked.
type countingRules struct {
	dynamodb.EndpointResolverV2
	asked int
}

func (r *countingRules) ResolveEndpoint(ctx context.Context, p dynamodb.EndpointParameters) (transport.Endpoint, error) {
	r.asked++
	return r.EndpointResolverV2.ResolveEndpoint(ctx, p)
}

// Where a call goes is what the SDK says, whoever asked before, and the SDK is asked once.
func TestEndpointsAreTheSDKs(t *testing.T) {
	rules := &countingRules{EndpointResolverV2: dynamodb.NewDefaultEndpointResolverV2()}
	remembered := dynamostore.NewEndpoints(rules)
	// Each is base with one parameter more, or another.
	base := dynamodb.EndpointParameters{Region: aws.String("eu-west-1"), UseDualStack: aws.Bool(false), UseFIPS: aws.Bool(false), AccountIdEndpointMode: aws.String("preferred")}
	all := []dynamodb.EndpointParameters{base}
	for _, edit := range []func(*dynamodb.EndpointParameters){
		func(p *dynamodb.EndpointParameters) { p.Region = aws.String("us-gov-west-1") },
		func(p *dynamodb.EndpointParameters) { p.UseFIPS = aws.Bool(true) },
		func(p *dynamodb.EndpointParameters) { p.UseDualStack = aws.Bool(true) },
		func(p *dynamodb.EndpointParameters) { p.AccountId = aws.String("123456789012") },
		func(p *dynamodb.EndpointParameters) { p.AccountId = aws.String("210987654321") },
		func(p *dynamodb.EndpointParameters) {
			p.AccountId, p.AccountIdEndpointMode = aws.String("123456789012"), aws.String("disabled")
		},
		func(p *dynamodb.EndpointParameters) { p.Endpoint = aws.String("http://localhost:8000") },
		func(p *dynamodb.EndpointParameters) { p.Endpoint = aws.String("http://localhost:8001/x") },
		func(p *dynamodb.EndpointParameters) { p.ResourceArn = aws.String("StepgatePasskeys") },
		func(p *dynamodb.EndpointParameters) {
			p.ResourceArn = aws.String("arn:aws:dynamodb:eu-west-1:123456789012:table/StepgatePasskeys")
		},
	} {
		p := base
		edit(&p)
		all = append(all, p)
	}
	for round := range 2 {
		rules.asked = 0
		for i, p := range all {
			want, wantErr := rules.EndpointResolverV2.ResolveEndpoint(t.Context(), p)
			got, err := remembered.ResolveEndpoint(t.Context(), p)
			if wantErr != nil || err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("round %d, %d: %v, %v, want %v, %v", round, i, got, err, want, wantErr)
			}
		}
		if want := len(all) * (1 - round); rules.asked != want {
			t.Errorf("round %d: asked %d times, want %d", round, rules.asked, want)
		}
	}

	rules.asked = 0
	lists, wrong := base, base
	lists.ResourceArnList = []string{"StepgatePasskeys"}
	wrong.Region = nil
	for range 2 {
		if _, err := remembered.ResolveEndpoint(t.Context(), lists); err != nil {
			t.Error(err)
		}
		if _, err := remembered.ResolveEndpoint(t.Context(), wrong); err == nil {
			t.Error("no region, and no error")
		}
	}
	if rules.asked != 4 {
		t.Errorf("lists and errors were remembered: asked %d times", rules.asked)
	}
	for i := range 1000 { // of whatever: it is bounded, and still right
		p := base
		p.AccountId = aws.String(fmt.Sprintf("%012d", i))
		want, _ := rules.EndpointResolverV2.ResolveEndpoint(t.Context(), p)
		if got, err := remembered.ResolveEndpoint(t.Context(), p); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%d: %v, %v, want %v", i, got, err, want)
		}
	}
}
