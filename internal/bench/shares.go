package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/report"
)

// share is a part of a benchmark's time: that of stacks in which these functions are, and none of those. Profiles leave out the
// outermost frames of deep stacks, as the AWS SDK's are, so that what is looked for is near what takes the time.
type share struct{ what, with, without string }

// sharesOf are the parts that a ceremony has. They do not overlap.
var sharesOf = []share{
	{"verifying", `ceremony\.\(\*Service\)\.verifyAssertion|crypto/ecdsa\.`, ""},
	{"reading the reply", `ceremony\.parseAssertion`, ""},
	{"the file's records", `boltstore\.\(\*DB\)\.update`, `bbolt\.\(\*Tx\)\.Commit`},
	{"the file's pages", `bbolt\.\(\*Tx\)\.Commit`, ""},
	{"calls", `github\.com/aws/`, ""},
	{"HTTP", `net/http\.\(\*persistConn\)\.(writeLoop|readLoop)`, ""},
	{"the tables' records", `store/dynamostore\.\(`, `github\.com/aws/`},
	{"collecting garbage", `runtime\.(gcBgMarkWorker|bgsweep|bgscavenge)`, ""},
}

// shares profiles the ceremonies that have a target, and says what their time goes into.
func (l *lab) shares(ctx context.Context, all []measured) (report.Table, error) {
	table := report.Table{Columns: []string{"µs of"}}
	for _, s := range sharesOf {
		table.Rows = append(table.Rows, []string{s.what})
	}
	rest := []string{"everything else"}
	for _, m := range all {
		if m.key == "" {
			continue
		}
		time, err := m.found.Summary(m.benchmark, "cpu-ns/op")
		if err != nil {
			return report.Table{}, err
		}
		profile, err := l.profile(ctx, m)
		if err != nil {
			return report.Table{}, err
		}
		total, err := profile.of(ctx, share{})
		if err != nil {
			return report.Table{}, err
		}
		table.Columns = append(table.Columns, m.store+": "+m.what)
		left := total
		for i, s := range sharesOf {
			part, err := profile.of(ctx, s)
			if err != nil {
				return report.Table{}, err
			}
			left -= part
			cell := "" // it has no such part
			if part > 0 {
				cell = report.Number(part / total * time.Median / 1000)
			}
			table.Rows[i] = append(table.Rows[i], cell)
		}
		rest = append(rest, report.Number(left/total*time.Median/1000))
	}
	table.Rows = append(table.Rows, rest)
	return table, nil
}

// accounted is the line of `go tool pprof -top` that says how much time it tells of.
var accounted = regexp.MustCompile(`(?m)^Showing nodes accounting for ([0-9.]+)ms,`)

// profile is a CPU profile of a binary.
type profile struct{ binary, file string }

// of returns how much time went into a part, in ms; into everything, without one. The authenticator has no part.
func (p profile) of(ctx context.Context, s share) (float64, error) {
	arguments := []string{"tool", "pprof", "-top", "-unit=ms", "-nodecount=1000000", "-nodefraction=0", "-edgefraction=0"}
	without := "internal/authtest"
	if s.without != "" {
		without += "|" + s.without
	}
	if arguments = append(arguments, "-ignore="+without); s.with != "" {
		arguments = append(arguments, "-focus="+s.with)
	}
	printed, err := output(ctx, "go", append(arguments, p.binary, p.file)...)
	if err != nil {
		return 0, err
	}
	found := accounted.FindStringSubmatch(printed)
	if found == nil {
		return 0, nil // nothing matches
	}
	return strconv.ParseFloat(found[1], 64)
}

// profile runs a ceremony's benchmark once more.
func (l *lab) profile(ctx context.Context, m measured) (profile, error) {
	pkg := "internal/ceremony"
	if m.wanted == wantedOnDynamoDB {
		pkg = "internal/store/dynamostore"
	}
	p, err := l.profileOf(ctx, pkg, m.benchmark, pick(l, "10000x", "2000x"), "-test.cpu=1")
	if err != nil {
		return profile{}, err
	}
	verifying, err := p.of(ctx, sharesOf[0])
	if err == nil && verifying == 0 {
		err = fmt.Errorf("a profile of %s without its verification", m.benchmark)
	}
	return p, err
}

// profileOf runs a benchmark of a package whose benchmarks were run before.
func (l *lab) profileOf(ctx context.Context, pkg, benchmark, benchtime string, more ...string) (profile, error) {
	l.say("profiling %s of %s", benchmark, pkg)
	levels := strings.Split("Benchmark"+benchmark, "/")
	for i, level := range levels {
		levels[i] = "^" + level + "$"
	}
	p := profile{filepath.Join(l.folder, strings.ReplaceAll(pkg, "/", "-")+".test"), filepath.Join(l.folder, "profile")}
	where, err := output(ctx, "go", "list", "-f", "{{.Dir}}", module+"/"+pkg)
	if err != nil {
		return profile{}, err
	}
	command := exec.CommandContext(ctx, p.binary, append(more, "-test.run=^$", "-test.bench="+strings.Join(levels, "/"), "-test.benchtime="+benchtime,
		"-test.cpuprofile="+p.file, "-test.timeout=1h")...)
	command.Dir = where
	if printed, err := command.CombinedOutput(); err != nil {
		return profile{}, fmt.Errorf("profiling %s: %w\n%s", benchmark, err, printed)
	}
	return p, nil
}
