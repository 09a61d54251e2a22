package gate

import (
	"maps"
	"slices"
	"strings"
)

// index finds the rules that can match a path, so that a request asks a few rules and not all of them: a block with a
// thousand rules costs about what one with ten does. It decides nothing by itself; it leaves out only rules whose
// [Route.Paths] say that they can't match.
//
// The patterns' texts are kept sorted, each with the longest prefix that it begins with: a path's own is found by bisection
// and a walk up from there. The candidates of every pattern are merged with those of the shorter prefixes beforehand.
type index struct {
	entries []entry // by text; the first is "", which every path has as a prefix
}

// entry is the text of a pattern, without its `*`. It may be there with and without one. Candidates are the rules to try, in
// their order; the last one may be known to match.
type entry struct {
	text   string
	parent int   // the longest of the prefixes that this one begins with; -1 for ""
	prefix []int // candidates of paths that begin with the text; nil if that is no pattern
	whole  []int // candidates of the path that is the text; nil if that is no pattern
}

func newIndex(rules []Route) *index {
	prefixes, wholes := map[string][]int{"": {}}, map[string][]int{} // rules by text
	for i, rule := range rules {
		if rule.Paths == nil {
			prefixes[""] = append(prefixes[""], i)
		}
		for _, pattern := range rule.Paths {
			if text, wild := strings.CutSuffix(pattern, "*"); wild {
				prefixes[text] = append(prefixes[text], i)
			} else {
				wholes[pattern] = append(wholes[pattern], i)
			}
		}
	}
	texts := slices.AppendSeq(slices.Collect(maps.Keys(prefixes)), maps.Keys(wholes))
	slices.Sort(texts)
	texts = slices.Compact(texts)
	x := &index{entries: make([]entry, len(texts))}
	for i, text := range texts {
		e := &x.entries[i]
		e.text = text
		for e.parent = i - 1; e.parent >= 0 && !x.entries[e.parent].holds(text); {
			e.parent = x.entries[e.parent].parent
		}
		var shorter []int
		if e.parent >= 0 {
			shorter = x.entries[e.parent].prefix
		}
		if own, ok := prefixes[text]; ok {
			e.prefix = inOrder(slices.Concat(own, shorter), rules)
			shorter = e.prefix
		}
		if own, ok := wholes[text]; ok {
			e.whole = inOrder(slices.Concat(own, shorter), rules)
		}
	}
	return x
}

// holds reports whether the text is a prefix that the path begins with.
func (e *entry) holds(path string) bool { return e.prefix != nil && strings.HasPrefix(path, e.text) }

// inOrder returns candidates sorted, each once, up to the first that needs no more than the path to match.
func inOrder(candidates []int, rules []Route) []int {
	slices.Sort(candidates)
	candidates = slices.Compact(candidates)
	if sure := slices.IndexFunc(candidates, func(i int) bool { return rules[i].Match == nil }); sure >= 0 {
		candidates = candidates[:sure+1]
	}
	return append([]int{}, candidates...) // never nil
}

// candidates returns the rules to try for a path in lower case, in their order.
func (x *index) candidates(path string) []int {
	// The last one that is not behind path is the longest that path begins with, or follows it below a common one.
	low, high := 0, len(x.entries)
	for low < high {
		middle := int(uint(low+high) >> 1) // #nosec G115 -- both are indexes
		if x.entries[middle].text <= path {
			low = middle + 1
		} else {
			high = middle
		}
	}
	e := &x.entries[low-1] // "" is behind nothing
	if e.whole != nil && e.text == path {
		return e.whole
	}
	for !e.holds(path) {
		e = &x.entries[e.parent]
	}
	return e.prefix
}
