package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

var from = report.Origin{Time: time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC), Command: "make bench", Machine: "a machine", Versions: "Go 1.26"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	return string(text)
}

// written writes a page with these sections, in this order, and returns its file.
func written(t *testing.T, sections map[string]report.Section) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	update(t, file, sections, from)
	return file
}

// update measures some parts again, as another run does.
func update(t *testing.T, file string, sections map[string]report.Section, from report.Origin) {
	t.Helper()
	page, err := report.Read(file)
	must(t, err)
	for part, section := range sections {
		must(t, page.Set(file, part, section, from))
	}
	must(t, page.Write(file, []string{"first", "second"}))
}

func exact(v float64) sample.Summary { return sample.Summary{Median: v, Low: v, High: v, N: 1} }

func bars(name string) report.Bars {
	return report.Bars{Name: name, Title: "Speed", Description: "one: 1.", Unit: "per second",
		Bars: []report.Bar{{Label: "one", Value: exact(1), Printed: "1/s"}}}
}

func TestPage(t *testing.T) {
	file := written(t, map[string]report.Section{"first": {
		Title: "The first",
		Targets: []report.Target{
			{Key: "speed", What: "its speed", Wanted: "at least 2", Measured: "1.95 (1.90–2.10)"},
			{Key: "size", What: "its `size`", Wanted: "at most 3", Measured: "3", Met: true},
			{Key: "colour", What: "its colour", Measured: "blue"},
		},
		Blocks: []report.Block{
			report.Text("\nWords.\n"),
			report.Table{Columns: []string{"what", "how much"}, Rows: [][]string{{"a|b", "1"}, {"c\nd"}}},
			bars("speed"),
		},
	}})
	got := content(t, file)
	_, got, _ = strings.Cut(got, "\n\n|  |")
	const want = ` wanted | measured | met |
|---|---:|---:|---:|
| its speed | at least 2 | 1.95 (1.90–2.10) | no |
| its ` + "`size`" + ` | at most 3 | 3 | yes |
| its colour |  | blue |  |

<!-- part: first -->
## The first

<!-- target: speed | its speed | at least 2 | 1.95 (1.90–2.10) | no -->
<!-- target: size | its ` + "`size`" + ` | at most 3 | 3 | yes -->
<!-- target: colour | its colour |  | blue |  -->
Measured on 2026-02-03 04:05 UTC with ` + "`make bench`" + `: a machine; Go 1.26.

Words.

| what | how much |
|---|---:|
| a\|b | 1 |
| c d |  |

![Speed. one: 1.](benchmarks/first-speed.svg)
<!-- end of part: first -->
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if image := content(t, filepath.Join(filepath.Dir(file), "benchmarks", "first-speed.svg")); !strings.HasPrefix(image, "<svg ") {
		t.Errorf("the plot is %.20q", image)
	}
}

// A part that was not run keeps its section to the byte, its date and its plots. One that was loses its old ones.
func TestPartialRun(t *testing.T) {
	file := written(t, map[string]report.Section{
		"first":  {Title: "The first", Targets: []report.Target{{Key: "a", What: "a", Wanted: "1", Measured: "1", Met: true}}, Blocks: []report.Block{bars("old"), report.Text("Old words.")}},
		"second": {Title: "The second", Targets: []report.Target{{Key: "b", What: "b", Wanted: "1", Measured: "1", Met: true}}, Blocks: []report.Block{bars("kept"), report.Text("Kept words.")}},
	})
	section := func() string {
		_, rest, _ := strings.Cut(content(t, file), "<!-- part: second -->")
		return rest
	}
	kept := section()
	later := from
	later.Time = from.Time.AddDate(0, 1, 0)
	update(t, file, map[string]report.Section{"first": {Title: "The first", Targets: []report.Target{{Key: "a", What: "a", Wanted: "1", Measured: "2"}}, Blocks: []report.Block{bars("new")}}}, later)

	if diff := cmp.Diff(kept, section()); diff != "" {
		t.Error(diff)
	}
	page := content(t, file)
	for text, want := range map[string]int{"Old words": 0, "Kept words": 1, "2026-02-03": 1, "2026-03-03": 1, "| a | 1 | 2 | no |": 1, "| b | 1 | 1 | yes |": 1, "| a | 1 | 1 | yes |": 0} {
		if got := strings.Count(page, text); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", text, got, want, page)
		}
	}
	plots, err := filepath.Glob(filepath.Join(filepath.Dir(file), "benchmarks", "*"))
	must(t, err)
	for i := range plots {
		plots[i] = filepath.Base(plots[i])
	}
	if diff := cmp.Diff([]string{"first-new.svg", "second-kept.svg"}, plots); diff != "" {
		t.Error(diff)
	}

	before := content(t, file)
	update(t, file, nil, later)
	if diff := cmp.Diff(before, content(t, file)); diff != "" {
		t.Errorf("writing it again: %s", diff)
	}
}

// A page whose marks somebody broke is not written over: what was measured would be gone.
func TestBrokenPage(t *testing.T) {
	whole := content(t, written(t, map[string]report.Section{"first": {Title: "The first"}, "second": {Title: "The second"}}))
	for _, c := range []struct{ what, old, broken string }{
		{"no end", "<!-- end of part: first -->\n", ""},
		{"no beginning", "<!-- part: second -->\n", ""},
		{"another end", "<!-- end of part: first -->", "<!-- end of part: second -->"},
		{"twice", "part: second", "part: first"},
	} {
		file := filepath.Join(t.TempDir(), "page.md")
		must(t, os.WriteFile(file, []byte(strings.ReplaceAll(whole, c.old, c.broken)), 0o600))
		if _, err := report.Read(file); err == nil {
			t.Errorf("%s: it was read", c.what)
		}
	}
	if _, err := report.Read(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
}

func TestSectionsThatCannotBeWritten(t *testing.T) {
	for what, section := range map[string]report.Section{
		"a target's key":      {Targets: []report.Target{{Key: "a b"}}},
		"a bar in a target":   {Targets: []report.Target{{Key: "a", What: "a | b"}}},
		"a comment's end":     {Targets: []report.Target{{Key: "a", Measured: "1 --> 2"}}},
		"a plot's name":       {Blocks: []report.Block{bars("../a")}},
		"two plots, one name": {Blocks: []report.Block{bars("a"), bars("a")}},
		"a mark of a part":    {Blocks: []report.Block{report.Text("<!-- part: second -->")}},
	} {
		file := written(t, map[string]report.Section{"first": {Title: "Kept", Blocks: []report.Block{bars("kept")}}})
		page, err := report.Read(file)
		must(t, err)
		if err := page.Set(file, "first", section, from); err == nil {
			t.Errorf("%s was written", what)
		}
		must(t, page.Write(file, []string{"first"}))
		if !strings.Contains(content(t, file), "## Kept") {
			t.Errorf("%s: the old section is gone", what)
		}
		content(t, filepath.Join(filepath.Dir(file), "benchmarks", "first-kept.svg"))
	}
}

func TestCite(t *testing.T) {
	file := written(t, map[string]report.Section{"first": {Title: "The first", Targets: []report.Target{{Key: "time", What: "its time", Measured: "1.95 (1.90–2.10)"}, {Key: "size", What: "its size", Measured: "2 MiB"}}}})
	page, err := report.Read(file)
	must(t, err)
	text := func(time, size string) string {
		return "It takes **<!-- figure: time -->" + time + "<!-- end of figure -->** and\n<!-- figure: size -->" + size + "<!-- end of figure -->.\n"
	}
	got, err := page.Cite(text("9", ""))
	if diff := cmp.Diff(text("1.95", "2 MiB"), got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := page.Cite("<!-- figure: weight -->1<!-- end of figure -->"); err == nil {
		t.Error("a figure that the page does not have was cited")
	}
	readme := filepath.Join(t.TempDir(), "README.md")
	for written, want := range map[string]bool{text("9", "9"): true, text("1.95", "2 MiB"): true, "No figure.\n": false} {
		must(t, os.WriteFile(readme, []byte(written), 0o600))
		if cites, err := page.CiteIn(readme); err != nil || cites != want {
			t.Errorf("%q: %v, %v", written, cites, err)
		}
		if want && content(t, readme) != text("1.95", "2 MiB") {
			t.Errorf("%q became %q", written, content(t, readme))
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.9344: "0.934", 1: "1.00", 12.345: "12.3", 123.45: "123", 999.6: "1,000", 1234: "1,230", 18456: "18,500", 1234567: "1,230,000", -2.5: "-2.50", 0.00123: "0.00123",
	} {
		if got := report.Number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	wide := sample.Summary{Median: 2, Low: 1, High: 4, N: 3}
	for want, got := range map[string]string{
		"2.00 (1.00–4.00)": report.Spread(wide), "7": report.Spread(exact(7)), "2.000 (1.000–4.000)": report.SpreadOf(wide, 3), "1.25": report.Spread(exact(1.25)), "1,000": report.Whole(1000), "0.500": report.Whole(0.5), "7.0 (7.0–7.0)": report.SpreadOf(exact(7), 1),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
