package caddymodule_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/google/go-cmp/cmp"
)

// Each file in testdata/adapt holds sections: `========== title`, a Caddyfile, `----------`, and either what it adapts to
// (the app, and the handlers wherever they stand) or what the error must hold, with file and line.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		for _, section := range strings.Split(string(text), "========== ")[1:] {
			title, rest, _ := strings.Cut(section, "\n")
			caddyfile, want, ok := strings.Cut(rest, "\n----------\n")
			if !ok {
				t.Fatalf("%s: section %q has no expectation", file, title)
			}
			t.Run(name+"/"+title, func(t *testing.T) {
				config, warnings, err := adapt(caddyfile + "\n")
				if want = strings.TrimSpace(want); want[0] != '{' {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Fatalf("error %v\nmust hold %s", err, want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, w := range warnings {
					t.Errorf("warning: %s", w)
				}
				if diff := cmp.Diff(parsed(t, []byte(want)), ours(t, config)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// adapt turns a Caddyfile into Caddy's configuration, as `stepgate adapt` does.
func adapt(caddyfile string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
}

func parsed(t testing.TB, text []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

// ours picks what is about Stepgate from a configuration.
func ours(t *testing.T, config []byte) any {
	t.Helper()
	apps := parsed(t, config).(map[string]any)["apps"].(map[string]any)
	return map[string]any{"app": apps["stepgate"], "handlers": handlersIn(apps["http"], func(name string) bool { return strings.HasPrefix(name, "stepgate") })}
}

// handlersIn lists the handlers that want picks, in the order in which a request meets them.
func handlersIn(value any, want func(name string) bool) (found []any) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			found = append(found, handlersIn(element, want)...)
		}
	case map[string]any:
		if name, ok := value["handler"].(string); ok && want(name) {
			return []any{value}
		}
		for _, member := range value {
			found = append(found, handlersIn(member, want)...)
		}
	}
	return found
}

func encoded(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
