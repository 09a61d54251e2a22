package gatewaytest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/dynamotest"
)

// Store is where the gateways of a test keep their records.
type Store string

const (
	OnFile     Store = "file"
	OnDynamoDB Store = "dynamodb"
)

// OnEachStore runs a test on each store: what people see does not depend on it.
func OnEachStore(t *testing.T, test func(t *testing.T, on Store)) {
	t.Helper()
	t.Parallel()
	for _, on := range []Store{OnFile, OnDynamoDB} {
		t.Run(string(on), func(t *testing.T) {
			t.Parallel()
			test(t, on)
		})
	}
}

// Prepare returns a gateway that does not run yet.
func (on Store) Prepare(t testing.TB) *Gateway {
	t.Helper()
	g := Prepare(t)
	if on == OnDynamoDB {
		tables := NewTables(t)
		g.Uses(tables, tables.Endpoint, NewKey(g))
	}
	return g
}

// Start runs a gateway with this Caddyfile, whose file store gives way to the one of the test.
func (on Store) Start(t testing.TB, caddyfile string) *Gateway {
	t.Helper()
	g := on.Prepare(t)
	g.Configure(caddyfile)
	g.Run()
	return g
}

// Tables are two tables of a test's own.
type Tables struct {
	T                              testing.TB
	Endpoint, Passkeys, Challenges string
}

const Region = "eu-west-1"

// NewTables makes two tables in the DynamoDB Local that all tests share.
func NewTables(t testing.TB) *Tables {
	t.Helper()
	d := NamedTables(t, Local(t))
	d.Create()
	return d
}

// NamedTables names two tables, and makes none.
func NamedTables(t testing.TB, endpoint string) *Tables {
	name := rand.Text()[:12]
	return &Tables{t, endpoint, "Passkeys-" + name, "Challenges-" + name}
}

// Create makes the tables, as `stepgate tables create` would.
func (d *Tables) Create() {
	d.T.Helper()
	for _, name := range []string{d.Passkeys, d.Challenges} {
		d.CreateWith(name, "pk", "sk")
	}
	d.Call("UpdateTimeToLive", map[string]any{
		"TableName": d.Challenges, "TimeToLiveSpecification": map[string]any{"AttributeName": "expires_at", "Enabled": true},
	})
}

// CreateWith makes a table with these keys.
func (d *Tables) CreateWith(name, partition, sort string) {
	d.T.Helper()
	type m = map[string]any
	d.Call("CreateTable", m{
		"TableName": name, "BillingMode": "PAY_PER_REQUEST",
		"KeySchema":            []m{{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}},
		"AttributeDefinitions": []m{{"AttributeName": partition, "AttributeType": "S"}, {"AttributeName": sort, "AttributeType": "S"}},
	})
}

// Call makes one call of DynamoDB's API, without the AWS SDK: any signature will do for DynamoDB Local.
func (d *Tables) Call(operation string, input any) []byte {
	d.T.Helper()
	body, err := json.Marshal(input)
	Must(d.T, err)
	r, err := http.NewRequest(http.MethodPost, d.Endpoint, bytes.NewReader(body))
	Must(d.T, err)
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/"+Region+"/dynamodb/aws4_request, SignedHeaders=host, Signature=00")
	answer, err := http.DefaultClient.Do(r)
	Must(d.T, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	Must(d.T, err)
	if answer.StatusCode != http.StatusOK {
		d.T.Fatalf("%s: %s: %s", operation, answer.Status, text)
	}
	return text
}

const SecretAccessKey = "the-secret-access-key-of-the-tests"

// Uses puts a gateway on tables, reached at an endpoint, which may be a proxy's. keys is what its grant keys are.
func (g *Gateway) Uses(d *Tables, endpoint, keys string) {
	g.Store = fmt.Sprintf("store dynamodb {\nregion %s\nendpoint %s\npasskeys_table %s\nchallenges_table %s\n}\ngrant_keys {env.STEPGATE_GRANT_KEYS}",
		Region, endpoint, d.Passkeys, d.Challenges)
	g.Environment = []string{
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=" + SecretAccessKey, "AWS_EC2_METADATA_DISABLED=true", "STEPGATE_GRANT_KEYS=" + keys,
	}
	g.Log.Secret("secret access key", SecretAccessKey)
	for key := range strings.FieldsSeq(keys) {
		g.Log.Secret("grant key", key)
	}
}

// NewKey makes a grant key as an operator does.
func NewKey(g *Gateway) string {
	g.T.Helper()
	key, code := g.Call("keygen")
	if code != 0 {
		g.T.Fatalf("keygen: %d %q", code, key)
	}
	return strings.TrimSpace(key)
}

// shared is the one DynamoDB Local of all tests here, started by the first that needs it.
var shared struct {
	once     sync.Once
	endpoint string
	stop     func()
	err      error
}

func Local(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.endpoint, shared.stop, shared.err = dynamotest.Launch() })
	Must(t, shared.err)
	return shared.endpoint
}

// stopLocal ends it. No test runs any more.
func stopLocal() {
	if shared.stop != nil {
		shared.stop()
	}
}
