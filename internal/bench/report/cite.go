package report

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// cited is a figure in another text: <!-- figure: handler-time -->0.93 µs<!-- end of figure -->.
var cited = regexp.MustCompile(`<!-- figure: ([a-z0-9-]+) -->(.*?)<!-- end of figure -->`)

// Cite returns a text with the figures that it cites as this page has them, without their spread. A figure that the page
// does not have is an error.
func (p *Page) Cite(text string) (string, error) {
	var unknown error
	text = cited.ReplaceAllStringFunc(text, func(whole string) string {
		key := cited.FindStringSubmatch(whole)[1]
		figure, ok := p.Figure(key)
		if !ok {
			unknown = fmt.Errorf("the page of benchmarks has no figure %s", key)
		}
		figure, _, _ = strings.Cut(figure, " (")
		return "<!-- figure: " + key + " -->" + figure + "<!-- end of figure -->"
	})
	return text, unknown
}

// CiteIn puts them into a file. It says whether that cites any.
func (p *Page) CiteIn(file string) (cites bool, _ error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	if !cited.Match(text) {
		return false, nil
	}
	fresh, err := p.Cite(string(text))
	if err != nil {
		return true, fmt.Errorf("%s: %w", file, err)
	}
	if fresh == string(text) {
		return true, nil
	}
	return true, os.WriteFile(file, []byte(fresh), 0o644) // #nosec G306 -- documentation, for everybody to read
}
