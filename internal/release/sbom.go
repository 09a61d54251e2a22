package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// bill is a CycloneDX 1.6 document, as far as one is written here (https://cyclonedx.org/docs/1.6/json/). It has no serial
// number and no time: the same binary has the same bill.
type bill struct {
	Format       string        `json:"bomFormat"`
	Spec         string        `json:"specVersion"`
	Version      int           `json:"version"`
	Metadata     metadata      `json:"metadata"`
	Components   []component   `json:"components"`
	Compositions []composition `json:"compositions"`
}

type metadata struct {
	Component  component  `json:"component"`
	Properties []property `json:"properties"`
}

type component struct {
	Ref        string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type composition struct {
	Aggregate  string   `json:"aggregate"`
	Assemblies []string `json:"assemblies"`
}

const (
	moduleSum = "go:module:h1" // the module's hash, as go.sum has it
	setting   = "go:build:"    // and the name of what Go was told when it built
)

// names is the one thing in the binary that others made and that is no Go module: see package authenticators.
const names = "internal/authenticators/names.json"

// billOf writes the bill of a binary: the modules that it says it was linked with, Go's standard library, and the list of
// authenticators' names.
func billOf(binary, version string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum, err := sumOf(binary)
	if err != nil {
		return nil, err
	}
	return describe(info, sum, version)
}

// describe writes the bill of a binary that says this of itself.
func describe(info *buildinfo.BuildInfo, sum, version string) ([]byte, error) {
	product := component{
		Ref: purl("golang", info.Main.Path, version), Type: "application", Name: info.Main.Path, Version: version,
		Hashes: []hash{{"SHA-256", sum}}, PURL: purl("golang", info.Main.Path, version),
	}
	library := purl("golang", "std", strings.TrimPrefix(info.GoVersion, "go"))
	b := bill{
		Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{Component: product},
		Components:   []component{{Ref: library, Type: "library", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), PURL: library}},
		Compositions: []composition{{Aggregate: "complete", Assemblies: []string{product.Ref}}},
	}
	for _, s := range info.Settings {
		b.Metadata.Properties = append(b.Metadata.Properties, property{setting + s.Key, s.Value})
	}
	list, err := namesList()
	if err != nil {
		return nil, err
	}
	b.Components = append(b.Components, list)
	for _, m := range info.Deps {
		if m.Replace != nil || m.Sum == "" {
			return nil, fmt.Errorf("module %s is replaced, or has no hash: what is released comes from where go.sum says", m.Path)
		}
		id := purl("golang", m.Path, m.Version)
		b.Components = append(b.Components, component{Ref: id, Type: "library", Name: m.Path, Version: m.Version, PURL: id, Properties: []property{{moduleSum, m.Sum}}})
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(b); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

func namesList() (component, error) {
	text, err := os.ReadFile(names)
	if err != nil {
		return component{}, err
	}
	var list struct{ Source, Version string }
	if err := json.Unmarshal(text, &list); err != nil {
		return component{}, fmt.Errorf("reading %s: %w", names, err)
	}
	name, ok := strings.CutPrefix(list.Source, "npm package ")
	if !ok || list.Version == "" {
		return component{}, fmt.Errorf("%s does not say where it is from", names)
	}
	mit := license{}
	mit.License.ID = "MIT"
	id := purl("npm", name, list.Version)
	return component{Ref: id, Type: "data", Name: name, Version: list.Version, Licenses: []license{mit}, PURL: id}, nil
}

// purl is a package URL (https://github.com/package-url/purl-spec).
func purl(kind, name, version string) string {
	return "pkg:" + kind + "/" + name + "@" + strings.ReplaceAll(url.PathEscape(version), "+", "%2B")
}

// holds fails unless the modules in a bill are those that `go version -m` finds in the binary, no more and no fewer.
func holds(ctx context.Context, text []byte, binary string) error {
	printed, err := exec.CommandContext(ctx, "go", "version", "-m", binary).Output()
	if err != nil {
		return fmt.Errorf("go version -m: %w", err)
	}
	return compare(text, string(printed))
}

func compare(text []byte, printed string) error {
	var b bill
	if err := json.Unmarshal(text, &b); err != nil {
		return err
	}
	var listed, linked []string
	for _, c := range b.Components {
		for _, p := range c.Properties {
			if p.Name == moduleSum {
				listed = append(listed, c.Name+" "+c.Version+" "+p.Value)
			}
		}
	}
	for line := range strings.Lines(printed) {
		if fields := strings.Fields(line); len(fields) > 0 && (fields[0] == "dep" || fields[0] == "=>") {
			linked = append(linked, strings.Join(fields[1:], " "))
		}
	}
	slices.Sort(listed)
	slices.Sort(linked)
	if len(linked) == 0 || !slices.Equal(listed, linked) {
		return fmt.Errorf("the bill lists %d modules, and the binary holds %d:\n%q\n%q", len(listed), len(linked), listed, linked)
	}
	return nil
}
