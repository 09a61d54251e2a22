package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// How long a target may take to prepare itself before its time begins, and to end once it is asked to.
const (
	maxPrepare = 2 * time.Minute
	maxEnd     = 30 * time.Second
)

var (
	// executions finds how many inputs were tried, in the lines by which testing reports on its progress.
	executions = regexp.MustCompile(`(?m)^fuzz: elapsed: \S+, execs: (\d+)`)
	// underway finds that the seeds have been tried, and new inputs are.
	underway = []byte("now fuzzing with")
	// kept finds the name under which a failing input is kept.
	kept = regexp.MustCompile(`Failing input written to (testdata/fuzz/(\S+/\S+))`)
)

// fuzz runs one target, and returns how many inputs it tried. Its clock starts with the first input that is new.
func (t target) fuzz(ctx context.Context, cache string, spend time.Duration) (tried string, err error) {
	command := exec.Command(t.binary, "-test.run=^$", "-test.fuzz=^"+t.name+"$", "-test.fuzzcachedir="+cache, "-test.parallel=1",
		"-test.fuzzminimizetime=1s") // what is merely interesting is not worth the minute that is testing's default
	command.Dir = t.folder // failing inputs are kept in its testdata
	seen := &watched{until: underway, found: make(chan struct{})}
	command.Stdout, command.Stderr = seen, seen
	if err := command.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	over := time.NewTimer(maxPrepare)
	defer over.Stop()
	for begun := seen.found; ; {
		select {
		case err := <-ended:
			return t.judge(seen.String(), err, false)
		case <-begun:
			begun = nil // which is never ready again
			over.Reset(spend)
			continue
		case <-ctx.Done():
		case <-over.C:
		}
		break
	}
	_ = command.Process.Signal(os.Interrupt)
	select {
	case err := <-ended:
		return t.judge(seen.String(), err, true)
	case <-time.After(maxEnd):
		_ = command.Process.Kill()
		return t.judge(seen.String(), errors.Join(errors.New("it did not end when it was asked to"), <-ended), true)
	}
}

// judge tells what a run comes to. A target passes only if it was there, was instrumented, and tried inputs until it was
// asked to stop.
func (t target) judge(printed string, err error, asked bool) (tried string, _ error) {
	fail := func(what string) (string, error) {
		return "", fmt.Errorf("%s\n%s", what, printed)
	}
	if m := kept.FindStringSubmatch(printed); m != nil {
		return fail(fmt.Sprintf("The failing input is %s/%s. Run it again: go test -run '^%s$' %s", t.folder, m[1], m[2], t.pkg))
	}
	all := executions.FindAllStringSubmatch(printed, -1)
	switch {
	case err != nil:
		return fail(err.Error())
	case !asked:
		return fail("it ended by itself")
	case bytes.Contains([]byte(printed), []byte("not built with coverage instrumentation")):
		return fail("it was not instrumented: the compiler's flag " + instrument + " is of no effect any more")
	case !bytes.Contains([]byte(printed), underway) || len(all) == 0 || all[len(all)-1][1] == "0":
		return fail("it tried no input of its own")
	}
	return all[len(all)-1][1], nil
}

// watched keeps what a command prints and tells when a text is among it.
type watched struct {
	mu      sync.Mutex
	printed bytes.Buffer
	until   []byte
	found   chan struct{}
	told    bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.printed.Write(p)
	if !w.told && bytes.Contains(w.printed.Bytes(), w.until) {
		w.told = true
		close(w.found)
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.printed.String()
}
