package e2etest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// enrolWithCodes is session, and returns the recovery codes that came with the first passkey.
func enrolWithCodes(c *gatewaytest.Client) []string {
	c.T.Helper()
	body, err := c.BeginRegistration(c.Key, "Key", nil)
	gatewaytest.Must(c.T, err)
	text, err := c.Step("POST", gatewaytest.Account, body, 201)
	gatewaytest.Must(c.T, err)
	var made struct {
		Codes []string `json:"recovery_codes"`
	}
	gatewaytest.Must(c.T, json.Unmarshal(text, &made))
	if len(made.Codes) != 8 {
		c.T.Fatalf("recovery codes: %d", len(made.Codes))
	}
	for _, code := range made.Codes {
		c.G.Log.Secret("recovery code", code)
	}
	answer, err := c.StepUp("/keys")
	gatewaytest.Must(c.T, err)
	gatewaytest.Must(c.T, answer.Expect(200))
	return made.Codes
}

// Somebody asks what is stored about them, and has it deleted. Nothing of before is good for anything, and whoever has the
// name next begins anew.
func TestDeleteUser(t *testing.T) { gatewaytest.OnEachStore(t, testDeleteUser) }

func testDeleteUser(t *testing.T, on gatewaytest.Store) {
	lag := map[gatewaytest.Store]string{gatewaytest.OnFile: "1m", gatewaytest.OnDynamoDB: "1s"}[on]
	g := on.Start(t, gatewaytest.HeaderConsole("revocation_lag "+lag, ""))
	alice, bob := gatewaytest.NewClient(t, g, "alice"), gatewaytest.NewClient(t, g, "bob")
	codes := enrolWithCodes(alice)
	gatewaytest.Must(t, gatewaytest.Session(bob))
	invitation := invites(g, "alice").Code
	invites(g, "eve")

	// Everything that is stored, and no code.
	out, _ := administer(g, 0, "users", "show", "alice", "--json")
	var stored struct {
		User     string
		Handle   string `json:"user_handle"`
		Version  int
		Until    string `json:"invited_until"`
		Recovery struct {
			Left   int
			MadeAt string `json:"made_at"`
		} `json:"recovery_codes"`
		Passkeys []struct {
			Credential string `json:"credential_id"`
			Key        string `json:"public_key"`
			Count      int    `json:"sign_count"`
			Format     string `json:"attestation_format"`
			On         string `json:"last_used_on"`
			Name       string
		}
	}
	gatewaytest.Must(t, json.Unmarshal([]byte(out), &stored))
	if p := stored.Passkeys; stored.User != "alice" || len(stored.Handle) != 86 || stored.Version < 1 || stored.Until == "" || stored.Recovery.Left != 8 || stored.Recovery.MadeAt == "" ||
		len(p) != 1 || p[0].Credential == "" || p[0].Key == "" || p[0].Count < 1 || p[0].Format == "" || p[0].On != g.URL || p[0].Name != "Key" {
		t.Errorf("stored: %s", out)
	}
	prints(g, []string{"users", "show", "alice"}, "alice has 1 passkey", "has an invitation", "8 recovery codes left, made 20", g.URL)
	prints(g, []string{"users", "show", "eve"}, "eve never registered a passkey", "has an invitation")

	// A dry run changes nothing, and mistakes are said.
	prints(g, []string{"users", "delete", "alice"}, "would delete everything that is stored about alice, with 1 passkey", "Whoever the sign-in calls alice may register a first passkey again", "Nothing was changed")
	prints(g, []string{"users", "delete", "alice", "--json"}, `"done": false`)
	fails(g, "nobody ever registered a passkey for this user", "users", "delete", "nobody")
	fails(g, "nobody ever registered a passkey for this user", "users", "delete", "nobody", "--yes")
	fails(g, "no user has such a name", "users", "delete", "a\x01b", "--yes")
	fails(g, "give a user, not 2 arguments", "users", "delete", "alice", "bob", "--yes")
	if answer := alice.Get("/keys"); answer.Status != 200 {
		t.Errorf("before: %d %s", answer.Status, answer.Body)
	}

	problems := prints(g, []string{"users", "delete", "alice", "--yes"}, "Everything that was stored about alice is deleted, with 1 passkey, and all of their grants have ended.",
		"Whoever the sign-in calls alice may register a first passkey again (with \"registration invite\": only by invitation).")
	if on == gatewaytest.OnDynamoDB {
		gatewaytest.Eventually(t, "the grant ends", func() bool { return alice.Get("/keys").Status == 401 })
	}
	if got := refusal(alice, "/keys"); got != "grant_revoked" {
		t.Errorf("the old grant: %q", got)
	}
	administered(on, g, problems, "passkey_removed", "alice")
	administered(on, g, problems, "user_erased", "alice")
	fails(g, "nobody ever registered a passkey for this user", "users", "show", "alice")
	fails(g, "nobody ever registered a passkey for this user", "users", "delete", "alice", "--yes")
	prints(g, []string{"users", "delete", "eve", "--yes", "--json"}, `"done": true`, `"passkeys": []`)
	fails(g, "nobody ever registered a passkey for this user", "users", "show", "eve")

	// Old codes, the old invitation and the old passkey are dead.
	for _, wish := range []struct{ member, value, code string }{
		{"recovery_code", codes[0], "recovery_code_invalid"}, {"invitation", invitation, "invitation_invalid"},
	} {
		answer, err := gatewaytest.NewClient(t, g, "alice").Send("POST", gatewaytest.Account+"/options", map[string]any{"name": "x", wish.member: wish.value})
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Refused(403, wish.code))
	}
	if on == gatewaytest.OnDynamoDB { // the command was another process: this gateway may offer the passkey once more, and finds out
		if answer, err := alice.StepUp("/keys"); err == nil {
			gatewaytest.Must(t, answer.Refused(404, "passkey_unknown"))
		}
	}
	if _, err := alice.StepUp("/keys"); err == nil || !strings.Contains(err.Error(), "no_passkey") {
		t.Errorf("the old passkey: %v", err)
	}
	// First use is open again, and an old code is as dead as before.
	again := gatewaytest.NewClient(t, g, "alice")
	gatewaytest.Must(t, gatewaytest.Session(again))
	answer, err := gatewaytest.NewClient(t, g, "alice").Send("POST", gatewaytest.Account+"/options", map[string]any{"name": "x", "recovery_code": codes[1]})
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Refused(403, "recovery_code_invalid"))
	if reason := refusal(alice, "/keys"); reason != "grant_revoked" {
		t.Errorf("the old grant after the name came back: %q", reason)
	}
	if answer := bob.Get("/keys"); answer.Status != 200 {
		t.Errorf("bob: %d %s", answer.Status, answer.Body)
	}
}

// purged is what `stepgate purge --json` prints.
type purged struct {
	Done         bool
	Refused      string
	Total, Named int
	Counts       map[string]int
	Users        []struct{ User, State, Problem string }
}

// purge runs it, and returns the report and who is in which state.
func purge(g *gatewaytest.Gateway, code int, arguments ...string) (report purged, who map[string][]string) {
	g.T.Helper()
	out, problems := administer(g, code, append([]string{"purge", "--json"}, arguments...)...)
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		g.T.Fatalf("%v: %v\n%s%s", arguments, err, out, problems)
	}
	who = map[string][]string{}
	for _, user := range report.Users {
		who[user.State] = append(who[user.State], user.User)
	}
	for _, names := range who {
		slices.Sort(names)
	}
	return report, who
}

func write(g *gatewaytest.Gateway, name, text string) {
	g.T.Helper()
	gatewaytest.Must(g.T, os.WriteFile(filepath.Join(g.Folder, name), []byte(text), 0o600))
}

// Whom the directory no longer has is deleted, and nobody else.
func TestPurge(t *testing.T) { gatewaytest.OnEachStore(t, testPurge) }

func testPurge(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.HeaderConsole("revocation_lag 0s", ""))
	var all []string
	for i := range 30 {
		all = append(all, fmt.Sprintf("user %02d", i))
	}
	hostile := []string{"../..", "a%2Fb", "al\u202eeci", "-rf", `quo"te`, "a/b"}
	unnameable := []string{"#hash", "\u202eecila"}
	all = append(all, hostile...)
	all = append(append(all, unnameable...), " around ")
	for _, name := range all[:len(all)-1] { // HTTP takes the space off a header
		gatewaytest.Must(t, gatewaytest.NewClient(t, g, name).Register("Key"))
	}
	all = all[:len(all)-1]
	gone := gatewaytest.NewClient(t, g, "gone")
	gatewaytest.Must(t, gatewaytest.Session(gone))
	there := func() int { t.Helper(); return len(listUsers(g)) }
	total := there()
	if total != len(all)+1 {
		t.Fatalf("%d users", total)
	}

	// Refused, with the reason, and nothing changed.
	write(g, "empty", "# nobody\r\n\r\n")
	write(g, "other", "nobody\nat all\n")
	write(g, "short", strings.Join(all[:10], "\n"))
	write(g, "bad", "ok\na\x00b\n")
	write(g, "utf16", "\xff\xfeu\x00s\x00")
	fails(g, "name the list of users who stay with --absent-from", "purge", "--yes")
	fails(g, "opening the list of users", "purge", "--absent-from", "missing", "--yes")
	fails(g, "empty names no user", "purge", "--absent-from", "empty", "--yes", "--at-most", "1000")
	fails(g, "bad, line 2: no user has such a name", "purge", "--absent-from", "bad", "--yes")
	fails(g, "utf16, line 1: no user has such a name", "purge", "--absent-from", "utf16", "--yes")
	fails(g, "--unused-for is negative", "purge", "--absent-from", "short", "--yes", "--unused-for", "-1s")
	fails(g, "--at-most is negative", "purge", "--absent-from", "short", "--yes", "--at-most", "-1")
	fails(g, "of 39 users nobody is on the list: is it of another directory?", "purge", "--absent-from", "other", "--yes", "--unused-for", "0s")
	fails(g, "27 of 39 users would go, more than half: is the list cut short? If they are to go, say --at-most 27", "purge", "--absent-from", "short", "--yes", "--unused-for", "0s")
	fails(g, "27 of 39 users would go, and --at-most allows 26", "purge", "--absent-from", "short", "--yes", "--unused-for", "0s", "--at-most", "26")
	if report, _ := purge(g, 2, "--absent-from", "short", "--unused-for", "0s"); !strings.Contains(report.Refused, "more than half") || report.Done {
		t.Errorf("%+v", report)
	}

	// Everybody was here just now, so nobody goes.
	write(g, "staff", "\ufeff# the staff\r\n"+strings.Join(all[:30], "\r\n  ")+"\r\nnot here\r\n")
	if report, who := purge(g, 0, "--absent-from", "staff", "--yes"); len(who["recent"]) != 6+1 || report.Counts["deleted"] != 0 || !slices.Equal(who["unnameable"], unnameable) {
		t.Errorf("recent: %v", who)
	}
	want := append(slices.Clone(hostile), "gone")
	slices.Sort(want)
	report, who := purge(g, 2, "--absent-from", "staff", "--unused-for", "0s")
	if !slices.Equal(who["absent"], want) || !slices.Equal(who["unnameable"], unnameable) || report.Done || report.Refused != "" || report.Total != 39 || report.Named != 30 {
		t.Errorf("dry run: %+v", report)
	}
	out, _ := administer(g, 2, "purge", "--absent-from", "staff", "--unused-for", "0s")
	if strings.Contains(out, "\u202e") || !strings.Contains(out, `"al\u202eeci"`) || !strings.Contains(out, "7 users would be deleted. Nothing was changed.\nWith --yes it is done.") {
		t.Errorf("dry run:\n%s", out)
	}
	if now := there(); now != total {
		t.Fatalf("a dry run left %d of %d users", now, total)
	}

	report, who = purge(g, 0, "--absent-from", "staff", "--unused-for", "0s", "--yes")
	if !slices.Equal(who["deleted"], want) || !report.Done {
		t.Errorf("deleted: %+v", report)
	}
	left := listUsers(g)
	if len(left) != total-len(want) {
		t.Errorf("%d users are left", len(left))
	}
	for _, name := range append(all[:30:30], unnameable...) {
		if len(left[name].Passkeys) != 1 {
			t.Errorf("%q: %+v", name, left[name])
		}
	}
	if reason := refusal(gone, "/keys"); reason != "grant_revoked" {
		t.Errorf("who left: %q", reason)
	}
	if on == gatewaytest.OnFile {
		if e := g.Audited("user_erased", ""); e.Action != "admin" || !slices.Contains(want, e.User) {
			t.Errorf("audited %+v", e)
		}
	}
	prints(g, []string{"purge", "--absent-from", "staff", "--unused-for", "0s", "--yes"}, "Nobody has to go.") // again
	purge(g, 0, "--absent-from", "short", "--unused-for", "0s", "--yes", "--at-most", "30")
	if now := there(); now != 12 {
		t.Errorf("%d users are left", now)
	}
}

// Where a site folds names, who is named in any case stays.
func TestPurgeFolded(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", "fold_user"))
	for _, name := range []string{"Alice", "STRASSE", "bob"} {
		gatewaytest.Must(t, gatewaytest.NewClient(t, g, name).Register("Key"))
	}
	write(g, "staff", "ALICE\nStraße\n")
	if _, who := purge(g, 0, "--absent-from", "staff", "--unused-for", "0s", "--yes"); !slices.Equal(who["deleted"], []string{"bob"}) {
		t.Errorf("%v", who)
	}
	if left := listUsers(g); len(left) != 2 || len(left["alice"].Passkeys) != 1 || len(left["strasse"].Passkeys) != 1 {
		t.Errorf("left: %v", left)
	}
}

// A name that was stored before the site folded names, or by one that does not, stays with whom the list names in any case:
// the directory calls them all one person.
func TestPurgeFoldedLater(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	for _, name := range []string{"Alice", "alice", "Bob", "Eve"} {
		gatewaytest.Must(t, gatewaytest.NewClient(t, g, name).Register("Key"))
	}
	gatewaytest.Must(t, g.Reload(gatewaytest.HeaderConsole("", "fold_user")))
	write(g, "staff", "alice\nbob\n")
	if _, who := purge(g, 0, "--absent-from", "staff", "--unused-for", "0s", "--yes"); !slices.Equal(who["deleted"], []string{"Eve"}) {
		t.Errorf("%v", who)
	}
	if left := listUsers(g); len(left) != 3 || len(left["Alice"].Passkeys) != 1 || len(left["Bob"].Passkeys) != 1 || len(left["alice"].Passkeys) != 1 {
		t.Errorf("left: %v", left)
	}
}
