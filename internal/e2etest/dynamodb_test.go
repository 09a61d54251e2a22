package e2etest_test

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

// store is where the gateways of a test keep their records.
type store string

const (
	onFile     store = "file"
	onDynamoDB store = "dynamodb"
)

// onEachStore runs a test on each store: what people see does not depend on it.
func onEachStore(t *testing.T, test func(t *testing.T, on store)) {
	t.Helper()
	t.Parallel()
	for _, on := range []store{onFile, onDynamoDB} {
		t.Run(string(on), func(t *testing.T) {
			t.Parallel()
			test(t, on)
		})
	}
}

// prepare returns a gateway that does not run yet.
func (on store) prepare(t testing.TB) *gateway {
	t.Helper()
	g := prepare(t)
	if on == onDynamoDB {
		tables := newTables(t)
		g.uses(tables, tables.endpoint, newKey(g))
	}
	return g
}

// start runs a gateway with this Caddyfile, whose file store gives way to the one of the test.
func (on store) start(t testing.TB, caddyfile string) *gateway {
	t.Helper()
	g := on.prepare(t)
	g.configure(caddyfile)
	g.run()
	return g
}

// tables are two tables of a test's own.
type tables struct {
	t                              testing.TB
	endpoint, passkeys, challenges string
}

const region = "eu-west-1"

// newTables makes two tables in the DynamoDB Local that all tests share.
func newTables(t testing.TB) *tables {
	t.Helper()
	d := namedTables(t, local(t))
	d.create()
	return d
}

// namedTables names two tables, and makes none.
func namedTables(t testing.TB, endpoint string) *tables {
	name := rand.Text()[:12]
	return &tables{t, endpoint, "Passkeys-" + name, "Challenges-" + name}
}

// create makes the tables, as `stepgate tables create` would.
func (d *tables) create() {
	d.t.Helper()
	for _, name := range []string{d.passkeys, d.challenges} {
		d.createWith(name, "pk", "sk")
	}
	d.call("UpdateTimeToLive", map[string]any{
		"TableName": d.challenges, "TimeToLiveSpecification": map[string]any{"AttributeName": "expires_at", "Enabled": true},
	})
}

// createWith makes a table with these keys.
func (d *tables) createWith(name, partition, sort string) {
	d.t.Helper()
	type m = map[string]any
	d.call("CreateTable", m{
		"TableName": name, "BillingMode": "PAY_PER_REQUEST",
		"KeySchema":            []m{{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}},
		"AttributeDefinitions": []m{{"AttributeName": partition, "AttributeType": "S"}, {"AttributeName": sort, "AttributeType": "S"}},
	})
}

// call makes one call of DynamoDB's API, without the AWS SDK: any signature will do for DynamoDB Local.
func (d *tables) call(operation string, input any) []byte {
	d.t.Helper()
	body, err := json.Marshal(input)
	must(d.t, err)
	r, err := http.NewRequest(http.MethodPost, d.endpoint, bytes.NewReader(body))
	must(d.t, err)
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/"+region+"/dynamodb/aws4_request, SignedHeaders=host, Signature=00")
	answer, err := http.DefaultClient.Do(r)
	must(d.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(d.t, err)
	if answer.StatusCode != http.StatusOK {
		d.t.Fatalf("%s: %s: %s", operation, answer.Status, text)
	}
	return text
}

const secretAccessKey = "the-secret-access-key-of-the-tests"

// uses puts a gateway on tables, reached at an endpoint, which may be a proxy's. keys is what its grant keys are.
func (g *gateway) uses(d *tables, endpoint, keys string) {
	g.store = fmt.Sprintf("store dynamodb {\nregion %s\nendpoint %s\npasskeys_table %s\nchallenges_table %s\n}\ngrant_keys {env.STEPGATE_GRANT_KEYS}",
		region, endpoint, d.passkeys, d.challenges)
	g.environment = []string{
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=" + secretAccessKey, "AWS_EC2_METADATA_DISABLED=true", "STEPGATE_GRANT_KEYS=" + keys,
	}
	g.log.secret("secret access key", secretAccessKey)
	for key := range strings.FieldsSeq(keys) {
		g.log.secret("grant key", key)
	}
}

// newKey makes a grant key as an operator does.
func newKey(g *gateway) string {
	g.t.Helper()
	key, code := g.call("keygen")
	if code != 0 {
		g.t.Fatalf("keygen: %d %q", code, key)
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

func local(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.endpoint, shared.stop, shared.err = dynamotest.Launch() })
	must(t, shared.err)
	return shared.endpoint
}

// stopLocal ends it. No test runs any more.
func stopLocal() {
	if shared.stop != nil {
		shared.stop()
	}
}
