package layouttest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each claim of docs/threat-model.md names a test where it is, and each class of attack that it names has a row there.
func TestThreatModelNamesTests(t *testing.T) {
	const document = "../../docs/threat-model.md"
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\[(\w+)\]\(([^)]*_test\.go)\)(?: \(([^)]*)\))?`).FindAllStringSubmatch(string(text), -1)
	if len(links) < 40 {
		t.Fatalf("found %d links", len(links))
	}
	for _, link := range links {
		source, err := os.ReadFile(filepath.Join(filepath.Dir(document), link[2]))
		if err != nil {
			t.Errorf("%s: %v", link[1], err)
			continue
		}
		if !strings.Contains(string(source), "func "+link[1]+"(") {
			t.Errorf("%s is not in %s", link[1], link[2])
		}
		for _, id := range regexp.MustCompile(`[A-Z][0-9]+`).FindAllString(link[3], -1) {
			if !regexp.MustCompile(`"[^"\n]*\b` + id + `\b`).MatchString(rows(t, string(source))) {
				t.Errorf("%s has no row %s in %s", link[1], id, link[2])
			}
		}
	}
	// A claim without a test has to say that nothing stops the attack, or where it is documented what does.
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(line, " | ") || strings.HasPrefix(line, "| what") || strings.HasPrefix(line, "| worth") || strings.HasPrefix(line, "|---") {
			continue
		}
		if what, held := cells[2], cells[3]; strings.TrimSpace(held) == "" && !strings.Contains(what, "**nothing**") {
			t.Errorf("no test holds: %s", line)
		}
	}
}

// rows is a test's source, with those of the catalogue that it goes through.
func rows(t *testing.T, source string) string {
	for call, file := range map[string]string{
		"authtest.RefusedAssertions": "../authtest/refused.go", "authtest.RefusedRegistrations": "../authtest/refused_registration.go",
	} {
		if strings.Contains(source, call) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source += string(text)
		}
	}
	return source
}
