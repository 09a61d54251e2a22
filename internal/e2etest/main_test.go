package e2etest_test

import (
	"fmt"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

var chromium *browsertest.Browser // for pages on http://localhost

// TestMain starts the browser once.
func TestMain(m *testing.M) {
	gatewaytest.Run(m, func() (stop func(), err error) {
		if chromium, stop, err = browsertest.Launch(browsertest.Options{}); err != nil {
			return nil, fmt.Errorf("these tests need a browser: %w", err)
		}
		return stop, nil
	})
}
