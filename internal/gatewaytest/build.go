package gatewaytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var binary string // the built stepgate

// Run is what TestMain of a package with such tests does: it builds the binary, with the race detector where the tests
// have it, runs the tests, and ends the process. The test's executable is also the upstream, when it is told so. setUp, where
// it is not nil, runs before the tests, and what it returns after them.
func Run(m *testing.M, setUp func() (tearDown func(), err error)) {
	if os.Getenv(upstreamVariable) != "" {
		runUpstream()
		return
	}
	os.Exit(builtAndRun(m, setUp))
}

func builtAndRun(m *testing.M, setUp func() (tearDown func(), err error)) int {
	folder, err := os.MkdirTemp("", "gatewaytest")
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
	if setUp != nil {
		tearDown, err := setUp()
		if err != nil {
			fmt.Fprintln(os.Stderr, "FAIL:", err)
			return 1
		}
		defer tearDown()
	}
	defer stopLocal()
	return m.Run()
}
