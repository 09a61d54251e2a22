package e2etest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// deployed returns a file of deploy/dynamodb.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(browsertest.RepositoryRoot(t), "deploy", "dynamodb", name))
	gatewaytest.Must(t, err)
	return string(text)
}

// What deploy/dynamodb/compose.yaml runs, from the same files: tables made by the command, two gateways, a load balancer
// that sends each request to the other gateway, and a person in a browser who notices nothing of it.
func TestDeployed(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFleet(t, 2)
	var addresses []string
	for _, g := range f.Gateways {
		gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, "Caddyfile"), []byte(deployed(t, "Caddyfile")), 0o600)) // as it is
		g.Environment = append(g.Environment,
			fmt.Sprintf("STEPGATE_PORT=%d", g.Port), fmt.Sprintf("STEPGATE_ADMIN=localhost:%d", g.Admin), "STEPGATE_ORIGIN="+f.Balancer.URL,
			"DYNAMODB_ENDPOINT="+f.Endpoint, fmt.Sprintf("UPSTREAM_PORT=%d", gatewaytest.FreePort(t)))
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", g.Port))
	}
	if out, code := f.Gateways[0].Call("run", "--config", "Caddyfile"); code == 0 || !strings.Contains(out, "stepgate tables create") {
		t.Errorf("without the tables: %d %s", code, out)
	}
	for _, want := range []string{"creating", "exists"} { // it can be repeated
		out, code := f.Gateways[0].Call("tables", "create", "--config", "Caddyfile")
		if code != 0 || !strings.Contains(out, "StepgatePasskeys: "+want) || !strings.Contains(out, "StepgateChallenges: "+want) {
			t.Fatalf("tables create: %d %s", code, out)
		}
	}
	if out, code := f.Gateways[0].Call("tables", "check", "--config", "Caddyfile"); code != 0 {
		t.Errorf("tables check: %d %s", code, out)
	}
	for _, g := range f.Gateways {
		g.Run()
	}
	gatewaytest.Must(t, os.WriteFile(filepath.Join(f.Balancer.Folder, "Caddyfile"), []byte(deployed(t, "balancer.Caddyfile")), 0o600))
	f.Balancer.Environment = []string{fmt.Sprintf("BALANCER_PORT=%d", f.Balancer.Port), "GATEWAYS=" + strings.Join(addresses, " ")}
	f.Balancer.Run()

	p := visit(f.Balancer, "alice", options{})
	p.enrol("/admin/")
	p.says("body", "X-Stepgate-User:    alice", "X-Stepgate-Level:   device_bound")
	p.open("/.stepgate/passkeys")
	p.says("main", "Registered 1 of 10")

	// One gateway is stopped: nobody notices.
	f.Gateways[0].Stop()
	for range 3 {
		p.open("/admin/users")
		p.says("body", "GET /admin/users", "X-Stepgate-User:    alice")
	}
}

// The compose file sets what the Caddyfiles ask for, and nothing else, and every gateway keeps the default tables.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	compose := deployed(t, "compose.yaml")
	asked := deployed(t, "Caddyfile") + deployed(t, "balancer.Caddyfile")
	set := regexp.MustCompile(`(?m)^ +([A-Z][A-Z0-9_]+): `).FindAllStringSubmatch(compose, -1)
	if len(set) < 6 {
		t.Fatalf("%d variables found", len(set))
	}
	for _, variable := range set {
		if name := variable[1]; !strings.Contains(asked, "{$"+name) && !strings.Contains(asked, "{env."+name+"}") && !strings.HasPrefix(name, "AWS_") {
			t.Errorf("%s is set and nobody asks for it", name)
		}
	}
	for _, file := range regexp.MustCompile(`\./(\S+):/etc/`).FindAllStringSubmatch(compose, -1) {
		deployed(t, file[1])
	}
}

// The folder's Caddyfiles are formatted.
func TestDeployedIsFormatted(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Prepare(t)
	for _, name := range []string{"Caddyfile", "balancer.Caddyfile"} {
		gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, name), []byte(deployed(t, name)), 0o600))
		if out, code := g.Call("fmt", "--diff", name); code != 0 || strings.Contains(out, "\n+") || strings.Contains(out, "\n-") {
			t.Errorf("fmt of %s: %d\n%s", name, code, out)
		}
	}
}
