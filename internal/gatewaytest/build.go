package gatewaytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var (
	binary string // the built stepgate
	builds string // the folder that it is in
)

// swift is a binary without the race detector, built by the first test that needs it.
var swift = sync.OnceValues(func() (string, error) {
	if !raceDetector {
		return binary, nil
	}
	return build("stepgate-swift", false)
})

// build builds the program under this name.
func build(name string, race bool) (path string, err error) {
	path = filepath.Join(builds, name)
	arguments := []string{"build", "-o", path}
	if race {
		arguments = append(arguments, "-race")
	}
	if out, err := exec.Command("go", append(arguments, "github.com/stepgate/stepgate/cmd/stepgate")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the binary: %w\n%s", err, out)
	}
	return path, nil
}

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
	builds = folder
	if binary, err = build("stepgate", raceDetector); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
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
