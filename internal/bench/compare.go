package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

// compare prints what the handler costs in this run, beside a route without it in the same run and beside what the page
// says. It judges nothing: the machine may be another one, or busy.
func compare(ctx context.Context, to io.Writer, out string) error {
	page, err := report.Read(out)
	if err != nil {
		return err
	}
	var found *sample.Benchmarks
	if _, err := inLab(os.Stderr, true, func(l *lab) (_ report.Section, err error) {
		found, err = l.goBenchmarks(ctx, "caddymodule", "^Benchmark(Handler|Route)$", 5, "100ms")
		return report.Section{}, err
	}); err != nil {
		return err
	}
	time, err := found.Summary("Handler", "ns/op")
	if err != nil {
		return err
	}
	allocations, err := found.Summary("Handler", "allocs/op")
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "the handler: %s ns and %s allocations for a protected request", report.Spread(time), report.Spread(allocations))
	for _, last := range []string{"handler-time", "handler-allocations"} {
		if figure, ok := page.Figure(last); ok {
			fmt.Fprintf(to, "; %s in %s", figure, out)
		}
	}
	fmt.Fprintln(to)
	for _, variant := range []string{"open", "protected"} {
		ratio, err := routeRatio(found, variant)
		if err != nil {
			return err
		}
		fmt.Fprintf(to, "a route that answers at once, %s: %s times one without Stepgate", variant, report.SpreadOf(ratio, 2))
		if figure, ok := page.Figure("route-" + variant); ok {
			fmt.Fprintf(to, "; %s in %s", figure, out)
		}
		fmt.Fprintln(to)
	}
	return nil
}
