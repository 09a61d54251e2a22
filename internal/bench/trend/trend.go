// Package trend tells whether a figure that was read again and again grows: a line through the readings by least squares,
// with how sure its slope is.
//
// Readings of a process that come soon after each other are alike: a heap that happens to be large is large in the next
// reading too. Taken for independent they make any slope look sure. So the standard error is widened by what the
// residuals of neighbours have in common, as for a first-order autoregressive process (von Storch and Zwiers, "Statistical
// Analysis in Climate Research", §6.6.8): n readings are worth n(1-r)/(1+r), where r is the lag-one autocorrelation.
package trend

import (
	"errors"
	"math"
)

// Line is a line through readings.
type Line struct {
	Slope float64 // per unit of the readings' places
	Error float64 // standard error of Slope
	N     int
}

// sure is how many standard errors a slope is surely not further away from the truth than: 99 % of a normal distribution. Several
// figures are looked at in one soak, and one in 40 that is called growth by chance would be one soak in ten.
const sure = 2.576

// Low and High are the ends of the slope's 99 % interval.
func (l Line) Low() float64  { return l.Slope - sure*l.Error }
func (l Line) High() float64 { return l.Slope + sure*l.Error }

// Grows reports whether the slope is surely above 0.
func (l Line) Grows() bool { return l.Low() > 0 }

// Fit puts a line through the readings y at the places x, which must be in the order of x. It takes at least four.
func Fit(x, y []float64) (Line, error) {
	n := float64(len(x))
	if len(x) != len(y) {
		return Line{}, errors.New("trend: as many readings as places are needed")
	}
	if len(x) < 4 {
		return Line{}, errors.New("trend: at least four readings are needed")
	}
	meanX, meanY := mean(x), mean(y)
	var squares, products float64
	for i := range x {
		squares += (x[i] - meanX) * (x[i] - meanX)
		products += (x[i] - meanX) * (y[i] - meanY)
	}
	if squares == 0 {
		return Line{}, errors.New("trend: all readings are at one place")
	}
	line := Line{Slope: products / squares, N: len(x)}
	rest := make([]float64, len(x))
	var sum, neighbours float64
	for i := range x {
		rest[i] = y[i] - meanY - line.Slope*(x[i]-meanX)
		sum += rest[i] * rest[i]
		if i > 0 {
			neighbours += rest[i] * rest[i-1]
		}
	}
	alike := 0.0
	if sum > 0 {
		alike = math.Min(math.Max(0, neighbours/sum), 1-2/n) // two readings' worth at the least
	}
	line.Error = math.Sqrt(sum / (n - 2) / squares * (1 + alike) / (1 - alike))
	if math.IsNaN(line.Slope) || math.IsInf(line.Slope, 0) || math.IsNaN(line.Error) || math.IsInf(line.Error, 0) {
		return Line{}, errors.New("trend: a reading is no finite number")
	}
	return line, nil
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}
