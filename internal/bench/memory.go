package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

// memories measures anonymous memory.
func memories(ctx context.Context, l *lab, programs []program) (report.Section, error) {
	kinds, section := []string{"idle", "after requests", "after reloads"}, report.Section{}
	held := make(map[string][][]float64)
	for _, kind := range kinds {
		held[kind] = make([][]float64, len(programs))
	}
	if err := l.inTurns("memory", pick(l, 8, 2), len(programs), func(i int) error {
		found, err := weigh(ctx, l, programs[i], i)
		if err != nil {
			return fmt.Errorf("%s: %w", programs[i].name, err)
		}
		for k, kind := range kinds {
			held[kind][i] = append(held[kind][i], found[k])
		}
		return nil
	}); err != nil {
		return report.Section{}, err
	}
	table := report.Table{Columns: []string{"anonymous memory"}}
	for _, kind := range kinds {
		table.Columns = append(table.Columns, kind+", MiB", "times Caddy's")
	}
	bars := report.Bars{Name: "memory", Title: "Anonymous memory", Unit: "RssAnon when idle, MiB; less is better",
		Description: "Anonymous memory of an idle process with ten routes, once its garbage is collected."}
	for i, of := range programs {
		row := []string{of.name}
		for _, kind := range kinds {
			summary, err := sample.Of(held[kind][i])
			if err != nil {
				return report.Section{}, err
			}
			ratio, err := sample.Ratios(held[kind][i], held[kind][0])
			if err != nil {
				return report.Section{}, err
			}
			row = append(row, report.Spread(summary.Scale(mebibyte)), ratioText(i, ratio))
			if kind == "idle" {
				bars.Bars = append(bars.Bars, report.Bar{Label: of.name, Value: summary.Scale(mebibyte), Printed: report.Number(summary.Median*mebibyte) + " MiB", Kind: of.kind})
			}
		}
		table.Rows = append(table.Rows, row)
	}
	section.Blocks = []report.Block{report.Text(`### Memory

Anonymous memory (` + "`RssAnon`" + `: heap and stacks, without the program's file) with ten routes, after a garbage collection and
once it stays the same: idle; after 5,000 requests, half of them to a protected route with a grant; after ten reloads.`), table, bars}
	for _, kind := range kinds {
		target, err := overheadTarget("memory-"+strings.TrimPrefix(kind, "after "), "anonymous memory, "+kind, held[kind][len(programs)-1], held[kind][0])
		if err != nil {
			return report.Section{}, err
		}
		section.Targets = append(section.Targets, target)
	}
	crowd, err := crowds(ctx, l, programs[0], programs[len(programs)-1])
	if err != nil {
		return report.Section{}, err
	}
	section.Blocks = append(section.Blocks, crowd.Blocks...)
	section.Targets = append(section.Targets, crowd.Targets...)
	return section, nil
}

const mebibyte = 1.0 / (1 << 20)

// weigh starts a program and returns its anonymous memory at three moments.
func weigh(ctx context.Context, l *lab, of program, i int) (held []float64, err error) {
	s, err := l.site(of, fmt.Sprintf("memory%d", i), 10)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(s.folder); err != nil { // of the round before
		return nil, err
	}
	config, err := s.prepare(ctx)
	if err != nil {
		return nil, err
	}
	people, err := s.seed(ctx, 1)
	if err != nil {
		return nil, err
	}
	r, err := l.run(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	weighed := func() error {
		settled, err := r.settled(ctx, r.admin)
		held = append(held, settled)
		return err
	}
	if err := weighed(); err != nil {
		return nil, err
	}
	if err := people.visit(ctx, r, 2500); err != nil {
		return nil, err
	}
	if err := weighed(); err != nil {
		return nil, err
	}
	for range 10 {
		if _, err := r.admin.reload(ctx, config); err != nil {
			return nil, err
		}
	}
	return held, weighed()
}
