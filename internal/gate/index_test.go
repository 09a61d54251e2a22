package gate

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/policy"
)

// fits is what an index stands for: one pattern against one path.
func fits(pattern, path string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

// byHand returns the candidates as a reader of the rules would find them, from top to bottom.
func byHand(rules []Route, path string) []int {
	var found []int
	for i, rule := range rules {
		fitting := rule.Paths == nil
		for _, pattern := range rule.Paths {
			fitting = fitting || fits(pattern, path)
		}
		if fitting {
			found = append(found, i)
			if rule.Match == nil {
				break
			}
		}
	}
	return found
}

func asked(*http.Request) (bool, error) { return true, nil }

func TestIndex(t *testing.T) {
	rules := []Route{
		{Rule: policy.Rule{Name: "0"}, Paths: []string{"/a/b/secret"}, Match: asked},
		{Rule: policy.Rule{Name: "1"}, Match: asked},
		{Rule: policy.Rule{Name: "2"}, Paths: []string{"/a/*", "/a"}},
		{Rule: policy.Rule{Name: "3"}, Paths: []string{"/a/b/*"}},
		{Rule: policy.Rule{Name: "4"}, Paths: []string{"/a-*", "/c"}, Match: asked},
		{Rule: policy.Rule{Name: "5"}, Paths: []string{"*"}},
		{Rule: policy.Rule{Name: "6"}, Match: asked},
	}
	x := newIndex(rules)
	for path, want := range map[string][]int{
		"/":             {1, 5},
		"/a":            {1, 2},
		"/a/":           {1, 2},
		"/a/b/c":        {1, 2}, // what 3 says nobody ever asks
		"/a/b/secret":   {0, 1, 2},
		"/a/b/secret/x": {1, 2},
		"/a-b":          {1, 4, 5},
		"/ab":           {1, 5},
		"/c":            {1, 4, 5},
		"/c/":           {1, 5},
		"/\u00e4":       {1, 5},
		"":              {1, 5},
	} {
		if diff := cmp.Diff(want, x.candidates(path)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", path, diff)
		}
	}
	if got := newIndex(nil).candidates("/a"); len(got) != 0 {
		t.Errorf("without rules: %v", got)
	}
}

// Random rules, nested, doubled and overlapping, against the reading from top to bottom.
func TestIndexAgainstReading(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	path := func() string {
		var b strings.Builder
		for range 1 + random.IntN(4) {
			b.WriteByte('/')
			for range random.IntN(3) {
				b.WriteByte("ab-\xff"[random.IntN(4)])
			}
		}
		return b.String()
	}
	for range 300 {
		rules := make([]Route, random.IntN(40))
		for i := range rules {
			for range random.IntN(4) {
				rules[i].Paths = append(rules[i].Paths, path()+[]string{"", "*", "/*"}[random.IntN(3)])
			}
			if rules[i].Paths == nil || random.IntN(2) == 0 {
				rules[i].Match = asked
			}
		}
		x := newIndex(rules)
		for range 200 {
			p := path()
			want, got := byHand(rules, p), x.candidates(p)
			if len(want) == 0 && len(got) == 0 {
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q (-want +got):\n%s", p, diff)
			}
		}
	}
}
