package gate

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/passkey"
)

// The tables of docs/http.md hold exactly what the code has.
func TestDocumentedCodes(t *testing.T) {
	text, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\d{3}) \\|").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = true
		if a, ok := answers[passkey.Refusal(row[1])]; !ok || fmt.Sprint(a.status) != row[2] {
			t.Errorf("%s is documented with status %s, but answered with %d", row[1], row[2], a.status)
		}
	}
	for refusal := range answers {
		if !documented[string(refusal)] {
			t.Errorf("%s is not documented", refusal)
		}
	}
	for reason := range onlyReasons {
		if !strings.Contains(string(text), "| `"+string(reason)+"` |") {
			t.Errorf("%s is not documented", reason)
		}
	}
	audited, err := os.ReadFile("../audit/audit.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`Kind = "(\w+)"`).FindAllStringSubmatch(string(audited), -1)
	if len(kinds) < 8 {
		t.Fatalf("only %d kinds of event found", len(kinds))
	}
	for _, kind := range kinds {
		if !strings.Contains(string(text), "| `"+kind[1]+"` |") {
			t.Errorf("event %s is not documented", kind[1])
		}
	}
	for path, methods := range endpoints {
		for method := range methods {
			if !strings.Contains(string(text), "`"+method+" "+path) {
				t.Errorf("%s %s is not documented", method, path)
			}
		}
	}
}

// docs/privacy.md says which cookies there are, for how long, and what is held in memory of how many.
func TestDocumentedPrivacy(t *testing.T) {
	text, err := os.ReadFile("../../docs/privacy.md")
	if err != nil {
		t.Fatal(err)
	}
	thousands := func(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
	for _, want := range []string{
		"`" + secureNames.grant + "`", "`" + secureNames.ceremony + "`", "`" + localNames.grant + "`", "`" + localNames.ceremony + "`",
		fmt.Sprintf("%d days after the last ceremony", browserAge/(24*60*60)), fmt.Sprintf("%d random bytes", browserLength),
		"at most " + thousands(maxViews) + " users", "at most " + thousands(maxBuckets) + " of each kind",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/privacy.md does not say %q", want)
		}
	}
}
