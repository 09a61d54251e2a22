package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
	"github.com/stepgate/stepgate/internal/bench/trend"
)

// reading is what is read of the gateway at one moment of a soak.
type reading struct {
	at      float64 // minutes since the beginning
	figures []float64
}

// watched are the figures of a reading. None may grow.
var watched = []struct {
	name, unit string
	scale      float64
	read       func(ctx context.Context, r *running) (float64, error)
}{
	{"anonymous memory", "MiB", mebibyte, func(_ context.Context, r *running) (float64, error) { return r.anonymous() }},
	{"live heap", "MiB", mebibyte, func(ctx context.Context, r *running) (float64, error) {
		if err := r.admin.collect(ctx); err != nil {
			return 0, err
		}
		return r.admin.heap(ctx)
	}},
	{"goroutines", "", 1, func(ctx context.Context, r *running) (float64, error) { return r.admin.goroutines(ctx) }},
	{"open files", "", 1, func(_ context.Context, r *running) (float64, error) { return r.files() }},
}

// soakPart keeps a gateway with a file store under mixed load, and looks for what grows.
func soakPart(ctx context.Context, l *lab) (_ report.Section, err error) {
	length, every, reloadEvery, crowd := pick(l, 10*time.Minute, 20*time.Second), pick(l, 5*time.Second, time.Second), pick(l, 30*time.Second, 5*time.Second), pick(l, 200, 96)
	upstream, err := l.serve(ctx, "upstream", answer)
	if err != nil {
		return report.Section{}, err
	}
	defer func() { err = errors.Join(err, upstream.stop()) }()
	binary, err := l.build(ctx, "cmd/stepgate")
	if err != nil {
		return report.Section{}, err
	}
	s, err := l.site(program{ourName, binary, true, report.Ours}, "soak", 100)
	if err != nil {
		return report.Section{}, err
	}
	// Abandoned ceremonies are kept for the challenge_ttl and swept once a minute: short, so that as many go as come.
	s.options, s.upstream = []string{"challenge_ttl 1m"}, upstream.address
	config, err := s.prepare(ctx)
	if err != nil {
		return report.Section{}, err
	}
	r, err := l.run(ctx, s)
	if err != nil {
		return report.Section{}, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	load, err := newMix(ctx, s, crowd)
	if err != nil {
		return report.Section{}, err
	}
	l.say("%v of load by %d people", length, crowd)
	began := time.Now()
	end, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { load.run(end, stop) })
	readings, reloads, watchErr := watch(end, r, config, began, length, every, reloadEvery)
	stop()
	wait.Wait()
	if err := errors.Join(load.failed(), watchErr); err != nil {
		return report.Section{}, fmt.Errorf("%w\n%s", err, r.output)
	}
	return soakSection(readings, load, length, every, reloads)
}

// watch reads the figures until the time is over or the context ends, and reloads the gateway now and then.
func watch(ctx context.Context, r *running, config []byte, began time.Time, length, every, reloadEvery time.Duration) (readings []reading, reloads int, _ error) {
	tick, reload := time.NewTicker(every), time.NewTicker(reloadEvery)
	defer tick.Stop()
	defer reload.Stop()
	for time.Since(began) < length {
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-reload.C:
			if _, err := r.admin.reload(ctx, config); err != nil {
				return nil, 0, err
			}
			reloads++
		case <-tick.C:
			next := reading{at: time.Since(began).Minutes()}
			for _, figure := range watched {
				value, err := figure.read(ctx, r)
				if err != nil {
					return nil, 0, fmt.Errorf("reading %s: %w", figure.name, err)
				}
				next.figures = append(next.figures, value*figure.scale)
			}
			readings = append(readings, next)
		}
	}
	return readings, reloads, nil
}

func soakSection(readings []reading, load *mix, length, every time.Duration, reloads int) (report.Section, error) {
	table := report.Table{Columns: []string{"", "first tenth", "last tenth", "slope of the second half, in an hour", "99 % interval", "grows"}}
	plot := report.Lines{Name: "memory", Title: "A soak", X: "minutes", Y: "MiB", Linear: true}
	section, growing := report.Section{Title: fmt.Sprintf("A soak of %v", length)}, []string{}
	for i, figure := range watched {
		var x, y []float64
		series := report.Series{Label: figure.name, Kind: report.Ours}
		if i > 0 {
			series.Kind = report.Other
		}
		for _, at := range readings {
			x, y = append(x, at.at/60), append(y, at.figures[i])
			series.Points = append(series.Points, report.Point{X: at.at, Y: sample.Summary{Median: at.figures[i], Low: at.figures[i], High: at.figures[i], N: 1}})
		}
		half, tenth := len(x)/2, max(1, len(x)/10)
		line, err := trend.Fit(x[half:], y[half:])
		if err != nil {
			return report.Section{}, err
		}
		first, err := sample.Of(y[:tenth])
		if err != nil {
			return report.Section{}, err
		}
		last, err := sample.Of(y[len(y)-tenth:])
		if err != nil {
			return report.Section{}, err
		}
		unit, word := "", "no"
		if figure.unit != "" {
			unit = " " + figure.unit
		}
		if line.Grows() {
			word, growing = "yes", append(growing, figure.name)
		}
		table.Rows = append(table.Rows, []string{figure.name, report.Number(first.Median) + unit, report.Number(last.Median) + unit,
			signed(line.Slope) + unit, fmt.Sprintf("%s to %s", signed(line.Low()), signed(line.High())), word})
		if figure.unit != "" {
			plot.Series = append(plot.Series, series)
			plot.Description += fmt.Sprintf("%s: %s MiB in the first tenth, %s MiB in the last. ", figure.name, report.Number(first.Median), report.Number(last.Median))
		}
	}
	section.Blocks = []report.Block{report.Text(fmt.Sprintf(`
One gateway with a file store and an upstream, %d people with a passkey each, and %s requests in all: %s. %d reloads through the admin API.
Every answer was the one that its request must get. The figures were read every %v; the garbage is collected before the live heap
is read. The slope is by least squares, its interval widened by how alike readings are that follow each other. It knows
nothing of what swings more slowly than that half is long, such as the number of open connections: of a slope of a few MiB an hour
that one soak finds, ask another, and a longer one.`,
		len(load.people), report.Number(float64(load.requests.Load())), load.words(), reloads, every)), table, plot}
	measured := "none"
	if len(growing) > 0 {
		measured = strings.Join(growing, ", ")
	}
	section.Targets = []report.Target{{Key: "soak", What: fmt.Sprintf("what grows in the second half of %v of load", length), Wanted: "nothing", Measured: measured, Met: len(growing) == 0}}
	return section, nil
}

func signed(v float64) string {
	if v > 0 {
		return "+" + report.Number(v)
	}
	return report.Number(v)
}
