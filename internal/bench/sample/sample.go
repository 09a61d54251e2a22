// Package sample sums up repeated measurements, and reads those that `go test -bench` prints.
//
// Machines are noisy, and noise is seldom symmetric: something else runs and a round is slow, nothing makes one fast. So
// a [Summary] is the median with the quartiles around it, and never the mean or the best. Two things are compared by the
// [Ratios] within each round, which what slows a whole round leaves as they are.
package sample

import (
	"fmt"
	"math"
	"slices"
)

// Summary is the median of some measurements, with the quartiles below and above it.
type Summary struct {
	Median, Low, High float64
	N                 int
}

// Of sums up measurements. None, or one that is no finite number, is an error: a table must not show what was not measured.
func Of(values []float64) (Summary, error) {
	if len(values) == 0 {
		return Summary{}, fmt.Errorf("nothing was measured")
	}
	sorted := slices.Sorted(slices.Values(values))
	for _, v := range sorted {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Summary{}, fmt.Errorf("%v was measured", v)
		}
	}
	return Summary{Median: quantile(sorted, 0.5), Low: quantile(sorted, 0.25), High: quantile(sorted, 0.75), N: len(sorted)}, nil
}

// quantile interpolates between the two nearest of sorted values, as R, NumPy and spreadsheets do (Hyndman and Fan's type 7).
func quantile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	below := int(at)
	if below+1 == len(sorted) {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// Scale returns the summary in another unit.
func (s Summary) Scale(factor float64) Summary {
	return Summary{Median: s.Median * factor, Low: s.Low * factor, High: s.High * factor, N: s.N}
}

// Sums adds up every n measurements that follow each other; a rest of fewer is left out. It is for clocks that count what is
// short late: now and then it takes no time at all, and what comes next takes twice as long.
func Sums(values []float64, n int) []float64 {
	var sums []float64
	for block := range slices.Chunk(values, n) {
		if len(block) < n {
			break
		}
		sum := 0.0
		for _, v := range block {
			sum += v
		}
		sums = append(sums, sum)
	}
	return sums
}

// Ratios sums up values[i] / base[i], where i is the round that both were measured in.
func Ratios(values, base []float64) (Summary, error) {
	if len(values) != len(base) {
		return Summary{}, fmt.Errorf("%d rounds against %d", len(values), len(base))
	}
	ratios := make([]float64, len(values))
	for i := range values {
		ratios[i] = values[i] / base[i]
	}
	return Of(ratios)
}
