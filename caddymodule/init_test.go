package caddymodule_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// initLine is what GODEBUG=inittrace=1 prints of a package of ours that has something to do before main.
var initLine = regexp.MustCompile(`(?m)^init github\.com/stepgate/stepgate/(\S+) @.* (\d+) allocs$`)

// Every start of the program, a `stepgate version` too, pays for what packages make before main, and holds it for good. What
// only some sites need (pages, names of authenticators, patterns of a command) is made when it is first asked for. The
// metrics are the exception: every configuration registers them.
func TestPackagesMakeLittleBeforeMain(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, "-test.list", "^$")
	command.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	printed, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, printed)
	}
	seen := map[string]bool{}
	for _, line := range initLine.FindAllSubmatch(printed, -1) {
		name := string(line[1])
		allocations, err := strconv.Atoi(string(line[2]))
		if err != nil {
			t.Fatal(err)
		}
		seen[name] = true
		most := 150
		if name == "caddymodule" {
			most = 1800
		}
		if allocations > most {
			t.Errorf("package %s makes %d allocations before main, want at most %d: make it when it is first needed (sync.OnceValue)", name, allocations, most)
		}
	}
	for _, name := range []string{"caddymodule", "internal/gate", "internal/store/dynamostore"} {
		if !seen[name] {
			t.Errorf("no line of package %s: was anything measured?\n%s", name, printed)
		}
	}
}
