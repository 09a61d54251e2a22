package e2etest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// example returns Caddyfile.example with other ports: 8080, 8081 and 2019 may be in use.
func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(browsertest.RepositoryRoot(t), "Caddyfile.example"))
	gatewaytest.Must(t, err)
	for _, port := range []string{"localhost:2019", "localhost:8080", ":8081"} {
		if !strings.Contains(string(text), port) {
			t.Fatalf("Caddyfile.example does not use %s any more", port)
		}
	}
	return strings.NewReplacer("admin localhost:2019", "admin localhost:$ADMIN", "8080", "$PORT", "8081", "$SECOND").Replace(string(text))
}

// The main job, as the README's quick start tells it.
func TestExample(t *testing.T) { gatewaytest.OnEachStore(t, testExample) }

func testExample(t *testing.T, on gatewaytest.Store) {
	g := on.Prepare(t)
	g.Configure(strings.ReplaceAll(example(t), "$SECOND", fmt.Sprint(gatewaytest.FreePort(t))))
	g.Run()
	p := visit(g, "alice", browsertest.AuthenticatorOptions{})

	p.open("/")
	p.says("body", "This is the example upstream", "GET /\n")
	if text := p.Text("body"); strings.Contains(text, "alice") {
		t.Errorf("an open route got a user from the gateway: %s", text)
	}

	p.open("/admin/users?sort=name&page=2")
	e := g.Audited("step_up_required", "grant_missing")
	if e.User != "alice" || e.Path != "/admin/users" || e.Rule == "" || e.Level != "verified" || e.RequestID == "" {
		t.Errorf("audited %+v", e)
	}
	p.panel("create")
	p.says("main", "alice", "/admin/users?sort=name&page=2", "you have none here yet")
	p.press()
	p.keeps()
	p.WaitPath("/admin/users?sort=name&page=2")
	if e := g.Audited("passkey_registered", ""); e.User != "alice" || e.Action != "first_use" || e.Passkey == "" {
		t.Errorf("audited %+v", e)
	}
	if e := g.Audited("ceremony_finished", ""); e.User != "alice" || e.Action != "step_up" || e.Level != "device_bound" {
		t.Errorf("audited %+v", e)
	}
	p.says("body", "GET /admin/users?sort=name&page=2", "X-Stepgate-User:    alice", "X-Stepgate-Level:   device_bound")
	got := p.Text("body")
	if !regexp.MustCompile(`X-Stepgate-Passkey: [\w-]{22}\n`).MatchString(got) || !regexp.MustCompile(`X-Stepgate-Time:    \d{4}-\d\d-\d\dT`).MatchString(got) {
		t.Errorf("the upstream got %s", got)
	}
	if strings.Contains(got, "stepgate=") || strings.Contains(got, "stepgate-ceremony") {
		t.Errorf("the upstream got the gateway's cookies: %s", got)
	}
	if c := p.cookies(); len(c) != 2 || c["stepgate"] == "" || c["stepgate-ceremony"] == "" {
		t.Errorf("cookies: %v", c)
	}

	// Within the window nothing is asked, also on the block's own demand.
	p.open("/reports")
	p.says("body", "GET /reports", "X-Stepgate-User:    alice")

	// Another user of the same browser has nothing of it. (Asked for by hand: the browser's own request for an icon could
	// come first, and clear the cookie.)
	r, err := http.NewRequest(http.MethodGet, g.URL+"/admin/", nil)
	gatewaytest.Must(t, err)
	r.SetBasicAuth("bob", gatewaytest.Password)
	r.AddCookie(&http.Cookie{Name: "stepgate", Value: p.cookies()["stepgate"]})
	response, err := http.DefaultClient.Do(r)
	gatewaytest.Must(t, err)
	response.Body.Close()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("bob passes with alice's grant: %s", response.Status)
	}
	g.Audited("step_up_required", "grant_other_user")
	p.signIn("bob")
	p.open("/admin/")
	p.panel("create")
	p.says("main", "bob")
}
