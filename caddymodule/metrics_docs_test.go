package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/stepgate/stepgate/internal/gate"
)

// rows returns the cells of the tables of a section of docs/operating.md, without heads.
func rows(t *testing.T, section string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		t.Fatalf("docs/operating.md has no section %q", section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	head := true
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, "|") {
			head = true
			continue
		}
		if strings.HasPrefix(line, "|---") {
			head = false
			continue
		}
		if head {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(line), "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		rows = append(rows, cells)
	}
	return rows
}

var backticks = regexp.MustCompile("`([^`]+)`")

// quoted returns what stands between backticks.
func quoted(cell string) (list []string) {
	for _, match := range backticks.FindAllStringSubmatch(cell, -1) {
		list = append(list, match[1])
	}
	return list
}

// Every metric is in the documentation's table, with its type and labels, and the other way round; and so is every value of
// every label.
func TestDocumentedMetrics(t *testing.T) {
	type metric struct {
		Type   string
		Labels []string
	}
	want, got := map[string]metric{}, map[string]metric{}
	for _, family := range metrics.families {
		want[family.name] = metric{family.kind, names(family.labels)}
	}
	values := map[string][]string{} // by metric (or "all") and label
	for _, cells := range rows(t, "Metrics") {
		if len(cells) == 4 {
			got[quoted(cells[0])[0]] = metric{cells[1], quoted(cells[2])}
			continue
		}
		of := quoted(cells[1])
		if cells[1] == "all" {
			of = []string{"all"}
		}
		for _, name := range of {
			key := name + " " + quoted(cells[0])[0]
			if values[key] = quoted(cells[2]); strings.Contains(cells[2], "a code or reason of [HTTP](http.md)") {
				values[key] = append(values[key], "reasons")
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/operating.md: %s", diff)
	}
	reasons := texts(gate.Reasons())
	used := map[string]bool{}
	for _, family := range metrics.families {
		for _, label := range family.labels {
			key := family.name + " " + label.name
			if values[key] == nil {
				key = "all " + label.name
			}
			used[key] = true
			documented := slices.Clone(values[key])
			if i := slices.Index(documented, "reasons"); i >= 0 {
				documented = append(slices.Delete(documented, i, i+1), reasons...)
			}
			has := slices.DeleteFunc(slices.Clone(label.values), func(value string) bool { return value == "" })
			slices.Sort(documented)
			slices.Sort(has)
			if label.name == "reason" {
				documented = slices.DeleteFunc(documented, func(value string) bool { return value == string(gate.StepUp) || value == string(gate.WouldStep) }) // named in passing
			}
			if diff := cmp.Diff(has, documented); diff != "" {
				t.Errorf("docs/operating.md, values of %s: %s", key, diff)
			}
		}
	}
	for key := range values {
		if !used[key] {
			t.Errorf("docs/operating.md has values of %s, and the code none", key)
		}
	}
}

var (
	selector = regexp.MustCompile(`\b(stepgate_\w+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`^(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"$`)
	grouping = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// checkExpression holds that a PromQL expression asks for metrics, labels and values that there are. It is no parser.
func checkExpression(t *testing.T, where, expression string) {
	t.Helper()
	if strings.Count(expression, "(") != strings.Count(expression, ")") || strings.Count(expression, "{") != strings.Count(expression, "}") {
		t.Errorf("%s: unbalanced: %s", where, expression)
	}
	known := []string{"instance", "job"} // that Prometheus adds
	asked := selector.FindAllStringSubmatch(expression, -1)
	if len(asked) == 0 && !strings.Contains(expression, "up{") {
		t.Errorf("%s asks for nothing of ours: %s", where, expression)
	}
	for _, match := range asked {
		name := match[1]
		i := slices.IndexFunc(metrics.families, func(f family) bool {
			return f.kind != "histogram" && f.name == name || f.kind == "histogram" && (f.name+"_bucket" == name || f.name+"_sum" == name || f.name+"_count" == name)
		})
		if i < 0 {
			t.Errorf("%s: there is no metric %s", where, name)
			continue
		}
		labels := metrics.families[i].labels
		known = append(known, names(labels)...)
		if strings.HasSuffix(name, "_bucket") {
			known = append(known, "le")
		}
		if match[2] == "" {
			continue
		}
		for condition := range strings.SplitSeq(match[2], ",") {
			parts := matcher.FindStringSubmatch(condition)
			if parts == nil {
				t.Errorf("%s: no matcher: %q", where, condition)
				continue
			}
			if parts[1] == "instance" {
				continue
			}
			l := slices.IndexFunc(labels, func(l label) bool { return l.name == parts[1] })
			if l < 0 {
				t.Errorf("%s: %s has no label %s", where, name, parts[1])
				continue
			}
			values := []string{parts[3]}
			if strings.HasSuffix(parts[2], "~") {
				values = strings.Split(parts[3], "|")
			}
			for _, value := range values {
				if parts[2] == "!~" && strings.HasSuffix(value, ".*") {
					continue
				}
				if !slices.Contains(labels[l].values, value) {
					t.Errorf("%s: %s of %s is never %q", where, parts[1], name, value)
				}
			}
		}
	}
	for _, match := range grouping.FindAllStringSubmatch(expression, -1) {
		for name := range strings.SplitSeq(match[1], ",") {
			if !slices.Contains(known, strings.TrimSpace(name)) {
				t.Errorf("%s: nothing has the label %s", where, name)
			}
		}
	}
}

// The alert rules parse, ask for what there is, say what to do, and are the ones that are documented.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile("../deploy/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	documented, found := map[string]string{}, map[string]string{}
	for _, cells := range rows(t, "Alerts") {
		documented[quoted(cells[0])[0]] = cells[2]
	}
	used := regexp.MustCompile(`\$labels\.(\w+)`)
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if found[rule.Alert] != "" {
				t.Errorf("%s is there twice", rule.Alert)
			}
			found[rule.Alert] = rule.Labels["severity"]
			checkExpression(t, rule.Alert, rule.Expr)
			if rule.For != "" {
				if _, err := time.ParseDuration(rule.For); err != nil {
					t.Errorf("%s: %v", rule.Alert, err)
				}
			}
			if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) || len(rule.Labels) != 1 {
				t.Errorf("%s: labels %v", rule.Alert, rule.Labels)
			}
			summary, description := rule.Annotations["summary"], rule.Annotations["description"]
			if summary == "" || len(description) < 150 || len(rule.Annotations) != 2 {
				t.Errorf("%s: annotations %v", rule.Alert, rule.Annotations)
			}
			for _, match := range used.FindAllStringSubmatch(summary+description, -1) {
				if !strings.Contains(rule.Expr, match[1]) && !strings.HasPrefix(rule.Expr, "up{") {
					t.Errorf("%s: its series have no label %s", rule.Alert, match[1])
				}
			}
			for _, name := range regexp.MustCompile(`Stepgate[A-Z]\w+`).FindAllString(description, -1) {
				if documented[name] == "" {
					t.Errorf("%s speaks of %s, which there is not", rule.Alert, name)
				}
			}
		}
	}
	if diff := cmp.Diff(found, documented); diff != "" {
		t.Errorf("docs/operating.md: %s", diff)
	}
}

// The dashboard parses, asks for what there is, and leaves out no metric.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../deploy/monitoring/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	type position struct{ H, W, X, Y int }
	var dashboard struct {
		Title, UID    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type string }
		}
		Panels []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  position
			Datasource               struct{ Type, UID string }
			Targets                  []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.Title != "Stepgate" || dashboard.UID == "" || dashboard.SchemaVersion < 36 || len(dashboard.Templating.List) != 2 {
		t.Errorf("%+v", dashboard)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" {
			t.Errorf("panel %d %q: ids must differ, and each has a title", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for x := range panel.GridPos.W {
			for y := range panel.GridPos.H {
				place := [2]int{panel.GridPos.X + x, panel.GridPos.Y + y}
				if place[0] >= 24 || taken[place] != "" {
					t.Fatalf("%s lies on %s at %v", panel.Title, taken[place], place)
				}
				taken[place] = panel.Title
			}
		}
		if panel.Type == "row" {
			continue
		}
		if panel.Description == "" || panel.Datasource.UID != "${datasource}" || len(panel.Targets) == 0 {
			t.Errorf("%s: %+v", panel.Title, panel)
		}
		for i, target := range panel.Targets {
			checkExpression(t, panel.Title, target.Expr)
			if target.RefID != fmt.Sprintf("%c", 'A'+i) {
				t.Errorf("%s: target %d is %s", panel.Title, i, target.RefID)
			}
		}
	}
	for _, family := range metrics.families {
		if !strings.Contains(string(text), family.name) {
			t.Errorf("no panel shows %s", family.name)
		}
	}
}
