package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

// made is what packages make before main.
type made struct {
	time        float64 // ms
	bytes       float64
	allocations float64
}

// initLine is what GODEBUG=inittrace=1 prints of a package (package runtime, "Environment Variables").
var initLine = regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock, (\d+) bytes, (\d+) allocs$`)

// readInits reads all that is printed of one start, by package.
func readInits(printed string) (map[string]made, error) {
	all := map[string]made{}
	for _, line := range initLine.FindAllStringSubmatch(printed, -1) {
		values := [3]float64{}
		for i := range values {
			var err error
			if values[i], err = strconv.ParseFloat(line[i+2], 64); err != nil {
				return nil, fmt.Errorf("%q: %w", line[0], err)
			}
		}
		all[line[1]] = made{values[0], values[1], values[2]}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("GODEBUG=inittrace=1 printed nothing")
	}
	return all, nil
}

// whose are the groups that packages are counted in: the first whose prefix fits.
var whose = []struct{ name, prefix string }{
	{"the AWS SDK", "github.com/aws/"},
	{"go-webauthn", "github.com/go-webauthn/"},
	{"Stepgate's own", module + "/"},
	{"others", ""},
}

// grouped sums up what one start makes that a plain one has no package for.
func grouped(ours, plain map[string]made) []made {
	groups := make([]made, len(whose))
	for name, m := range ours {
		if _, known := plain[name]; known {
			continue
		}
		for i := range whose {
			if strings.HasPrefix(name, whose[i].prefix) {
				groups[i].time += m.time
				groups[i].bytes += m.bytes
				groups[i].allocations += m.allocations
				break
			}
		}
	}
	return groups
}

// inits tells where what Stepgate costs at a start comes from: what its packages make before main that Caddy has not.
func inits(ctx context.Context, l *lab, plain, ours program) (report.Section, error) {
	totals, times := make([]float64, 0), make([][]float64, len(whose))
	var last []made
	rounds := pick(l, 40, 4)
	for range rounds {
		var found [2]map[string]made
		for i, of := range []program{plain, ours} {
			command := exec.CommandContext(ctx, of.binary, "version")
			command.Env = []string{"GODEBUG=inittrace=1", "HOME=" + l.folder}
			printed, err := command.CombinedOutput()
			if err != nil {
				return report.Section{}, fmt.Errorf("%s: %w\n%s", of.name, err, printed)
			}
			if found[i], err = readInits(string(printed)); err != nil {
				return report.Section{}, err
			}
		}
		total := 0.0
		for _, m := range found[0] {
			total += m.time
		}
		totals = append(totals, total)
		last = grouped(found[1], found[0])
		for i, group := range last {
			times[i] = append(times[i], group.time)
		}
	}
	table := report.Table{Columns: []string{"made before main", "time, ms", "allocated, kB", "allocations"}}
	for i, group := range last {
		summary, err := sample.Of(times[i])
		if err != nil {
			return report.Section{}, err
		}
		table.Rows = append(table.Rows, []string{whose[i].name, report.Spread(summary), report.Number(group.bytes / 1000), report.Number(group.allocations)})
	}
	all, err := sample.Of(totals)
	if err != nil {
		return report.Section{}, err
	}
	return report.Section{Blocks: []report.Block{report.Text(fmt.Sprintf(`
Go makes what packages hold in variables before main, in every program that links them, used or not. These are the packages that
Stepgate has and Caddy has not (`+"`GODEBUG=inittrace=1`"+`, %d starts in turns); all of Caddy's take %s ms. The rest of the difference is the larger
program, whose pages the kernel maps one by one, the larger heap, which the garbage collector looks through at each of the
few collections of a start, and the store's file, which is opened.`, rounds, report.Spread(all))), table}}, nil
}
