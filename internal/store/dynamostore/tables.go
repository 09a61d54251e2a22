package dynamostore

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Tables names the two tables.
type Tables struct{ Passkeys, Challenges string }

// spec is what one of the tables must be: what [DB.Create] makes, [DB.Check] asks for and [Print] prints.
//
// Passkeys are precious: who loses them asks everybody to register anew, and first use is open again (docs/rules.md,
// rule 10). So their table has point-in-time recovery and is protected from deletion. Challenges live for minutes, and a
// gateway that loses them asks people to begin again; restoring them would bring used ones back. Their table has neither,
// and a time to live instead.
//
// Both are encrypted at rest with a key that AWS owns, DynamoDB's default: a customer's own KMS key costs a permission
// and a dependency more, and whoever wants one sets it on the table.
type spec struct {
	name     string
	holds    string // "passkeys" or "challenges": the configuration's option is this and "_table"
	precious bool   // point-in-time recovery and deletion protection
	expires  bool   // time to live on expiresAttribute
}

func (t Tables) specs() []spec {
	return []spec{
		{name: t.Passkeys, holds: "passkeys", precious: true},
		{name: t.Challenges, holds: "challenges", expires: true},
	}
}

// withDefaults fills in the names that are not given.
func (t Tables) withDefaults() Tables {
	if t.Passkeys == "" {
		t.Passkeys = DefaultPasskeysTable
	}
	if t.Challenges == "" {
		t.Challenges = DefaultChallengesTable
	}
	return t
}

func (db *DB) specs() []spec { return Tables{db.passkeys, db.challenges}.specs() }

// place says where the tables are, for messages.
func (db *DB) place() string {
	if db.endpoint != "" {
		return db.region + " at " + db.endpoint
	}
	return db.region
}

// Both tables' keys, as DynamoDB's API wants them.
var (
	keySchema = []types.KeySchemaElement{
		{AttributeName: aws.String(partitionKey), KeyType: types.KeyTypeHash},
		{AttributeName: aws.String(sortKey), KeyType: types.KeyTypeRange},
	}
	keyAttributes = []types.AttributeDefinition{
		{AttributeName: aws.String(partitionKey), AttributeType: types.ScalarAttributeTypeS},
		{AttributeName: aws.String(sortKey), AttributeType: types.ScalarAttributeTypeS},
	}
)

// rightKeys is what keysOf says of both tables when they are right.
const rightKeys = partitionKey + " (string, partition key), " + sortKey + " (string, sort key)"

// keysOf says what a table's keys are.
func keysOf(t *types.TableDescription) string {
	kinds := map[string]string{}
	for _, a := range t.AttributeDefinitions {
		kinds[aws.ToString(a.AttributeName)] = map[types.ScalarAttributeType]string{
			types.ScalarAttributeTypeS: "string", types.ScalarAttributeTypeN: "number", types.ScalarAttributeTypeB: "binary",
		}[a.AttributeType]
	}
	roles := map[types.KeyType]string{types.KeyTypeHash: "partition key", types.KeyTypeRange: "sort key"}
	var keys []string
	for _, k := range t.KeySchema {
		name := aws.ToString(k.AttributeName)
		keys = append(keys, name+" ("+kinds[name]+", "+roles[k.KeyType]+")")
	}
	return strings.Join(keys, ", ")
}

// Setting is what is known of a table's setting.
type Setting string

// On and Off are what a setting can be; the others say why that is not known.
const (
	On          Setting = "on"
	Off         Setting = "off"
	Denied      Setting = "may not ask (access denied)"
	Unsupported Setting = "not on this server"
	Unknown     Setting = "not found out"
	Needless    Setting = "not needed"
)

// Table is what was found out about one table. Texts are for people.
type Table struct {
	Name   string
	Holds  string // "passkeys" or "challenges"
	Status string // "active", "creating", "missing", …; or why it is not known
	Keys   string // "" when not known
	Paid   string // "on demand" or "provisioned"; "" when not known

	TTL          Setting // of items: time to live
	TTLAttribute string  // that it is on, or is being switched on or off for
	TTLChanging  bool    // it is being switched on or off; TTL says which

	Recovery   Setting // to a point in time; [DB.Check] does not ask
	Protection Setting // from deletion

	missing  bool
	problem  error    // why it can't be used, or why that is not known; nil: it can, as far as it may be asked
	warnings []string // what is not as it should be, though the gateway works
	advice   []string // what is missing for safety
}

// Report is what was found out about the tables.
type Report struct {
	Place    string   // where they are
	Tables   []Table  // passkeys, challenges
	Warnings []string // one line each: what is not as it should be, and what to do. The gateway works all the same
	Advice   []string // one line each: what would make the data safer

	denied bool // asking about a table was denied, so nothing is known about it
}

// report puts together what was found out about both tables. Its error is the definite problems, if there are any, and
// else what kept it from finding out.
func (db *DB) report(tables []Table) (Report, error) {
	report := Report{Place: db.place(), Tables: tables}
	var found problems
	for _, t := range tables {
		report.Warnings = append(report.Warnings, t.warnings...)
		report.Advice = append(report.Advice, t.advice...)
		report.denied = report.denied || t.Status == string(Denied)
		if t.problem != nil {
			found = append(found, t.problem)
		}
	}
	return report, found.err()
}
