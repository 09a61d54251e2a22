package caddymodule

import (
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// StoredRecordOf is what `stepgate users show --json` prints of an account.
func StoredRecordOf(account passkey.Account, now time.Time) any {
	return storedRecordOf(account, now, passkey.Passkey.Reach)
}
