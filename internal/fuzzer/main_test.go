package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A module with targets of every kind: whoever runs them gets each one's result, and where the failing input lies.
const (
	good = `
func FuzzGood(f *testing.F) {
	f.Add("a")
	f.Fuzz(func(t *testing.T, text string) {
		if parse(text) < 0 {
			t.Fatal("negative")
		}
	})
}
`
	bad = `
func FuzzBad(f *testing.F) {
	f.Add("a")
	f.Fuzz(func(t *testing.T, text string) {
		if parse(text) > 0 {
			t.Fatal("found")
		}
	})
}
`
	seedFails = `
func FuzzSeed(f *testing.F) {
	f.Add("ab")
	f.Fuzz(func(t *testing.T, text string) {
		if parse(text) > 0 {
			t.Fatal("found")
		}
	})
}
`
	skips = `
func FuzzSkips(f *testing.F) {
	f.Skip("not today")
}
`
	parser = "package p\n\nfunc parse(text string) int {\n\tif len(text) > 1 && text[0] == 'a' && text[1] == 'b' {\n\t\treturn 1\n\t}\n\treturn 0\n}\n"
)

func module(t *testing.T, tests string) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/p\n\ngo 1.26\n", "p.go": parser, "p_test.go": "package p\n\nimport \"testing\"\n" + tests,
		"none/none_test.go": "package none\n\nimport \"testing\"\n\nfunc TestNone(t *testing.T) {}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
}

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		tests, only string
		spend       time.Duration
		want, err   string // regular expressions
	}{
		"a good one":            {good, "", time.Second, `(?s)^1 targets, built in .*\nok  \texample.com/p FuzzGood\t[1-9]\d* inputs\n$`, `^$`},
		"a bad one":             {good + bad, "Bad", time.Minute, `(?s)FAIL\texample.com/p FuzzBad\nThe failing input is .*/testdata/fuzz/FuzzBad/\w+. Run it again: go test -run '\^FuzzBad/\w+\$' example.com/p\n.*found`, `^1 of 1 targets failed$`},
		"one whose seed fails":  {seedFails, "", time.Minute, `(?s)FAIL\texample.com/p FuzzSeed\nexit status 1\n.*found`, `^1 of 1 targets failed$`},
		"one that does not run": {skips, "", time.Minute, `(?s)FAIL\texample.com/p FuzzSkips\nit ended by itself`, `^1 of 1 targets failed$`},
		"only the good one":     {good + bad, "Good", time.Second, `^1 targets, .*\nok  \texample.com/p FuzzGood`, `^$`},
		"none":                  {good, "Other", time.Second, `^$`, `^no fuzz target in ./... matches "Other"$`},
		"what does not build":   {good + "\nvar x int = y\n", "", time.Second, `^$`, `(?s)undefined: y`},
	} {
		t.Run(name, func(t *testing.T) {
			module(t, test.tests)
			var out strings.Builder
			err := run(t.Context(), &out, options{[]string{"./..."}, test.only, test.spend, 2})
			complaint := ""
			if err != nil {
				complaint = err.Error()
			}
			if !regexp.MustCompile(test.want).MatchString(out.String()) || !regexp.MustCompile(test.err).MatchString(complaint) {
				t.Errorf("error %q, printed\n%s", complaint, out.String())
			}
		})
	}
}
