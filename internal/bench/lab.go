package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/stepgate/stepgate/internal/bench/report"
)

const module = "github.com/stepgate/stepgate"

// lab is what a part works with: a folder of its own, which is removed afterwards, and somewhere to say how far it is.
type lab struct {
	folder   string
	quick    bool
	progress io.Writer
}

// inLab runs a part in a new lab.
func inLab(progress io.Writer, quick bool, run func(*lab) (report.Section, error)) (report.Section, error) {
	folder, err := os.MkdirTemp("", "stepgate-bench")
	if err != nil {
		return report.Section{}, err
	}
	defer os.RemoveAll(folder)
	return run(&lab{folder: folder, quick: quick, progress: progress})
}

// say tells who waits how far the part is.
func (l *lab) say(format string, arguments ...any) {
	fmt.Fprintf(l.progress, "   "+format+"\n", arguments...)
}

// pick returns what a full run has, or what a quick one has.
func pick[T any](l *lab, full, quick T) T {
	if l.quick {
		return quick
	}
	return full
}

// build builds a command of this module, as a release is built, and returns the binary's path.
func (l *lab) build(ctx context.Context, pkg string) (string, error) {
	return l.compile(ctx, filepath.Base(pkg), module+"/"+pkg)
}

// compile builds any command as a release is built, under a name of its own, and returns the binary's path.
func (l *lab) compile(ctx context.Context, name, pkg string, flags ...string) (string, error) {
	path := filepath.Join(l.folder, name)
	l.say("building %s", pkg)
	arguments := append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", path}, flags...)
	command := exec.CommandContext(ctx, "go", append(arguments, pkg)...)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if printed, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, printed)
	}
	return path, nil
}

// origin says what is measured on, with and from.
func origin(ctx context.Context, only string, quick bool) (report.Origin, error) {
	caddy, err := output(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2")
	if err != nil {
		return report.Origin{}, err
	}
	compiler, err := output(ctx, "go", "env", "GOVERSION")
	if err != nil {
		return report.Origin{}, err
	}
	commit, err := output(ctx, "git", "describe", "--always", "--dirty", "--exclude=*")
	if err != nil {
		commit = "of a source without git" // which an archive of it is
	}
	command := "make bench"
	if only != "" {
		command += " ONLY=" + only
	}
	if quick {
		command += " QUICK=1"
	}
	return report.Origin{
		Command: command, Machine: machine(), Quick: quick,
		Versions: fmt.Sprintf("Stepgate %s, Caddy %s, %s", commit, caddy, strings.Replace(compiler, "go", "Go ", 1)),
	}, nil
}

func output(ctx context.Context, name string, arguments ...string) (string, error) {
	printed, err := exec.CommandContext(ctx, name, arguments...).Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", name, strings.Join(arguments, " "), err)
	}
	return strings.TrimSpace(string(printed)), nil
}

var (
	processorModel = regexp.MustCompile(`(?m)^model name\s*: (.+)$`)
	memoryTotal    = regexp.MustCompile(`(?m)^MemTotal:\s+(\d+) kB$`)
	kernelRelease  = regexp.MustCompile(`^\S+`)
)

// machine describes this one: what Linux says of it, elsewhere the system and how many processors it has.
func machine() string {
	words := []string{runtime.GOOS + "/" + runtime.GOARCH}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		words[0] += " " + kernelRelease.FindString(string(text))
	}
	model := "processors"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := processorModel.FindSubmatch(text); m != nil {
			model = "× " + string(m[1])
		}
	}
	words = append(words, fmt.Sprintf("%d %s", runtime.NumCPU(), model))
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if m := memoryTotal.FindSubmatch(text); m != nil {
			if kilobytes, err := strconv.ParseFloat(string(m[1]), 64); err == nil {
				words = append(words, fmt.Sprintf("%.0f GiB", kilobytes/(1<<20)))
			}
		}
	}
	return strings.Join(words, ", ")
}
