package caddymodule

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// What is not compared as it is written stays Caddy's to compare.
func TestKnownPaths(t *testing.T) {
	type known struct {
		Paths  []string
		Enough bool
	}
	for name, c := range map[string]struct {
		sets string
		want known
	}{
		"whole":                {`[{"path":["/A","/b/"]}]`, known{[]string{"/a", "/b/"}, true}},
		"below":                {`[{"path":["/a/*","/a"]}]`, known{[]string{"/a/*", "/a"}, true}},
		"everything":           {`[{"path":["*"]}]`, known{[]string{"*"}, true}},
		"and a method":         {`[{"path":["/a/*"],"method":["GET"]}]`, known{[]string{"/a/*"}, false}},
		"several sets":         {`[{"path":["/a"]},{"path":["/b"],"method":["GET"]}]`, known{[]string{"/a", "/b"}, false}},
		"one set without":      {`[{"path":["/a"]},{"method":["GET"]}]`, known{}},
		"no path":              {`[{"method":["GET"]}]`, known{}},
		"of path_regexp":       {`[{"path_regexp":{"pattern":"^/a"}}]`, known{}},
		"star in between":      {`[{"path":["/a/*/b"]}]`, known{}},
		"two stars":            {`[{"path":["*/a/*"]}]`, known{}},
		"ending":               {`[{"path":["*.php"]}]`, known{}},
		"question mark":        {`[{"path":["/a?"]}]`, known{}},
		"class":                {`[{"path":["/[ab]/*"]}]`, known{}},
		"backslash":            {`[{"path":["/a\\\\*"]}]`, known{}},
		"escape":               {`[{"path":["/%61"]}]`, known{}},
		"placeholder":          {`[{"path":["/{http.vars.x}/*"]}]`, known{}},
		"doubled slash":        {`[{"path":["/a//b"]}]`, known{}},
		"one of two not known": {`[{"path":["/a","/b?"]}]`, known{}},
		"nothing":              {`[{"path":[]}]`, known{}},
		"no list":              {`[{"path":"/a"}]`, known{}},
	} {
		var sets []caddy.ModuleMap
		if err := json.Unmarshal([]byte(c.sets), &sets); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got known
		got.Paths, got.Enough = knownPaths(sets)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Whatever shape a pattern has, the rule that decides is the first that Caddy's own matcher finds.
func TestPathsAsCaddyMatchesThem(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	text := func(letters string, segments int) string {
		var b strings.Builder
		for range 1 + random.IntN(segments) {
			b.WriteByte('/')
			for range 1 + random.IntN(2) {
				b.WriteString(string([]rune(letters)[random.IntN(len([]rune(letters)))]))
			}
		}
		return b.String()
	}
	compared, matched := 0, 0
	for range 60 {
		config := gate.Config{
			RPID: "example.com", Origins: []string{"https://console.example.com"}, Audit: audit.Log{Logger: zap.NewNop()},
			Backend: func() (*gate.Backend, error) { return nil, passkey.StoreUnavailable },
			Default: policy.Rule{Name: "default", Demand: policy.Demand{Level: passkey.Verified, MaxAge: time.Hour}},
		}
		var matchers []func(*http.Request) (bool, error)
		for range 30 {
			pattern := text("abA\u00c4\u00e4\u0130*?[-]\u017f", 3) + []string{"", "", "*", "/*", "/"}[random.IntN(5)]
			raw, _ := json.Marshal([]string{pattern})
			if checkSet(caddy.ModuleMap{"path": raw}) != nil {
				continue
			}
			route, match := routeOf(t, pattern, policy.Demand{Level: passkey.Present, MaxAge: time.Minute})
			config.Rules, matchers = append(config.Rules, route), append(matchers, match)
		}
		g, err := gate.New(config)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			u := &url.URL{Path: text("abA\u00c4\u00e4\u0130*-[]", 4) + []string{"", "/"}[random.IntN(2)]}
			r := (&http.Request{Method: http.MethodGet, URL: u, Host: "console.example.com", Header: http.Header{}}).
				WithContext(context.WithValue(t.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
			taken, err := g.Take(r, u)
			if err != nil || taken.Refused || taken.Own || strings.Contains(taken.Rule.Name, " + ") { // judged by two readings
				continue
			}
			want := "default"
			for i, match := range matchers {
				ok, err := match(r)
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					want, matched = config.Rules[i].Name, matched+1
					break
				}
			}
			if compared++; taken.Rule.Name != want {
				t.Fatalf("%q is judged by %s, and Caddy matches %s", u.Path, taken.Rule.Name, want)
			}
		}
	}
	if compared < 1000 || matched < 100 {
		t.Fatalf("only %d paths were compared, %d of them matched", compared, matched)
	}
	t.Logf("%d paths, %d matched", compared, matched)
}
