package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

// maxOverhead is how many times plain Caddy's a start, a reload and the anonymous memory may be.
const maxOverhead = 1.1

// startPart measures what comes before and between requests: the start, reloads, and the memory of who waits.
func startPart(ctx context.Context, l *lab) (report.Section, error) {
	programs, err := l.programs(ctx)
	if err != nil {
		return report.Section{}, err
	}
	section := report.Section{Title: "Start, reload and memory", Blocks: []report.Block{report.Text(`
Built binaries, each with one site that answers at once and a store file that is there already. *Caddy* is Caddy's own
command of the version that Stepgate is built with, with the same flags (` + "`CGO_ENABLED=0 -trimpath -ldflags '-s -w'`" + `). For each
protected route of Stepgate it has a route with the same path and one handler (` + "`header /area1/* …`" + `). *Caddy, once more* is
the same binary: what it differs by is what the measurement can't tell from nothing. *Caddy, AWS SDK linked in* is
Caddy with a blank import of the packages that the DynamoDB store needs, which nothing calls. All in turns, there and back.`)}}
	for _, measure := range []func(context.Context, *lab, []program) (report.Section, error){startUps, reloads, memories} {
		more, err := measure(ctx, l, programs)
		if err != nil {
			return report.Section{}, err
		}
		section.Targets = append(section.Targets, more.Targets...)
		section.Blocks = append(section.Blocks, more.Blocks...)
	}
	return section, nil
}

// inTurns calls measure for each of n things, in as many rounds: there in one, back in the next.
func (l *lab) inTurns(what string, rounds, n int, measure func(i int) error) error {
	for round := range rounds {
		if round%max(1, rounds/10) == 0 {
			l.say("%s: round %d of %d", what, round+1, rounds)
		}
		for i := range n {
			if round%2 == 1 {
				i = n - 1 - i
			}
			if err := measure(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// startUps measures from the start of the process to its first answer, and the processor time until then.
func startUps(ctx context.Context, l *lab, programs []program) (report.Section, error) {
	took, ran := make([][]float64, len(programs)), make([][]float64, len(programs))
	sites := make([]*site, len(programs))
	for i, of := range programs {
		var err error
		if sites[i], err = l.site(of, fmt.Sprintf("start%d", i), 10); err != nil {
			return report.Section{}, err
		}
		if _, err := sites[i].prepare(ctx); err != nil {
			return report.Section{}, err
		}
		first, err := l.run(ctx, sites[i]) // makes the store and its key, and warms the caches of the file system
		if err != nil {
			return report.Section{}, err
		}
		if err := first.stop(); err != nil {
			return report.Section{}, err
		}
	}
	if err := l.inTurns("starts", pick(l, 40, 4), len(programs), func(i int) error {
		r, err := l.run(ctx, sites[i])
		if err != nil {
			return err
		}
		life, err := r.kill()
		if err != nil {
			return err
		}
		took[i], ran[i] = append(took[i], milliseconds(r.took)), append(ran[i], milliseconds(life))
		return nil
	}); err != nil {
		return report.Section{}, err
	}
	table := report.Table{Columns: []string{"start, with ten routes", "first answer after, ms", "times Caddy's", "processor time until then, ms", "times Caddy's"}}
	bars := report.Bars{Name: "start", Title: "Start-up", Unit: "processor time until the first answer, ms; less is better",
		Description: "Processor time from the start of the process to its first answer."}
	section := report.Section{}
	for i, of := range programs {
		row := []string{of.name}
		for _, values := range [][][]float64{took, ran} {
			summary, err := sample.Of(values[i])
			if err != nil {
				return report.Section{}, err
			}
			ratio, err := sample.Ratios(values[i], values[0])
			if err != nil {
				return report.Section{}, err
			}
			row = append(row, report.Spread(summary), ratioText(i, ratio))
		}
		table.Rows = append(table.Rows, row)
		summary, err := sample.Of(ran[i])
		if err != nil {
			return report.Section{}, err
		}
		bars.Bars = append(bars.Bars, report.Bar{Label: of.name, Value: summary, Printed: report.Number(summary.Median) + " ms", Kind: of.kind})
	}
	section.Blocks = []report.Block{report.Text("### Start-up"), table, bars}
	target, err := overheadTarget("start-up", "start-up, to the first answer", took[len(took)-1], took[0])
	if err != nil {
		return report.Section{}, err
	}
	section.Targets = []report.Target{target}
	why, err := inits(ctx, l, programs[0], programs[len(programs)-1])
	section.Blocks = append(section.Blocks, why.Blocks...)
	return section, err
}

// reloads measures the admin API's answer to a configuration, with one route and with many.
func reloads(ctx context.Context, l *lab, programs []program) (_ report.Section, err error) {
	programs = []program{programs[0], programs[1], programs[3]}
	table := report.Table{Columns: []string{"reload", "Caddy, ms", "Stepgate, ms", "times Caddy's", "processor time, times Caddy's", "Caddy, once more: times"}}
	section := report.Section{}
	for _, routes := range []int{1, 100, 1000} {
		took, ran, err := reloadsWith(ctx, l, programs, routes)
		if err != nil {
			return report.Section{}, err
		}
		plain, err := sample.Of(took[0])
		if err != nil {
			return report.Section{}, err
		}
		ours, err := sample.Of(took[2])
		if err != nil {
			return report.Section{}, err
		}
		row := []string{protected(routes), report.Spread(plain), report.Spread(ours)}
		// The kernel adds to a running thread's time at its ticks, which are further apart than a short reload is long.
		atATime := min(5, len(ran[0]))
		processor := [2][]float64{sample.Sums(ran[2], atATime), sample.Sums(ran[0], atATime)}
		for _, pair := range [][2][]float64{{took[2], took[0]}, processor, {took[1], took[0]}} {
			ratio, err := sample.Ratios(pair[0], pair[1])
			if err != nil {
				return report.Section{}, err
			}
			row = append(row, report.SpreadOf(ratio, 2))
		}
		table.Rows = append(table.Rows, row)
		target, err := overheadTarget(fmt.Sprintf("reload-%d", routes), "reload with "+protected(routes), took[2], took[0])
		if err != nil {
			return report.Section{}, err
		}
		section.Targets = append(section.Targets, target)
	}
	section.Blocks = []report.Block{report.Text("### Reload\n\nThe whole configuration is sent to the admin API as JSON, and put in force."), table}
	return section, nil
}

func protected(routes int) string {
	if routes == 1 {
		return "one protected route"
	}
	return report.Number(float64(routes)) + " protected routes"
}

// reloadsWith starts the programs, and then reloads them in turns.
func reloadsWith(ctx context.Context, l *lab, programs []program, routes int) (took, ran [][]float64, err error) {
	took, ran = make([][]float64, len(programs)), make([][]float64, len(programs))
	at, configs := make([]*running, len(programs)), make([][]byte, len(programs))
	defer func() {
		for _, r := range at {
			if r != nil {
				err = errors.Join(err, r.stop())
			}
		}
	}()
	for i, of := range programs {
		s, err := l.site(of, fmt.Sprintf("reload%d-%d", routes, i), routes)
		if err != nil {
			return nil, nil, err
		}
		if configs[i], err = s.prepare(ctx); err != nil {
			return nil, nil, err
		}
		if at[i], err = l.run(ctx, s); err != nil {
			return nil, nil, err
		}
	}
	const warmUp = 2
	full := 50
	if routes == 1 {
		full = 300 // of a millisecond each
	}
	round := make([]int, len(programs))
	err = l.inTurns(fmt.Sprintf("reloads with %d routes", routes), warmUp+pick(l, full, 4), len(programs), func(i int) error {
		before, err := at[i].ran()
		if err != nil {
			return err
		}
		d, err := at[i].admin.reload(ctx, configs[i])
		if err != nil {
			return err
		}
		after, err := at[i].ran()
		if err != nil {
			return err
		}
		if round[i]++; round[i] > warmUp {
			took[i], ran[i] = append(took[i], milliseconds(d)), append(ran[i], milliseconds(after-before))
		}
		return nil
	})
	return took, ran, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ratioText is how something compares with the first of a table, which is the measure itself.
func ratioText(i int, ratio sample.Summary) string {
	if i == 0 {
		return "1"
	}
	return report.SpreadOf(ratio, 2)
}

func overheadTarget(key, what string, ours, plain []float64) (report.Target, error) {
	ratio, err := sample.Ratios(ours, plain)
	return report.Target{Key: key, What: what, Wanted: fmt.Sprintf("at most %.1f times Caddy's", maxOverhead),
		Measured: report.SpreadOf(ratio, 2) + " times", Met: ratio.Median <= maxOverhead}, err
}
