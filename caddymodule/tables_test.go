package caddymodule_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/dynamotest"
	"github.com/stepgate/stepgate/internal/faulttest"
)

// withCredentials sets an environment in which the SDK finds credentials and nothing of whoever runs the tests.
func withCredentials(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "local")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "local")
	withoutCredentials(t)
}

func withoutCredentials(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_PROFILE": "", "AWS_ENDPOINT_URL_DYNAMODB": "", "AWS_ENDPOINT_URL": "",
	} {
		t.Setenv(name, value)
	}
}

// dynamoShop is a folder whose Caddyfile has the DynamoDB store.
func dynamoShop(t *testing.T, endpoint, passkeys, challenges string) shop {
	t.Helper()
	return newShop(t, "rp_id localhost\norigins http://localhost:1\ngrant_keys {env.NOT_SET_ANYWHERE}\nstore dynamodb {\nregion eu-west-1\nendpoint "+endpoint+
		"\npasskeys_table "+passkeys+"\nchallenges_table "+challenges+"\n}")
}

// succeeds wants exit code 0 and each of these on standard output, which it returns with spaces in rows made one.
func (s shop) succeeds(says []string, arguments ...string) string {
	s.t.Helper()
	out, problems, code := s.call("", arguments...)
	plain := regexp.MustCompile(` {2,}`).ReplaceAllString(out, " ")
	for _, text := range says {
		if !strings.Contains(plain, text) {
			s.t.Errorf("%v does not say %q:\n%s", arguments, text, out)
		}
	}
	if code != 0 || strings.Contains(problems, "Error:") { // Caddy logs there how it reads a configuration
		s.t.Errorf("%v: exit code %d\n%s\n%s", arguments, code, out, problems)
	}
	return plain
}

// wrong wants exit code 1, each of these on standard output, and this problem named.
func (s shop) wrong(problem string, says []string, arguments ...string) {
	s.t.Helper()
	out, problems, code := s.call("", arguments...)
	plain := regexp.MustCompile(` {2,}`).ReplaceAllString(out, " ")
	for _, text := range says {
		if !strings.Contains(plain, text) {
			s.t.Errorf("%v does not say %q:\n%s", arguments, text, out)
		}
	}
	if code != 1 || !strings.Contains(problems, problem) {
		s.t.Errorf("%v: exit code %d, want %q in:\n%s", arguments, code, problem, problems)
	}
}

// From nothing to a gateway that is served: what is missing is named with the command, and the command makes it.
func TestTables(t *testing.T) {
	withCredentials(t)
	endpoint := dynamotest.Start(t)
	name := rand.Text()
	passkeys, challenges := "P-"+name, "C-"+name
	s := dynamoShop(t, endpoint, passkeys, challenges)

	s.wrong("Error: there is no table \""+passkeys+"\" in eu-west-1 at "+endpoint+"; there is no table \""+challenges+"\" in eu-west-1 at "+endpoint+": create what is missing with `stepgate tables create`",
		[]string{"PASSKEYS CHALLENGES", "status missing missing", "keys - -"}, "tables", "check")
	made := s.succeeds([]string{passkeys + ": creating…", challenges + ": creating…", passkeys + ": active (", challenges + ": time to live (expires_at) is on",
		passkeys + ": this server has no point-in-time recovery"}, "tables", "create", "--config", "Caddyfile")
	if !strings.HasSuffix(made, "\nboth tables are ready\n") {
		t.Errorf("the last line is another:\n%s", made)
	}
	const keys = "pk (string, partition key), sk (string, sort key)"
	sides := []string{"in eu-west-1 at " + endpoint, "table " + passkeys + " " + challenges, "status active active", "keys " + keys + " " + keys,
		"paid on demand on demand", "time to live off on (expires_at)", "point-in-time recovery not on this server not needed",
		"deletion protection not on this server not on this server", "\n\na gateway can use both tables\n"}
	s.succeeds(sides, "tables", "check")
	s.succeeds([]string{passkeys + ": exists", challenges + ": exists", "both tables are ready"}, "tables", "create")

	elsewhere := shop{t, t.TempDir()} // no configuration
	flags := []string{"--region", "eu-west-1", "--endpoint", endpoint, "--passkeys-table", passkeys, "--challenges-table", challenges}
	elsewhere.succeeds(sides, append([]string{"tables", "check"}, flags...)...)
	elsewhere.wrong(`there is no table "StepgatePasskeys"`, nil, "tables", "check", "--endpoint", endpoint)

	proxy := faulttest.New(t, endpoint)
	flags[3] = proxy.URL
	lift := proxy.Inject(faulttest.Fault{Operation: "DescribeContinuousBackups", Kind: faulttest.AccessDenied})
	elsewhere.succeeds([]string{"point-in-time recovery may not ask (access denied) not needed"}, append([]string{"tables", "check"}, flags...)...)
	elsewhere.wrong("these credentials may not ask what the table", nil, append([]string{"tables", "create"}, flags...)...)
	lift()
	proxy.Inject(faulttest.Fault{Operation: "DescribeTable", Kind: faulttest.AccessDenied})
	elsewhere.wrong("or that can't be told: see the warnings", []string{"status may not ask (access denied)", "warning: access denied: these credentials may not call dynamodb:DescribeTable"},
		append([]string{"tables", "check"}, flags...)...)
}

// Tables that are wrong are told apart from each other, and nothing is changed.
func TestTablesWrong(t *testing.T) {
	withCredentials(t)
	endpoint := dynamotest.Start(t)
	s := dynamoShop(t, endpoint, "Good", "Other")
	s.succeeds(nil, "tables", "create")
	swapped := dynamoShop(t, endpoint, "Other", "Good") // the passkeys' would expire
	swapped.wrong("see the warnings", []string{"warning: DANGER: the time to live of the passkeys' table \"Other\" is on", "warning: the time to live of the table \"Good\" is off"},
		"tables", "check")
	swapped.wrong("Error: DANGER", nil, "tables", "create")

	proxy := faulttest.New(t, endpoint)
	proxy.Inject(faulttest.Fault{Operation: "DescribeTable", Rewrite: func(body []byte) []byte {
		return []byte(strings.ReplaceAll(string(body), `"AttributeType":"S"`, `"AttributeType":"N"`))
	}})
	keyed := dynamoShop(t, proxy.URL, "Good", "Other")
	keyed.wrong("must have pk (string, partition key), sk (string, sort key); as a table's keys can't be changed, name another one as passkeys_table",
		[]string{"keys pk (number, partition key), sk (number, sort key)"}, "tables", "check")
	keyed.wrong("name another one as passkeys_table", nil, "tables", "create")
	for _, call := range proxy.Take() {
		if !strings.HasPrefix(call.Operation, "Describe") {
			t.Errorf("it called %v", call)
		}
	}
}

func TestTablesUnreachable(t *testing.T) {
	withCredentials(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	s := shop{t, t.TempDir()}
	for _, command := range []string{"check", "create"} {
		began := time.Now()
		s.fails("DynamoDB in eu-west-1 at http://"+listener.Addr().String()+" can't be reached: dial tcp "+listener.Addr().String()+": connect: connection refused",
			"tables", command, "--endpoint", "http://"+listener.Addr().String())
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %v", command, took)
		}
	}
}

func TestTablesWithoutCredentials(t *testing.T) {
	withoutCredentials(t)
	s := shop{t, t.TempDir()}
	s.fails("no AWS credentials: the SDK looked in the environment", "tables", "check", "--endpoint", "http://127.0.0.1:9")
	t.Setenv("AWS_REGION", "")
	s.fails("no AWS region", "tables", "check", "--endpoint", "http://127.0.0.1:9")
}

// Printing calls nobody and needs nothing.
func TestTablesPrint(t *testing.T) {
	withoutCredentials(t)
	proxy := faulttest.New(t, "http://127.0.0.1:9")
	s := dynamoShop(t, proxy.URL, "OpsPasskeys", "OpsChallenges")
	for format, says := range map[string]string{
		"cloudformation": "Default: OpsPasskeys", "terraform": `default = "OpsChallenges"`, "iam": "arn:aws:dynamodb:eu-west-1:*:table/OpsPasskeys", "iam-admin": `"dynamodb:CreateTable"`,
	} {
		s.succeeds([]string{says}, "tables", "create", "--print", format)
	}
	if calls := proxy.Take(); len(calls) > 0 {
		t.Errorf("it called %v", calls)
	}
	elsewhere := shop{t, t.TempDir()}
	text := elsewhere.succeeds([]string{"arn:aws:dynamodb:us-east-1:123456789012:table/StepgateChallenges"},
		"tables", "create", "--print", "iam", "--region", "us-east-1", "--account", "123456789012")
	if !json.Valid([]byte(text)) {
		t.Errorf("no JSON:\n%s", text)
	}
	elsewhere.fails(`can't print "yaml": it is one of cloudformation, terraform, iam, iam-admin`, "tables", "create", "--print", "yaml")
	elsewhere.fails(`can't print ""`, "tables", "create", "--print", "")
	elsewhere.fails("is no AWS account", "tables", "create", "--print", "iam", "--account", "1")
}

func TestTablesFlags(t *testing.T) {
	withoutCredentials(t)
	s := dynamoShop(t, "http://127.0.0.1:9", "P", "C")
	s.fails(`"P" can't be a table's name`, "tables", "check")
	s = dynamoShop(t, "http://127.0.0.1:9", "Passkeys", "Challenges")
	s.fails("the configuration says which tables: leave out either it or --region and --endpoint",
		"tables", "check", "--config", "Caddyfile", "--region", "eu-west-1", "--endpoint", "http://127.0.0.1:9")
	s.fails("--passkeys-table is empty", "tables", "check", "--passkeys-table", "")
	s.fails(`"Ireland" is no AWS region`, "tables", "check", "--region", "Ireland")
	s.fails(`"localhost:8000" is no endpoint`, "tables", "check", "--endpoint", "localhost:8000")
	s.fails("passkeys and challenges need a table each", "tables", "create", "--passkeys-table", "StepgateChallenges")
	s.fails("--account is for --print", "tables", "create", "--region", "eu-west-1", "--account", "123456789012")
	s.fails("unknown flag: --print", "tables", "check", "--print", "iam")
	s.fails("unknown command \"delete\"", "tables", "delete")
	s.fails("unknown command \"now\"", "tables", "create", "now")

	file := newShop(t, "rp_id localhost\norigins http://localhost:1\nstore file a.db")
	file.fails("keeps passkeys in a file (store file), which needs no tables", "tables", "create")
	entries, _ := os.ReadDir(file.folder)
	if len(entries) != 1 {
		t.Errorf("the folder holds %v", entries)
	}
	file.fails("reading config from file", "tables", "check", "--config", "none")
}

func TestTablesHelp(t *testing.T) {
	s := shop{t, t.TempDir()}
	s.succeeds([]string{"create", "check", "--config"}, "tables")
	s.succeeds([]string{"cloudformation", "iam-admin", "safe to repeat", "Examples:", "stepgate tables create --print iam --region", "--challenges-table string"},
		"tables", "create", "--help")
	s.succeeds([]string{"exit code is 0", "Examples:", "--adapter"}, "tables", "check", "--help")
}

// Ctrl-C ends it at once, and the next one goes on.
func TestTablesInterrupted(t *testing.T) {
	withCredentials(t)
	endpoint := dynamotest.Start(t)
	proxy := faulttest.New(t, endpoint)
	asked := make(chan struct{}, 1000) // once for every answer that the tables are still being created
	lift := proxy.Inject(faulttest.Fault{Operation: "DescribeTable", Skip: 2, Rewrite: func(body []byte) []byte {
		asked <- struct{}{}
		return []byte(strings.Replace(string(body), `"ACTIVE"`, `"CREATING"`, 1))
	}})
	path, err := binaryPath()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, path, "tables", "create", "--endpoint", proxy.URL)
	c.Dir = t.TempDir()
	var problems strings.Builder
	c.Stderr = &problems
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case <-asked:
		case <-ctx.Done():
			_ = c.Wait()
			t.Fatalf("it does not wait for the tables: %s", problems.String())
		}
	}
	began := time.Now()
	_ = c.Process.Signal(os.Interrupt)
	_ = c.Wait()
	if took := time.Since(began); c.ProcessState.ExitCode() != 1 || !strings.Contains(problems.String(), "interrupted, and safe to repeat") || took > 5*time.Second {
		t.Errorf("exit code %d after %v: %s", c.ProcessState.ExitCode(), took, problems.String())
	}
	lift()
	shop{t, t.TempDir()}.succeeds([]string{"both tables are ready"}, "tables", "create", "--endpoint", endpoint)
}
