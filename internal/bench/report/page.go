package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Page is the page of benchmarks as it was written last.
type Page struct {
	sections map[string]string // by part, in Markdown
}

// Origin is what a section was measured on, with and from. It is printed under the section's title.
type Origin struct {
	Time     time.Time
	Command  string
	Machine  string
	Versions string
	Quick    bool // a run that only shows that the benchmarks work
}

const intro = `# Benchmarks

What Stepgate costs, beside Caddy without it and beside the alternatives. ` + "`make bench`" + ` measures all of it and writes this page;
` + "`make bench ONLY=http`" + ` measures one part and leaves the others. Each section says when and on what it was measured.

Figures are medians, with the quartiles in brackets, so half of the rounds lie between them. What is compared was
measured in one run, in turns, and compared round by round: ratios carry over to other machines, times don't.
`

var (
	marked     = regexp.MustCompile(`(?s)<!-- part: ([a-z]+) -->\n(.*?)<!-- end of part: ([a-z]+) -->\n`)
	targetLine = regexp.MustCompile(`(?m)^<!-- target: ([a-z0-9-]+) \| (.*?) \| (.*?) \| (.*?) \| (yes|no|) -->$`)
	nameOf     = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
)

// Read reads a page. One that is not there is empty; one whose marks were broken by hand is an error, for what was
// measured would be lost.
func Read(file string) (*Page, error) {
	page := &Page{sections: map[string]string{}}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return page, nil
	}
	if err != nil {
		return nil, err
	}
	text := string(content)
	for _, m := range marked.FindAllStringSubmatch(text, -1) {
		if _, twice := page.sections[m[1]]; twice || m[1] != m[3] {
			return nil, fmt.Errorf("%s: the marks of part %s are broken", file, m[1])
		}
		page.sections[m[1]] = m[2]
	}
	if marks := strings.Count(text, "<!-- part: ") + strings.Count(text, "<!-- end of part: "); marks != 2*len(page.sections) {
		return nil, fmt.Errorf("%s: the marks around the parts are broken", file)
	}
	return page, nil
}

// Figure returns the measured figure of a target, and whether there is one.
func (p *Page) Figure(key string) (string, bool) {
	for _, section := range p.sections {
		for _, m := range targetLine.FindAllStringSubmatch(section, -1) {
			if m[1] == key {
				return m[4], true
			}
		}
	}
	return "", false
}

// Set puts a part's new section in the place of its old one, with its plots in the folder beside file.
func (p *Page) Set(file, part string, s Section, from Origin) error {
	plots := plotsOf(file)
	text, images, err := s.markdown(part, filepath.Base(plots), from)
	if err != nil {
		return fmt.Errorf("writing the section of part %s: %w", part, err)
	}
	if err := os.MkdirAll(plots, 0o755); err != nil { // #nosec G301 -- documentation, for everybody to read
		return err
	}
	old, err := filepath.Glob(filepath.Join(plots, part+"-*.svg"))
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	for name, image := range images {
		if err := os.WriteFile(filepath.Join(plots, name), []byte(image), 0o644); err != nil { // #nosec G306 -- as above
			return err
		}
	}
	p.sections[part] = text
	return nil
}

// plotsOf is the folder of a page's plots: docs/benchmarks for docs/benchmarks.md.
func plotsOf(file string) string { return strings.TrimSuffix(file, filepath.Ext(file)) }

// Write writes the page: what is wanted and measured, and the sections in the order of parts. A section of a part that is
// no more is dropped.
func (p *Page) Write(file string, parts []string) error {
	var page strings.Builder
	page.WriteString(intro)
	summary := [][]string{}
	for _, part := range parts {
		for _, m := range targetLine.FindAllStringSubmatch(p.sections[part], -1) {
			summary = append(summary, m[2:])
		}
	}
	if len(summary) > 0 {
		page.WriteString("\n")
		page.WriteString(Table{Columns: []string{"", "wanted", "measured", "met"}, Rows: summary}.markdown())
	}
	for _, part := range parts {
		if section, ok := p.sections[part]; ok {
			fmt.Fprintf(&page, "\n<!-- part: %s -->\n%s<!-- end of part: %[1]s -->\n", part, section)
		}
	}
	return os.WriteFile(file, []byte(page.String()), 0o644) // #nosec G306 -- documentation, for everybody to read
}

// markdown returns a section's text, and its plots by file name.
func (s Section) markdown(part, folder string, from Origin) (string, map[string]string, error) {
	var text strings.Builder
	images := map[string]string{}
	fmt.Fprintf(&text, "## %s\n\n", s.Title)
	for _, t := range s.Targets {
		if !nameOf.MatchString(t.Key) || slices.ContainsFunc([]string{t.What, t.Wanted, t.Measured}, func(s string) bool { return strings.ContainsAny(s, "|\n") || strings.Contains(s, "-->") }) {
			return "", nil, fmt.Errorf("target %q can't be written down", t.Key)
		}
		met := ""
		if t.Wanted != "" {
			met = map[bool]string{true: "yes", false: "no"}[t.Met]
		}
		fmt.Fprintf(&text, "<!-- target: %s | %s | %s | %s | %s -->\n", t.Key, t.What, t.Wanted, t.Measured, met)
	}
	fmt.Fprintf(&text, "Measured on %s with `%s`: %s; %s.\n", from.Time.UTC().Format("2006-01-02 15:04 UTC"), from.Command, from.Machine, from.Versions)
	if from.Quick {
		text.WriteString("\n**A quick run: it shows that the benchmarks work, and its figures mean little.**\n")
	}
	for _, block := range s.Blocks {
		text.WriteString("\n")
		plot := func(name, title, description, image string) error {
			if !nameOf.MatchString(name) {
				return fmt.Errorf("%q can't be a plot's name", name)
			}
			file := part + "-" + name + ".svg"
			if _, twice := images[file]; twice {
				return fmt.Errorf("two plots are called %q", name)
			}
			images[file] = image
			fmt.Fprintf(&text, "![%s](%s/%s)\n", strings.NewReplacer("[", "(", "]", ")", "\n", " ").Replace(title+". "+description), folder, file)
			return nil
		}
		var err error
		switch b := block.(type) {
		case Text:
			text.WriteString(strings.TrimSpace(string(b)) + "\n")
		case Table:
			text.WriteString(b.markdown())
		case Bars:
			err = plot(b.Name, b.Title, b.Description, b.svg())
		case Lines:
			err = plot(b.Name, b.Title, b.Description, b.svg())
		default:
			err = fmt.Errorf("a block of type %T", block)
		}
		if err != nil {
			return "", nil, err
		}
	}
	if strings.Contains(text.String(), "<!-- part: ") || strings.Contains(text.String(), "<!-- end of part: ") {
		return "", nil, fmt.Errorf("a mark of a part is inside")
	}
	return text.String(), images, nil
}

// markdown returns the table with its cells escaped.
func (t Table) markdown() string {
	var text strings.Builder
	row := func(cells []string) {
		text.WriteString("|")
		for i := range t.Columns {
			cell := ""
			if i < len(cells) {
				cell = strings.NewReplacer("|", `\|`, "\n", " ").Replace(cells[i])
			}
			text.WriteString(" " + cell + " |")
		}
		text.WriteString("\n")
	}
	row(t.Columns)
	text.WriteString("|---|" + strings.Repeat("---:|", max(0, len(t.Columns)-1)) + "\n")
	for _, cells := range t.Rows {
		row(cells)
	}
	return text.String()
}
