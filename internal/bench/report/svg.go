package report

import (
	"fmt"
	"html"
	"maps"
	"math"
	"slices"
	"strings"
)

// style is that of every plot. It follows the reader's light or dark mode, background included: a page may show the image
// on either.
const style = `<style>
text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
.background { fill: #ffffff } .title { font-weight: 600; font-size: 16px } .small { font-size: 12px; fill: #59636e }
.grid { stroke: #d1d9e0 } .axis { stroke: #818b98 }
.bar0 { fill: #c0c8d0 } .bar1 { fill: #2f81d6 } .bar2 { fill: #818b98 }
.line { fill: none; stroke-width: 2 } .line0 { stroke: #8250df } .line1 { stroke: #2f81d6 } .line2 { stroke: #6e7781 }
.dot0 { fill: #8250df } .dot1 { fill: #2f81d6 } .dot2 { fill: #6e7781 }
.whisker { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .background { fill: #0d1117 } .small { fill: #9198a1 }
.grid { stroke: #3d444d } .axis { stroke: #656c76 }
.bar0 { fill: #484f58 } .bar1 { fill: #2f81f7 } .bar2 { fill: #6e7681 }
.line0 { stroke: #ab7df8 } .line1 { stroke: #4493f8 } .line2 { stroke: #9198a1 }
.dot0 { fill: #ab7df8 } .dot1 { fill: #4493f8 } .dot2 { fill: #9198a1 }
.whisker { stroke: #f0f6fc }
}
</style>
`

const (
	width    = 800.0
	labels   = 250.0 // of bars, left of them
	figures  = 150.0 // of bars, right of them
	barSpace = 34.0
	top      = 64.0
)

// canvas is a plot that is being drawn.
type canvas struct{ strings.Builder }

// begin opens the image: a title and a description for those who hear it, the same title for those who see it.
func (c *canvas) begin(height float64, title, description, unit string) {
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%[1]g" height="%[2]g" role="img" aria-labelledby="title description">`+"\n", width, height)
	fmt.Fprintf(c, "<title id=\"title\">%s</title>\n<desc id=\"description\">%s</desc>\n", html.EscapeString(title), html.EscapeString(description))
	fmt.Fprint(c, style)
	fmt.Fprintf(c, `<rect class="background" width="%g" height="%g"/>`+"\n", width, height)
	c.text(16, 26, "title", "start", title)
	c.text(16, 46, "small", "start", unit)
}

func (c *canvas) text(x, y float64, class, anchor, text string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`+"\n", x, y, class, anchor, html.EscapeString(text))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>`+"\n", x1, y1, x2, y2, class)
}

// svg draws the bars, from 0.
func (b Bars) svg() string {
	highest := 0.0
	for _, bar := range b.Bars {
		highest = max(highest, bar.Value.High, bar.Value.Median)
	}
	ticks := ticksTo(highest)
	height := top + barSpace*float64(len(b.Bars)) + 36
	bottom := height - 32
	room := width - labels - figures
	at := func(v float64) float64 { return labels + room*v/ticks[len(ticks)-1] }

	c := new(canvas)
	c.begin(height, b.Title, b.Description, b.Unit)
	for _, tick := range ticks {
		c.line(at(tick), top, at(tick), bottom, "grid")
		c.text(at(tick), bottom+18, "small", "middle", Whole(tick))
	}
	for i, bar := range b.Bars {
		y := top + barSpace*float64(i) + 6
		middle := y + (barSpace-12)/2
		c.text(labels-10, middle+5, "label", "end", bar.Label)
		fmt.Fprintf(c, `<rect class="bar%d" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", bar.Kind, labels, y, at(bar.Value.Median)-labels, barSpace-12)
		c.line(at(bar.Value.Low), middle, at(bar.Value.High), middle, "whisker")
		c.line(at(bar.Value.Low), middle-5, at(bar.Value.Low), middle+5, "whisker")
		c.line(at(bar.Value.High), middle-5, at(bar.Value.High), middle+5, "whisker")
		c.text(width-figures+14, middle+5, "figure", "start", bar.Printed)
	}
	c.line(labels, top, labels, bottom, "axis")
	fmt.Fprintln(c, "</svg>")
	return c.String()
}

// svg draws the lines: y from 0, x logarithmic or from 0.
func (l Lines) svg() string {
	const height, left = 380.0, 70.0
	right, bottom := width-210, height-56
	highest, least, most := 0.0, math.Inf(1), 0.0
	places := map[float64]bool{}
	for _, series := range l.Series {
		for _, p := range series.Points {
			highest, least, most = max(highest, p.Y.High), min(least, p.X), max(most, p.X)
			places[p.X] = true
		}
	}
	ticks := ticksTo(highest)
	scale, marks := math.Log, slices.Sorted(maps.Keys(places))
	if l.Linear {
		scale, marks, least = func(v float64) float64 { return v }, ticksTo(most), 0
		most = marks[len(marks)-1]
	}
	span := scale(most) - scale(least)
	if span == 0 {
		span = 1
	}
	atX := func(v float64) float64 { return left + 20 + (right-left-40)*(scale(v)-scale(least))/span }
	atY := func(v float64) float64 { return bottom - (bottom-top)*v/ticks[len(ticks)-1] }

	c := new(canvas)
	c.begin(height, l.Title, l.Description, l.Y)
	for _, tick := range ticks {
		c.line(left, atY(tick), right, atY(tick), "grid")
		c.text(left-8, atY(tick)+4, "small", "end", Whole(tick))
	}
	for _, x := range marks {
		c.line(atX(x), bottom, atX(x), bottom+5, "axis")
		c.text(atX(x), bottom+20, "small", "middle", Whole(x))
	}
	c.text((left+right)/2, height-12, "small", "middle", l.X)
	c.line(left, bottom, right, bottom, "axis")
	c.line(left, top, left, bottom, "axis")
	ends := apart(l.Series, atY)
	for i, series := range l.Series {
		path := []string{}
		for _, p := range series.Points {
			path = append(path, fmt.Sprintf("%.1f,%.1f", atX(p.X), atY(p.Y.Median)))
		}
		fmt.Fprintf(c, `<polyline class="line line%d" points="%s"/>`+"\n", series.Kind, strings.Join(path, " "))
		for _, p := range series.Points {
			if l.Linear { // so many that the line is all there is to see
				continue
			}
			c.line(atX(p.X), atY(p.Y.Low), atX(p.X), atY(p.Y.High), "whisker")
			fmt.Fprintf(c, `<circle class="dot%d" cx="%.1f" cy="%.1f" r="4"/>`+"\n", series.Kind, atX(p.X), atY(p.Y.Median))
		}
		c.text(right+12, ends[i]+5, "label", "start", series.Label)
	}
	fmt.Fprintln(c, "</svg>")
	return c.String()
}

// apart returns where the lines' labels go: beside the lines' ends, but none on another.
func apart(all []Series, atY func(float64) float64) []float64 {
	const least = 18.0
	places := make([]float64, len(all))
	for i, series := range all {
		if len(series.Points) > 0 {
			places[i] = atY(series.Points[len(series.Points)-1].Y.Median)
		}
		for moved := true; moved; {
			moved = false
			for _, other := range places[:i] {
				if math.Abs(places[i]-other) < least {
					places[i], moved = other-least, true
				}
			}
		}
	}
	return places
}

// ticksTo returns four to eight round figures from 0 to what is at least the highest.
func ticksTo(highest float64) []float64 {
	if highest <= 0 {
		return []float64{0, 1}
	}
	step := math.Pow(10, math.Floor(math.Log10(highest)))
	for _, finer := range []float64{0.2, 0.25, 0.5, 1} {
		if highest/(step*finer) <= 7 {
			step *= finer
			break
		}
	}
	ticks := []float64{0}
	for n := 1.0; ticks[len(ticks)-1] < highest; n++ {
		ticks = append(ticks, n*step)
	}
	return ticks
}
