package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ran returns how long the threads of the process have been on a processor, to the nanosecond: its start and its reloads
// take a few of the ticks of [process.processor]. What a thread did that has ended is not in it; Go's seldom do.
func (p *process) ran() (time.Duration, error) {
	return ranThreads(fmt.Sprintf("/proc/%d/task", p.command.Process.Pid))
}

// ranThreads sums the first field of every schedstat file below a process's folder of threads: nanoseconds on a processor
// (Documentation/scheduler/sched-stats.rst).
func ranThreads(folder string) (time.Duration, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*", "schedstat"))
	if err != nil {
		return 0, err
	}
	total, read := time.Duration(0), 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread has just ended
		}
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(text), " ")
		nanoseconds, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		total, read = total+time.Duration(nanoseconds), read+1
	}
	if read == 0 {
		return 0, fmt.Errorf("%s has no thread that says how long it ran (which needs Linux with CONFIG_SCHED_INFO)", folder)
	}
	return total, nil
}

// files returns how many files, connections among them, the process has open.
func (p *process) files() (float64, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading open files (which needs Linux): %w", err)
	}
	return float64(len(open)), nil
}

// kill ends the process at once, in the middle of whatever it is at, and returns the processor time of its whole life.
func (p *process) kill() (time.Duration, error) {
	select {
	case <-p.ended:
		return 0, fmt.Errorf("%s ended by itself: %w\n%s", p.command.Path, p.err, p.output)
	default:
	}
	if err := p.command.Process.Kill(); err != nil {
		return 0, err
	}
	<-p.ended
	return p.command.ProcessState.UserTime() + p.command.ProcessState.SystemTime(), nil
}
