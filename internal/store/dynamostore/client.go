package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// How the SDK's client is set. Its defaults (three attempts, up to 20 s between them, no limit to one attempt) would
// spend a request's whole budget on one attempt that hangs, or on one pause.
const (
	maxConnections = 128                    // to DynamoDB, for all requests together; the others wait for their turn
	dialTimeout    = 800 * time.Millisecond // one connection, before TLS
	idleTimeout    = time.Minute            // shorter than any middlebox forgets a connection
	maxAttempts    = 8                      // of one call; the budget usually ends them first
	firstPause     = 25 * time.Millisecond  // doubled each time, with jitter
	longestPause   = 400 * time.Millisecond
)

// newHTTPClient returns the SDK's own client, which trusts what AWS_CA_BUNDLE says, with our limits.
func newHTTPClient(sdk aws.HTTPClient, attempt time.Duration, clock *clockCheck) *httpClient {
	client, ok := sdk.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	transport := client.
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxConnsPerHost = maxConnections
			t.MaxIdleConns = maxConnections
			t.MaxIdleConnsPerHost = maxConnections
			t.IdleConnTimeout = idleTimeout
			t.TLSHandshakeTimeout = dialTimeout
		}).
		GetTransport()
	// The SDK's client would keep a transport of its own, whose connections nobody can close.
	return &httpClient{&http.Client{Timeout: attempt, Transport: transport, CheckRedirect: stay}, clock}
}

// stay follows no redirect: DynamoDB sends none.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// httpClient notes what becomes of the attempts of each call, in the call's [attempts], and what time DynamoDB says it is.
type httpClient struct {
	next  *http.Client
	clock *clockCheck
}

func (c *httpClient) Do(r *http.Request) (*http.Response, error) {
	note, _ := r.Context().Value(attemptsKey{}).(*attempts)
	if note != nil && note.made > 0 && !note.refused {
		note.unsure = true
	}
	if err := inMemory(r); err != nil {
		return nil, err
	}
	asked := c.clock.ask()
	answer, err := c.next.Do(r) // #nosec G704 -- to DynamoDB: the address is the configuration's
	if err == nil {
		c.clock.saw(asked, c.clock.now(), answer.Header)
	}
	if note != nil {
		note.made++
		note.refused = err == nil && answer.StatusCode >= 400 && answer.StatusCode < 500
	}
	return answer, err
}

// inMemory gives a request a body of which net/http knows that it need not wait for it: of any other it sends the header first, in
// a packet, and a TLS record, of its own.
func inMemory(r *http.Request) error {
	if r.Body == nil || r.ContentLength <= 0 {
		return nil
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// attempts is what is known of the attempts of one call. Attempts of one call follow each other, so it needs no lock.
type attempts struct {
	made    int
	refused bool // the last one was answered with a 4xx: it was not applied
	unsure  bool // an attempt before the last one may have been applied, though no answer said so
}

type attemptsKey struct{}

// noting returns the context for one call, and what will be known of its attempts.
func noting(ctx context.Context) (context.Context, *attempts) {
	note := new(attempts)
	return context.WithValue(ctx, attemptsKey{}, note), note
}

func newRetryer() aws.RetryerV2 {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		// No bucket of retries shared by all calls: it would be empty after an outage, when everybody tries again. The
		// budget of each request is the limit.
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(pause)
		o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(conflicting), retry.IsErrorRetryableFunc(broken))
	})
}

// onlyRefused makes another attempt only where DynamoDB refused every one before. A write that it did not refuse may still be
// on its way (a closed connection delivers what it has sent, an error may come from something in between), and arrive when
// what it wrote has been used and deleted.
func onlyRefused(note *attempts) func(*dynamodb.Options) {
	return func(o *dynamodb.Options) { o.Retryer = refused{newRetryer(), note} }
}

type refused struct {
	aws.RetryerV2
	note *attempts
}

func (r refused) IsErrorRetryable(err error) bool {
	return r.note.refused && r.RetryerV2.IsErrorRetryable(err)
}

// pause returns how long to wait before another attempt: between half of it and all of it at random, so that those who
// failed together do not come back together.
func pause(attempt int, _ error) (time.Duration, error) {
	full := min(firstPause<<min(attempt, 10), longestPause)
	return full/2 + rand.N(full/2), nil // #nosec G404 -- spreads retries; nothing is secret about it
}

// conflicting lets calls be tried again that came between another's transaction. The SDK does not by itself.
func conflicting(err error) aws.Ternary {
	var (
		single    *types.TransactionConflictException
		cancelled *types.TransactionCanceledException
	)
	switch {
	case errors.As(err, &single):
		return aws.TrueTernary
	case !errors.As(err, &cancelled):
		return aws.UnknownTernary
	}
	again := false
	for _, reason := range cancelled.CancellationReasons {
		switch aws.ToString(reason.Code) {
		case "", "None":
		case "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded":
			again = true
		default:
			return aws.FalseTernary // a condition failed, and will again
		}
	}
	return aws.BoolTernary(again)
}

// broken lets calls be tried again whose answer was cut short or garbled.
func broken(err error) aws.Ternary {
	var unread *smithy.DeserializationError
	if errors.As(err, &unread) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}
