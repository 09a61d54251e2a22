package dynamostore

import (
	"encoding/json"
	"fmt"
	"strings"
)

// statement allows actions on one of the tables.
type statement struct {
	id      string
	holds   string // of the table
	actions []string
}

// What a running gateway calls, and nothing else: tests hold it to that. A transaction needs the actions of its items and
// none of its own. DescribeTable and DescribeTimeToLive are what [DB.Check] asks; a gateway works without them.
var gatewayStatements = []statement{
	{"StepgatePasskeys", "passkeys", []string{"DeleteItem", "DescribeTable", "DescribeTimeToLive", "GetItem", "PutItem", "Query", "UpdateItem"}},
	{"StepgateChallenges", "challenges", []string{"DeleteItem", "DescribeTable", "DescribeTimeToLive", "GetItem", "PutItem"}},
}

// What people need beside that who run `stepgate tables create` and `check`, `stepgate export` and `import`, and the
// commands that administer users, which need nothing that moving them does not.
var adminStatements = []statement{
	{"StepgateCreatePasskeysTable", "passkeys", []string{
		"CreateTable", "DescribeContinuousBackups", "DescribeTable", "DescribeTimeToLive", "UpdateContinuousBackups", "UpdateTable",
	}},
	{"StepgateCreateChallengesTable", "challenges", []string{"CreateTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive"}},
	{"StepgateExportAndImport", "passkeys", []string{"ConditionCheckItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan"}},
}

// Policy returns the IAM policy that a running gateway needs, as JSON: exactly the actions that it calls, on the two
// tables. Nothing else should have them, and a gateway nothing more: who can write to the tables can put a passkey of
// their own into anybody's account.
func Policy(t Target) string { return policy(gatewayStatements, t) }

// AdminPolicy returns the IAM policy for people who create and check tables, move users between stores and administer
// them, as JSON. A gateway does not need it.
func AdminPolicy(t Target) string { return policy(adminStatements, t) }

func policy(statements []statement, t Target) string {
	type entry struct {
		Sid      string
		Effect   string
		Action   []string
		Resource string
	}
	document := struct {
		Version   string
		Statement []entry
	}{Version: "2012-10-17"}
	for _, s := range statements {
		document.Statement = append(document.Statement, entry{s.id, "Allow", s.qualified(), t.arn(s.holds)})
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		panic(err) // strings only
	}
	return string(text) + "\n"
}

// qualified returns the actions with the service's name.
func (s statement) qualified() []string {
	actions := make([]string, 0, len(s.actions))
	for _, action := range s.actions {
		actions = append(actions, "dynamodb:"+action)
	}
	return actions
}

// arn names a table for a policy. Where the region or the account is not known, it stands for the table of that name in
// any: the policy is for identities of one account, which reach no other's tables by it.
func (t Target) arn(holds string) string {
	name := t.Tables.Passkeys
	if holds == "challenges" {
		name = t.Tables.Challenges
	}
	region, account := t.Region, t.Account
	if region == "" {
		region = "*"
	}
	if account == "" {
		account = "*"
	}
	return fmt.Sprintf("arn:%s:dynamodb:%s:%s:table/%s", partitionOf(t.Region), region, account, name)
}

// partitionOf returns the part of AWS that a region belongs to.
func partitionOf(region string) string {
	for _, p := range []struct{ prefix, partition string }{
		{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"}, {"us-isof-", "aws-iso-f"},
		{"eu-isoe-", "aws-iso-e"}, {"eusc-", "aws-eusc"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}
