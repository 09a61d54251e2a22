// Command fuzzer runs every fuzz target of the module that it is started in, two at a time, and says of each how it went.
// A new target is found by itself.
//
//	go run ./internal/fuzzer -time 10s [-run regexp] [packages]
//
// It differs from `go test -fuzz` in three ways. One binary is built for each package, for all of its targets. Only what
// is looked at is instrumented, this module and the few packages in also: with all that Caddy imports instrumented too, a
// build takes minutes and a run reaches a tenth of the inputs. And the end of the time is not an error:
// testing's own -fuzztime fails now and then with "context deadline exceeded" (go.dev/issue/75804), an interrupt does not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// also lists the packages of others that read what a client sends, beside the standard library's.
var also = []string{
	"github.com/caddyserver/caddy/v2/modules/caddyhttp",
	"github.com/fxamacker/cbor/v2",
	"github.com/go-webauthn/webauthn/...",
}

// instrument is what cmd/go gives the compiler for -fuzz.
const instrument = "-d=libfuzzer"

func main() {
	spend := flag.Duration("time", time.Minute, "how long each target runs")
	only := flag.String("run", "", "run only the targets that match this regular expression")
	jobs := flag.Int("jobs", 2, "how many targets run at a time")
	flag.Parse()
	packages := flag.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, options{packages, *only, *spend, *jobs}); err != nil {
		fmt.Fprintln(os.Stderr, "fuzzer:", err)
		os.Exit(1)
	}
}

type options struct {
	packages []string
	only     string
	spend    time.Duration
	jobs     int
}

// target is one fuzz target, and the binary that has it.
type target struct {
	pkg, folder, binary, name string
}

func run(ctx context.Context, out io.Writer, o options) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "fuzzer-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	began := time.Now()
	targets, err := build(ctx, work, o.packages, only)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return fmt.Errorf("no fuzz target in %s matches %q", strings.Join(o.packages, " "), o.only)
	}
	cache, err := output(ctx, "go", "env", "GOCACHE")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d targets, built in %s, %d at a time for %s each\n", len(targets), time.Since(began).Round(time.Second), o.jobs, o.spend)
	var (
		mu     sync.Mutex // one reports at a time
		failed int
		group  sync.WaitGroup
		queue  = make(chan target)
	)
	for range max(o.jobs, 1) {
		group.Go(func() {
			for t := range queue {
				tried, err := t.fuzz(ctx, filepath.Join(strings.TrimSpace(cache), "fuzz", t.pkg), o.spend)
				mu.Lock()
				if err != nil {
					failed++
					fmt.Fprintf(out, "FAIL\t%s %s\n%v\n", t.pkg, t.name, err)
				} else {
					fmt.Fprintf(out, "ok  \t%s %s\t%s inputs\n", t.pkg, t.name, tried)
				}
				mu.Unlock()
			}
		})
	}
	for _, t := range targets {
		queue <- t
	}
	close(queue)
	group.Wait()
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case failed > 0:
		return fmt.Errorf("%d of %d targets failed", failed, len(targets))
	}
	return nil
}

// declares finds a fuzz target in a file of tests. The binary is asked for its targets; this saves building those that
// have none.
var declares = regexp.MustCompile(`(?m)^func Fuzz[A-Z0-9_]`)

// build builds the tests of each package that has fuzz targets.
func build(ctx context.Context, work string, packages []string, only *regexp.Regexp) (targets []target, err error) {
	module, err := output(ctx, "go", "list", "-m")
	if err != nil {
		return nil, err
	}
	var flags []string
	for _, pattern := range append([]string{strings.TrimSpace(module) + "/..."}, also...) {
		flags = append(flags, "-gcflags="+pattern+"="+instrument)
	}
	const format = `{{.ImportPath}}|{{.Dir}}|{{range .TestGoFiles}}{{.}}|{{end}}{{range .XTestGoFiles}}{{.}}|{{end}}`
	listed, err := output(ctx, "go", append([]string{"list", "-f", format}, packages...)...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(listed) {
		fields := strings.Split(strings.TrimSuffix(line, "|\n"), "|")
		has, err := anyDeclares(fields[1], fields[2:])
		if err != nil {
			return nil, err
		}
		if !has {
			continue
		}
		binary := filepath.Join(work, fmt.Sprintf("%d.test", len(targets)))
		arguments := append([]string{"test", "-c", "-o", binary}, flags...)
		if _, err := output(ctx, "go", append(arguments, fields[0])...); err != nil {
			return nil, err
		}
		names, err := output(ctx, binary, "-test.list", "^Fuzz")
		if err != nil {
			return nil, err
		}
		for name := range strings.FieldsSeq(names) {
			if only.MatchString(name) {
				targets = append(targets, target{fields[0], fields[1], binary, name})
			}
		}
	}
	return targets, nil
}

func anyDeclares(folder string, files []string) (bool, error) {
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(folder, filepath.Base(name)))
		if err != nil {
			return false, err
		}
		if declares.Match(text) {
			return true, nil
		}
	}
	return false, nil
}

// output runs a command and returns what it prints; its error holds what it complains of.
func output(ctx context.Context, name string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, name, arguments...)
	var complaint strings.Builder
	command.Stderr = &complaint
	printed, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(arguments, " "), err, complaint.String())
	}
	return string(printed), nil
}
