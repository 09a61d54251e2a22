package dynamostore

import (
	"errors"
	"fmt"
	"strings"
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

// CheckTableName tells whether AWS would accept a table of this name.
func CheckTableName(name string) error {
	strange := strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '.' && r != '-'
	})
	if strange || len(name) < 3 || len(name) > 255 {
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
