package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

// What the handler may cost (one request to a protected route with a grant, ten rules, headers and placeholders included),
// and how much more with a hundred times the rules.
const (
	maxHandlerTime        = 1000.0 // ns
	maxHandlerAllocations = 4.0
	maxRuleGrowth         = 2.0 // of 1,000 rules against ten
)

// handlerPart runs the handler's Go benchmarks: what Stepgate alone costs, without a network, a server or an upstream.
func handlerPart(ctx context.Context, l *lab) (report.Section, error) {
	found, err := l.goBenchmarks(ctx, "caddymodule", "^Benchmark(Handler|HandlerFirst|Route|Rules|Cookies)$", pick(l, 10, 2), pick(l, "300ms", "20ms"))
	if err != nil {
		return report.Section{}, err
	}
	section := report.Section{Title: "What the handler costs", Blocks: []report.Block{report.Text(`
A request to a protected route with a live grant, ten rules, headers and placeholders included. *Handler* is Stepgate's
code alone, with the grant that this user's last request bore too, as all of a page's requests do; *HandlerFirst* has to open
the grant, as the first request does. *Route* is Caddy's server with a route that answers at once: without Stepgate
(bare), with it on an open route, and on a protected one. These are Go benchmarks of ` + "`caddymodule`" + `, in one process;
what they measure is the time of 16 requests one after another, which were there before and are put back as they were for the
next turn, so that the garbage collected meanwhile is the handler's own.`)}}
	table := report.Table{Columns: []string{"benchmark", "time, ns", "allocations", "bytes"}}
	for _, name := range found.Names {
		if strings.Contains(name, "N=") {
			continue
		}
		row, err := benchmarkRow(found, name)
		if err != nil {
			return report.Section{}, err
		}
		table.Rows = append(table.Rows, row)
	}
	section.Blocks = append(section.Blocks, table)

	time, err := found.Summary("Handler", "ns/op")
	if err != nil {
		return report.Section{}, err
	}
	allocations, err := found.Summary("Handler", "allocs/op")
	if err != nil {
		return report.Section{}, err
	}
	section.Targets = []report.Target{
		{Key: "handler-time", What: "a protected request with a grant, ten rules", Wanted: "at most 1.0 µs",
			Measured: report.Number(time.Median/1000) + " µs", Met: time.Median <= maxHandlerTime},
		{Key: "handler-allocations", What: "its allocations", Wanted: "at most 4",
			Measured: report.Whole(allocations.Median), Met: allocations.Median <= maxHandlerAllocations},
	}
	shares, err := l.handlerShares(ctx, time.Median)
	if err != nil {
		return report.Section{}, err
	}
	section.Blocks = append(section.Blocks, report.Text("### Where the time goes\n\nBy a CPU profile of one more run of *Handler*, in parts of its median."), shares)
	rules, err := growth(found, "Rules")
	if err != nil {
		return report.Section{}, err
	}
	ratio, err := rules.ratio(found, 1000, 10)
	if err != nil {
		return report.Section{}, err
	}
	for _, variant := range []string{"open", "protected"} {
		ratio, err := routeRatio(found, variant)
		if err != nil {
			return report.Section{}, err
		}
		section.Targets = append(section.Targets, report.Target{Key: "route-" + variant, What: "a route of Caddy that answers at once, " + variant + ", against one without Stepgate",
			Measured: report.SpreadOf(ratio, 2) + " times"})
	}
	section.Targets = append(section.Targets, report.Target{Key: "rules-growth", What: "1,000 rules against ten", Wanted: "at most twice",
		Measured: report.SpreadOf(ratio, 2) + " times", Met: ratio.Median <= maxRuleGrowth})
	cookies, err := growth(found, "Cookies")
	if err != nil {
		return report.Section{}, err
	}
	section.Blocks = append(section.Blocks,
		report.Text("### With more rules, and more cookies\n\nThe last rule is the one that matches. Cookies are those beside the grant."),
		growthTable(rules, cookies),
		report.Lines{
			Name: "growth", Title: "How the cost of a judged request grows", X: "how many", Y: "time of one request, µs",
			Description: "Median time of the handler with " + rules.words() + "; with " + cookies.words() + ".",
			Series: []report.Series{
				{Label: "rules", Kind: report.Ours, Points: rules.points()},
				{Label: "cookies", Kind: report.Other, Points: cookies.points()},
			},
		})
	return section, nil
}

// routeRatio compares a route with Stepgate and one without, round by round.
func routeRatio(found *sample.Benchmarks, variant string) (sample.Summary, error) {
	bare, err := found.Values("Route/bare", "ns/op")
	if err != nil {
		return sample.Summary{}, err
	}
	with, err := found.Values("Route/"+variant, "ns/op")
	if err != nil {
		return sample.Summary{}, err
	}
	return sample.Ratios(with, bare)
}

// benchmarkRow is a benchmark's row of a table.
func benchmarkRow(found *sample.Benchmarks, name string) ([]string, error) {
	row := []string{name}
	for _, unit := range []string{"ns/op", "allocs/op", "B/op"} {
		s, err := found.Summary(name, unit)
		if err != nil {
			return nil, err
		}
		row = append(row, report.Spread(s))
	}
	return row, nil
}

// grown is a benchmark that was run with different numbers of something.
type grown struct {
	name  string
	sizes []float64
	times []sample.Summary // ns
	rows  [][]string
}

// growth collects the results of a benchmark whose variants are called N=1, N=10, …
func growth(found *sample.Benchmarks, name string) (grown, error) {
	g := grown{name: name}
	for _, full := range found.Names {
		text, ok := strings.CutPrefix(full, name+"/N=")
		if !ok {
			continue
		}
		size, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return grown{}, fmt.Errorf("benchmark %s: %w", full, err)
		}
		time, err := found.Summary(full, "ns/op")
		if err != nil {
			return grown{}, err
		}
		row, err := benchmarkRow(found, full)
		if err != nil {
			return grown{}, err
		}
		row[0] = fmt.Sprintf("%s %s", report.Whole(size), strings.ToLower(name))
		g.sizes, g.times, g.rows = append(g.sizes, size), append(g.times, time), append(g.rows, row)
	}
	if len(g.sizes) < 2 {
		return grown{}, fmt.Errorf("benchmark %s was run with %d sizes", name, len(g.sizes))
	}
	return g, nil
}

// ratio compares two sizes round by round.
func (g grown) ratio(found *sample.Benchmarks, large, small float64) (sample.Summary, error) {
	at := func(size float64) ([]float64, error) {
		return found.Values(fmt.Sprintf("%s/N=%g", g.name, size), "ns/op")
	}
	much, err := at(large)
	if err != nil {
		return sample.Summary{}, err
	}
	little, err := at(small)
	if err != nil {
		return sample.Summary{}, err
	}
	return sample.Ratios(much, little)
}

func growthTable(all ...grown) report.Table {
	table := report.Table{Columns: []string{"with", "time, ns", "allocations", "bytes"}}
	for _, g := range all {
		table.Rows = append(table.Rows, g.rows...)
	}
	return table
}

func (g grown) points() (points []report.Point) {
	for i := range g.sizes {
		if g.sizes[i] == 0 {
			continue // which has no place on the plot's axis
		}
		points = append(points, report.Point{X: g.sizes[i], Y: g.times[i].Scale(1e-3)})
	}
	return points
}

// words says the figures of a line, for who can't see it.
func (g grown) words() string {
	all := []string{}
	for i := range g.sizes {
		all = append(all, fmt.Sprintf("%s %s: %s µs", report.Whole(g.sizes[i]), strings.ToLower(g.name), report.Number(g.times[i].Median/1000)))
	}
	return strings.Join(all, ", ")
}
