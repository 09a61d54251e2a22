package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/sample"
)

// goBenchmarks builds a package's benchmarks once and runs those that match a pattern, round after round, so that each
// is measured in turns with the others and not all of its rounds in a row. environment is for what they need beside
// everybody's.
func (l *lab) goBenchmarks(ctx context.Context, pkg, pattern string, rounds int, benchtime string, environment ...string) (*sample.Benchmarks, error) {
	l.say("building the benchmarks of %s", pkg)
	binary := filepath.Join(l.folder, strings.ReplaceAll(pkg, "/", "-")+".test")
	if printed, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, module+"/"+pkg).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the benchmarks of %s: %w\n%s", pkg, err, printed)
	}
	where, err := output(ctx, "go", "list", "-f", "{{.Dir}}", module+"/"+pkg)
	if err != nil {
		return nil, err
	}
	found := new(sample.Benchmarks)
	for round := range rounds {
		l.say("%s: round %d of %d", pkg, round+1, rounds)
		command := exec.CommandContext(ctx, binary, "-test.run=^$", "-test.bench="+pattern, "-test.benchmem", "-test.benchtime="+benchtime, "-test.timeout=1h")
		command.Dir = where
		command.Env = append(os.Environ(), environment...)
		var printed, problems bytes.Buffer // apart: a log line in the middle of a result would hide it
		command.Stdout, command.Stderr = &printed, &problems
		if err := command.Run(); err != nil {
			return nil, fmt.Errorf("benchmarks of %s: %w\n%s%s", pkg, err, &printed, &problems)
		}
		if err := found.Read(&printed, runtime.GOMAXPROCS(0)); err != nil {
			return nil, err
		}
	}
	if len(found.Names) == 0 {
		return nil, fmt.Errorf("no benchmark of %s matches %s", pkg, pattern)
	}
	return found, nil
}
