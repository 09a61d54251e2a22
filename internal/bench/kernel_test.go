package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestRanThreads(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	thread := func(name, schedstat string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name, "schedstat"), []byte(schedstat), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ranThreads(folder); err == nil || !strings.Contains(err.Error(), "CONFIG_SCHED_INFO") {
		t.Errorf("without threads: %v, %v", got, err)
	}
	thread("7", "1500000 20 3\n")
	thread("8", "500000 0 1\n")
	if err := os.Mkdir(filepath.Join(folder, "9"), 0o700); err != nil { // a thread that is just ending
		t.Fatal(err)
	}
	if got, err := ranThreads(folder); err != nil || got != 2*time.Millisecond {
		t.Errorf("%v, %v; want 2ms", got, err)
	}
	thread("10", "many 0 1\n")
	if got, err := ranThreads(folder); err == nil {
		t.Errorf("a file that does not say: %v", got)
	}
}

// What is read of a process is what it did: this one works, opens files and takes memory.
func TestReadingThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the benchmarks of processes need Linux")
	}
	self := &process{command: &exec.Cmd{Process: &os.Process{Pid: os.Getpid()}}}
	before, err := self.ran()
	if err != nil {
		t.Fatal(err)
	}
	began, sum := time.Now(), 0
	for ran := before; ran-before < 20*time.Millisecond; sum++ {
		if ran, err = self.ran(); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute of work the process is said to have run for %v", ran-before)
		}
	}

	opened, err := self.files()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		file, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
	}
	if now, err := self.files(); err != nil || now != opened+5 {
		t.Errorf("%v files are open after five more than %v, %v", now, opened, err)
	}

	held, err := self.anonymous()
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	taken := bytes.Repeat([]byte{1}, size)
	now, err := self.anonymous()
	if err != nil || now-held < size/2 {
		t.Errorf("%v bytes more are held after taking %d, %v", now-held, size, err)
	}
	runtime.KeepAlive(taken)
}

// Who draws a deed must find one.
func TestDeedsAreOfAHundred(t *testing.T) {
	t.Parallel()
	sum := 0
	for _, d := range deeds {
		sum += d.share
	}
	if sum != 100 {
		t.Errorf("the shares of all deeds are %d of a hundred", sum)
	}
}
