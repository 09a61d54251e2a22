// Command bench measures what Stepgate costs, beside Caddy without it and beside the alternatives, and writes what it
// found into docs/benchmarks.md.
//
//	go run ./internal/bench [-only http,handler] [-quick] [-out docs/benchmarks.md] [-cite README.md]
//	go run ./internal/bench -report
//
// Its parts run one after the other, alone on the machine. A part is a Go benchmark, which stays in its package and is
// built and run from here, or a measurement of built binaries as processes. Whatever is compared is measured in one run
// and in turns. A part that meets anything but what it expects (a refusal, a wrong body, an upstream that was not asked)
// fails, and leaves the page as it was. Nothing fails for being slow.
//
// -report prints how the handler compares with a bare route, in less than a minute, and writes nothing: for CI.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/bench/report"
)

// part is one part of the benchmarks.
type part struct {
	name string
	run  func(context.Context, *lab) (report.Section, error)
}

// parts are all of them, in the order of the page.
var parts = []part{
	{"http", httpPart},
	{"handler", handlerPart},
	{"ceremonies", ceremoniesPart},
	{"store", storePart},
	{"start", startPart},
	{"soak", soakPart},
}

func main() {
	if served, err := serveIfAsked(os.Args[1:]); served {
		exit(err)
	}
	only := flag.String("only", "", "the parts to run, with commas between them; \"\" runs all: "+strings.Join(names(parts), ","))
	quick := flag.Bool("quick", false, "few and short rounds: to see that the benchmarks work")
	out := flag.String("out", "docs/benchmarks.md", "the page to write; its plots go to the folder of the same name beside it")
	cite := flag.String("cite", "", "a text that cites figures of the page, and gets the new ones")
	reporting := flag.Bool("report", false, "print how the handler compares with a bare route, and write nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *reporting {
		exit(compare(ctx, os.Stdout, *out))
	}
	exit(run(ctx, os.Stderr, *only, *quick, *out, *cite))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func names(list []part) (all []string) {
	for _, p := range list {
		all = append(all, p.name)
	}
	return all
}

// run runs the parts that are asked for. The page is written after each, so that what was measured is kept when a later
// one fails.
func run(ctx context.Context, progress io.Writer, only string, quick bool, out, cite string) error {
	chosen, err := choose(parts, only)
	if err != nil {
		return err
	}
	page, err := report.Read(out)
	if err != nil {
		return err
	}
	from, err := origin(ctx, only, quick)
	if err != nil {
		return err
	}
	for _, p := range chosen {
		if err = measure(ctx, progress, p, page, from, out); err != nil {
			break
		}
		fmt.Fprintf(progress, "written: %s of %s\n", p.name, out)
	}
	if cite == "" {
		return err
	}
	cites, wrong := page.CiteIn(cite) // also when a later part failed: the page has new figures
	if wrong == nil && !cites {
		wrong = fmt.Errorf("%s cites no figure", cite)
	}
	return errors.Join(err, wrong)
}

// measure runs one part and writes the page.
func measure(ctx context.Context, progress io.Writer, p part, page *report.Page, from report.Origin, out string) error {
	fmt.Fprintf(progress, "== %s\n", p.name)
	from.Time = time.Now()
	section, err := inLab(progress, from.Quick, func(l *lab) (report.Section, error) { return p.run(ctx, l) })
	if err != nil {
		return fmt.Errorf("part %s: %w", p.name, err)
	}
	if err := page.Set(out, p.name, section, from); err != nil {
		return err
	}
	return page.Write(out, names(parts))
}

// choose returns the parts that a list names, in their own order. A name that is none is an error.
func choose(all []part, only string) ([]part, error) {
	if only == "" {
		return all, nil
	}
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if !slices.Contains(names(all), name) {
			return nil, fmt.Errorf("-only: %q is no part; there are %s", name, strings.Join(names(all), ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(p part) bool { return !slices.Contains(wanted, p.name) }), nil
}
