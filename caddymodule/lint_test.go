package caddymodule_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each section of testdata/lint/check.caddyfiletest is a Caddyfile and what `check` finds in it: severity, id and place, a
// line each, or `nothing`. Each mistake stands beside a twin without it.
func TestCheck(t *testing.T) {
	text, err := os.ReadFile("testdata/lint/check.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, section := range strings.Split(string(text), "========== ")[1:] {
		title, rest, _ := strings.Cut(section, "\n")
		caddyfile, want, ok := strings.Cut(rest, "\n----------\n")
		if !ok {
			t.Fatalf("section %q has no expectation", title)
		}
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			s := shop{t, t.TempDir()}
			s.write("Caddyfile", caddyfile+"\n")
			out, problems, code := s.call("", "check", "--json")
			var report struct {
				Dangers, Warnings, Notes int
				Findings                 []struct{ ID, Severity, Place, Text, Fix string }
			}
			if err := json.Unmarshal([]byte(out), &report); err != nil || problems != "" {
				t.Fatalf("%v: %s %s", err, out, problems)
			}
			got := "nothing"
			var lines []string
			for _, f := range report.Findings {
				lines = append(lines, strings.TrimSpace(f.Severity+" "+f.ID+" "+f.Place))
				if f.Text == "" || f.Fix == "" {
					t.Errorf("%s says too little", f.ID)
				}
			}
			if len(lines) > 0 {
				got = strings.Join(lines, "\n")
			}
			if diff := cmp.Diff(strings.TrimSpace(want), got); diff != "" {
				t.Errorf("%s\n%s", diff, out)
			}
			wantCode := 0
			if report.Dangers+report.Warnings > 0 {
				wantCode = 2
			}
			if code != wantCode {
				t.Errorf("exit code %d, want %d", code, wantCode)
			}
			for line := range strings.Lines(caddyfile) { // formatted, so that lines are what people see
				if strings.HasPrefix(line, " ") {
					t.Errorf("not formatted: %q", line)
				}
			}
		})
		for line := range strings.Lines(want) {
			if words := strings.Fields(line); len(words) > 1 {
				seen[words[1]] = true
			}
		}
	}
	// Every finding there is, in the code, the documentation and here.
	documented, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range findingIDs(t) {
		if !seen[id] {
			t.Errorf("no section has the finding %s", id)
		}
		if !strings.Contains(string(documented), "| `"+id+"` |") {
			t.Errorf("docs/operating.md does not list %s", id)
		}
	}
}

// findingIDs are the ids in the code.
func findingIDs(t *testing.T) (ids []string) {
	files, _ := filepath.Glob("lint*.go")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range []string{"l.found(\"", "l.foundRule(\""} {
			for _, part := range strings.Split(string(text), call)[1:] {
				id, _, _ := strings.Cut(part, `"`)
				ids = append(ids, id)
			}
		}
	}
	if len(ids) < 20 {
		t.Errorf("only %d findings found", len(ids))
	}
	return ids
}

// What the repository shows is without warnings.
func TestCheckExamples(t *testing.T) {
	folder := t.TempDir()
	files := []string{"../Caddyfile.example", "../deploy/dynamodb/Caddyfile"}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(readme), "\n```caddyfile\n")[1:] {
		text, _, _ := strings.Cut(part, "\n```")
		file := filepath.Join(folder, string(rune('a'+i)))
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	if len(files) < 5 {
		t.Fatalf("%d files", len(files))
	}
	for _, file := range files {
		if out, problems, code := command(t, "check", "--config", file, "--adapter", "caddyfile"); code != 0 || problems != "" || strings.Contains(out, "warning:") {
			t.Errorf("%s: exit code %d\n%s%s", file, code, out, problems)
		}
	}
}

func TestCheckFails(t *testing.T) {
	s := shop{t, t.TempDir()}
	s.fails("no configuration: name the gateway's with --config", "check")
	s.write("Caddyfile", "example.com {\n\trespond hi\n}\n")
	s.fails("it does not configure stepgate", "check")
	s.write("Caddyfile", "{\n\tstepgate {\n\t\trp_id example.com\n\t}\n}\nexample.com {\n\tstepgate /admin/*\n}\n")
	s.fails("Caddyfile:7", "check")
	s.write("Caddyfile", "{\n\tstepgate {\n\t\trp_id example.com\n\t\torigins https://other.test\n\t}\n}\nexample.com {\n\tstepgate\n}\n")
	s.fails("does not lie within rp_id", "check")
	s.fails("unknown command \"now\"", "check", "now")
	if entries, _ := os.ReadDir(s.folder); len(entries) != 1 {
		t.Errorf("the folder holds %v", entries)
	}
}

// It says the same of a configuration in JSON, with places in it.
func TestCheckJSON(t *testing.T) {
	s := shop{t, t.TempDir()}
	s.write("caddy.json", `{"apps": {
		"stepgate": {"rp_id": "example.com", "origins": ["https://console.example.com"]},
		"http": {"servers": {"main": {"listen": [":443"], "routes": [
			{"match": [{"host": ["console.example.com"]}], "terminal": true, "handle": [
				{"handler": "a_module_that_is_not_built_in"},
				{"handler": "stepgate", "user": "{http.request.header.X-User}", "rules": [{"action": "open", "match": [{"path": ["*"]}]}]},
				{"handler": "reverse_proxy", "upstreams": [{"dial": "console:80"}]}
			]}
		]}}}
	}}`)
	out, problems, code := s.call("", "check", "--config", "caddy.json")
	if code != 2 || problems != "" || !strings.Contains(out, "warning: apps/http/servers/main/routes/0/handle/1 [open_everything]") || !strings.Contains(out, "0 dangers, 1 warning, 0 notes") {
		t.Errorf("%d %s%s", code, out, problems)
	}
}
