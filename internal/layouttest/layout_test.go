package layouttest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/stepgate/stepgate"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath                         string
	Dir                                string
	Doc                                string
	GoFiles, IgnoredGoFiles            []string
	Imports, TestImports, XTestImports []string
	Deps                               []string // of the package itself, not of its tests
}

func (p pkg) within(folders ...string) bool {
	for _, folder := range folders {
		if p.ImportPath == module+"/"+folder || strings.HasPrefix(p.ImportPath, module+"/"+folder+"/") {
			return true
		}
	}
	return false
}

// direct lists what the package and its tests import.
func (p pkg) direct() []string { return slices.Concat(p.Imports, p.TestImports, p.XTestImports) }

// rule is one line of the layout. It returns what breaks it.
type rule struct {
	name   string
	broken func(pkg) []string
}

var rules = []rule{
	{"only caddymodule and commands import Caddy", func(p pkg) []string {
		if p.within("caddymodule", "cmd") {
			return nil
		}
		return under(append(p.direct(), p.Deps...), "github.com/caddyserver/caddy", module+"/caddymodule")
	}},
	{"only ceremony and the software authenticator import go-webauthn", only("github.com/go-webauthn", "internal/ceremony", "internal/authtest")},
	{"only dynamostore imports the AWS SDK", only("github.com/aws", "internal/store/dynamostore")},
	{"only boltstore imports bbolt", only("go.etcd.io/bbolt", "internal/store/boltstore")},
	{"only what shows authenticators' names knows them", only(module+"/internal/authenticators", "internal/gate", "caddymodule", "assets", "internal/authenticators")},
	{"passkey imports the standard library only", func(p pkg) []string {
		if !p.within("internal/passkey") {
			return nil
		}
		return slices.DeleteFunc(slices.Clone(p.Deps), isStandard)
	}},
	{"policy and grant know no HTTP", func(p pkg) []string {
		if !p.within("internal/policy", "internal/grant") {
			return nil
		}
		return under(p.Deps, "net/http")
	}},
	{"only tests import test kits", func(p pkg) []string {
		if strings.HasSuffix(p.ImportPath, "test") || p.within("internal/bench") { // which nothing of the product imports
			return nil
		}
		return slices.DeleteFunc(under(p.Imports, module), func(path string) bool { return !strings.HasSuffix(path, "test") })
	}},
	{"only the benchmarks import what is theirs", only(module+"/internal/bench", "internal/bench")},
	{"every package says what it is", func(p pkg) []string {
		if len(p.GoFiles) > 0 && strings.TrimSpace(p.Doc) == "" {
			return []string{"no package comment"}
		}
		return nil
	}},
	{"no file is longer than 400 lines", func(p pkg) (long []string) {
		for _, name := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				return []string{err.Error()}
			}
			if lines := bytes.Count(text, []byte("\n")); lines > 400 && !strings.HasSuffix(name, "_test.go") {
				long = append(long, fmt.Sprintf("%s: %d lines", name, lines))
			}
		}
		return long
	}},
}

// only makes the rule that no other package imports what is under path.
func only(path string, owners ...string) func(pkg) []string {
	return func(p pkg) []string {
		if p.within(owners...) {
			return nil
		}
		return under(p.direct(), path)
	}
}

// under returns those paths that are one of the roots or below it.
func under(paths []string, roots ...string) (found []string) {
	for _, path := range paths {
		for _, root := range roots {
			if (path == root || strings.HasPrefix(path, root+"/")) && !slices.Contains(found, path) {
				found = append(found, path)
			}
		}
	}
	return found
}

// isStandard reports whether an import path is the standard library's: only others begin with a domain.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func TestLayout(t *testing.T) {
	command := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,IgnoredGoFiles,Imports,TestImports,XTestImports,Deps", module+"/...")
	var problems bytes.Buffer
	command.Stderr = &problems
	listed, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, problems.String())
	}
	seen := 0
	for decoder := json.NewDecoder(bytes.NewReader(listed)); ; seen++ {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, rule := range rules {
			for _, what := range rule.broken(p) {
				t.Errorf("%s: %s: %s", rule.name, p.ImportPath, what)
			}
		}
	}
	if seen < 10 {
		t.Errorf("go list found %d packages only", seen)
	}
}

// A rule that nothing can break holds nothing.
func TestRulesCanBreak(t *testing.T) {
	const caddy, webauthn, bolt = "github.com/caddyserver/caddy/v2", "github.com/go-webauthn/webauthn/protocol", "go.etcd.io/bbolt"
	long := filepath.Join(t.TempDir(), "long.go")
	if err := os.WriteFile(long, bytes.Repeat([]byte("\n"), 401), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path   string
		p      pkg
		broken []string
	}{
		{"internal/gate", pkg{Imports: []string{"net/http", "go.uber.org/zap"}}, nil},
		{"internal/gate", pkg{XTestImports: []string{caddy}}, []string{"only caddymodule and commands import Caddy"}},
		{"assets", pkg{Deps: []string{caddy + "/modules/caddyhttp"}}, []string{"only caddymodule and commands import Caddy"}},
		{"internal/e2e", pkg{Imports: []string{module + "/caddymodule"}}, []string{"only caddymodule and commands import Caddy"}},
		{"caddymodule", pkg{Imports: []string{caddy}}, nil},
		{"cmd/stepgate", pkg{Imports: []string{caddy + "/cmd"}}, nil},
		{"caddymoduleother", pkg{Imports: []string{caddy}}, []string{"only caddymodule and commands import Caddy"}},
		{"internal/ceremony", pkg{Imports: []string{webauthn}}, nil},
		{"internal/gate", pkg{TestImports: []string{webauthn}}, []string{"only ceremony and the software authenticator import go-webauthn"}},
		{"internal/gate", pkg{Imports: []string{"github.com/aws/aws-sdk-go-v2/aws"}}, []string{"only dynamostore imports the AWS SDK"}},
		{"internal/store/boltstore", pkg{Imports: []string{bolt}}, nil},
		{"internal/store/storetest", pkg{Imports: []string{bolt}}, []string{"only boltstore imports bbolt"}},
		{"internal/gate", pkg{Imports: []string{module + "/internal/authenticators"}}, nil},
		{"internal/policy", pkg{Imports: []string{module + "/internal/authenticators"}}, []string{"only what shows authenticators' names knows them"}},
		{"internal/passkey", pkg{Deps: []string{"strings", "golang.org/x/text/cases"}}, []string{"passkey imports the standard library only"}},
		{"internal/grant", pkg{Deps: []string{"net/http"}}, []string{"policy and grant know no HTTP"}},
		{"internal/policy", pkg{Deps: []string{"net/http/httptrace"}}, []string{"policy and grant know no HTTP"}},
		{"internal/gate", pkg{Imports: []string{module + "/internal/authtest"}}, []string{"only tests import test kits"}},
		{"internal/gate", pkg{TestImports: []string{module + "/internal/authtest"}}, nil},
		{"internal/bench", pkg{Imports: []string{module + "/internal/authtest"}}, nil},
		{"caddymodule", pkg{Imports: []string{module + "/internal/bench/sample"}}, []string{"only the benchmarks import what is theirs"}},
		{"internal/gate", pkg{Dir: filepath.Dir(long), GoFiles: []string{filepath.Base(long)}}, []string{"no file is longer than 400 lines"}},
	} {
		c.p.ImportPath, c.p.Doc = module+"/"+c.path, "Package x."
		if diff := cmp.Diff(c.broken, brokenBy(c.p)); diff != "" {
			t.Errorf("%+v: %s", c.p, diff)
		}
	}
	if got := brokenBy(pkg{ImportPath: module + "/x", Dir: t.TempDir(), GoFiles: []string{"none.go"}}); len(got) != 2 {
		t.Errorf("without a comment and its file: %q", got)
	}
}

func brokenBy(p pkg) (names []string) {
	for _, rule := range rules {
		if len(rule.broken(p)) > 0 {
			names = append(names, rule.name)
		}
	}
	return names
}
