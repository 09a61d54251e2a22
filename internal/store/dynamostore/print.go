package dynamostore

import (
	"fmt"
	"strings"
)

// Target is what [Print] prints for.
type Target struct {
	Tables  Tables // empty names: the defaults
	Region  string // for policies; empty: any
	Account string // for policies, 12 digits; empty: any
}

// formats are what Print prints.
var formats = []struct {
	name  string
	print func(Target) string
}{
	{"cloudformation", cloudFormation},
	{"terraform", terraform},
	{"iam", Policy},
	{"iam-admin", AdminPolicy},
}

// Formats lists what [Print] knows: "cloudformation" and "terraform" are both tables exactly as [DB.Create] makes them,
// with a gateway's policy; "iam" is that policy alone, "iam-admin" that of people who create tables and move users.
func Formats() []string {
	var names []string
	for _, f := range formats {
		names = append(names, f.name)
	}
	return names
}

// Print returns the tables or a policy in a format, for those who create tables their own way. It calls nobody.
func Print(format string, t Target) (string, error) {
	t.Tables = t.Tables.withDefaults()
	if err := checkTables(t.Tables.Passkeys, t.Tables.Challenges); err != nil {
		return "", err
	}
	if t.Region != "" {
		if err := CheckRegion(t.Region); err != nil {
			return "", err
		}
	}
	if t.Account != "" && (len(t.Account) != 12 || strings.Trim(t.Account, "0123456789") != "") {
		return "", fmt.Errorf("%q is no AWS account: it has 12 digits", t.Account)
	}
	for _, f := range formats {
		if f.name == format {
			return f.print(t), nil
		}
	}
	return "", fmt.Errorf("can't print %q: it is one of %s", format, strings.Join(Formats(), ", "))
}

// filled fills a template's names and lists in. Names of tables are checked: they hold nothing that a format would quote.
func filled(template string, t Target, action func(string) string) string {
	list := func(holds string) string {
		var lines []string
		for _, s := range gatewayStatements {
			if s.holds == holds {
				for _, name := range s.qualified() {
					lines = append(lines, action(name))
				}
			}
		}
		return strings.Join(lines, "\n")
	}
	return strings.NewReplacer(
		"<passkeys>", t.Tables.Passkeys, "<challenges>", t.Tables.Challenges, "<pk>", partitionKey, "<sk>", sortKey, "<expires>", expiresAttribute,
		"<passkeys actions>", list("passkeys"), "<challenges actions>", list("challenges"),
	).Replace(template)
}
