package e2etest_test

import (
	"os"
	"strings"
	"testing"
)

// From the file to DynamoDB, and back into a fresh file: with the same grant keys everywhere, so that nothing but the
// epochs ends an old grant.
func TestMoveFromFileToDynamoDBAndBack(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	d := newTables(t)
	key, err := os.ReadFile(m.path("grant.key"))
	must(t, err)
	m.uses(d, d.endpoint, strings.TrimSpace(string(key)))
	shared := m.caddyfile("new") // the store of the tables takes the file's place
	shared = strings.Replace(shared, "grant_keys {file."+m.folder+"/grant.key}\n", "", 1)
	m.store = "" // the other configurations stay on files
	must(t, os.WriteFile(m.path("shared"), []byte(shared), 0o600))

	m.serve("old")
	carol, dave := newClient(t, m.gateway, "carol"), newClient(t, m.gateway, "dave")
	must(t, session(carol))
	must(t, session(dave))
	m.stop()
	m.move("old", 0, "exported 2 users, 2 passkeys", "export", "--output", "export.jsonl")
	for _, says := range []string{"imported 2 users, 2 passkeys", "2 users were there already"} {
		m.move("shared", 0, says, "import", "export.jsonl")
	}

	m.configure(shared)
	m.run()
	if reason := refusal(carol, "/keys"); reason != "grant_revoked" {
		t.Errorf("an old grant at the new place: %q", reason)
	}
	if answer, err := carol.stepUp("/keys"); err != nil || answer.status != 200 {
		t.Fatalf("stepping up with a moved passkey: %v %d %s", err, answer.status, answer.body)
	}
	if answer := carol.get("/keys"); answer.status != 200 {
		t.Errorf("after the step-up: %d %s", answer.status, answer.body)
	}
	if _, err := newClient(t, m.gateway, "dave").step("POST", "/.stepgate/passkeys/options", map[string]any{"name": "x"}, 403); err != nil {
		t.Errorf("first use is open again: %v", err)
	}
	m.stop()

	m.move("shared", 0, "exported 2 users, 2 passkeys", "export", "--output", "back.jsonl")
	m.move("new", 0, "imported 2 users, 2 passkeys", "import", "back.jsonl")
	m.serve("new")
	if reason := refusal(carol, "/keys"); reason != "grant_revoked" {
		t.Errorf("a grant of DynamoDB's, back on a file: %q", reason)
	}
	if answer, err := dave.stepUp("/keys"); err != nil || answer.status != 200 {
		t.Fatalf("stepping up after the way back: %v %d %s", err, answer.status, answer.body)
	}
}
