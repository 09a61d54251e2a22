package e2etest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// From the file to DynamoDB, and back into a fresh file: with the same grant keys everywhere, so that nothing but the
// epochs ends an old grant.
func TestMoveFromFileToDynamoDBAndBack(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	d := gatewaytest.NewTables(t)
	key, err := os.ReadFile(m.path("grant.key"))
	gatewaytest.Must(t, err)
	m.Uses(d, d.Endpoint, strings.TrimSpace(string(key)))
	shared := m.caddyfile("new") // the store of the tables takes the file's place
	shared = strings.Replace(shared, "grant_keys {file."+m.Folder+"/grant.key}\n", "", 1)
	m.Store = "" // the other configurations stay on files
	gatewaytest.Must(t, os.WriteFile(m.path("shared"), []byte(shared), 0o600))

	m.serve("old")
	carol, dave := gatewaytest.NewClient(t, m.Gateway, "carol"), gatewaytest.NewClient(t, m.Gateway, "dave")
	gatewaytest.Must(t, gatewaytest.Session(carol))
	gatewaytest.Must(t, gatewaytest.Session(dave))
	m.Stop()
	m.move("old", 0, "exported 2 users, 2 passkeys", "export", "--output", "export.jsonl")
	for _, says := range []string{"imported 2 users, 2 passkeys", "2 users were there already"} {
		m.move("shared", 0, says, "import", "export.jsonl")
	}

	m.Configure(shared)
	m.Run()
	if reason := refusal(carol, "/keys"); reason != "grant_revoked" {
		t.Errorf("an old grant at the new place: %q", reason)
	}
	if answer, err := carol.StepUp("/keys"); err != nil || answer.Status != 200 {
		t.Fatalf("stepping up with a moved passkey: %v %d %s", err, answer.Status, answer.Body)
	}
	if answer := carol.Get("/keys"); answer.Status != 200 {
		t.Errorf("after the step-up: %d %s", answer.Status, answer.Body)
	}
	if _, err := gatewaytest.NewClient(t, m.Gateway, "dave").Step("POST", "/.stepgate/passkeys/options", map[string]any{"name": "x"}, 403); err != nil {
		t.Errorf("first use is open again: %v", err)
	}
	m.Stop()

	m.move("shared", 0, "exported 2 users, 2 passkeys", "export", "--output", "back.jsonl")
	m.move("new", 0, "imported 2 users, 2 passkeys", "import", "back.jsonl")
	m.serve("new")
	if reason := refusal(carol, "/keys"); reason != "grant_revoked" {
		t.Errorf("a grant of DynamoDB's, back on a file: %q", reason)
	}
	if answer, err := dave.StepUp("/keys"); err != nil || answer.Status != 200 {
		t.Fatalf("stepping up after the way back: %v %d %s", err, answer.Status, answer.Body)
	}
}
