package layouttest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What builds or tests the product is fetched by its exact version, so that what was reviewed is what runs. Modules are
// held by go.sum. Chromium and Java, which only tests use, are the distribution's, which signs them.

var (
	moduleVersion = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	npmVersion    = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	sha256Sum     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	imageVersion  = regexp.MustCompile(`^\S+:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?$|^\S+@sha256:[0-9a-f]{64}$`)
)

// unpinned tells what in a file's text is not fetched by an exact version.
func unpinned(name, text string) (found []string) {
	report := func(what string) { found = append(found, name+": "+what) }
	variables := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z0-9_]+) *:= *(.*)$`).FindAllStringSubmatch(text, -1) {
		variables[m[1]] = m[2]
		if path, version, ok := strings.Cut(m[2], "@"); ok && strings.Contains(path, "/") && !moduleVersion.MatchString(version) {
			report(m[2])
		}
	}
	for _, m := range regexp.MustCompile(`npm (?:pack|install|i)\b[^\n]*?([a-z0-9-]+)@(\$\((\w+)\)|[^\s)]+)`).FindAllStringSubmatch(text, -1) {
		version := m[2]
		if m[3] != "" {
			version = variables[m[3]]
			if sum := variables[m[3]+"_SUM"]; !sha256Sum.MatchString(sum) || !strings.Contains(text, `"$(`+m[3]+`_SUM)  `+m[1]+`-$(`+m[3]+`).tgz" | $(SHA256SUM) -c`) {
				report(m[1] + " is fetched and not held to a hash")
			}
		}
		if !npmVersion.MatchString(version) {
			report(m[1] + "@" + version)
		}
	}
	for _, m := range regexp.MustCompile(`go (?:run|install) (?:-\S+ )*([^\s$@]+)@(\S+)`).FindAllStringSubmatch(text, -1) {
		if !moduleVersion.MatchString(strings.Trim(m[2], "`'\".,;)")) {
			report(m[1] + "@" + m[2])
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^FROM (\S+)|^\s*image: *(\S+)`).FindAllStringSubmatch(text, -1) {
		if image := m[1] + m[2]; image != "scratch" && image != "stepgate" && !imageVersion.MatchString(image) { // stepgate is what the Dockerfile builds
			report(image)
		}
	}
	if m := regexp.MustCompile(`(?m)^# *syntax=(\S+)`).FindStringSubmatch(text); m != nil && !imageVersion.MatchString(m[1]) {
		report(m[1])
	}
	if strings.HasSuffix(name, "go.mod") && regexp.MustCompile(`(?m)^(replace|exclude)\b`).MatchString(text) {
		report("a module is replaced or excluded")
	}
	return found
}

func TestPinned(t *testing.T) {
	root := filepath.Join("..", "..")
	files := []string{"Makefile", "Dockerfile", "go.mod", ".ci/run", ".ci/vulnerabilities", "deploy/dynamodb/compose.yaml", "deploy/dynamodb/run.sh", "README.md"}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range pages {
		files = append(files, filepath.Join("docs", filepath.Base(page)))
	}
	for _, folder := range []string{".", ".ci", "deploy"} { // whoever adds a file that fetches something adds it here
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(root, path)
			if entry.IsDir() {
				if folder == "." && name != "." {
					return filepath.SkipDir
				}
				return nil
			}
			if regexp.MustCompile(`(?i)dockerfile|compose|makefile|\.sh$|^\.ci/|go\.(mod|work)$|package(-lock)?\.json$`).MatchString(name) && !slices.Contains(files, filepath.ToSlash(name)) {
				files = append(files, name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range unpinned(name, string(text)) {
			t.Error(what)
		}
	}
	docker, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	needed := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	if needed == nil || !strings.Contains(string(docker), "FROM golang:"+string(needed[1])+".") {
		t.Errorf("go.mod asks for Go %s, and the Dockerfile builds with another", needed)
	}
}

func TestUnpinnedIsFound(t *testing.T) {
	for text, want := range map[string]int{
		"TOOL := example.com/tool/cmd/tool@v1.2.3\n":    0,
		"TOOL := example.com/tool/cmd/tool@latest\n":    1,
		"TOOL := example.com/tool/cmd/tool@v1.2\n":      1,
		"\tgo run example.com/tool@latest ./...\n":      1,
		"\tgo install example.com/tool@v1.0.0\n":        0,
		"FROM golang:1.26-bookworm AS build\n":          1,
		"FROM golang:1.26.8-bookworm AS build\n":        0,
		"FROM golang@sha256:" + strings.Repeat("0", 64): 0,
		"FROM scratch\n":                             0,
		"    image: amazon/dynamodb-local\n":         1,
		"    image: stepgate\n":                      0,
		"# syntax=docker/dockerfile:1\n":             1,
		"\tnpm pack left-pad@1.3\n":                  1,
		"\tnpm pack --silent left-pad@latest\n":      1,
		"PAD := 1.3.0\n\tnpm pack left-pad@$(PAD)\n": 1,
		"PAD := 1.3.0\nPAD_SUM := " + strings.Repeat("a", 64) + "\n\tnpm pack left-pad@$(PAD) && echo \"$(PAD_SUM)  left-pad-$(PAD).tgz\" | $(SHA256SUM) -c -\n": 0,
	} {
		if got := unpinned("x", text); len(got) != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if got := unpinned("go.mod", "replace a => b\n"); len(got) != 1 {
		t.Errorf("replace: %q", got)
	}
}
