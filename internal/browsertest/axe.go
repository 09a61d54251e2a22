package browsertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Violation is one rule of axe-core that a page breaks.
type Violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		HTML           string `json:"html"`
		FailureSummary string `json:"failureSummary"`
	} `json:"nodes"`
}

func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s", v.ID, v.Impact, v.Help)
	for _, n := range v.Nodes {
		fmt.Fprintf(&b, "\n\t%s\n\t\t%s", n.HTML, strings.ReplaceAll(n.FailureSummary, "\n", "\n\t\t"))
	}
	return b.String()
}

// Axe runs axe-core on the page as it is now and returns what it finds, all rules included. The script is the file that
// the environment variable AXE_JS names, or .cache/axe-core/axe.min.js below the repository's root.
func (t *Tab) Axe() []Violation {
	t.tb.Helper()
	path := os.Getenv("AXE_JS")
	if path == "" {
		path = filepath.Join(RepositoryRoot(t.tb), ".cache", "axe-core", "axe.min.js")
	}
	script, err := os.ReadFile(path)
	if err != nil {
		t.tb.Fatalf("reading axe-core: %v\nfetch it with: npm pack axe-core@4.14.1, and unpack package/axe.min.js to .cache/axe-core/, or set AXE_JS", err)
	}
	if !Eval[bool](t, "Boolean(window.axe)") {
		t.Run(string(script))
	}
	return Eval[[]Violation](t, "axe.run({resultTypes: ['violations']}).then((r) => r.violations)")
}
