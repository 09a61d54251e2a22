package caddymodule_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/caddymodule"
)

// ask sends a request to a site of this gateway, without any first factor.
func (g *gateway) ask(method, host, path string) (*http.Response, string) {
	g.t.Helper()
	r, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", g.port, path), nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Host = fmt.Sprintf("%s:%d", host, g.port)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer, string(body)
}

const healthSite = "http://health.localhost:$PORT {\nstepgate_health\n}\n"

func TestHealth(t *testing.T) {
	g := newGateway(t)
	g.load(site("", proxy) + healthSite + "http://below.localhost:$PORT {\nhandle_path /healthz/* {\nstepgate_health\n}\nrespond teapot 418\n}\n")
	for _, test := range []struct {
		method, host, path string
		status             int
		body               string
	}{
		{"GET", "health.localhost", "/live", 200, `{"status":"live"}` + "\n"},
		{"HEAD", "health.localhost", "/live", 200, ""},
		{"GET", "health.localhost", "/ready", 200, `{"status":"ready"}` + "\n"},
		{"HEAD", "health.localhost", "/ready", 200, ""},
		{"GET", "health.localhost", "/ready?verbose", 200, `{"status":"ready"}` + "\n"},
		{"GET", "health.localhost", "/", 404, ""},
		{"GET", "health.localhost", "/READY", 404, ""},
		{"GET", "health.localhost", "/ready/", 404, ""},
		{"GET", "health.localhost", "/.stepgate/passkeys", 404, ""},
		{"POST", "health.localhost", "/ready", 405, ""},
		{"OPTIONS", "health.localhost", "/live", 405, ""},
		{"GET", "below.localhost", "/healthz/ready", 200, `{"status":"ready"}` + "\n"},
		{"GET", "below.localhost", "/ready", 418, "teapot"},
	} {
		answer, body := g.ask(test.method, test.host, test.path)
		if answer.StatusCode != test.status || body != test.body {
			t.Errorf("%s %s: %d %q, want %d %q", test.method, test.path, answer.StatusCode, body, test.status, test.body)
		}
		if test.status == 418 {
			continue
		}
		if answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: headers %v", test.method, test.path, answer.Header)
		}
		if test.status == 200 && (answer.Header.Get("Content-Type") != "application/json" || answer.ContentLength <= 0) {
			t.Errorf("%s %s: headers %v", test.method, test.path, answer.Header)
		}
		if test.status == 405 && answer.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: headers %v", test.method, test.path, answer.Header)
		}
	}
	g.reached(0)
}

func init() { caddy.RegisterModule(silentStore{}) }

// silentStore is a store of another package that does not say whether it is ready.
type silentStore struct{ countingStore }

func (silentStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stepgate.stores.silent", New: func() caddy.Module { return new(silentStore) }}
}

func (s *silentStore) Open(rpID string, logger *zap.Logger) (*caddymodule.OpenStore, error) {
	open, err := s.countingStore.Open(rpID, logger)
	if err == nil && open.Ready != nil {
		err = fmt.Errorf("it says")
	}
	return open, err
}

func TestHealthOfStoreThatDoesNotSay(t *testing.T) {
	g := newGateway(t)
	config, _, err := adapt(g.fill(options("", "") + site("", proxy) + healthSite))
	if err != nil {
		t.Fatal(err)
	}
	tree := parsed(t, config).(map[string]any)
	tree["apps"].(map[string]any)["stepgate"].(map[string]any)["store"] = map[string]any{"module": "silent", "path": filepath.Join(g.folder, "silent.db")}
	if err := g.loadJSON(encoded(t, tree)); err != nil {
		t.Fatal(err)
	}
	if answer, body := g.ask("GET", "health.localhost", "/ready"); answer.StatusCode != 200 {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}

// While Caddy waits for its shutdown_delay, requests are served and no more are wanted.
func TestHealthWhileShuttingDown(t *testing.T) {
	g := newGateway(t)
	if err := g.reload(options("shutdown_delay 2s\n", ""), site("", proxy)+healthSite); err != nil {
		t.Fatal(err)
	}
	if answer, _ := g.ask("GET", "health.localhost", "/ready"); answer.StatusCode != 200 {
		t.Fatalf("%d", answer.StatusCode)
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = caddy.Stop() }()
	for { // until it says so, or no longer answers
		if answer, body := g.ask("GET", "health.localhost", "/ready"); answer.StatusCode == 503 && strings.Contains(body, `"shutting_down"`) {
			break
		}
	}
	if answer, _ := g.ask("GET", "health.localhost", "/live"); answer.StatusCode != 200 {
		t.Errorf("/live: %d", answer.StatusCode)
	}
	<-stopped
}

func TestHealthWithoutRelyingParty(t *testing.T) {
	g := newGateway(t)
	config, _, err := adapt(g.fill("{\nadmin off\nauto_https off\n}\n" + healthSite))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.loadJSON(config); err == nil || !strings.Contains(err.Error(), "no relying party is configured") {
		t.Errorf("%v", err)
	}
}

// The examples of the documentation load.
func TestMonitoringExamples(t *testing.T) {
	for _, file := range []string{"../docs/operating.md", "../deploy/monitoring/README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples := 0
		for _, match := range regexp.MustCompile("(?ms)^```\\w*\\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
			block := match[1]
			if !strings.Contains(block, "stepgate_health") && !strings.Contains(block, "tracing") {
				continue
			}
			examples++
			g := newGateway(t)
			example := strings.NewReplacer("8081", "$PORT", "…", "stepgate\n"+proxy, "console.example.com", "http://console.localhost:$PORT").Replace(block)
			if err := g.reload(options("", ""), example); err != nil {
				t.Errorf("%s: %v in %s", file, err, block)
				continue
			}
			if strings.Contains(block, "stepgate_health") {
				if answer, body := g.ask("GET", "gateway-1", "/ready"); answer.StatusCode != 200 {
					t.Errorf("%s: /ready: %d %s", file, answer.StatusCode, body)
				}
			}
			if strings.Contains(block, "metrics") {
				if answer, body := g.ask("GET", "gateway-1", "/metrics"); answer.StatusCode != 200 || !strings.Contains(body, "stepgate_requests_judged_total") {
					t.Errorf("%s: /metrics: %d %.300s", file, answer.StatusCode, body)
				}
			}
		}
		if examples == 0 {
			t.Errorf("%s has no examples", file)
		}
	}
}
