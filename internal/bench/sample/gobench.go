package sample

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Benchmarks are the results of Go benchmarks, in the order in which they were first printed.
type Benchmarks struct {
	Names  []string
	values map[string]map[string][]float64 // by name and unit, one for each round
}

// line is a result of a benchmark: its name, how often it ran, and pairs of a value and a unit.
var line = regexp.MustCompile(`^(Benchmark\S*)\s+\d+\s+(.+)$`)

// processors is what testing puts behind a benchmark's name where GOMAXPROCS is not 1.
var processors = regexp.MustCompile(`-\d+$`)

// Read adds what one run of `go test -bench` printed. Names lose "Benchmark" and the number of processors: with procs 2,
// BenchmarkRules/N=10-2 is Rules/N=10. A name that is measured twice in it has two rounds.
func (b *Benchmarks) Read(printed io.Reader, procs int) error {
	lines := bufio.NewScanner(printed)
	for lines.Scan() {
		found := line.FindStringSubmatch(lines.Text())
		if found == nil {
			continue
		}
		name := strings.TrimPrefix(found[1], "Benchmark")
		if procs > 1 && processors.FindString(name) == fmt.Sprintf("-%d", procs) {
			name = processors.ReplaceAllLiteralString(name, "")
		}
		if err := b.add(name, strings.Fields(found[2])); err != nil {
			return fmt.Errorf("reading %q: %w", lines.Text(), err)
		}
	}
	return lines.Err()
}

func (b *Benchmarks) add(name string, pairs []string) error {
	if len(pairs)%2 != 0 {
		return fmt.Errorf("a value has no unit")
	}
	if b.values == nil {
		b.values = map[string]map[string][]float64{}
	}
	if b.values[name] == nil {
		b.values[name] = map[string][]float64{}
		b.Names = append(b.Names, name)
	}
	for i := 0; i < len(pairs); i += 2 {
		value, err := strconv.ParseFloat(pairs[i], 64)
		if err != nil {
			return err
		}
		b.values[name][pairs[i+1]] = append(b.values[name][pairs[i+1]], value)
	}
	return nil
}

// Values returns what was measured of a benchmark in a unit (ns/op, allocs/op, or one of its own), round by round.
// Nothing is an error.
func (b *Benchmarks) Values(name, unit string) ([]float64, error) {
	values := b.values[name][unit]
	if len(values) == 0 {
		return nil, fmt.Errorf("benchmark %s printed no %s", name, unit)
	}
	return values, nil
}

// Summary sums those up.
func (b *Benchmarks) Summary(name, unit string) (Summary, error) {
	values, err := b.Values(name, unit)
	if err != nil {
		return Summary{}, err
	}
	return Of(values)
}
