package caddymodule_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
)

// The directive runs behind the first factor and before everything that answers or changes headers for the upstream,
// wherever it is written in the site.
func TestOrder(t *testing.T) {
	const directives = `
		reverse_proxy 127.0.0.1:1
		request_header X-Example 1
		encode gzip
		templates
		stepgate
		vars a b
		try_files {path} /index.html
		rewrite * /r
		basic_auth {
			alice $2a$04$Yz4c4HyGGazjwOzqB.5HouQkV5YD3K7Kbj7B6ALhQ3v8zbpV/9eeS
		}
		forward_auth 127.0.0.1:1 {
			uri /auth
		}`
	want := []string{"vars", "rewrite", "rewrite", "authentication", "forward_auth", "stepgate", "headers", "encode", "templates", "reverse_proxy"}

	forwards := strings.Split(directives, "\n\t\t")[1:]
	backwards := slices.Clone(forwards)
	// The blocks stay whole: only the one-liners change places.
	slices.Reverse(backwards[:8])
	for name, lines := range map[string][]string{"as written": forwards, "the other way round": backwards} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(want, orderOf(t, "example.com {\n"+strings.Join(lines, "\n")+"\n}")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Inside route the order is the written one, and is the operator's affair.
func TestOrderInRoute(t *testing.T) {
	got := orderOf(t, "example.com {\nroute {\nrequest_header -X-A\nstepgate\nvars a b\nrespond ok\n}\n}")
	if diff := cmp.Diff([]string{"headers", "stepgate", "vars", "static_response"}, got); diff != "" {
		t.Error(diff)
	}
}

// orderOf adapts a site and lists its handlers in the order in which a request meets them. A forward_auth is the reverse
// proxy with a rewrite of its own.
func orderOf(t *testing.T, site string) []string {
	t.Helper()
	config, _, err := adapt("{\nstepgate {\nrp_id example.com\n}\n}\n" + site)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	all := func(name string) bool { return name != "subroute" }
	for _, handler := range handlersIn(parsed(t, config).(map[string]any)["apps"].(map[string]any)["http"], all) {
		handler := handler.(map[string]any)
		name := handler["handler"].(string)
		if _, ok := handler["rewrite"]; ok && name == "reverse_proxy" {
			name = "forward_auth"
		}
		if name != "vars" || handler["a"] != nil { // forward_auth adds some for its headers
			names = append(names, name)
		}
	}
	return names
}

// The example is what people start from: it must adapt without a warning, formatted as `stepgate fmt` would.
func TestExample(t *testing.T) {
	const path = "../Caddyfile.example"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if formatted := caddyfile.Format(text); string(formatted) != string(text) {
		t.Errorf("not formatted: run `stepgate fmt --overwrite`\n%s", cmp.Diff(string(formatted), string(text)))
	}
	config, warnings, err := adapt(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range warnings {
		t.Errorf("warning: %s", w)
	}
	if err := validate(config); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("stepgate-data"); err == nil {
		t.Error("validating made the store's folder")
	}
}
