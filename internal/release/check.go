package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// check builds twice: here, and in a copy of the source elsewhere with an empty cache and settings of Go that would build something else. It fails unless both are the same
// bytes, have the same bill, and say the version that they were given.
func check(ctx context.Context, log io.Writer) (err error) {
	work, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	const version = "v0.0.0-check"
	p := platform{runtime.GOOS, runtime.GOARCH}
	here, there := filepath.Join(work, "here"), filepath.Join(work, "there")
	if err := build(ctx, ".", here, version, p, ""); err != nil {
		return err
	}
	source := filepath.Join(work, "a folder of another name", "and depth")
	if err := copySource(ctx, source); err != nil {
		return err
	}
	if err := spoil(ctx, work, source); err != nil {
		return err
	}
	if err := build(ctx, source, there, version, p, filepath.Join(work, "cache")); err != nil {
		return err
	}
	var bills [2][]byte
	var sums [2]string
	for i, binary := range []string{here, there} {
		if bills[i], err = billOf(binary, version); err != nil {
			return err
		}
		if sums[i], err = sumOf(binary); err != nil {
			return err
		}
	}
	if sums[0] != sums[1] {
		return fmt.Errorf("two builds of one source differ: %s and %s", sums[0], sums[1])
	}
	if !bytes.Equal(bills[0], bills[1]) {
		return errors.New("two bills of one binary differ")
	}
	if err := holds(ctx, bills[0], here); err != nil {
		return err
	}
	said, err := exec.CommandContext(ctx, here, "version").Output()
	if err != nil || !strings.HasPrefix(string(said), version+" ") {
		return fmt.Errorf("the binary says that it is %q (%w)", said, err)
	}
	fmt.Fprintf(log, "two builds are the same: %s; the bill lists the %d modules in it\n", sums[0], bytes.Count(bills[0], []byte(moduleSum)))
	return nil
}

// spoil has the go command find a file of settings, as `go env -w` writes it, by which it would build something else.
func spoil(ctx context.Context, work, source string) error {
	// Where modules come from stays, so that what is under test is the rest.
	fetching, err := whereFrom(ctx, source)
	if err != nil {
		return err
	}
	main, err := filepath.Abs(filepath.Join(source, "cmd", "stepgate", "main.go"))
	if err != nil {
		return err
	}
	other, overlay, file := filepath.Join(work, "other.go"), filepath.Join(work, "overlay.json"), filepath.Join(work, "env")
	replaced, err := json.Marshal(map[string]map[string]string{"Replace": {main: other}})
	if err != nil {
		return err
	}
	settings := append(fetching, "GOFLAGS=-overlay="+overlay, "GOEXPERIMENT=fieldtrack", "GOAMD64=v3", "GOARM64=v9.0")
	for name, text := range map[string]string{
		other: "package main\n\nfunc main() { println(\"another program\") }\n", overlay: string(replaced), file: strings.Join(settings, "\n") + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return err
		}
	}
	// It counts only where the environment does not say otherwise.
	for _, name := range []string{"GOFLAGS", "GOEXPERIMENT"} {
		if err := os.Unsetenv(name); err != nil {
			return err
		}
	}
	return os.Setenv("GOENV", file)
}

// copySource copies the files that are, or would be, in the repository.
func copySource(ctx context.Context, to string) error {
	listed, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(listed), "\x00"), "\x00") {
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed, and not committed yet
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
