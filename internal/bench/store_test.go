package main

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/bench/sample"
)

// What TestFlows prints, as `go test -v` shows it.
const printedFlows = `=== RUN   TestFlows
    flows_test.go:174: for docs/dynamodb.md:
        | step-up: start | 1 | PutItem, Query | 1 | 1 | $0.750 |
        | step-up: finish | 2 | DeleteItem, Query, UpdateItem | 2 | 1 | $1.375 |
--- PASS: TestFlows (9.31s)
PASS
`

func TestFlowsAreRead(t *testing.T) {
	rows, err := flows(printedFlows, 6)
	want := [][]string{{startRow, "1", "PutItem, Query", "1", "1", "$0.750"}, {finishRow, "2", "DeleteItem, Query, UpdateItem", "2", "1", "$1.375"}}
	if diff := cmp.Diff(want, rows); err != nil || diff != "" {
		t.Fatalf("%v %s", err, diff)
	}
	sum, price, err := add(rows, startRow, finishRow)
	if diff := cmp.Diff([]string{"3", "3", "2", "$2.125"}, sum); err != nil || diff != "" || price != 2.125 {
		t.Errorf("%v, %v %s", price, err, diff)
	}
	if _, _, err := add(rows, startRow, "another"); err == nil {
		t.Error("a flow that was not counted is added up")
	}
	if _, err := flows("PASS\n", 6); err == nil {
		t.Error("no flow, and no error")
	}
	if _, err := flows(strings.ReplaceAll(printedFlows, " | 1 | PutItem", " | PutItem"), 6); err == nil {
		t.Error("a row of five cells is taken")
	}
}

func TestPerSecond(t *testing.T) {
	got := perSecondOf(sample.Summary{Low: 100e3, Median: 200e3, High: 400e3})
	if want := (sample.Summary{Low: 2500, Median: 5000, High: 10000}); math.Abs(got.Median-want.Median) > 1e-6 || math.Abs(got.Low-want.Low) > 1e-6 || math.Abs(got.High-want.High) > 1e-6 {
		t.Errorf("%+v, want %+v", got, want)
	}
}
