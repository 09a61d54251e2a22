package report_test

import (
	"encoding/xml"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

// element is an element of an SVG.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Elements []element  `xml:",any"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e element) number(t *testing.T, name string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(e.attr(name), 64)
	must(t, err)
	return v
}

// all returns the elements with a name whose class begins with a word.
func (e element) all(name, class string) (found []element) {
	for _, inner := range e.Elements {
		if inner.XMLName.Local == name && strings.HasPrefix(inner.attr("class"), class) {
			found = append(found, inner)
		}
	}
	return found
}

// drawn returns a plot as the page has it, read as XML.
func drawn(t *testing.T, plot report.Block, name string) (image element, text string) {
	t.Helper()
	file := written(t, map[string]report.Section{"first": {Title: "The first", Blocks: []report.Block{plot}}})
	text = content(t, filepath.Join(filepath.Dir(file), "benchmarks", "first-"+name+".svg"))
	must(t, xml.Unmarshal([]byte(text), &image))
	return image, text
}

// A plot can be heard, and seen on a dark page.
func accessible(t *testing.T, image element, text, title, description string) {
	t.Helper()
	names := strings.Fields(image.attr("aria-labelledby"))
	said := []string{}
	for _, name := range names {
		for _, inner := range image.Elements {
			if inner.attr("id") == name {
				said = append(said, inner.Text)
			}
		}
	}
	if image.attr("role") != "img" || !slices.Equal(said, []string{title, description}) {
		t.Errorf("role %q, says %q", image.attr("role"), said)
	}
	if !strings.Contains(text, "@media (prefers-color-scheme: dark)") {
		t.Error("nothing for dark mode")
	}
	if len(image.all("rect", "background")) != 1 {
		t.Error("no background: dark text on a dark page")
	}
}

func TestBars(t *testing.T) {
	image, text := drawn(t, report.Bars{
		Name: "rates", Title: "Rates <of all>", Description: `a & "b"`, Unit: "per second",
		Bars: []report.Bar{
			{Label: "fast & good", Value: sample.Summary{Median: 800, Low: 700, High: 1000, N: 9}, Printed: "800/s", Kind: report.Ours},
			{Label: "slow", Value: sample.Summary{Median: 400, Low: 390, High: 410, N: 9}, Printed: "400/s"},
		},
	}, "rates")
	accessible(t, image, text, "Rates <of all>", `a & "b"`)

	bars := image.all("rect", "bar")
	if len(bars) != 2 || bars[0].attr("class") == bars[1].attr("class") {
		t.Fatalf("%d bars: %v", len(bars), bars)
	}
	if long, short := bars[0].number(t, "width"), bars[1].number(t, "width"); math.Abs(long/short-2) > 0.01 {
		t.Errorf("bars of %v and %v for 800 and 400", long, short)
	}
	// A whisker is three lines: from quartile to quartile, and its ends. 700 to 1,000 is 300/800 of the first bar.
	whiskers := image.all("line", "whisker")
	if len(whiskers) != 6 {
		t.Fatalf("%d lines of whiskers", len(whiskers))
	}
	spread := whiskers[0].number(t, "x2") - whiskers[0].number(t, "x1")
	if want := bars[0].number(t, "width") * 3 / 8; math.Abs(spread-want) > 0.2 {
		t.Errorf("a whisker of %v, want %v", spread, want)
	}
	width := image.number(t, "width")
	if right := whiskers[0].number(t, "x2"); right > width {
		t.Errorf("a whisker ends at %v of %v", right, width)
	}
	labels := []string{}
	for _, class := range []string{"label", "figure"} {
		for _, l := range image.all("text", class) {
			labels = append(labels, l.Text)
		}
	}
	if !slices.Equal(labels, []string{"fast & good", "slow", "800/s", "400/s"}) {
		t.Errorf("labels %q", labels)
	}
}

func TestLines(t *testing.T) {
	line := func(label string, last float64) report.Series {
		return report.Series{Label: label, Points: []report.Point{{X: 1, Y: exact(1)}, {X: 10, Y: exact(2)}, {X: 100, Y: exact(last)}}}
	}
	image, text := drawn(t, report.Lines{Name: "growth", Title: "Growth", Description: "it grows", X: "how many", Y: "µs",
		Series: []report.Series{line("one", 4), line("two", 4), line("three", 4.01)}}, "growth")
	accessible(t, image, text, "Growth", "it grows")

	dots := image.all("circle", "dot")
	if len(dots) != 9 {
		t.Fatalf("%d dots", len(dots))
	}
	x := func(i int) float64 { return dots[i].number(t, "cx") }
	if first, second := x(1)-x(0), x(2)-x(1); math.Abs(first-second) > 0.2 {
		t.Errorf("from 1 to 10 is %v, from 10 to 100 %v", first, second)
	}
	y := func(i int) float64 { return dots[i].number(t, "cy") }
	if first, second := y(0)-y(1), y(1)-y(2); math.Abs(second/first-2) > 0.05 {
		t.Errorf("from 1 to 2 is %v, from 2 to 4 %v", first, second)
	}
	places := []float64{}
	for _, l := range image.all("text", "label") {
		places = append(places, l.number(t, "y"))
	}
	slices.Sort(places)
	if len(places) != 3 || places[1]-places[0] < 15 || places[2]-places[1] < 15 {
		t.Errorf("labels are on each other: %v", places)
	}
}

// Plots of nothing, and of zeros, are images all the same.
func TestEmptyPlots(t *testing.T) {
	for _, plot := range []report.Block{
		report.Bars{Name: "x"},
		report.Bars{Name: "x", Bars: []report.Bar{{Label: "none", Value: exact(0)}}},
		report.Lines{Name: "x"},
		report.Lines{Name: "x", Series: []report.Series{{Label: "one", Points: []report.Point{{X: 5, Y: exact(0)}}}}},
	} {
		if _, text := drawn(t, plot, "x"); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("%+v: %s", plot, text)
		}
	}
}
