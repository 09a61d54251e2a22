package e2etest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/browsertest"
)

var (
	binary   string               // the built stepgate
	chromium *browsertest.Browser // for pages on http://localhost
)

// TestMain builds the binary and starts the browser once. The same executable is the upstream when it is told so.
func TestMain(m *testing.M) {
	if os.Getenv(upstreamVariable) != "" {
		runUpstream()
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	folder, err := os.MkdirTemp("", "e2etest")
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	defer os.RemoveAll(folder)
	binary = filepath.Join(folder, "stepgate")
	build := exec.Command("go", "build", "-o", binary)
	if raceDetector {
		build.Args = append(build.Args, "-race")
	}
	build.Args = append(build.Args, "github.com/stepgate/stepgate/cmd/stepgate")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "FAIL: building the binary: %v\n%s", err, out)
		return 1
	}
	browser, stop, err := browsertest.Launch(browsertest.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: these tests need a browser:", err)
		return 1
	}
	defer stop()
	chromium = browser
	defer stopLocal()
	return m.Run()
}

// patience is how long something that must happen may take.
const patience = 20 * time.Second

// eventually polls until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", patience, what)
		}
		<-tick.C
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
