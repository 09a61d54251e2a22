package dynamostore_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// seconds are how long something took.
var seconds = regexp.MustCompile(`\([0-9]+s\)`)

// create creates the tables through an endpoint and returns what it said, with short names and without times.
func (db *tables) create(url string) ([]string, error) {
	db.t.Helper()
	var said []string
	err := db.open(dynamostore.Options{Endpoint: url}).Create(db.t.Context(), dynamostore.CreateOptions{
		Poll: 10 * time.Millisecond,
		Progress: func(line string) {
			line = strings.NewReplacer(db.passkeys, "P", db.challenges, "C").Replace(line)
			said = append(said, seconds.ReplaceAllString(line, "(…)"))
		},
	})
	return said, err
}

// well fails unless the tables are as they must be, as far as an endpoint tells.
func (db *tables) well(url string) dynamostore.Report {
	db.t.Helper()
	report, err := db.open(dynamostore.Options{Endpoint: url}).Inspect(db.t.Context())
	must(db.t, err)
	warns(db.t, report)
	if len(report.Advice) > 0 {
		db.t.Errorf("advice: %q", report.Advice)
	}
	return report
}

func saidAre(t testing.TB, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what it said differs (-want +got):\n%s", diff)
	}
}

// On DynamoDB Local, which has neither recovery nor protection: that is said, and no reason to stop.
func TestCreate(t *testing.T) {
	db := unmade(t)
	said, err := db.create("")
	must(t, err)
	saidAre(t, said, "P: creating…", "C: creating…", "P: active (…)", "C: active (…)",
		"P: this server has no point-in-time recovery", "P: this server has no deletion protection", "C: time to live (expires_at) is on")
	report := db.well("")
	if p := report.Tables[0]; p.Paid != "on demand" || p.Recovery != dynamostore.Unsupported || p.Protection != dynamostore.Unsupported {
		t.Errorf("%+v", p)
	}
	register(t, db.open(dynamostore.Options{}).For(rpID), "ada", newPasskey("key"))
	before := db.items(db.passkeys)

	said, err = db.create("")
	must(t, err)
	saidAre(t, said, "P: exists", "C: exists",
		"P: this server has no point-in-time recovery", "P: this server has no deletion protection", "C: time to live (expires_at) is on")
	same(t, "what the table holds", db.items(db.passkeys), before)
}

// As on AWS: it takes a while, and a table that is being changed can't be changed.
func TestCreateOnAWS(t *testing.T) {
	db, aws := unmade(t), newCloud(t)
	aws.slow = 3
	aws.busy["UpdateContinuousBackups"] = 2
	said, err := db.create(aws.url)
	must(t, err)
	saidAre(t, said, "P: creating…", "C: creating…", "P: active (…)", "C: active (…)",
		"P: point-in-time recovery is on", "P: deletion protection is on", "C: time to live (expires_at) is on")
	report := db.well(aws.url)
	p, c := report.Tables[0], report.Tables[1]
	if p.Recovery != dynamostore.On || p.Protection != dynamostore.On || c.Recovery != dynamostore.Needless || c.Protection != dynamostore.Needless {
		t.Errorf("%+v", report)
	}
	for _, call := range aws.take() {
		if call.operation == "UpdateTable" { // it was created with its protection
			t.Errorf("%v", call)
		}
	}
	_, err = db.create(aws.url)
	must(t, err)
	for _, call := range aws.take() {
		if !strings.HasPrefix(call.operation, "Describe") {
			t.Errorf("of tables that are right it asked for %v", call)
		}
	}
}

// Tables that somebody made by hand are completed.
func TestCreateCompletes(t *testing.T) {
	db, aws := newTables(t), newCloud(t)
	aws.busy["UpdateTable"] = 2
	report, err := db.open(dynamostore.Options{Endpoint: aws.url}).Inspect(t.Context())
	must(t, err)
	if len(report.Advice) != 2 || !strings.Contains(report.Advice[0], "not protected from deletion") || !strings.Contains(report.Advice[1], "no point-in-time recovery") {
		t.Errorf("%q", report.Advice)
	}
	said, err := db.create(aws.url)
	must(t, err)
	saidAre(t, said, "P: exists", "C: exists", "P: point-in-time recovery is on", "P: deletion protection is on", "C: time to live (expires_at) is on")
	db.well(aws.url)

	half := unmade(t) // interrupted after the first
	half.keyed(half.passkeys, "pk S", "sk S")
	said, err = half.create("")
	must(t, err)
	saidAre(t, said[:3], "P: exists", "C: creating…", "C: active (…)")
	half.well("")
}

// What it can't make right, it finds before it changes anything.
func TestCreateRefuses(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(*tables)
		says string
	}{
		{"passkeys' keys", func(db *tables) { db.keyed(db.passkeys, "id S") }, "as a table's keys can't be changed, name another one as passkeys_table"},
		{"challenges' keys", func(db *tables) { db.keyed(db.challenges, "pk S", "sk B") }, "has the keys pk (string, partition key), sk (binary, sort key)"},
		{"time to live of another attribute", func(db *tables) {
			db.keyed(db.challenges, "pk S", "sk S")
			db.expiring(db.challenges, "ttl")
		}, `is on for the attribute "ttl", not for "expires_at"`},
		{"time to live of passkeys", func(db *tables) {
			db.keyed(db.passkeys, "pk S", "sk S")
			db.expiring(db.passkeys, "ttl")
		}, "DANGER"},
	} {
		t.Run(row.name, func(t *testing.T) {
			db := unmade(t)
			row.make(db)
			before := db.exist()
			said, err := db.create("")
			if !errors.Is(err, dynamostore.ErrTables) {
				t.Errorf("not definite: %v", err)
			}
			says(t, err, row.says)
			if diff := cmp.Diff(before, db.exist()); diff != "" || len(said) != 0 {
				t.Errorf("it changed something: %s %q", diff, said)
			}
		})
	}
}

func TestCreateDenied(t *testing.T) {
	for _, operation := range []string{"DescribeTable", "DescribeTimeToLive", "DescribeContinuousBackups"} {
		db, aws := newTables(t), newCloud(t)
		aws.denied[operation] = true
		said, err := db.create(aws.url)
		says(t, err, "access denied: these credentials may not ask what the table", "--print iam-admin")
		if !errors.Is(err, passkey.StoreUnavailable) || len(said) != 0 {
			t.Errorf("%s: %v %q", operation, err, said)
		}
	}
	for _, operation := range []string{"CreateTable", "UpdateTimeToLive", "UpdateContinuousBackups"} {
		db, aws := unmade(t), newCloud(t)
		aws.denied[operation] = true
		_, err := db.create(aws.url)
		says(t, err, "access denied: these credentials may not call dynamodb:"+operation)
		aws.denied[operation] = false
		_, err = db.create(aws.url)
		must(t, err)
		db.well(aws.url)
	}
}

// Answers that are lost are not taken for failures: what counts is what the table says.
func TestCreateLosesAnswers(t *testing.T) {
	for _, operation := range []string{"CreateTable", "UpdateTimeToLive"} {
		db := unmade(t)
		proxy := faulttest.New(t, endpoint)
		proxy.Inject(faulttest.Fault{Operation: operation, Kind: faulttest.DropAfter, Count: 1})
		_, err := db.create(proxy.URL)
		must(t, err)
		db.well("")
	}
}

// Two who run it at once both end well.
func TestCreateTwice(t *testing.T) {
	db := unmade(t)
	var both sync.WaitGroup
	for range 2 {
		opened := db.open(dynamostore.Options{})
		both.Go(func() {
			if err := opened.Create(t.Context(), dynamostore.CreateOptions{Poll: 10 * time.Millisecond}); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	db.well("")
}

func TestCreateWaits(t *testing.T) {
	db, aws := unmade(t), newCloud(t)
	aws.slow = 1 << 30
	opened := db.open(dynamostore.Options{Endpoint: aws.url})
	err := opened.Create(t.Context(), dynamostore.CreateOptions{Timeout: 4 * time.Second, Poll: 10 * time.Millisecond})
	says(t, err, "not done after 4s; running it again goes on where this stopped", "is not ready, its status is CREATING")

	ctx, cancel := context.WithCancel(t.Context())
	err = opened.Create(ctx, dynamostore.CreateOptions{Poll: 10 * time.Millisecond, Progress: func(line string) {
		if strings.HasSuffix(line, db.challenges+": creating…") || strings.HasSuffix(line, db.challenges+": exists") {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	says(t, err, "interrupted, and safe to repeat")
}

func TestCreateUnreachable(t *testing.T) {
	db := unmade(t)
	proxy := faulttest.New(t, endpoint)
	proxy.Inject(faulttest.Fault{Kind: faulttest.ResetBefore})
	began := time.Now()
	said, err := db.create(proxy.URL)
	says(t, err, "can't be reached")
	if took := time.Since(began); took > 7*time.Second || len(said) > 0 {
		t.Errorf("after %v it said %q", took, said)
	}
}
