package caddymodule_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each file in testdata/explain is a Caddyfile, and then sections `========== arguments` with what `explain` prints for them.
func TestExplain(t *testing.T) {
	files, err := filepath.Glob("testdata/explain/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sections := strings.Split(string(text), "========== ")
		s := shop{t, t.TempDir()}
		s.write("Caddyfile", sections[0])
		rewritten := sections[0]
		for _, section := range sections[1:] {
			arguments, want, _ := strings.Cut(section, "\n")
			out, problems, code := s.call("", append([]string{"explain"}, strings.Fields(arguments)...)...)
			got := out
			if code != 0 {
				got = problems
			}
			if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
				t.Errorf("%s: explain %s\n%s", filepath.Base(file), arguments, diff)
			}
			rewritten += "========== " + arguments + "\n" + strings.TrimSpace(got) + "\n\n"
		}
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(rewritten), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if entries, _ := os.ReadDir(s.folder); len(entries) != 1 {
			t.Errorf("explaining left %v", entries)
		}
	}
}

// The names that scripts rely on.
func TestExplainJSON(t *testing.T) {
	out, problems, code := command(t, "explain", "DELETE", "/x", "--as", "alice", "--json", "--config", "../Caddyfile.example", "--adapter", "caddyfile")
	if code != 0 || problems != "" {
		t.Fatalf("%d %s", code, problems)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	const gatePath, factorPath = "apps/http/servers/srv0/routes/0/handle/0/routes/0/handle/1", "apps/http/servers/srv0/routes/0/handle/0/routes/0/handle/0"
	want := map[string]any{
		"method": "DELETE", "url": "http://localhost:8080/x", "user": "alice",
		"site": map[string]any{"server": "srv0", "listen": []any{"127.0.0.1:8080"}, "hosts": []any{"localhost"}, "place": "../Caddyfile.example:35"},
		"cases": []any{map[string]any{
			"before": []any{map[string]any{"handler": "basic_auth", "kind": "factor", "place": "../Caddyfile.example:38", "path": factorPath}},
			"gate": map[string]any{
				"place": "../Caddyfile.example:43", "path": gatePath, "prefix": "/.stepgate", "user_source": "{http.auth.user.id}", "user": "alice",
			},
			"rules":  []any{map[string]any{"number": 2.0, "action": "protect", "text": "protect { … }", "place": "../Caddyfile.example:52"}},
			"demand": map[string]any{"level": "verified", "max_age": 30.0}, "behind": "reverse_proxy 127.0.0.1:8081",
			"signed_in": map[string]any{
				"browser": map[string]any{"result": "step_up", "status": 401.0, "code": "step_up_required"},
				"api":     map[string]any{"result": "step_up", "status": 401.0, "code": "step_up_required", "reason": "grant_missing"},
			},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestExplainFails(t *testing.T) {
	s := shop{t, t.TempDir()}
	s.fails("no configuration: name the gateway's with --config", "explain", "GET", "https://console.example.com/")
	s.write("Caddyfile", "{\n\tstepgate {\n\t\trp_id example.com\n\t\torigins https://a.example.com https://b.example.com\n\t}\n}\na.example.com {\n\tstepgate\n}\n")
	s.fails("say on which origin: https://a.example.com, https://b.example.com", "explain", "GET", "/x")
	s.fails("no such site: nothing in this configuration serves https://c.example.com; there is a.example.com on :443", "explain", "GET", "https://c.example.com/")
	s.fails("no such site", "explain", "GET", "https://b.example.com/")
	s.fails("is no request method", "explain", "GET POST", "https://a.example.com/")
	s.fails("is no URL", "explain", "GET", "a.example.com/x")
	s.fails("answers 400", "explain", "GET", "https://a.example.com/%zz")
	s.fails("accepts 2 arg(s)", "explain", "GET")
}

func TestExplainHelp(t *testing.T) {
	for name, says := range map[string][]string{
		"explain": {"Examples:", "stepgate explain GET https://console.example.com/admin/", "--as string", "--json", "--config", "exit code is 0"},
		"check":   {"Examples:", "stepgate check --config", "--json", "exit code is 0", "danger", "warning", "note"},
	} {
		help, _, code := command(t, name, "--help")
		for _, text := range says {
			if code != 0 || !strings.Contains(help, text) {
				t.Errorf("%s --help (%d) does not say %q:\n%s", name, code, text, help)
			}
		}
	}
}
