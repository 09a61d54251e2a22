package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/report"
)

// wantedPrice is what a million step-ups may cost on demand in us-east-1, in dollars.
const wantedPrice = 1.40

// Rows of the table of flows that step-ups are made of.
const (
	startRow       = "step-up: start"
	finishRow      = "step-up: finish"
	startAgainRow  = "step-up within a minute of the last, same gateway and browser: start"
	finishAgainRow = "step-up within a minute of the last, no sign count: finish"
)

// storePart counts what each flow asks of DynamoDB: the test that holds docs/dynamodb.md to that prints it.
func storePart(ctx context.Context, l *lab) (report.Section, error) {
	l.say("counting the calls of each flow")
	command := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=10m", "-run=^TestFlows$", "-v", module+"/internal/store/dynamostore")
	printed, err := command.CombinedOutput()
	if err != nil {
		return report.Section{}, fmt.Errorf("counting calls: %w\n%s", err, printed)
	}
	table := report.Table{Columns: []string{"flow", "round trips", "calls", "write units", "read units", "dollars for a million"}}
	table.Rows, err = flows(string(printed), len(table.Columns))
	if err != nil {
		return report.Section{}, err
	}
	sums := report.Table{Columns: []string{"step-ups, start and finish", "round trips", "write units", "read units", "dollars for a million"}}
	prices := map[string]float64{}
	for _, sum := range []struct{ what, start, finish string }{
		{"within a minute of the last, same gateway and browser, no sign count", startAgainRow, finishAgainRow},
		{"within a minute of the last, no sign count", startRow, finishAgainRow},
		{"otherwise", startRow, finishRow},
	} {
		row, price, err := add(table.Rows, sum.start, sum.finish)
		if err != nil {
			return report.Section{}, err
		}
		sums.Rows = append(sums.Rows, append([]string{sum.what}, row...))
		prices[sum.start+sum.finish] = price
	}
	lowest, usual := prices[startAgainRow+finishAgainRow], prices[startRow+finishRow]
	dollars := func(price float64) string { return fmt.Sprintf("$%.3f", price) }
	return report.Section{
		Title: "What flows ask of DynamoDB",
		Targets: []report.Target{
			{Key: "price-again", What: "DynamoDB for a million step-ups, each within a minute of the last, same gateway and browser, no sign count", Wanted: fmt.Sprintf("at most $%.2f", wantedPrice), Measured: dollars(lowest), Met: lowest <= wantedPrice},
			{Key: "price-usual", What: "DynamoDB for a million step-ups, each more than a minute after the last", Measured: dollars(usual)},
		},
		Blocks: []report.Block{
			report.Text(`
Counted on the calls that are made to DynamoDB Local, not measured: another run finds the same. Calls at the same time are
one round trip. Dollars are for on demand in us-east-1. [Running on DynamoDB](dynamodb.md#what-it-costs) says what that means.`),
			sums,
			report.Text("### Each flow"),
			table,
			report.Text(`
On the file store a start is one transaction, a finish one, and one more where the use is written.`),
		},
	}, nil
}

// flows finds the rows of the table in what the test printed.
func flows(printed string, columns int) (rows [][]string, err error) {
	for line := range strings.Lines(printed) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "| ") || !strings.HasSuffix(line, " |") {
			continue
		}
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | ")
		if len(cells) != columns {
			return nil, fmt.Errorf("a row of %d cells: %s", len(cells), line)
		}
		rows = append(rows, cells)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("no flow was counted:\n%s", printed)
	}
	return rows, nil
}

// add sums up two flows: round trips, units and price.
func add(rows [][]string, names ...string) (sum []string, price float64, err error) {
	var trips, writes, reads int
	for _, name := range names {
		i := slices.IndexFunc(rows, func(row []string) bool { return row[0] == name })
		if i < 0 {
			return nil, 0, fmt.Errorf("no flow is called %q", name)
		}
		for to, text := range map[*int]string{&trips: rows[i][1], &writes: rows[i][3], &reads: rows[i][4]} {
			n, err := strconv.Atoi(text)
			if err != nil {
				return nil, 0, fmt.Errorf("flow %q: %w", name, err)
			}
			*to += n
		}
		dollars, err := strconv.ParseFloat(strings.TrimPrefix(rows[i][5], "$"), 64)
		if err != nil {
			return nil, 0, fmt.Errorf("flow %q: %w", name, err)
		}
		price += dollars
	}
	return []string{strconv.Itoa(trips), strconv.Itoa(writes), strconv.Itoa(reads), fmt.Sprintf("$%.3f", price)}, price, nil
}
