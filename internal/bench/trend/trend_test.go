package trend_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stepgate/stepgate/internal/bench/trend"
)

func places(n int) (x []float64) {
	for i := range n {
		x = append(x, float64(i))
	}
	return x
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-9*math.Max(1, math.Abs(want)) }

// Anscombe's first set (The American Statistician 27, 1973) has a slope of 0.500 with a standard error of 0.118. Its
// residuals, in the order of x, are not alike, so nothing widens that.
func TestFitIsLeastSquares(t *testing.T) {
	x := []float64{4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
	y := []float64{4.26, 5.68, 7.24, 4.82, 6.95, 8.81, 8.04, 8.33, 10.84, 7.58, 9.96}
	line, err := trend.Fit(x, y)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(line.Slope-0.50009) > 1e-5 || math.Abs(line.Error-0.11791) > 1e-5 || line.N != 11 {
		t.Errorf("slope %.5f ± %.5f of %d, want 0.50009 ± 0.11791 of 11", line.Slope, line.Error, line.N)
	}
	if !line.Grows() || !near(line.High()-line.Low(), 2*2.576*line.Error) {
		t.Errorf("from %v to %v: want a slope that is surely above 0, and the interval twice 2.576 errors wide", line.Low(), line.High())
	}
}

func TestFitOfAStraightLine(t *testing.T) {
	for _, slope := range []float64{0, 2, -3} {
		var y []float64
		for _, x := range places(10) {
			y = append(y, 7+slope*x)
		}
		line, err := trend.Fit(places(10), y)
		if err != nil || !near(line.Slope, slope) || line.Error > 1e-9 {
			t.Errorf("slope %v ± %v, %v; want %v", line.Slope, line.Error, err, slope)
		}
		if line.Grows() != (slope > 0) {
			t.Errorf("a slope of %v: grows is %t", slope, line.Grows())
		}
	}
}

// walk is noise each of whose values keeps so much of the one before.
func walk(random *rand.Rand, n int, keep float64) (y []float64) {
	value := 0.0
	for range n {
		value = keep*value + random.NormFloat64()
		y = append(y, value)
	}
	return y
}

// Noise has no trend: a line through it is called growth in one of 200 cases, and in few more when neighbours are alike.
func TestFitIsNotSureOfNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, keep := range []float64{0, 0.7} {
		const tries = 1000
		grows := 0
		for range tries {
			line, err := trend.Fit(places(60), walk(random, 60, keep))
			if err != nil {
				t.Fatal(err)
			}
			if line.Grows() {
				grows++
			}
		}
		if share := float64(grows) / tries; share > 0.05 {
			t.Errorf("neighbours keep %v: %.1f %% of pure noise is called growth", keep, 100*share)
		}
	}
}

// A leak is found under the same noise.
func TestFitFindsALeak(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		y := walk(random, 60, 0.7)
		for i := range y {
			y[i] += 0.5 * float64(i)
		}
		line, err := trend.Fit(places(60), y)
		if err != nil || !line.Grows() {
			t.Fatalf("slope %v ± %v, %v: the leak was not found", line.Slope, line.Error, err)
		}
	}
}

func TestFitRefuses(t *testing.T) {
	for name, c := range map[string]struct{ x, y []float64 }{
		"none":         {nil, nil},
		"too few":      {places(3), places(3)},
		"not as many":  {places(5), places(4)},
		"one place":    {[]float64{1, 1, 1, 1}, places(4)},
		"not a number": {places(4), []float64{1, 2, math.NaN(), 4}},
		"infinite":     {places(4), []float64{1, 2, math.Inf(1), 4}},
	} {
		if line, err := trend.Fit(c.x, c.y); err == nil {
			t.Errorf("%s: %+v", name, line)
		}
	}
}
