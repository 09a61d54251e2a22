// Package report writes the page of benchmarks: Markdown, with plots beside it as SVG.
//
// The page has a section for each part, and each says when, where and with what it was measured. A part that was not run
// keeps its section, byte for byte, so that measuring one part again needs no hour for the others. What is wanted and
// what was measured stands in one table at the top, made of all sections.
package report

import "github.com/stepgate/stepgate/internal/bench/sample"

// Section is what one part of the benchmarks found.
type Section struct {
	Title   string
	Targets []Target
	Blocks  []Block
}

// Target is a figure that is wanted, beside the one measured. They are shown at the top of the page.
type Target struct {
	Key      string // the name by which [Page.Figure] finds it: letters, digits and hyphens
	What     string
	Wanted   string // "" where nothing is wanted, and the figure is one that people ask for
	Measured string
	Met      bool
}

// Block is a paragraph, a table or a plot.
type Block interface{ block() }

// Text is Markdown: a paragraph, or several.
type Text string

// Table has its columns' heads and its rows. The first column is words, the others are figures.
type Table struct {
	Columns []string
	Rows    [][]string
}

// Bars is a plot of one figure for several things: a bar each, with whiskers from quartile to quartile.
type Bars struct {
	Name        string // of the file, without .svg: letters, digits and hyphens
	Title       string
	Description string // what can be seen in it, for who can't see it
	Unit        string
	Bars        []Bar
}

// Bar is one bar. Printed is its figure in words.
type Bar struct {
	Label   string
	Value   sample.Summary
	Printed string
	Kind    Kind
}

// Kind is what a bar or line is beside the others, and so its colour.
type Kind int

// The kinds.
const (
	Other Kind = iota
	Ours
	Baseline
)

// Lines is a plot of how figures grow, over a logarithmic axis, with whiskers from quartile to quartile; or, where it is
// Linear, of many readings over time, without.
type Lines struct {
	Name        string // as that of [Bars]
	Title       string
	Description string
	X, Y        string // what the axes show, with the unit
	Linear      bool   // X is linear from 0, and may be 0
	Series      []Series
}

// Series is one line.
type Series struct {
	Label  string
	Kind   Kind
	Points []Point
}

// Point is a place on a line. X is above 0.
type Point struct {
	X float64
	Y sample.Summary
}

func (Text) block()  {}
func (Table) block() {}
func (Bars) block()  {}
func (Lines) block() {}
