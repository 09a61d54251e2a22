package dynamostore_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

var update = flag.Bool("update", false, "write what is printed to testdata")

// What is printed is kept as files: whoever reviews a change sees what people will paste.
func TestPrintGolden(t *testing.T) {
	for format, name := range map[string]string{
		"cloudformation": "cloudformation.yaml", "terraform": "terraform.tf", "iam": "iam.json", "iam-admin": "iam-admin.json",
	} {
		got, err := dynamostore.Print(format, dynamostore.Target{})
		must(t, err)
		path := filepath.Join("testdata", name)
		if *update {
			must(t, os.MkdirAll("testdata", 0o755))
			must(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		must(t, err)
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s differs; -update writes it (-want +got):\n%s", format, diff)
		}
		if strings.ContainsAny(got, "<>\t") {
			t.Errorf("%s holds a tab, or a place that was not filled in", format)
		}
	}
	if diff := cmp.Diff([]string{"cloudformation", "terraform", "iam", "iam-admin"}, dynamostore.Formats()); diff != "" {
		t.Error(diff)
	}
}

func TestPrintTarget(t *testing.T) {
	named := dynamostore.Tables{Passkeys: "my.passkeys", Challenges: "my-challenges_2"}
	for _, format := range dynamostore.Formats() {
		text, err := dynamostore.Print(format, dynamostore.Target{Tables: named})
		must(t, err)
		if !strings.Contains(text, named.Passkeys) || !strings.Contains(text, named.Challenges) {
			t.Errorf("%s does not use the names:\n%s", format, text)
		}
	}
	for _, row := range []struct{ region, account, want string }{
		{"", "", "arn:aws:dynamodb:*:*:table/my.passkeys"},
		{"eu-west-1", "123456789012", "arn:aws:dynamodb:eu-west-1:123456789012:table/my.passkeys"},
		{"cn-north-1", "", "arn:aws-cn:dynamodb:cn-north-1:*:table/my.passkeys"},
		{"us-gov-west-1", "", "arn:aws-us-gov:dynamodb:us-gov-west-1:*:table/my.passkeys"},
	} {
		text, err := dynamostore.Print("iam", dynamostore.Target{Tables: named, Region: row.region, Account: row.account})
		must(t, err)
		if !strings.Contains(text, `"`+row.want+`"`) {
			t.Errorf("no %s in:\n%s", row.want, text)
		}
	}
}

func TestPrintRefuses(t *testing.T) {
	for _, row := range []struct {
		format string
		target dynamostore.Target
		says   string
	}{
		{"yaml", dynamostore.Target{}, `can't print "yaml": it is one of cloudformation, terraform, iam, iam-admin`},
		{"", dynamostore.Target{}, `can't print ""`},
		{"iam", dynamostore.Target{Tables: dynamostore.Tables{Passkeys: `a"b`}}, "can't be a table's name"},
		{"iam", dynamostore.Target{Tables: dynamostore.Tables{Passkeys: "same", Challenges: "same"}}, "a table each"},
		{"iam", dynamostore.Target{Tables: dynamostore.Tables{Passkeys: "StepgateChallenges"}}, "a table each"},
		{"iam", dynamostore.Target{Region: "Frankfurt"}, "is no AWS region"},
		{"iam", dynamostore.Target{Account: "12345"}, "is no AWS account: it has 12 digits"},
	} {
		text, err := dynamostore.Print(row.format, row.target)
		says(t, err, row.says)
		if text != "" {
			t.Errorf("%+v: printed %s", row, text)
		}
	}
}

// resolved returns a template as CloudFormation would see it: !Ref of a parameter is its default, and other tags are
// written as they are.
func resolved(t *testing.T, text string) map[string]any {
	t.Helper()
	var document yaml.Node
	must(t, yaml.Unmarshal([]byte(text), &document))
	var plain struct {
		Parameters map[string]struct {
			Default string `yaml:"Default"`
		} `yaml:"Parameters"`
	}
	must(t, document.Decode(&plain))
	var walk func(*yaml.Node)
	walk = func(n *yaml.Node) {
		if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			if p, ok := plain.Parameters[n.Value]; ok && n.Tag == "!Ref" {
				n.Value = p.Default
			} else {
				n.Value = n.Tag + " " + n.Value
			}
			n.Tag = "!!str"
		}
		for _, child := range n.Content {
			walk(child)
		}
	}
	walk(&document)
	var value map[string]any
	must(t, document.Decode(&value))
	return value
}

// at goes down into a document.
func at(t *testing.T, value any, path ...string) any {
	t.Helper()
	for _, name := range path {
		m, ok := value.(map[string]any)
		if !ok || m[name] == nil {
			t.Fatalf("no %s of %s", name, path)
		}
		value = m[name]
	}
	return value
}

// convert reads a part of a document into the type of DynamoDB's API that has the same shape.
func convert(t *testing.T, value, into any) {
	t.Helper()
	text, err := json.Marshal(value)
	must(t, err)
	must(t, json.Unmarshal(text, into))
}

// Tables created from the template are right, and are what Create makes; its policy is the printed one.
func TestCloudFormation(t *testing.T) {
	db, aws := unmade(t), newCloud(t)
	text, err := dynamostore.Print("cloudformation", dynamostore.Target{Tables: dynamostore.Tables{Passkeys: db.passkeys, Challenges: db.challenges}})
	must(t, err)
	template := resolved(t, text)
	client := dynamodb.New(db.client.Options(), func(o *dynamodb.Options) { o.BaseEndpoint = &aws.url })
	for _, name := range []string{"PasskeysTable", "ChallengesTable"} {
		properties := at(t, template, "Resources", name, "Properties").(map[string]any)
		var create dynamodb.CreateTableInput
		convert(t, properties, &create)
		_, err := client.CreateTable(t.Context(), &create)
		must(t, err)
		if properties["TimeToLiveSpecification"] != nil {
			ttl := dynamodb.UpdateTimeToLiveInput{TableName: create.TableName}
			convert(t, properties["TimeToLiveSpecification"], &ttl.TimeToLiveSpecification)
			_, err := client.UpdateTimeToLive(t.Context(), &ttl)
			must(t, err)
		}
		if properties["PointInTimeRecoverySpecification"] != nil {
			recovery := dynamodb.UpdateContinuousBackupsInput{TableName: create.TableName}
			convert(t, properties["PointInTimeRecoverySpecification"], &recovery.PointInTimeRecoverySpecification)
			_, err := client.UpdateContinuousBackups(t.Context(), &recovery)
			must(t, err)
		}
	}
	printed := db.well(aws.url)
	created := unmade(t)
	_, err = created.create(aws.url)
	must(t, err)
	want := created.well(aws.url)
	for i := range want.Tables {
		got, want := printed.Tables[i], want.Tables[i]
		if got.Keys != want.Keys || got.Paid != want.Paid || got.TTL != want.TTL || got.TTLAttribute != want.TTLAttribute ||
			got.Recovery != want.Recovery || got.Protection != want.Protection {
			t.Errorf("the template makes %+v, the command %+v", got, want)
		}
	}

	if got := at(t, template, "Resources", "PasskeysTable", "DeletionPolicy"); got != "Retain" {
		t.Errorf("deleting the stack deletes the passkeys: %v", got)
	}
	var policy []struct {
		Effect, Resource string
		Action           []string
	}
	convert(t, at(t, template, "Resources", "GatewayPolicy", "Properties", "PolicyDocument", "Statement"), &policy)
	var calls []call
	for _, s := range policy {
		table := map[string]string{"!GetAtt PasskeysTable.Arn": "Passkeys", "!GetAtt ChallengesTable.Arn": "Challenges"}[s.Resource]
		for _, action := range s.Action {
			calls = append(calls, call{strings.TrimPrefix(action, "dynamodb:"), table})
		}
		if s.Effect != "Allow" {
			t.Errorf("%+v", s)
		}
	}
	sameActions(t, dynamostore.Policy(target), calls)
	for _, name := range []string{"PasskeysTableArn", "ChallengesTableArn", "GatewayPolicyArn"} {
		at(t, template, "Outputs", name, "Value")
	}
}

// There is no Terraform in the tests: this holds its text to what can be seen without. Blocks close, everything that is
// referred to is there, and it says of the tables and the policy what the other formats say.
func TestTerraform(t *testing.T) {
	text, err := dynamostore.Print("terraform", dynamostore.Target{})
	must(t, err)
	depth := 0
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		bare := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(line, `""`)
		open, closed := strings.Count(bare, "{")+strings.Count(bare, "["), strings.Count(bare, "}")+strings.Count(bare, "]")
		indent := depth
		if closed > open {
			indent--
		}
		if want := strings.Repeat("  ", indent); line != "" && (!strings.HasPrefix(line, want) || strings.HasPrefix(line, want+" ")) {
			t.Errorf("line %d is not indented by %d: %q", i+1, 2*indent, line)
		}
		if strings.Contains(strings.ReplaceAll(bare, `""`, ""), `"`) {
			t.Errorf("line %d has an open quote: %q", i+1, line)
		}
		depth += open - closed
	}
	if depth != 0 {
		t.Errorf("%d blocks are open at the end", depth)
	}
	defined := map[string]bool{}
	for _, block := range regexp.MustCompile(`(?m)^(variable|resource|data) "([^"]+)"(?: "([^"]+)")? \{$`).FindAllStringSubmatch(text, -1) {
		defined[strings.Trim(map[string]string{"variable": "var.", "data": "data."}[block[1]]+block[2]+"."+block[3], ".")] = true
	}
	references := regexp.MustCompile(`\b(?:var\.\w+|(?:data\.)?aws_\w+\.\w+)`).FindAllString(regexp.MustCompile(`"[^"]*"|(?m)^#.*$`).ReplaceAllString(text, ""), -1)
	if len(references) < 8 {
		t.Errorf("only %q", references)
	}
	for _, reference := range references {
		if !defined[reference] {
			t.Errorf("%s is not defined; these are: %v", reference, defined)
		}
	}

	block := func(header string) string {
		t.Helper()
		_, rest, found := strings.Cut(text, "\n"+header+" {\n")
		body, _, closed := strings.Cut(rest, "\n}\n")
		if !found || !closed {
			t.Fatalf("no %s", header)
		}
		return strings.Join(strings.Fields(body), " ")
	}
	const keys = `hash_key = "pk" range_key = "sk"`
	const attributes = `attribute { name = "pk" type = "S" } attribute { name = "sk" type = "S" }`
	for header, want := range map[string]string{
		`resource "aws_dynamodb_table" "stepgate_passkeys"`: `name = var.passkeys_table billing_mode = "PAY_PER_REQUEST" ` + keys + ` deletion_protection_enabled = true ` +
			attributes + ` point_in_time_recovery { enabled = true } lifecycle { prevent_destroy = true }`,
		`resource "aws_dynamodb_table" "stepgate_challenges"`: `name = var.challenges_table billing_mode = "PAY_PER_REQUEST" ` + keys + ` ` +
			attributes + ` ttl { attribute_name = "expires_at" enabled = true }`,
	} {
		if diff := cmp.Diff(want, block(header)); diff != "" {
			t.Errorf("%s differs (-want +got):\n%s", header, diff)
		}
	}
	var calls []call
	for _, statement := range strings.Split(block(`data "aws_iam_policy_document" "stepgate_gateway"`), "statement {")[1:] {
		table := map[bool]string{true: "Passkeys", false: "Challenges"}[strings.Contains(statement, "aws_dynamodb_table.stepgate_passkeys.arn")]
		for _, action := range regexp.MustCompile(`"dynamodb:(\w+)"`).FindAllStringSubmatch(statement, -1) {
			calls = append(calls, call{action[1], table})
		}
	}
	sameActions(t, dynamostore.Policy(target), calls)
}
