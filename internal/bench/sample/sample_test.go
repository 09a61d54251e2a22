package sample_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/bench/sample"
)

// The quartiles are those of R's quantile(x), NumPy's percentile and a spreadsheet's QUARTILE.INC.
func TestOf(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   sample.Summary
	}{
		{[]float64{3}, sample.Summary{Median: 3, Low: 3, High: 3, N: 1}},
		{[]float64{2, 1}, sample.Summary{Median: 1.5, Low: 1.25, High: 1.75, N: 2}},
		{[]float64{9, 1, 5}, sample.Summary{Median: 5, Low: 3, High: 7, N: 3}},
		{[]float64{4, 3, 2, 1}, sample.Summary{Median: 2.5, Low: 1.75, High: 3.25, N: 4}},
		{[]float64{1, 2, 3, 4, 1000}, sample.Summary{Median: 3, Low: 2, High: 4, N: 5}}, // a round that something disturbed
	} {
		given := slices.Clone(c.values)
		got, err := sample.Of(c.values)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%v: %s", c.values, diff)
		}
		if !slices.Equal(c.values, given) {
			t.Errorf("the values were sorted in place, and rounds belong together: %v", c.values)
		}
	}
}

func TestNothingMeasured(t *testing.T) {
	for _, values := range [][]float64{nil, {math.NaN()}, {1, math.Inf(1)}} {
		if got, err := sample.Of(values); err == nil {
			t.Errorf("%v: %v", values, got)
		}
	}
}

// A machine that is half as fast in one round is so for both.
func TestRatios(t *testing.T) {
	got, err := sample.Ratios([]float64{10, 20, 10}, []float64{5, 10, 5})
	if diff := cmp.Diff(sample.Summary{Median: 2, Low: 2, High: 2, N: 3}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, base := range [][]float64{{1}, {1, 0}} { // another number of rounds; nothing to compare with
		if got, err := sample.Ratios([]float64{1, 2}, base); err == nil {
			t.Errorf("against %v: %v", base, got)
		}
	}
}

const printed = `goos: linux
cpu: Some Processor
BenchmarkHandler-2   	  500000	      2000 ns/op	     840 B/op	       7 allocs/op
BenchmarkRules/N=10-2         	   22182	      1.5e+03 ns/op	       3.25 calls/op
BenchmarkRules/N=10-2         	   22182	      2500 ns/op	       3.75 calls/op
--- BENCH: BenchmarkOther-2
PASS
`

// TestSums: a clock that stood still in one round does not make an infinite ratio of it.
func TestSums(t *testing.T) {
	base := []float64{1, 0, 2, 1, 1, 7}
	if _, err := sample.Ratios(base, base); err == nil {
		t.Error("0 against 0 is a ratio")
	}
	if diff := cmp.Diff([]float64{1, 3}, sample.Sums(base[:5], 2)); diff != "" {
		t.Errorf("by twos: %s", diff)
	}
	got, err := sample.Ratios(sample.Sums([]float64{2, 2, 2, 9, 9, 0}, 3), sample.Sums(base, 3)) // 6 / 3, 18 / 9
	if diff := cmp.Diff(sample.Summary{Median: 2, Low: 2, High: 2, N: 2}, got); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
	if sums := sample.Sums(base, 7); sums != nil {
		t.Errorf("seven of six: %v", sums)
	}
}

func TestBenchmarks(t *testing.T) {
	found := new(sample.Benchmarks)
	for range 2 { // two runs
		if err := found.Read(strings.NewReader(printed), 2); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"Handler", "Rules/N=10"}, found.Names); diff != "" {
		t.Error(diff)
	}
	for unit, want := range map[string][]float64{"ns/op": {1500, 2500, 1500, 2500}, "calls/op": {3.25, 3.75, 3.25, 3.75}} {
		got, err := found.Values("Rules/N=10", unit)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", unit, err, diff)
		}
	}
	got, err := found.Summary("Handler", "allocs/op")
	if diff := cmp.Diff(sample.Summary{Median: 7, Low: 7, High: 7, N: 2}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for name, unit := range map[string]string{"Handler": "calls/op", "Absent": "ns/op"} {
		if got, err := found.Summary(name, unit); err == nil {
			t.Errorf("%s of %s: %v", unit, name, got)
		}
	}
}

// With one processor testing puts no number behind a name, and a number that is there is the name's own.
func TestBenchmarkNames(t *testing.T) {
	for procs, want := range map[int]string{1: "Of-2", 2: "Of", 4: "Of-2"} {
		found := new(sample.Benchmarks)
		if err := found.Read(strings.NewReader("BenchmarkOf-2 1 5 ns/op\n"), procs); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{want}, found.Names); diff != "" {
			t.Errorf("%d processors: %s", procs, diff)
		}
	}
}

func TestBrokenBenchmarks(t *testing.T) {
	for _, line := range []string{"BenchmarkX 1 fast ns/op\n", "BenchmarkX 1 5 ns/op 3\n"} {
		if err := new(sample.Benchmarks).Read(strings.NewReader(line), 1); err == nil {
			t.Errorf("%q was read", line)
		}
	}
}
