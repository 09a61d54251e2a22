package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/bench/report"
)

// The test's executable is also the upstream, when it is told so.
func TestMain(m *testing.M) {
	if served, err := serveIfAsked(os.Args[1:]); served {
		exit(err)
	}
	os.Exit(m.Run())
}

func quickLab(t *testing.T) *lab {
	return &lab{folder: t.TempDir(), quick: true, progress: t.Output()}
}

// The figures of README.md are those of docs/benchmarks.md, which `make bench` measured.
func TestReadmeCitesTheBenchmarks(t *testing.T) {
	page, err := report.Read("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := page.Cite(string(readme))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(readme)); diff != "" {
		t.Errorf("README.md differs from docs/benchmarks.md (`make bench` writes both): %s", diff)
	}
	if n := strings.Count(string(readme), "<!-- figure: "); n == 0 {
		t.Error("README.md cites no figure")
	}
}

func TestChoose(t *testing.T) {
	all := []part{{name: "one"}, {name: "two"}, {name: "three"}}
	for only, want := range map[string][]string{"": {"one", "two", "three"}, "two": {"two"}, "three,one": {"one", "three"}} {
		chosen, err := choose(all, only)
		if diff := cmp.Diff(want, names(chosen)); err != nil || diff != "" {
			t.Errorf("%q: %v %s", only, err, diff)
		}
	}
	for _, only := range []string{"four", "one,four", "one,", "one two"} {
		if chosen, err := choose(all, only); err == nil {
			t.Errorf("%q: %v", only, names(chosen))
		}
	}
}

// Requests really go through what the table names: the run measures each variant, and fails where one is not what it says.
func TestHTTP(t *testing.T) {
	s, err := newStage(t.Context(), quickLab(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	const block = 50 * time.Millisecond
	for _, v := range s.variants {
		if err := s.check(t.Context(), v); err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		for range 2 {
			o, err := s.measure(t.Context(), v, block)
			if err != nil {
				t.Fatalf("%s: %v", v.name, err)
			}
			if o.caddy < 0 || o.authorizer < 0 || (v.authorizer == nil) != (o.judged == 0) {
				t.Errorf("%s: %v and %v of the processor, %d judged", v.name, o.caddy, o.authorizer, o.judged)
			}
			v.add([]outcome{o, o})
		}
	}
	section, err := s.section(2, block, []float64{30, 5, 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range section.Blocks {
		if table, ok := b.(report.Table); ok && len(table.Rows) != len(s.variants) {
			t.Errorf("%d rows for %d variants", len(table.Rows), len(s.variants))
		}
	}

	for what, lie := range map[string]func(*variant){
		"a grant is no demand of the open route": func(v *variant) { v.port, v.stepsUp = s.open.port, true },
		"bare Caddy asks no authorizer":          func(v *variant) { v.port, v.authorizer = s.bare.port, s.authorizers[0] },
		"forward_auth does":                      func(v *variant) { v.port = s.forward.port },
		"the other authorizer is asked":          func(v *variant) { v.port, v.authorizer = s.forward.port, s.authorizers[1] },
		"a grant is needed":                      func(v *variant) { v.port = s.protected.port },
		"a token is needed":                      func(v *variant) { v.port = s.es256.port },
		"a token of another kind":                func(v *variant) { v.port, v.credential = s.es256.port, s.hs256.credential },
		"Caddy lets pass whoever has none":       func(v *variant) { v.port, v.credential = s.bare.port, "jwt=x" },
	} {
		v := &variant{cookie: s.bare.cookie}
		lie(v)
		if err := s.check(t.Context(), v); err == nil {
			t.Errorf("%s, and the check did not see it", what)
		}
	}
}

// What a process holds and uses is that of the process.
func TestProcess(t *testing.T) {
	l := quickLab(t)
	s, err := l.serve(t.Context(), "upstream", "hello")
	if err != nil {
		t.Fatal(err)
	}
	idle, err := s.processor()
	if err != nil {
		t.Fatal(err)
	}
	used := idle
	for deadline := time.Now().Add(patience); used == idle && time.Now().Before(deadline); {
		answer, err := http.Get("http://" + s.address)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if used, err = s.processor(); err != nil {
			t.Fatal(err)
		}
	}
	if used <= idle {
		t.Errorf("it used %v, and %v after requests", idle, used)
	}
	if memory, err := s.anonymous(); err != nil || memory < 1<<20 || memory > 1<<30 {
		t.Errorf("%v bytes, %v", memory, err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err == nil {
		t.Error("it was stopped twice")
	}
	if _, err := s.processor(); err == nil {
		t.Error("it is no more, and uses the processor")
	}
}

func TestProcessesThatFail(t *testing.T) {
	l := quickLab(t)
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.start(t.Context(), "failing", shell, "-c", "echo what is wrong >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	exit := new(exec.ExitError)
	if err := p.listens(ports[0]); !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "what is wrong") {
		t.Errorf("%v", err)
	}
	if _, err := l.start(t.Context(), "absent", filepath.Join(l.folder, "absent")); err == nil {
		t.Error("a program that is not there was started")
	}
	if _, err := l.goBenchmarks(t.Context(), "internal/bench/sample", "Nothing", 1, "1x"); err == nil || !strings.Contains(err.Error(), "no benchmark") {
		t.Errorf("benchmarks that are not there: %v", err)
	}
}

// Ports are free, and different ones.
func TestFreePorts(t *testing.T) {
	ports, err := freePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] || port < 20000 || port >= 32768 {
			t.Errorf("%v", ports)
		}
		seen[port] = true
	}
}

func TestLogged(t *testing.T) {
	l := new(logged)
	for i := range 100_000 {
		fmt.Fprintf(l, "line %d\n", i)
	}
	if text := l.String(); len(text) > maxLogged || !strings.HasSuffix(text, "line 99999\n") {
		t.Errorf("%d bytes, the last are %q", len(text), text[len(text)-20:])
	}
}
