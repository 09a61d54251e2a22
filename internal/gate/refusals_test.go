package gate

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/stepgate/stepgate/internal/passkey"
)

// onlyReasons are refusals that stand beside the code step_up_required and never alone.
var onlyReasons = func() map[passkey.Refusal]bool {
	reasons := map[passkey.Refusal]bool{}
	for _, reason := range GrantReasons() {
		reasons[reason] = true
	}
	return reasons
}()

// Every refusal of the closed list has an answer, and every answer a refusal.
func TestAnswersAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../passkey/refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[passkey.Refusal]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, value := range spec.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			listed[passkey.Refusal(text)] = true
		}
		return true
	})
	if len(listed) < 50 {
		t.Fatalf("only %d refusals found", len(listed))
	}
	for refusal := range listed {
		a, ok := answers[refusal]
		switch {
		case onlyReasons[refusal] && ok:
			t.Errorf("%s has an answer, though it never stands alone", refusal)
		case onlyReasons[refusal]:
		case !ok:
			t.Errorf("%s has no answer", refusal)
		case a.status < 400 || a.status > 599 || a.title == "" || a.text == "" || a.hint == "":
			t.Errorf("%s: incomplete answer %+v", refusal, a)
		}
	}
	for refusal := range answers {
		if !listed[refusal] {
			t.Errorf("%s is not in the list", refusal)
		}
	}
	for _, reason := range Reasons() {
		if !listed[reason] {
			t.Errorf("%s labels metrics and is no refusal", reason)
		}
		delete(listed, reason)
	}
	if len(listed) > 0 {
		t.Errorf("these label no metrics: %v", listed)
	}
}
