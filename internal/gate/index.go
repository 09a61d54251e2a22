package gate

import (
	"slices"
	"strings"
)

// index finds the rules that can match a path, so that a request asks a few rules and not all of them: a block with a
// thousand rules costs about what one with ten does. It decides nothing by itself; it leaves out only rules whose
// [Route.Paths] say that they can't match.
//
// Prefixes are kept sorted, each with the longest other one that it begins with: the path's own is found by bisection and
// a walk up from there. The candidates of every pattern are merged with those of the shorter prefixes beforehand.
type index struct {
	exact    map[string][]int
	prefixes []prefix // by text; the first is "", which every path has
}

// prefix is a pattern without its `*`.
type prefix struct {
	text   string
	parent int   // the longest of the prefixes that this one begins with; -1 for ""
	rules  []int // the rules to try, in their order; the last one may be known to match
}

func newIndex(rules []Route) *index {
	own := map[string][]int{"": nil} // rules by prefix
	exact := map[string][]int{}
	for i, rule := range rules {
		if rule.Paths == nil {
			own[""] = append(own[""], i)
		}
		for _, pattern := range rule.Paths {
			if text, wild := strings.CutSuffix(pattern, "*"); wild {
				own[text] = append(own[text], i)
			} else {
				exact[pattern] = append(exact[pattern], i)
			}
		}
	}
	x := &index{exact: make(map[string][]int, len(exact))}
	for text, candidates := range own {
		x.prefixes = append(x.prefixes, prefix{text: text, parent: -1, rules: candidates})
	}
	slices.SortFunc(x.prefixes, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := range x.prefixes {
		p := &x.prefixes[i]
		for p.parent = i - 1; p.parent >= 0 && !strings.HasPrefix(p.text, x.prefixes[p.parent].text); {
			p.parent = x.prefixes[p.parent].parent
		}
		if p.parent >= 0 {
			p.rules = append(slices.Clone(p.rules), x.prefixes[p.parent].rules...)
		}
		p.rules = inOrder(p.rules, rules)
	}
	for text, candidates := range exact {
		x.exact[text] = inOrder(append(slices.Clone(candidates), x.byPrefix(text)...), rules)
	}
	return x
}

// inOrder returns candidates sorted, each once, up to the first that needs no more than the path to match.
func inOrder(candidates []int, rules []Route) []int {
	slices.Sort(candidates)
	candidates = slices.Compact(candidates)
	if sure := slices.IndexFunc(candidates, func(i int) bool { return rules[i].Match == nil }); sure >= 0 {
		candidates = candidates[:sure+1]
	}
	return slices.Clip(candidates)
}

// candidates returns the rules to try for a path in lower case, in their order.
func (x *index) candidates(path string) []int {
	if rules, ok := x.exact[path]; ok {
		return rules
	}
	return x.byPrefix(path)
}

func (x *index) byPrefix(path string) []int {
	// The last one that is not behind path is the longest that path begins with, or follows it below a common one.
	low, high := 0, len(x.prefixes)
	for low < high {
		middle := int(uint(low+high) >> 1) // #nosec G115 -- both are indexes
		if x.prefixes[middle].text <= path {
			low = middle + 1
		} else {
			high = middle
		}
	}
	at := &x.prefixes[low-1] // "" is behind nothing
	for !strings.HasPrefix(path, at.text) {
		at = &x.prefixes[at.parent]
	}
	return at.rules
}
