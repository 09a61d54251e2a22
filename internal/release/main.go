// Command release builds Stepgate's binaries so that anybody can build them again, byte for byte, and writes beside each
// what is in it: a software bill of materials (CycloneDX 1.6) and its SHA-256.
//
//	go run ./internal/release -version v1.0.0 -out dist
//	go run ./internal/release -check
//
// What a binary is made of depends on three things: this source, the modules that go.sum names by their hashes, and the
// version of Go, which the binary holds. Nothing of the machine gets in: no path, time, user, or state of a repository,
// and no setting of Go's that the environment has or `go env -w` wrote. -check builds twice, in two folders, with a cache of
// its own each, the second time with settings that would change the binary, and compares.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
)

func main() {
	version := flag.String("version", "", "the version that the binaries say they are")
	out := flag.String("out", "dist", "the folder to write to; it is made anew")
	platforms := flag.String("platforms", "linux/amd64,linux/arm64", "what to build for")
	checking := flag.Bool("check", false, "write nothing; fail unless two builds give the same bytes, and the bill lists what is in them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := error(nil)
	if *checking {
		err = check(ctx, os.Stdout)
	} else {
		err = release(ctx, os.Stdout, *version, *out, strings.Split(*platforms, ","))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// versions are those of Semantic Versioning, with what `git describe` puts behind them between two releases, and bare
// commits where there was no release yet.
var versions = regexp.MustCompile(`^(v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?|[0-9a-f]{7,40}(-dirty)?)$`)

// release writes a folder of binaries, bills and sums.
func release(ctx context.Context, log io.Writer, version, out string, platforms []string) error {
	if !versions.MatchString(version) {
		return fmt.Errorf("-version %q: must be like v1.2.3", version)
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil { // #nosec G301 -- what is published is for everybody to read
		return err
	}
	var sums strings.Builder
	for _, platform := range platforms {
		p, err := parsePlatform(platform)
		if err != nil {
			return err
		}
		name := "stepgate-" + version + "-" + p.os + "-" + p.arch
		binary := filepath.Join(out, name)
		if err := build(ctx, ".", binary, version, p, ""); err != nil {
			return err
		}
		bill, err := billOf(binary, version)
		if err != nil {
			return err
		}
		if err := holds(ctx, bill, binary); err != nil {
			return err
		}
		if err := os.WriteFile(binary+".cdx.json", bill, 0o644); err != nil { // #nosec G306 -- for everybody to read
			return err
		}
		for _, file := range []string{name, name + ".cdx.json"} {
			sum, err := sumOf(filepath.Join(out, file))
			if err != nil {
				return err
			}
			fmt.Fprintf(&sums, "%s  %s\n", sum, file) // as sha256sum does
		}
		fmt.Fprintln(log, binary)
	}
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644) // #nosec G306 -- for everybody to read
}

// platform is what a binary runs on.
type platform struct{ os, arch string }

func parsePlatform(text string) (platform, error) {
	system, arch, ok := strings.Cut(text, "/")
	if !ok || system == "" || arch == "" {
		return platform{}, fmt.Errorf("-platforms: %q: must be like linux/amd64", text)
	}
	return platform{system, arch}, nil
}

// build builds the source in a folder. cache is where Go keeps what it has built; "" is where it always does.
func build(ctx context.Context, folder, binary, version string, p platform, cache string) error {
	absolute, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X github.com/caddyserver/caddy/v2.CustomVersion="+version, "-o", absolute, "./cmd/stepgate")
	command.Dir = folder
	fetching, err := whereFrom(ctx, folder)
	if err != nil {
		return err
	}
	// GOENV=off, because an empty variable counts as unset, and then what `go env -w` wrote counts.
	command.Env = append(append(os.Environ(), fetching...), "GOENV=off",
		"CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOFIPS140=off")
	if cache != "" {
		command.Env = append(command.Env, "GOCACHE="+cache)
	}
	if printed, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building for %s/%s: %w\n%s", p.os, p.arch, err, printed)
	}
	return nil
}

// whereFrom returns the settings that say where modules and Go itself come from and are kept. They stay as they are, also
// those that `go env -w` wrote: go.sum decides what is accepted.
func whereFrom(ctx context.Context, folder string) ([]string, error) {
	names := []string{"GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE", "GOINSECURE", "GOVCS", "GOAUTH", "GOMODCACHE", "GOCACHE", "GOTOOLCHAIN"}
	command := exec.CommandContext(ctx, "go", append([]string{"env", "-json"}, names...)...)
	command.Dir = folder
	printed, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	var values map[string]string
	if err := json.Unmarshal(printed, &values); err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	var settings []string
	for _, name := range names {
		settings = append(settings, name+"="+values[name])
	}
	return settings, nil
}

func sumOf(file string) (string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(sum, opened)
	return hex.EncodeToString(sum.Sum(nil)), errors.Join(err, opened.Close())
}
