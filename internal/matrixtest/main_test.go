package matrixtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/stepgate/stepgate/internal/dynamotest"
	"github.com/stepgate/stepgate/internal/faulttest"
)

// endpoint is where DynamoDB Local answers.
var endpoint string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL:", err)
			return 1
		}
	}
	launched, stop, err := dynamotest.Launch()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	defer stop()
	endpoint = launched
	return m.Run()
}

// tables are a pair of tables.
type tables struct{ passkeys, challenges string }

func newTables(t *testing.T, name string) tables {
	t.Helper()
	made := tables{"Passkeys-" + name, "Challenges-" + name}
	type m = map[string]any
	for _, table := range []string{made.passkeys, made.challenges} {
		call(t, "CreateTable", m{
			"TableName": table, "BillingMode": "PAY_PER_REQUEST",
			"KeySchema":            []m{{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}},
			"AttributeDefinitions": []m{{"AttributeName": "pk", "AttributeType": "S"}, {"AttributeName": "sk", "AttributeType": "S"}},
		})
	}
	return made
}

// row reads one row past every store; nil when there is none.
func (made tables) row(t *testing.T, partition, sort string) faulttest.Row {
	t.Helper()
	answer := call(t, "GetItem", map[string]any{
		"TableName": made.passkeys, "ConsistentRead": true,
		"Key": map[string]any{"pk": map[string]string{"S": partition}, "sk": map[string]string{"S": sort}},
	})
	if rows := faulttest.RowsOf(answer); len(rows) > 0 {
		return rows[0]
	}
	return nil
}

// direct has connections of its own, beside those of any cell.
var direct = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// call makes one call of DynamoDB's API, without the AWS SDK: any signature will do for DynamoDB Local.
func call(t *testing.T, operation string, input any) []byte {
	t.Helper()
	body, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=local/20260101/eu-west-1/dynamodb/aws4_request, SignedHeaders=host, Signature=none")
	answer, err := direct.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s", operation, answer.StatusCode, text)
	}
	return text
}
