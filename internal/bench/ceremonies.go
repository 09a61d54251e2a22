package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

// How many ceremonies a core has to make in a second.
const (
	wantedOnFile     = 5000.0
	wantedOnDynamoDB = 1800.0
)

// measured is a kind of ceremony on a store.
type measured struct {
	store, what string
	short       string // for the plot; "" leaves it out
	found       *sample.Benchmarks
	benchmark   string
	key         string // of its target, which it has where it is in the plot
	wanted      float64
}

// ceremoniesPart runs the ceremonies' Go benchmarks: both steps on a real store, a software authenticator between them, which
// is not counted.
func ceremoniesPart(ctx context.Context, l *lab) (report.Section, error) {
	rounds := pick(l, 8, 2)
	run := func(pkg, pattern, benchtime string) (*sample.Benchmarks, error) {
		return l.goBenchmarks(ctx, pkg, pattern, rounds, benchtime, "GOMAXPROCS=1")
	}
	file, err := run("internal/ceremony", "^Benchmark(Authentication|Registration|VerifyP256)$", pick(l, "3000x", "50x"))
	if err != nil {
		return report.Section{}, err
	}
	standIn, err := run("internal/store/dynamostore", onStore("stand-in"), pick(l, "3000x", "50x"))
	if err != nil {
		return report.Section{}, err
	}
	local, err := run("internal/store/dynamostore", onStore("local"), pick(l, "400x", "20x"))
	if err != nil {
		return report.Section{}, err
	}
	const onFile, onStandIn, onLocal = "file", "DynamoDB's stand-in", "DynamoDB Local"
	const again, usual, first = "step-up within a minute of the last", "usual step-up", "first registration, with recovery codes"
	all := []measured{
		{onFile, again, "file, within a minute", file, "Authentication/again", "ceremonies-file", wantedOnFile},
		{onFile, usual, "file, usual", file, "Authentication/usual", "ceremonies-file-usual", wantedOnFile},
		{onFile, again + ", EdDSA", "", file, "Authentication/EdDSA", "", 0},
		{onFile, again + ", RS256", "", file, "Authentication/RS256", "", 0},
		{onFile, first, "", file, "Registration", "", 0},
		{onStandIn, again, "stand-in, within a minute", standIn, "Authentication/again/stand-in", "ceremonies-dynamodb", wantedOnDynamoDB},
		{onStandIn, usual, "stand-in, usual", standIn, "Authentication/usual/stand-in", "ceremonies-dynamodb-usual", wantedOnDynamoDB},
		{onStandIn, first, "", standIn, "Registration/stand-in", "", 0},
		{onLocal, again, "", local, "Authentication/again/local", "", 0},
		{onLocal, usual, "", local, "Authentication/usual/local", "", 0},
		{onLocal, first, "", local, "Registration/local", "", 0},
	}
	section := report.Section{Title: "Ceremonies on one core", Blocks: []report.Block{report.Text(`
Both steps of a ceremony, start and finish, in the process of the gateway, without HTTP: what it is asked is a JSON body, and
what it answers are options, and a proof. ` + "`GOMAXPROCS=1`" + `. The software authenticator's part is not counted. *Processor time* is
this process's, by ` + "`getrusage`" + `; a core makes a second divided by that many ceremonies. ES256 where nothing is said.

The file store does not wait for the disk (a gateway does: each write of a ceremony is one fsync, whatever else it costs). On
DynamoDB 16 ceremonies are under way at a time. *DynamoDB Local* is Amazon's, on the same machine: it answers so few calls, and
takes so much of the machine for each, that the gateway beside it mostly waits, and then works with cold caches. So the same
is measured on a *stand-in* too, another process that answers from memory and checks nothing: what a core can do is what it
does when it has no time to wait. A step-up within a minute of the last, with a passkey that keeps no sign count, in the same
browser on the same gateway, makes three calls of DynamoDB, and the usual one five.`)}}
	table := report.Table{Columns: []string{"ceremony", "processor time, µs", "a second, on one core", "of the bare verification", "allocations"}}
	verify, err := file.Summary("VerifyP256", "cpu-ns/op")
	if err != nil {
		return report.Section{}, err
	}
	allocations, err := file.Summary("VerifyP256", "allocs/op")
	if err != nil {
		return report.Section{}, err
	}
	table.Rows = append(table.Rows, []string{"bare verification of a P-256 signature (`crypto/ecdsa`)",
		report.Spread(verify.Scale(1e-3)), report.Number(1e9 / verify.Median), "1", report.Spread(allocations)})
	bars := report.Bars{Name: "rate", Title: "Ceremonies a second on one core", Unit: "a second",
		Bars: []report.Bar{{Label: "bare verification of P-256", Value: perSecondOf(verify), Printed: report.Number(1e9 / verify.Median), Kind: report.Baseline}}}
	words := []string{}
	for _, m := range all {
		row, perSecond, err := m.row(verify)
		if err != nil {
			return report.Section{}, err
		}
		table.Rows = append(table.Rows, row)
		if m.key == "" {
			continue
		}
		section.Targets = append(section.Targets, report.Target{
			Key: m.key, What: m.what + ", " + m.store + ": ceremonies a second on one core", Wanted: "at least " + report.Number(m.wanted),
			Measured: report.Spread(perSecond), Met: perSecond.Median >= m.wanted,
		})
		bars.Bars = append(bars.Bars, report.Bar{Label: m.short, Value: perSecond, Printed: report.Number(perSecond.Median), Kind: report.Ours})
		words = append(words, fmt.Sprintf("%s, %s: %s", m.store, m.what, report.Number(perSecond.Median)))
	}
	bars.Description = strings.Join(words, "; ") + "."
	shares, err := l.shares(ctx, all)
	if err != nil {
		return report.Section{}, err
	}
	section.Blocks = append(section.Blocks, table, bars, report.Text(`
### Where the time goes

Of the processor time above, by CPU profiles of one more run. *Verifying* is the bare verification and the checks around it;
*calls* is the AWS SDK's own work, which builds a chain of some thirty steps anew for each call, signs it, and writes and reads
JSON; *HTTP* is net/http's two goroutines of each connection, with the system calls. Neither those nor the verification are
ours to make cheaper, so the number of calls decides.`), shares)
	return section, nil
}

// onStore is the pattern of the benchmarks of dynamostore that are on one of its stores.
func onStore(name string) string {
	return "^BenchmarkAuthentication$/./^" + name + "$|^BenchmarkRegistration$/^" + name + "$"
}

// perSecondOf turns the time of one into how many a second, quartiles and all.
func perSecondOf(ns sample.Summary) sample.Summary {
	return sample.Summary{Low: 1e9 / ns.High, Median: 1e9 / ns.Median, High: 1e9 / ns.Low}
}

func (m measured) row(verify sample.Summary) (row []string, perSecond sample.Summary, err error) {
	time, err := m.found.Summary(m.benchmark, "cpu-ns/op")
	if err != nil {
		return nil, sample.Summary{}, err
	}
	allocations, err := m.found.Summary(m.benchmark, "allocs/op")
	if err != nil {
		return nil, sample.Summary{}, err
	}
	perSecond = perSecondOf(time)
	return []string{
		m.store + ": " + m.what, report.Spread(time.Scale(1e-3)), report.Spread(perSecond), report.Number(time.Median / verify.Median), report.Spread(allocations),
	}, perSecond, nil
}
