package dynamostore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// says fails unless err's text holds every one of these, on one line.
func says(t testing.TB, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one that says %q", want)
		return
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error does not say %q: %v", text, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %v", err)
	}
}

// warns fails unless there is exactly one warning for each of these, which holds it.
func warns(t testing.TB, report dynamostore.Report, want ...string) {
	t.Helper()
	if len(report.Warnings) != len(want) {
		t.Errorf("%d warnings, want %d: %q", len(report.Warnings), len(want), report.Warnings)
		return
	}
	for i, text := range want {
		if !strings.Contains(report.Warnings[i], text) || strings.Contains(report.Warnings[i], "\n") {
			t.Errorf("warning does not say %q: %s", text, report.Warnings[i])
		}
	}
}

// right makes both tables as they must be.
func right(t testing.TB) *tables {
	t.Helper()
	db := newTables(t)
	db.expiring(db.challenges, "expires_at")
	return db
}

func TestCheck(t *testing.T) {
	db := right(t)
	report, err := db.open(dynamostore.Options{}).Check(t.Context())
	must(t, err)
	warns(t, report)
	if report.Place != "eu-west-1 at "+endpoint || len(report.Advice) != 0 {
		t.Errorf("%+v", report)
	}
	const keys = "pk (string, partition key), sk (string, sort key)"
	p, c := report.Tables[0], report.Tables[1]
	if p.Name != db.passkeys || p.Holds != "passkeys" || p.Status != "active" || p.Keys != keys || p.Paid != "on demand" || p.TTL != dynamostore.Off ||
		p.Recovery != dynamostore.Unknown || p.Protection != dynamostore.Unsupported {
		t.Errorf("%+v", p)
	}
	if c.Name != db.challenges || c.Holds != "challenges" || c.Status != "active" || c.Keys != keys || c.TTL != dynamostore.On || c.TTLAttribute != "expires_at" {
		t.Errorf("%+v", c)
	}
}

// What waiting won't mend is told apart and names the table, the place, and what to do.
func TestCheckDefinite(t *testing.T) {
	for _, row := range []struct {
		name string
		make func(*tables)
		says []string
	}{
		{"both are missing", func(*tables) {},
			[]string{`there is no table "Passkeys-`, `; there is no table "Challenges-`, endpoint + ": create what is missing with `stepgate tables create`", "--config"}},
		{"one is missing", func(db *tables) { db.keyed(db.passkeys, "pk S", "sk S") }, []string{`there is no table "Challenges-`}},
		{"no sort key", func(db *tables) { db.keyed(db.passkeys, "pk S"); db.keyed(db.challenges, "pk S", "sk S") },
			[]string{"has the keys pk (string, partition key) and must have pk (string, partition key), sk (string, sort key)", "name another one as passkeys_table"}},
		{"a number", func(db *tables) { db.keyed(db.passkeys, "pk S", "sk S"); db.keyed(db.challenges, "pk S", "sk N") },
			[]string{"has the keys pk (string, partition key), sk (number, sort key) and must", "name another one as challenges_table"}},
		{"other names", func(db *tables) { db.keyed(db.passkeys, "id S", "sk S"); db.keyed(db.challenges, "pk S", "sk S") },
			[]string{"has the keys id (string, partition key), sk (string, sort key) and"}},
		{"the wrong way round", func(db *tables) { db.keyed(db.passkeys, "sk S", "pk S"); db.keyed(db.challenges, "pk S", "sk S") },
			[]string{"has the keys sk (string, partition key), pk (string, sort key) and"}},
		{"one wrong, one missing", func(db *tables) { db.keyed(db.passkeys, "id S") }, []string{"has the keys id", `; there is no table "Challenges-`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			db := unmade(t)
			row.make(db)
			_, err := db.open(dynamostore.Options{}).Check(t.Context())
			if !errors.Is(err, dynamostore.ErrTables) {
				t.Errorf("not definite: %v", err)
			}
			says(t, err, row.says...)
		})
	}
}

// rewriting puts a proxy in front that changes a word of the passkeys table's description.
func rewriting(t testing.TB, db *tables, from, to string) string {
	proxy := faulttest.New(t, endpoint)
	proxy.Inject(faulttest.Fault{Operation: "DescribeTable", Table: db.passkeys, Rewrite: func(body []byte) []byte {
		if !strings.Contains(string(body), from) {
			t.Errorf("%s is not in %s", from, body)
		}
		return []byte(strings.Replace(string(body), from, to, 1))
	}})
	return proxy.URL
}

// The states of a table that DynamoDB Local never gets into.
func TestCheckStates(t *testing.T) {
	db := right(t)
	for status, want := range map[string]struct {
		says     string
		definite bool
	}{
		"UPDATING":                             {"", false},
		"CREATING":                             {"is not ready, its status is CREATING", false},
		"INACCESSIBLE_ENCRYPTION_CREDENTIALS":  {"is not ready, its status is INACCESSIBLE_ENCRYPTION_CREDENTIALS", false},
		"SOMETHING_THAT_AWS_INVENTS_NEXT_YEAR": {"is not ready, its status is SOMETHING", false},
		"DELETING":                             {"is being deleted", true},
		"ARCHIVING":                            {"was archived by AWS", true},
		"ARCHIVED":                             {"was archived by AWS", true},
	} {
		_, err := db.open(dynamostore.Options{Endpoint: rewriting(t, db, `"ACTIVE"`, `"`+status+`"`)}).Check(t.Context())
		if errors.Is(err, dynamostore.ErrTables) != want.definite {
			t.Errorf("%s: %v", status, err)
		}
		if want.says != "" {
			says(t, err, want.says)
		} else {
			must(t, err)
		}
	}
	url := rewriting(t, db, `"TableStatus"`, `"Replicas":[{"RegionName":"us-east-1"}],"TableStatus"`)
	report, err := db.open(dynamostore.Options{Endpoint: url}).Check(t.Context())
	must(t, err)
	warns(t, report, "let all gateways use one region")
}

func TestCheckTimeToLive(t *testing.T) {
	for _, row := range []struct {
		name  string
		make  func(*tables)
		warns []string
	}{
		{"off", func(*tables) {}, []string{"is off, so expired challenges stay"}},
		{"on another attribute", func(db *tables) { db.expiring(db.challenges, "expires") },
			[]string{`is on for the attribute "expires", not for "expires_at"`}},
		{"of passkeys", func(db *tables) { db.expiring(db.challenges, "expires_at"); db.expiring(db.passkeys, "last_used") },
			[]string{`DANGER: the time to live of the passkeys' table "Passkeys-`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			db := newTables(t)
			row.make(db)
			report, err := db.open(dynamostore.Options{}).Check(t.Context())
			must(t, err)
			warns(t, report, row.warns...)
		})
	}
	db := right(t)
	for status, want := range map[string][]string{"ENABLING": nil, "DISABLING": {"is being switched off"}} {
		proxy := faulttest.New(t, endpoint)
		proxy.Inject(faulttest.Fault{Operation: "DescribeTimeToLive", Table: db.challenges, Rewrite: func(body []byte) []byte {
			return []byte(strings.Replace(string(body), `"ENABLED"`, `"`+status+`"`, 1))
		}})
		report, err := db.open(dynamostore.Options{Endpoint: proxy.URL}).Check(t.Context())
		must(t, err)
		warns(t, report, want...)
	}
}

// What keeps it from finding out is not taken for an answer, and says what to do.
func TestCheckIndefinite(t *testing.T) {
	db := right(t)
	indefinite := func(t *testing.T, err error, want ...string) {
		t.Helper()
		if errors.Is(err, dynamostore.ErrTables) || !errors.Is(err, passkey.StoreUnavailable) {
			t.Errorf("%v", err)
		}
		says(t, err, want...)
		if strings.Count(err.Error(), want[0]) != 1 {
			t.Errorf("said twice: %v", err)
		}
	}
	for kind, want := range map[faulttest.Kind][]string{
		faulttest.Throttle:     {"throttles DescribeTable"},
		faulttest.RequestLimit: {"throttles DescribeTable"},
		faulttest.Expired:      {"does not accept these credentials: ExpiredTokenException (The security token included in the request is expired)"},
		faulttest.HTML503:      {"HTTP status 503"},
		faulttest.Hang:         {"did not answer in time", "VPC endpoint"},
		faulttest.ResetBefore:  {"can't be reached", "reset"},
	} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			proxy := faulttest.New(t, endpoint)
			proxy.Inject(faulttest.Fault{Kind: kind})
			began := time.Now()
			_, err := db.open(dynamostore.Options{Endpoint: proxy.URL}).Check(t.Context())
			indefinite(t, err, want...)
			if took := time.Since(began); took > 7*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		must(t, listener.Close())
		_, err = db.open(dynamostore.Options{Endpoint: "http://" + listener.Addr().String()}).Check(t.Context())
		indefinite(t, err, "can't be reached", "connection refused", listener.Addr().String())
	})
	t.Run("an answer that describes nothing", func(t *testing.T) {
		t.Parallel()
		proxy := faulttest.New(t, endpoint)
		proxy.Inject(faulttest.Fault{Rewrite: func([]byte) []byte { return []byte("{}") }})
		_, err := db.open(dynamostore.Options{Endpoint: proxy.URL}).Check(t.Context())
		indefinite(t, err, "describes no table")
	})
}

// Each of these has its own words.
func TestExplain(t *testing.T) {
	aws, local := newTables(t).open(dynamostore.Options{}), unmade(t)
	near, err := dynamostore.Open(t.Context(), dynamostore.Options{Region: "eu-wst-1", PasskeysTable: local.passkeys})
	must(t, err)
	t.Cleanup(func() { must(t, near.Close()) })
	missing := &net.DNSError{Err: "no such host", Name: "dynamodb.eu-wst-1.amazonaws.com", IsNotFound: true}
	says(t, near.Explain("DescribeTable", "T", missing), `no host "dynamodb.eu-wst-1.amazonaws.com": is the region right`)
	says(t, aws.Explain("DescribeTable", "T", missing), "is the endpoint right")
	says(t, aws.Explain("DescribeTable", "T", &smithy.GenericAPIError{Code: "AccessDeniedException"}), `may not call dynamodb:DescribeTable on the table "T"`)
	signed := &smithy.GenericAPIError{Code: "InvalidSignatureException", Message: "The signature does not match.\n\nThe Canonical String was\nx-amz-security-token:SECRET"}
	err = aws.Explain("DescribeTable", "T", signed)
	says(t, err, "does not accept these credentials")
	if strings.Contains(err.Error(), "SECRET") {
		t.Errorf("it shows what was signed: %v", err)
	}
	if aws.Explain("DescribeTable", "T", nil) != nil || aws.Explain("DescribeTable", "T", context.Canceled) != context.Canceled {
		t.Error("what needs no explanation got one")
	}
}

// Somebody may leave these permissions out: that is noted, and not more.
func TestCheckDenied(t *testing.T) {
	db := right(t)
	proxy := faulttest.New(t, endpoint)
	lift := proxy.Inject(faulttest.Fault{Operation: "DescribeTable", Table: db.challenges, Kind: faulttest.AccessDenied})
	opened := db.open(dynamostore.Options{Endpoint: proxy.URL})
	report, err := opened.Check(t.Context())
	must(t, err)
	warns(t, report, "may not call dynamodb:DescribeTable on the table \"Challenges-")
	if report.Tables[0].Status != "active" || report.Tables[1].Status != string(dynamostore.Denied) || report.Tables[1].TTL != dynamostore.On {
		t.Errorf("%+v", report)
	}
	lift()
	proxy.Inject(faulttest.Fault{Operation: "DescribeTimeToLive", Table: db.challenges, Kind: faulttest.AccessDenied})
	report, err = opened.Check(t.Context())
	must(t, err)
	warns(t, report, "may not call dynamodb:DescribeTimeToLive on the table \"Challenges-")
}

func TestCheckWithoutCredentials(t *testing.T) {
	db := right(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	_, err := db.open(dynamostore.Options{}).Check(t.Context())
	says(t, err, "no AWS credentials: the SDK looked in the environment (AWS_ACCESS_KEY_ID")
	if errors.Is(err, dynamostore.ErrTables) || strings.Count(err.Error(), "no AWS credentials") != 1 {
		t.Error(err)
	}
}

func TestCheckInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := right(t).open(dynamostore.Options{}).Check(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// watched is a gateway's view of the tables over time, whose clock the test moves.
type watched struct {
	t      *testing.T
	logs   *observer.ObservedLogs
	pauses chan time.Duration
	ticks  chan time.Time
	at     time.Time // moves while the watcher waits only
}

func watching(t *testing.T) (*watched, *zap.Logger) {
	core, logs := observer.New(zapcore.InfoLevel)
	return &watched{t, logs, make(chan time.Duration), make(chan time.Time), now}, zap.New(core)
}

func (w *watched) start(db *dynamostore.DB) error {
	return db.WatchBy(w.t.Context(), func() time.Time { return w.at }, func(pause time.Duration) <-chan time.Time {
		w.pauses <- pause
		return w.ticks
	})
}

// waits fails unless the watcher waits so long now.
func (w *watched) waits(want time.Duration) {
	w.t.Helper()
	select {
	case pause := <-w.pauses:
		if pause != want {
			w.t.Errorf("it waits %v, want %v", pause, want)
		}
		w.at = w.at.Add(pause)
	case <-time.After(20 * time.Second):
		w.t.Fatal("the watcher does not wait")
	}
}

// ends waits until it says that all is well, which is the last thing it does.
func (w *watched) ends() {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); w.logs.FilterMessageSnippet("are well again").Len() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal("the watcher does not end")
		}
	}
}

func (w *watched) tick() { w.ticks <- w.at }

// logged fails unless these lines, and no others, were logged since the last time: level and part of the message and fields.
func (w *watched) logged(want ...string) {
	w.t.Helper()
	var got []string
	for _, entry := range w.logs.TakeAll() {
		fields := entry.ContextMap()
		text := entry.Level.String() + ": " + entry.Message
		for _, name := range []string{"error", "warning"} {
			if value, ok := fields[name].(string); ok {
				text += ": " + value
			}
		}
		if fields["place"] == nil || fields["passkeys_table"] == nil {
			w.t.Errorf("the line does not say which tables: %s %v", text, fields)
		}
		got = append(got, text)
	}
	if len(got) != len(want) {
		w.t.Fatalf("logged %q, want %q", got, want)
	}
	for i := range want {
		for _, part := range strings.Split(want[i], " … ") {
			if !strings.Contains(got[i], part) {
				w.t.Errorf("logged %q, want %q", got[i], want[i])
			}
		}
	}
}

// A gateway that can't find out at start goes on until it knows, and says each thing once.
func TestWatch(t *testing.T) {
	db := newTables(t) // no time to live
	proxy := faulttest.New(t, endpoint)
	lift := proxy.Inject(faulttest.Fault{Kind: faulttest.Expired})
	w, logger := watching(t)
	opened := db.open(dynamostore.Options{Endpoint: proxy.URL, Logger: logger})
	must(t, w.start(opened))
	w.waits(5 * time.Second)
	w.logged("error: can't find out whether the tables are right … ExpiredTokenException")
	for _, next := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		w.tick()
		w.waits(next)
	}
	w.logged() // the same all the time
	w.at = w.at.Add(7 * time.Minute)
	w.tick()
	w.waits(time.Minute)
	w.logged("error: can't find out whether the tables are right … ExpiredTokenException")

	lift()
	lift = proxy.Inject(faulttest.Fault{Operation: "DescribeTable", Table: db.passkeys, Kind: faulttest.ResourceNotFound})
	w.tick()
	w.waits(time.Minute)
	w.logged("error: the tables can't be used as they are … there is no table \"" + db.passkeys)
	lift()
	w.tick()
	w.ends()
	must(t, opened.Close())
	w.logged("info: the tables are well again", "warn: the tables are not as they should be … is off, so expired challenges stay")
}

func TestWatchRefuses(t *testing.T) {
	w, logger := watching(t)
	err := w.start(unmade(t).open(dynamostore.Options{Logger: logger}))
	if !errors.Is(err, dynamostore.ErrTables) {
		t.Error(err)
	}
	w.logged()
}

func TestWatchWell(t *testing.T) {
	w, logger := watching(t)
	must(t, w.start(right(t).open(dynamostore.Options{Logger: logger}))) // it does not wait: nobody would read that
	w.logged()
	must(t, w.start(newTables(t).open(dynamostore.Options{Logger: logger})))
	w.logged("warn: the tables are not as they should be … is off")
}

// What it may not ask it stops asking: each time is a line in the account's log.
func TestWatchDenied(t *testing.T) {
	db := right(t)
	proxy := faulttest.New(t, endpoint)
	proxy.Inject(faulttest.Fault{Operation: "DescribeTable", Table: db.passkeys, Kind: faulttest.AccessDenied})
	w, logger := watching(t)
	opened := db.open(dynamostore.Options{Endpoint: proxy.URL, Logger: logger})
	must(t, w.start(opened))
	for _, seconds := range []time.Duration{5, 10, 20, 40, 60, 60, 60, 60, 60, 60} {
		w.waits(seconds * time.Second)
		w.tick()
	}
	must(t, opened.Close())
	w.logged("warn: the tables are not as they should be … may not call dynamodb:DescribeTable")
}

// Closing ends a watcher that waits, and one that asks.
func TestWatchCloses(t *testing.T) {
	db := right(t)
	proxy := faulttest.New(t, endpoint)
	lift := proxy.Inject(faulttest.Fault{Kind: faulttest.Expired})
	w, logger := watching(t)
	waiting := db.open(dynamostore.Options{Endpoint: proxy.URL, Logger: logger})
	must(t, w.start(waiting))
	w.waits(5 * time.Second)
	must(t, waiting.Close())

	asking := db.open(dynamostore.Options{Endpoint: proxy.URL, Logger: logger})
	must(t, w.start(asking))
	w.waits(5 * time.Second)
	lift()
	proxy.Inject(faulttest.Fault{Kind: faulttest.Hang})
	w.tick()
	proxy.Await(2)
	began := time.Now()
	must(t, asking.Close())
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("closing took %v", took)
	}
}
