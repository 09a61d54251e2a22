package dynamostore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/janus"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// newJanus makes a table as Janus does, with so many rows of as many users, and returns its name.
func newJanus(t *testing.T, rows int) string {
	t.Helper()
	client, name := newTables(t).client, "Passkeys-"+rand.Text()
	text := func(name string, kind types.KeyType) (types.AttributeDefinition, types.KeySchemaElement) {
		return types.AttributeDefinition{AttributeName: &name, AttributeType: types.ScalarAttributeTypeS}, types.KeySchemaElement{AttributeName: &name, KeyType: kind}
	}
	user, partition := text("username", types.KeyTypeHash)
	id, sort := text("credentialId", types.KeyTypeRange)
	_, err := client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: &name, AttributeDefinitions: []types.AttributeDefinition{user, id}, KeySchema: []types.KeySchemaElement{partition, sort},
		ProvisionedThroughput: &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(15), WriteCapacityUnits: aws.Int64(15)},
	})
	must(t, err)
	t.Cleanup(func() {
		_, err := client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &name})
		must(t, err)
	})
	for i := range rows {
		_, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &name, Item: map[string]types.AttributeValue{
			"username":     &types.AttributeValueMemberS{Value: fmt.Sprintf("user%03d", i)},
			"credentialId": &types.AttributeValueMemberS{Value: "id"},
			"authCounter":  &types.AttributeValueMemberN{Value: "4294967295"},
			"odd":          &types.AttributeValueMemberBOOL{Value: true},
		}})
		must(t, err)
	}
	return name
}

// readAll reads the table to its end.
func readAll(ctx context.Context, table *dynamostore.JanusTable) (rows []janus.Row, pages int, err error) {
	var at any
	for {
		page, next, err := table.Page(ctx, at)
		if err != nil {
			return nil, 0, err
		}
		rows, pages = append(rows, page...), pages+1
		if next == nil {
			return rows, pages, nil
		}
		at = next
	}
}

func TestJanus(t *testing.T) {
	proxy := faulttest.New(t, endpoint)
	table, err := dynamostore.OpenJanus(t.Context(), "", proxy.URL, newJanus(t, 250))
	must(t, err)
	defer table.Close()
	rows, pages, err := readAll(t.Context(), table)
	must(t, err)
	seen := map[string]bool{}
	for _, row := range rows {
		seen[row["username"].Value] = true
		want := janus.Row{"username": row["username"], "credentialId": {Type: "S", Value: "id"}, "authCounter": {Type: "N", Value: "4294967295"}, "odd": {Type: "other"}}
		same(t, "row", row, want)
	}
	if len(seen) != 250 || pages != 3 {
		t.Errorf("%d rows in %d pages", len(seen), pages)
	}
	for _, call := range proxy.Calls() {
		if call.Operation != "Scan" || !strings.Contains(string(call.Request), `"ConsistentRead":true`) {
			t.Errorf("called %s with %s", call.Operation, call.Request)
		}
	}
	if len(proxy.Calls()) != 3 {
		t.Errorf("%d calls", len(proxy.Calls()))
	}
}

// Only what may pass is worth asking again for; the rest says what to do.
func TestJanusTroubles(t *testing.T) {
	name := newJanus(t, 1)
	for _, test := range []struct {
		kind    faulttest.Kind
		passing bool
		want    string
	}{
		{faulttest.AccessDenied, false, `may not call dynamodb:Scan on the table "` + name + `" in eu-west-1 at `},
		{faulttest.AccessDenied, false, "allow dynamodb:Scan on this table, nothing else is needed of it"},
		{faulttest.ResourceNotFound, false, "are the table's name, the region and the account Janus's?"},
		{faulttest.Expired, false, "does not accept these credentials"},
		{faulttest.Throttle, true, "throttles Scan"},
		{faulttest.RequestLimit, true, "throttles Scan"},
		{faulttest.ServerError, true, "InternalServerError"},
		{faulttest.DropBefore, true, "can't be reached"},
	} {
		proxy := faulttest.New(t, endpoint)
		table, err := dynamostore.OpenJanus(t.Context(), "eu-west-1", proxy.URL, name)
		must(t, err)
		lift := proxy.Inject(faulttest.Fault{Operation: "Scan", Kind: test.kind})
		_, _, err = readAll(t.Context(), table)
		says(t, err, test.want)
		if errors.Is(err, passkey.StoreUnavailable) != test.passing {
			t.Errorf("%v: passing is %t", err, !test.passing)
		}
		lift()
		rows, _, err := readAll(t.Context(), table)
		if err != nil || len(rows) != 1 {
			t.Errorf("afterwards: %d rows, %v", len(rows), err)
		}
		must(t, table.Close())
	}
	table, err := dynamostore.OpenJanus(t.Context(), "", endpoint, "NoSuchTable")
	must(t, err)
	_, _, err = table.Page(t.Context(), nil)
	says(t, err, `there is no table "NoSuchTable"`, "are the table's name")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err = table.Page(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOpenJanusRefuses(t *testing.T) {
	for want, options := range map[string][3]string{
		"is no AWS region":         {"Ireland", "", ""},
		"is no endpoint":           {"", "localhost", ""},
		"can't be a table's name":  {"", "", "a/b"},
		"no password: credentials": {"", "http://u:p@localhost", ""},
	} {
		_, err := dynamostore.OpenJanus(t.Context(), options[0], options[1], options[2])
		if want == "no password: credentials" {
			want = "credentials come from the AWS SDK's chain"
		}
		says(t, err, want)
	}
	for _, name := range []string{"", dynamostore.DefaultChallengesTable, strings.Repeat("a", 255)} {
		table, err := dynamostore.OpenJanus(t.Context(), "", endpoint, name)
		must(t, err)
		must(t, table.Close())
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := dynamostore.OpenJanus(t.Context(), "", endpoint, "")
	says(t, err, "no AWS credentials: the SDK looked in the environment")
}
