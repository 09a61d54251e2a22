package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/sample"
)

// Number prints a figure with three digits that mean something: 0.934, 12.3, 18,400.
func Number(v float64) string {
	if v == 0 {
		return "0"
	}
	decimals := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	if decimals == 0 {
		unit := math.Pow(10, math.Max(0, math.Floor(math.Log10(math.Abs(v)))-2))
		return thousands(int64(math.Round(v/unit) * unit))
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	groups := []string{}
	for len(text) > 3 {
		groups = append([]string{text[len(text)-3:]}, groups...)
		text = text[:len(text)-3]
	}
	return sign + strings.Join(append([]string{text}, groups...), ",")
}

// Whole prints a count: without digits behind the point where there are none.
func Whole(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return thousands(int64(v))
	}
	return Number(v)
}

// Spread prints a summary: its median, and the quartiles behind it where they differ.
func Spread(s sample.Summary) string {
	low, middle, high := Number(s.Low), Number(s.Median), Number(s.High)
	if low == middle && middle == high {
		return Whole(s.Median) // most often a count
	}
	return fmt.Sprintf("%s (%s–%s)", middle, low, high)
}

// SpreadOf prints a summary with so many digits behind the point: for ratios, where 1.000 and 0.995 are to be compared.
func SpreadOf(s sample.Summary, decimals int) string {
	text := func(v float64) string { return strconv.FormatFloat(v, 'f', decimals, 64) }
	return fmt.Sprintf("%s (%s–%s)", text(s.Median), text(s.Low), text(s.High))
}
