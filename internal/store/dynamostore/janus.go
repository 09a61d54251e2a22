package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/janus"
)

// DefaultJanusTable is what Janus calls its table of passkeys, in every account.
const DefaultJanusTable = "Passkeys"

// janusPage is how many rows are read at once. Tables made as Janus makes them have 15 read units: a page of a megabyte would
// take a minute's worth at once.
const janusPage = 100

// JanusTable is another program's table, Janus's, for reading. All it calls is Scan.
type JanusTable struct{ db *DB }

var _ janus.Table = (*JanusTable)(nil)

// OpenJanus makes a client for Janus's table, and finds the credentials for it. It does not call DynamoDB yet. An empty
// region is the AWS SDK's, an empty endpoint AWS's own, an empty table [DefaultJanusTable].
func OpenJanus(ctx context.Context, region, endpoint, table string) (*JanusTable, error) {
	if table == "" {
		table = DefaultJanusTable
	}
	if err := CheckTableName(table); err != nil {
		return nil, err
	}
	unused := DefaultChallengesTable // Open wants two tables
	if table == unused {
		unused = DefaultPasskeysTable
	}
	db, err := Open(ctx, Options{
		Region: region, Endpoint: endpoint, PasskeysTable: table, ChallengesTable: unused,
		Budget: 20 * time.Second, Attempt: 5 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	if err := db.credentials(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &JanusTable{db}, nil
}

// Close lets go of the client.
func (t *JanusTable) Close() error { return t.db.Close() }

// Page implements [janus.Table].
func (t *JanusTable) Page(ctx context.Context, after any) (rows []janus.Row, next any, err error) {
	from, _ := after.(attributes)
	limited, cancel := context.WithTimeout(ctx, t.db.budget)
	defer cancel()
	page, err := t.db.client.Scan(limited, &dynamodb.ScanInput{
		TableName: &t.db.passkeys, ConsistentRead: aws.Bool(true), Limit: aws.Int32(janusPage), ExclusiveStartKey: from,
	})
	if err != nil {
		return nil, nil, t.explain(err)
	}
	for _, item := range page.Items {
		rows = append(rows, janusRow(item))
	}
	if len(page.LastEvaluatedKey) > 0 {
		next = attributes(page.LastEvaluatedKey)
	}
	return rows, next, nil
}

func janusRow(item attributes) janus.Row {
	row := make(janus.Row, len(item))
	for name, value := range item {
		switch value := value.(type) {
		case *types.AttributeValueMemberS:
			row[name] = janus.Attribute{Type: "S", Value: value.Value}
		case *types.AttributeValueMemberN:
			row[name] = janus.Attribute{Type: "N", Value: value.Value}
		default:
			row[name] = janus.Attribute{Type: "other"}
		}
	}
	return row
}

// passingKinds are the troubles that may end by themselves: the only ones worth asking again for.
var passingKinds = map[string]bool{
	kindThrottled: true, kindSilent: true, kindUnreachable: true, kindUnreadable: true,
	"InternalServerError": true, "ServiceUnavailable": true, "ServiceUnavailableException": true,
}

// explain is in words for whoever imports. Only what may pass wraps [passkey.StoreUnavailable].
func (t *JanusTable) explain(err error) error {
	err = t.db.explain("Scan", t.db.passkeys, err)
	kind := kindOf(err)
	switch {
	case errors.Is(err, context.Canceled) || passingKinds[kind]:
		return err
	case kind == kindDenied:
		return fmt.Errorf("%v; allow dynamodb:Scan on this table, nothing else is needed of it", err)
	case kind == kindMissing:
		return fmt.Errorf("%v: are the table's name, the region and the account Janus's?", err)
	}
	return errors.New(err.Error())
}
