package dynamostore

import (
	"errors"
	"fmt"
	"regexp"
)

// Names of the tables where none are configured.
const (
	DefaultPasskeysTable   = "StepgatePasskeys"
	DefaultChallengesTable = "StepgateChallenges"
)

// Both tables have the same key schema: two strings.
const (
	partitionKey = "pk"
	sortKey      = "sk"
)

// expiresAttribute is the challenges table's TTL attribute: epoch seconds, a number.
const expiresAttribute = "expires_at"

// tableName is what AWS allows: 3 to 255 letters, digits, underscores, hyphens and dots.
var tableName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{3,255}$`)

// CheckTableName tells whether AWS would accept a table of this name.
func CheckTableName(name string) error {
	if !tableName.MatchString(name) {
		return fmt.Errorf("%q can't be a table's name: AWS allows 3 to 255 letters, digits, underscores, hyphens and dots", name)
	}
	return nil
}

// checkTables refuses one table for both: their records must not meet, and one of them expires.
func checkTables(passkeys, challenges string) error {
	for _, name := range []string{passkeys, challenges} {
		if err := CheckTableName(name); err != nil {
			return err
		}
	}
	if passkeys == challenges {
		return errors.New("passkeys and challenges need a table each: only challenges expire")
	}
	return nil
}
