package dynamostore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
	"github.com/stepgate/stepgate/internal/store/storetest"
)

const rpID = storetest.RPID

var now = time.Date(2026, time.March, 14, 15, 9, 26, 535897932, time.UTC)

// tables are two empty tables of a test's own, which it can also look into past the store.
type tables struct {
	t                    testing.TB
	client               *dynamodb.Client
	passkeys, challenges string
}

func newTables(t testing.TB) *tables {
	t.Helper()
	name := rand.Text()
	db := &tables{t: t, passkeys: "Passkeys-" + name, challenges: "Challenges-" + name}
	db.client = dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(endpoint), Region: "eu-west-1", Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	for _, table := range []string{db.passkeys, db.challenges} {
		_, err := db.client.CreateTable(t.Context(), &dynamodb.CreateTableInput{
			TableName: &table, BillingMode: types.BillingModePayPerRequest,
			AttributeDefinitions: []types.AttributeDefinition{
				{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS},
				{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS},
			},
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash},
				{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange},
			},
		})
		must(t, err)
		t.Cleanup(func() {
			_, err := db.client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &table})
			must(t, err)
		})
	}
	return db
}

// open opens the tables, through DynamoDB Local itself or something between.
func (db *tables) open(opts dynamostore.Options) *dynamostore.DB {
	db.t.Helper()
	opts.PasskeysTable, opts.ChallengesTable = db.passkeys, db.challenges
	if opts.Endpoint == "" {
		opts.Endpoint = endpoint
	}
	if opts.Budget == 0 {
		opts.Budget = time.Minute // nothing here is about time unless it says so
	}
	if opts.Attempt == 0 {
		opts.Attempt = 20 * time.Second
	}
	opened, err := dynamostore.Open(db.t.Context(), opts)
	must(db.t, err)
	db.t.Cleanup(func() { must(db.t, opened.Close()) })
	return opened
}

type item = map[string]types.AttributeValue

// items returns all items of a table.
func (db *tables) items(table string) []item {
	db.t.Helper()
	out, err := db.client.Scan(db.t.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	must(db.t, err)
	return out.Items
}

func (db *tables) put(table string, it item) {
	db.t.Helper()
	_, err := db.client.PutItem(db.t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: it})
	must(db.t, err)
}

// find returns the one item whose sort key begins so.
func (db *tables) find(table, sortKey string) item {
	db.t.Helper()
	var found []item
	for _, it := range db.items(table) {
		if key := it["sk"].(*types.AttributeValueMemberS).Value; strings.HasPrefix(key, sortKey) {
			found = append(found, it)
		}
	}
	if len(found) != 1 {
		db.t.Fatalf("%d items begin with %s", len(found), sortKey)
	}
	return found[0]
}

func (db *tables) remove(table string, it item) {
	db.t.Helper()
	_, err := db.client.DeleteItem(db.t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: item{"pk": it["pk"], "sk": it["sk"]}})
	must(db.t, err)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newPasskey(seed string) passkey.Passkey {
	return passkey.Passkey{
		ID:           []byte("credential id of " + seed),
		PublicKey:    []byte("public key"),
		Name:         seed,
		CreatedAt:    now,
		LastCeremony: passkey.ChallengeID([]byte("registration of " + seed)),
	}
}

func newChallenge(user, seed string) passkey.Challenge {
	return passkey.Challenge{
		ID:      passkey.ChallengeID([]byte(seed)),
		RPID:    rpID,
		User:    user,
		Action:  passkey.FirstUse,
		Origin:  "https://example.com",
		Expires: now.Add(time.Minute).Truncate(time.Second),
	}
}

func claimOf(c passkey.Challenge) passkey.Claim {
	return passkey.Claim{ID: c.ID, User: c.User, Kind: c.Action.Kind(), Browser: c.Browser}
}

// register registers a user's next passkey.
func register(t testing.TB, s *dynamostore.Store, user string, p passkey.Passkey) passkey.User {
	t.Helper()
	account, err := s.Account(t.Context(), user)
	must(t, err)
	next, err := account.User.Adding(p)
	must(t, err)
	must(t, s.Register(t.Context(), next, p))
	return next
}

// refused fails unless err is the refusal want: not merely an error, nor another refusal.
func refused(t testing.TB, what string, err error, want passkey.Refusal) {
	t.Helper()
	if got := reason(err); got != string(want) {
		t.Errorf("%s: got %s (%v), want %s", what, got, err, want)
	}
}

func reason(err error) string {
	var refusal passkey.Refusal
	switch {
	case err == nil:
		return "accepted"
	case errors.As(err, &refusal):
		return string(refusal)
	}
	return fmt.Sprintf("unknown error %q", err)
}

func same[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}
