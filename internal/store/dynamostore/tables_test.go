package dynamostore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// unmade are two tables that do not exist yet. Whatever exists at the end is deleted.
func unmade(t testing.TB) *tables {
	t.Helper()
	name := rand.Text()
	db := &tables{t: t, passkeys: "Passkeys-" + name, challenges: "Challenges-" + name}
	db.client = dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(endpoint), Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	t.Cleanup(func() {
		for _, table := range []string{db.passkeys, db.challenges} {
			_, _ = db.client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &table})
		}
	})
	return db
}

// keyed creates a table with these keys, each written as name and type, such as "pk S": the first is the partition key.
func (db *tables) keyed(table string, keys ...string) {
	db.t.Helper()
	input := &dynamodb.CreateTableInput{TableName: &table, BillingMode: types.BillingModePayPerRequest}
	for i, key := range keys {
		name, kind, _ := strings.Cut(key, " ")
		role := []types.KeyType{types.KeyTypeHash, types.KeyTypeRange}[i]
		input.KeySchema = append(input.KeySchema, types.KeySchemaElement{AttributeName: &name, KeyType: role})
		input.AttributeDefinitions = append(input.AttributeDefinitions,
			types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeType(kind)})
	}
	_, err := db.client.CreateTable(db.t.Context(), input)
	must(db.t, err)
}

// expiring switches a table's time to live on.
func (db *tables) expiring(table, attribute string) {
	db.t.Helper()
	_, err := db.client.UpdateTimeToLive(db.t.Context(), &dynamodb.UpdateTimeToLiveInput{
		TableName: &table, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: &attribute, Enabled: aws.Bool(true)},
	})
	must(db.t, err)
}

// exist returns which of the two tables exist.
func (db *tables) exist() (names []string) {
	db.t.Helper()
	for _, table := range []string{db.passkeys, db.challenges} {
		if _, err := db.client.DescribeTable(db.t.Context(), &dynamodb.DescribeTableInput{TableName: &table}); err == nil {
			names = append(names, table)
		}
	}
	return names
}

// cloud stands in front of DynamoDB Local and adds what AWS has and that has not: point-in-time recovery, deletion
// protection, and tables that take a while to be created. It notes every call.
type cloud struct {
	url     string
	backend http.Transport

	mu        sync.Mutex
	calls     []call
	recovery  map[string]bool // by table: point-in-time recovery is on
	protected map[string]bool
	slow      int             // so many descriptions of a new table say that it is being created
	fresh     map[string]int  // by table: how many are left
	busy      map[string]int  // by operation: how often it is refused because the table is being changed
	denied    map[string]bool // by operation
	lost      map[string]int  // by operation: how many calls until the answer to one is lost
}

// call is one operation on one table.
type call struct{ operation, table string }

func newCloud(t testing.TB) *cloud {
	c := &cloud{recovery: map[string]bool{}, protected: map[string]bool{}, fresh: map[string]int{}, busy: map[string]int{}, denied: map[string]bool{}, lost: map[string]int{}}
	c.backend.MaxIdleConnsPerHost = 128
	server := httptest.NewServer(c)
	t.Cleanup(func() {
		server.Close()
		c.backend.CloseIdleConnections()
	})
	c.url = server.URL
	return c
}

type object = map[string]any

// request is what it looks at of a call.
type request struct {
	TableName                        string
	DeletionProtectionEnabled        bool
	PointInTimeRecoverySpecification struct{ PointInTimeRecoveryEnabled bool }
	TransactItems                    []map[string]struct{ TableName string }
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	var asked request
	if err := json.Unmarshal(body, &asked); err != nil {
		panic(http.ErrAbortHandler)
	}
	status, answer := c.itself(operation, asked)
	if answer == nil {
		out, err := http.NewRequest("POST", endpoint, bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		out.Header = r.Header.Clone()
		in, err := c.backend.RoundTrip(out)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer in.Body.Close()
		if err := json.NewDecoder(in.Body).Decode(&answer); err != nil {
			panic(http.ErrAbortHandler)
		}
		status = in.StatusCode
		if c.add(operation, asked, status, answer) {
			panic(http.ErrAbortHandler)
		}
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// itself notes a call and answers what DynamoDB Local could not; nil for the rest.
func (c *cloud) itself(operation string, asked request) (status int, answer object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if operation != "TransactWriteItems" {
		c.calls = append(c.calls, call{operation, asked.TableName})
	}
	for _, item := range asked.TransactItems { // what IAM asks for: the items' actions
		for action, of := range item {
			name, ok := map[string]string{"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}[action]
			if !ok {
				panic("unknown part of a transaction: " + action)
			}
			c.calls = append(c.calls, call{name, of.TableName})
		}
	}
	switch {
	case c.denied[operation]:
		return 400, object{"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "User: arn:aws:iam::1:user/x is not authorized to perform: dynamodb:" + operation}
	case c.busy[operation] > 0:
		c.busy[operation]--
		name := "ResourceInUseException"
		if operation == "UpdateContinuousBackups" {
			name = "ContinuousBackupsUnavailableException"
		}
		return 400, object{"__type": "com.amazonaws.dynamodb.v20120810#" + name, "message": "try again"}
	case operation == "UpdateContinuousBackups":
		c.recovery[asked.TableName] = asked.PointInTimeRecoverySpecification.PointInTimeRecoveryEnabled
		fallthrough
	case operation == "DescribeContinuousBackups":
		status := map[bool]string{true: "ENABLED", false: "DISABLED"}[c.recovery[asked.TableName]]
		return 200, object{"ContinuousBackupsDescription": object{
			"ContinuousBackupsStatus": "ENABLED", "PointInTimeRecoveryDescription": object{"PointInTimeRecoveryStatus": status},
		}}
	case operation == "UpdateTable": // of nothing but its protection
		c.protected[asked.TableName] = asked.DeletionProtectionEnabled
		return 200, object{"TableDescription": object{}}
	}
	return 0, nil
}

// add adds to an answer what DynamoDB Local leaves out. It tells whether to lose the answer.
func (c *cloud) add(operation string, asked request, status int, answer object) (lose bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if status == 200 && operation == "CreateTable" {
		c.protected[asked.TableName], c.fresh[asked.TableName] = asked.DeletionProtectionEnabled, c.slow
	}
	if described, ok := answer["Table"].(object); ok {
		described["DeletionProtectionEnabled"] = c.protected[asked.TableName]
		if c.fresh[asked.TableName] > 0 {
			c.fresh[asked.TableName]--
			described["TableStatus"] = "CREATING"
		}
	}
	c.lost[operation]--
	return c.lost[operation] == 0
}

// loses loses the answer to the nth of the coming calls of an operation, after it was applied.
func (c *cloud) loses(operation string, nth int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost[operation] = nth
}

// take returns the calls so far, and forgets them.
func (c *cloud) take() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}
