package attacktest_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

func TestMain(m *testing.M) { gatewaytest.Run(m, nil) }
