package dynamostore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// lookTime bounds one look at the tables, so that a gateway starts soon where nothing answers.
const lookTime = 5 * time.Second

// look asks about both tables at once. It changes nothing. With everything it also asks what a gateway need not know and
// may not ask.
func (db *DB) look(ctx context.Context, everything bool) []Table {
	bounded, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	specs := db.specs()
	tables := make([]Table, len(specs))
	if err := db.credentials(bounded); err != nil {
		for i, s := range specs {
			tables[i] = Table{Name: s.name, Holds: s.holds, Status: string(Unknown), TTL: Unknown, Recovery: Unknown, Protection: Unknown, problem: err}
		}
		return tables
	}
	var both sync.WaitGroup
	for i, s := range specs {
		both.Go(func() { tables[i] = db.lookAt(bounded, s, everything) })
	}
	both.Wait()
	if ctx.Err() != nil { // ended by the caller: what the calls say of it is of no use
		for i := range tables {
			tables[i].problem = ctx.Err()
		}
	}
	return tables
}

func (db *DB) lookAt(ctx context.Context, s spec, everything bool) Table {
	t := Table{Name: s.name, Holds: s.holds, Status: string(Unknown), TTL: Unknown, Recovery: Unknown, Protection: Unknown}
	out, err := db.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &s.name})
	switch err = db.explain("DescribeTable", s.name, err); {
	case err == nil && out.Table != nil:
		t.judge(s, out.Table, db.place())
	case err == nil:
		t.problem = passingProblem(kindUnreadable, "what answers as DynamoDB in %s is not DynamoDB: it describes no table", db.place())
	case kindOf(err) == kindMissing:
		t.missing, t.Status = true, "missing"
		missing := definite(kindMissing, "there is no table %q in %s", s.name, db.place())
		missing.cure = ": create what is missing with `stepgate tables create` (--config names the configuration), or correct the region"
		t.problem = missing
	case kindOf(err) == kindDenied:
		t.Status, t.Protection = string(Denied), Denied
		t.warnings = append(t.warnings, err.Error()+", so whether it is right is not known; `stepgate tables create --print iam` prints what a gateway may do")
	default:
		t.problem = err
	}
	if t.problem == nil { // whatever else is wrong, this would not change it
		db.lookAtTTL(ctx, s, &t)
	}
	if everything && t.problem == nil {
		db.lookAtRecovery(ctx, s, &t)
	}
	return t
}

// judge notes what a table is, and whether it can be used.
func (t *Table) judge(s spec, d *types.TableDescription, place string) {
	t.Status = strings.ReplaceAll(strings.ToLower(string(d.TableStatus)), "_", " ")
	t.Keys = keysOf(d)
	t.Paid = "provisioned"
	if d.BillingModeSummary != nil && d.BillingModeSummary.BillingMode == types.BillingModePayPerRequest {
		t.Paid = "on demand"
	}
	switch {
	case d.DeletionProtectionEnabled == nil:
		t.Protection = Unsupported
	case *d.DeletionProtectionEnabled:
		t.Protection = On
	case s.precious:
		t.Protection = Off
		t.advice = append(t.advice, fmt.Sprintf("the table %q is not protected from deletion: `stepgate tables create` switches that on", s.name))
	default:
		t.Protection = Needless
	}
	if len(d.Replicas) > 0 {
		t.warnings = append(t.warnings, fmt.Sprintf("the table %q is replicated to other regions (a global table), where DynamoDB decides by itself: "+
			"let all gateways use one region, or a challenge can be used in each and a removed passkey go on working", s.name))
	}

	switch d.TableStatus {
	case types.TableStatusDeleting:
		t.problem = definite("deleting", "the table %q in %s is being deleted: once it is gone, `stepgate tables create` creates a new one", s.name, place)
	case types.TableStatusArchiving, types.TableStatusArchived:
		t.problem = definite("archived", "the table %q in %s was archived by AWS because its KMS key could not be used: restore it from that backup "+
			"under another name, and name that one as %s_table", s.name, place, s.holds)
	case types.TableStatusActive, types.TableStatusUpdating:
	default:
		t.problem = passingProblem(string(d.TableStatus), "the table %q in %s is not ready, its status is %s", s.name, place, d.TableStatus)
	}
	if t.Keys != rightKeys && d.TableStatus != types.TableStatusDeleting {
		t.problem = definite("keys", "the table %q in %s has the keys %s and must have %s; as a table's keys can't be changed, name another one as %s_table, "+
			"and `stepgate tables create` creates it", s.name, place, t.Keys, rightKeys, s.holds)
	}
}

func (db *DB) lookAtTTL(ctx context.Context, s spec, t *Table) {
	out, err := db.client.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &s.name})
	if err := db.explain("DescribeTimeToLive", s.name, err); err != nil {
		switch kindOf(err) {
		case kindDenied:
			t.TTL = Denied
			t.warnings = append(t.warnings, err.Error()+", so whether its time to live is right is not known")
		case kindUnsupported:
			t.TTL = Unsupported
		default:
			t.problem = err
		}
		return
	}
	d := out.TimeToLiveDescription
	if d == nil {
		d = &types.TimeToLiveDescription{TimeToLiveStatus: types.TimeToLiveStatusDisabled}
	}
	t.TTLAttribute = printable(aws.ToString(d.AttributeName))
	t.TTL = Off
	switch d.TimeToLiveStatus {
	case types.TimeToLiveStatusEnabled:
		t.TTL = On
	case types.TimeToLiveStatusEnabling:
		t.TTL, t.TTLChanging = On, true
	case types.TimeToLiveStatusDisabling:
		t.TTLChanging = true
	}
	if warning := t.ttlWarning(s); warning != "" {
		t.warnings = append(t.warnings, warning)
	}
}

// ttlWarning says what is wrong with a table's time to live; "" when it is right. DynamoDB deletes what it takes for
// expired without asking, so the passkeys' table must have none: not even one on an attribute that no record has today.
func (t *Table) ttlWarning(s spec) string {
	switch {
	case !s.expires && t.TTL == On:
		return fmt.Sprintf("DANGER: the time to live of the passkeys' table %q is on, for the attribute %q: DynamoDB deletes passkeys and users whose records "+
			"have that attribute. Switch it off: `aws dynamodb update-time-to-live --table-name %s --time-to-live-specification Enabled=false,AttributeName=%s`",
			t.Name, t.TTLAttribute, t.Name, shellWord(t.TTLAttribute))
	case !s.expires:
		return ""
	case t.TTL == On && t.TTLAttribute != expiresAttribute:
		return fmt.Sprintf("the time to live of the table %q is on for the attribute %q, not for %q, so expired challenges stay and are paid for. Switch it off "+
			"(`aws dynamodb update-time-to-live --table-name %s --time-to-live-specification Enabled=false,AttributeName=%s`), and an hour later run `stepgate tables create`",
			t.Name, t.TTLAttribute, expiresAttribute, t.Name, shellWord(t.TTLAttribute))
	case t.TTL == Off && t.TTLChanging:
		return fmt.Sprintf("the time to live of the table %q is being switched off, so expired challenges stay and are paid for: "+
			"`stepgate tables create` switches it on again, an hour later, as DynamoDB allows one change an hour", t.Name)
	case t.TTL == Off:
		return fmt.Sprintf("the time to live of the table %q is off, so expired challenges stay and are paid for: `stepgate tables create` switches it on", t.Name)
	}
	return ""
}

func (db *DB) lookAtRecovery(ctx context.Context, s spec, t *Table) {
	if !s.precious {
		t.Recovery = Needless
		return
	}
	out, err := db.client.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &s.name})
	if err := db.explain("DescribeContinuousBackups", s.name, err); err != nil {
		switch kindOf(err) {
		case kindDenied:
			t.Recovery = Denied
		case kindUnsupported:
			t.Recovery = Unsupported
		default:
			t.problem = err
		}
		return
	}
	t.Recovery = Off
	if d := out.ContinuousBackupsDescription; d != nil && d.PointInTimeRecoveryDescription != nil &&
		d.PointInTimeRecoveryDescription.PointInTimeRecoveryStatus == types.PointInTimeRecoveryStatusEnabled {
		t.Recovery = On
		return
	}
	t.advice = append(t.advice, fmt.Sprintf("the table %q has no point-in-time recovery: `stepgate tables create` switches that on", s.name))
}
