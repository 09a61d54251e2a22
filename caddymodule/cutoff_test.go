package caddymodule

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/passkey"
)

// How much is gone when an erasure is cut off is known to who asked, here and through a gateway: a purge would call them
// unchanged otherwise.
func TestCutOffIsKnown(t *testing.T) {
	for _, cause := range []passkey.Refusal{passkey.Conflict, passkey.StoreUnavailable} {
		for _, removed := range []int{0, 2} {
			err := fmt.Errorf("erasing a user: %w", cause)
			if removed > 0 {
				err = &cutOffError{removed, err}
			}
			_, problem := problemOf(err)
			text, _ := json.Marshal(problem)
			for where, err := range map[string]error{"here": err, "at a gateway": gatewayErrorIn(text)} {
				if got := removedBefore(err); got != removed || refusalIn(err) != cause ||
					strings.Contains(worded(err).Error(), "cut off after 2 passkeys had been removed") != (removed > 0) {
					t.Errorf("%s: %d removed, %s: %v", where, got, refusalIn(err), worded(err))
				}
			}
		}
	}
}
