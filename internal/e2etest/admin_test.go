package e2etest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
)

// administer runs a command of administrators and returns what it prints, and what it says on standard error.
func administer(g *gatewaytest.Gateway, code int, arguments ...string) (out, problems string) {
	g.T.Helper()
	var printed, said bytes.Buffer
	command := g.Command(arguments...)
	command.Stdout, command.Stderr = &printed, &said
	_ = command.Run()
	if got := command.ProcessState.ExitCode(); got != code {
		g.T.Errorf("%q: exit code %d, want %d\n%s\n%s", arguments, got, code, &printed, &said)
	}
	for _, bad := range []string{"panic", "DATA RACE", gatewaytest.SecretAccessKey} {
		if strings.Contains(said.String()+printed.String(), bad) {
			g.T.Errorf("%q says %q:\n%s", arguments, bad, &said)
		}
	}
	return printed.String(), said.String()
}

// fails wants a command to fail with this said, and to print nothing.
func fails(g *gatewaytest.Gateway, says string, arguments ...string) {
	g.T.Helper()
	if out, problems := administer(g, 1, arguments...); out != "" || !strings.Contains(problems, says) {
		g.T.Errorf("%q: prints %q, want %q in:\n%s", arguments, out, says, problems)
	}
}

// prints wants a command to succeed and to print these.
func prints(g *gatewaytest.Gateway, arguments []string, wants ...string) string {
	g.T.Helper()
	out, problems := administer(g, 0, arguments...)
	for _, want := range wants {
		if !strings.Contains(out, want) {
			g.T.Errorf("%q: want %q in:\n%s\n%s", arguments, want, out, problems)
		}
	}
	return problems
}

// listed is a user as `stepgate users --json` prints them.
type listed struct {
	User     string
	Level    string
	Since    string
	Last     string `json:"last_used_at"`
	Passkeys []struct{ ID, Name, Level string }
}

func listUsers(g *gatewaytest.Gateway) map[string]listed {
	g.T.Helper()
	out, _ := administer(g, 0, "users", "--json")
	users := map[string]listed{}
	for line := range strings.Lines(out) {
		var user listed
		gatewaytest.Must(g.T, json.Unmarshal([]byte(line), &user))
		users[user.User] = user
	}
	return users
}

// administered wants the audit of an administrator's change: in the log of the gateway that made it, or on the standard
// error of the command that made it in the store.
func administered(on gatewaytest.Store, g *gatewaytest.Gateway, problems, kind, user string) {
	g.T.Helper()
	if on == gatewaytest.OnFile {
		if e := g.Audited(kind, ""); e.User != user || e.Action != "admin" || e.Client != "127.0.0.1" {
			g.T.Errorf("audited %+v", e)
		}
		return
	}
	for line := range strings.Lines(problems) {
		var e gatewaytest.Entry
		if json.Unmarshal([]byte(line), &e) == nil && e.Logger == gatewaytest.AuditLogger && e.Msg == kind && e.User == user && e.Action == "admin" {
			return
		}
	}
	g.T.Errorf("no audit line %s of %s in:\n%s", kind, user, problems)
}

// Somebody who lost a device, or everything, is helped without touching the store.
func TestAdministration(t *testing.T) { gatewaytest.OnEachStore(t, testAdministration) }

func testAdministration(t *testing.T, on gatewaytest.Store) {
	// The gateway that does it honours it at once; on tables, the command does it behind the gateway's back.
	lag := map[gatewaytest.Store]string{gatewaytest.OnFile: "1m", gatewaytest.OnDynamoDB: "1s"}[on]
	g := on.Start(t, gatewaytest.HeaderConsole("revocation_lag "+lag, ""))
	alice, bob := gatewaytest.NewClient(t, g, "alice"), gatewaytest.NewClient(t, g, "bob")
	gatewaytest.Must(t, gatewaytest.Session(alice))
	gatewaytest.Must(t, gatewaytest.Session(bob))
	refusedBy := func(c *gatewaytest.Client, reason string) {
		t.Helper()
		if on == gatewaytest.OnDynamoDB {
			gatewaytest.Eventually(t, reason, func() bool { return c.Get("/keys").Status == 401 })
		}
		if got := refusal(c, "/keys"); got != reason {
			t.Errorf("%s: %q, want %q", c.User, got, reason)
		}
	}

	users := listUsers(g)
	if len(users) != 2 || users["alice"].Level != "device_bound" || users["alice"].Last == "" || users["alice"].Since == "" || len(users["alice"].Passkeys) != 1 {
		t.Fatalf("users: %+v", users)
	}
	id := users["alice"].Passkeys[0].ID
	prints(g, []string{"users"}, "USER", "alice", "device_bound", "2 users, 2 passkeys; 0 without a passkey")
	prints(g, []string{"users", "show", "alice"}, "alice has 1 passkey; the highest level is device_bound", id)
	prints(g, []string{"passkeys", "list", "--", "alice"}, "ID", id)
	prints(g, []string{"passkeys", "list", "--json", "alice"}, `"id": "`+id+`"`)

	// What is wrong is said, and changes nothing.
	fails(g, "nobody ever registered a passkey for this user", "passkeys", "list", "nobody")
	fails(g, "nobody ever registered a passkey for this user", "passkeys", "remove", "--", "nobody", id)
	fails(g, "nobody ever registered a passkey for this user", "revoke", "Alice")
	fails(g, "nobody ever registered a passkey for this user", "reset", "nobody", "--yes")
	fails(g, "the user has no passkey with this id", "passkeys", "remove", "--", "bob", id)
	fails(g, "no user has such a name", "revoke", "a\x01b")
	fails(g, "give a user, not 2 arguments", "revoke", "alice", "bob")
	fails(g, "a user is empty", "revoke", "")
	fails(g, "goes behind --", "passkeys", "remove", "alice", "-z")
	prints(g, []string{"reset", "alice"}, "would remove 1 passkey of alice", id, "Nothing was changed", "Only a new invitation")
	prints(g, []string{"reset", "alice", "--json"}, `"done": false`)
	for _, c := range []*gatewaytest.Client{alice, bob} {
		if answer := c.Get("/keys"); answer.Status != 200 {
			t.Errorf("%s before: %d %s", c.User, answer.Status, answer.Body)
		}
	}

	problems := prints(g, []string{"revoke", "bob"}, "All grants of bob have ended.")
	refusedBy(bob, "grant_revoked")
	administered(on, g, problems, "grants_revoked", "bob")
	if answer, err := bob.StepUp("/keys"); err != nil || answer.Status != 200 {
		t.Errorf("bob steps up again: %v %d", err, answer.Status)
	}

	problems = prints(g, []string{"passkeys", "remove", "--", "alice", id}, "of alice is removed")
	refusedBy(alice, "grant_passkey_removed")
	administered(on, g, problems, "passkey_removed", "alice")
	fails(g, "the user has no passkey with this id", "passkeys", "remove", "--", "alice", id)
	prints(g, []string{"passkeys", "list", "alice"}, "alice has no passkey now, and had one before.")
	prints(g, []string{"users", "--without-passkey"}, "alice", "1 without a passkey")

	problems = prints(g, []string{"reset", "bob", "--yes"}, "1 passkey of bob removed, and all of their grants have ended. Only a new invitation")
	refusedBy(bob, "grant_revoked")
	administered(on, g, problems, "passkey_removed", "bob")
	administered(on, g, problems, "grants_revoked", "bob")
	prints(g, []string{"reset", "bob", "--yes", "--json"}, `"done": true`, `"passkeys": []`) // again
	for _, user := range []string{"alice", "bob"} {                                          // first use stays closed
		answer, err := gatewaytest.NewClient(t, g, user).Send("POST", gatewaytest.Account+"/options", map[string]any{"name": "x"})
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Refused(403, "registration_closed"))
	}
	if users := listUsers(g); len(users) != 2 || len(users["alice"].Passkeys)+len(users["bob"].Passkeys) != 0 {
		t.Errorf("users: %+v", users)
	}
}

// Whatever a first factor may call a user, the commands mean that user and no other, and print nothing that a terminal
// would act on.
func TestAdministrationOfHostileNames(t *testing.T) { gatewaytest.OnEachStore(t, testHostileNames) }

func testHostileNames(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.HeaderConsole("revocation_lag 0s", ""))
	names := []string{
		"a/b", "..", ".", "a/../b", "a%2Fb", "%2e%2e", "a b", "?after=x", "#x", "Ångström 🔑", "-rf", "--yes", `quo"te\`, "users", "a;b", "\u202eecila", strings.Repeat("ä", 256),
	}
	for _, name := range names {
		gatewaytest.Must(t, gatewaytest.NewClient(t, g, name).Register("Key"))
	}
	users := listUsers(g)
	if len(users) != len(names) {
		t.Errorf("%d users, want %d: %v", len(users), len(names), users)
	}
	table, _ := administer(g, 0, "users")
	if strings.Contains(table, "\u202e") || !strings.Contains(table, `"\u202eecila"`) || !strings.Contains(table, `"a b"`) {
		t.Errorf("the table:\n%s", table)
	}
	for i, name := range names {
		user, known := users[name]
		if !known || len(user.Passkeys) != 1 {
			t.Errorf("%q: %+v", name, user)
			continue
		}
		switch i % 4 {
		case 3:
			administer(g, 0, "users", "delete", "--", name) // a dry run
			if listUsers(g)[name].User != name {
				t.Errorf("%q is gone", name)
			}
			administer(g, 0, "users", "show", "--", name)
			administer(g, 0, "users", "delete", "--yes", "--", name)
			if _, known := listUsers(g)[name]; known {
				t.Errorf("%q is there still", name)
			}
		case 0:
			administer(g, 0, "revoke", "--", name)
			administer(g, 0, "reset", "--yes", "--", name)
		case 1:
			administer(g, 0, "passkeys", "remove", "--", name, user.Passkeys[0].ID)
		case 2:
			administer(g, 0, "reset", "--yes", "--", name)
		}
		delete(users, name)
		left := 0
		for _, now := range listUsers(g) {
			left += len(now.Passkeys)
		}
		if left != len(users) {
			t.Fatalf("after %q %d passkeys are left, want %d", name, left, len(users))
		}
	}
}

// Without the gateway that has the file, the commands say what is the matter.
func TestAdministrationWithoutGateway(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	gatewaytest.Must(t, gatewaytest.NewClient(t, g, "alice").Register("Key"))
	write := func(name, text string) string {
		gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, name), []byte(g.Fill(text)), 0o600))
		return name
	}
	other := write("other", strings.ReplaceAll(gatewaytest.HeaderConsole("", ""), "rp_id localhost", "rp_id console.localhost"))
	off := write("off", strings.ReplaceAll(gatewaytest.HeaderConsole("", ""), "admin localhost:$ADMIN", "admin off"))
	none := write("none", "{\n\tadmin localhost:$ADMIN\n}\n")
	at := fmt.Sprintf("localhost:%d", g.Admin)
	fails(g, "the running gateway is of the relying party localhost, not console.localhost", "users", "--config", other, "--adapter", "caddyfile")
	fails(g, "the admin API is off in off", "users", "--config", off, "--adapter", "caddyfile")
	fails(g, "does not configure stepgate", "users", "--config", none, "--adapter", "caddyfile")
	prints(g, []string{"users", "--config", off, "--adapter", "caddyfile", "--address", at}, "1 user, 1 passkey")
	fails(g, "nothing answers at the admin API localhost:1", "users", "--address", "localhost:1")
	fails(g, "it has no port", "users", "--address", "localhost")
	fails(g, "another program", "users", "--address", strings.TrimPrefix(g.Upstream.Address, "http://"))

	// A configuration without stepgate in force, then one with, then one that does not start.
	gatewaytest.Must(t, g.Reload("{\n\tadmin localhost:$ADMIN\n\tpersist_config off\n}\n"))
	with := write("with", gatewaytest.HeaderConsole("", ""))
	fails(g, "the running configuration does not configure stepgate", "users", "--config", with, "--adapter", "caddyfile")
	gatewaytest.Must(t, g.Reload(gatewaytest.HeaderConsole("", "")))
	prints(g, []string{"users"}, "1 user, 1 passkey")
	if g.Reload(gatewaytest.HeaderConsole("grant_keys {file.$DIR/missing}", "")) == nil {
		t.Error("a configuration without its key was loaded")
	}
	if g.Reload(strings.ReplaceAll(gatewaytest.HeaderConsole("", ""), "$DIR/stepgate.db", "$DIR/missing/\x00.db")) == nil {
		t.Error("a configuration without its store was loaded")
	}
	prints(g, []string{"users", "--config", with, "--adapter", "caddyfile"}, "1 user, 1 passkey")
	g.Configure(gatewaytest.HeaderConsole("", ""))
	g.Stop()
	fails(g, "nothing answers at the admin API", "users")
	fails(g, "nothing answers at the admin API", "reset", "alice", "--yes")
	g.Run()
	prints(g, []string{"users"}, "1 user, 1 passkey")
}

// An admin API at a Unix socket, and one that is protected against other origins.
func TestAdministrationOverSocket(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, strings.Replace(gatewaytest.HeaderConsole("", ""), "admin localhost:$ADMIN", "admin unix//$DIR/admin.sock|0200", 1))
	gatewaytest.Must(t, gatewaytest.NewClient(t, g, "alice").Register("Key"))
	prints(g, []string{"users"}, "1 user, 1 passkey")
	prints(g, []string{"reset", "alice", "--yes"}, "1 passkey of alice removed")
	if e := g.Audited("passkey_removed", ""); e.User != "alice" || e.Action != "admin" || e.Client != "" {
		t.Errorf("audited %+v", e)
	}
	strict := gatewaytest.Start(t, strings.Replace(gatewaytest.HeaderConsole("", ""), "admin localhost:$ADMIN", "admin localhost:$ADMIN {\nenforce_origin\n}", 1))
	prints(strict, []string{"users"}, "0 users")
}

// The API itself, as scripts use it and as others might try to.
func TestAdminAPI(t *testing.T) { gatewaytest.OnEachStore(t, testAdminAPI) }

func testAdminAPI(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.HeaderConsole("revocation_lag 1m", ""))
	alice := gatewaytest.NewClient(t, g, "alice")
	gatewaytest.Must(t, gatewaytest.Session(alice))
	for _, user := range []string{"bob", "carol"} {
		gatewaytest.Must(t, gatewaytest.NewClient(t, g, user).Register("Key"))
	}
	ask := func(method, path, body string, headers ...string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, fmt.Sprintf("http://localhost:%d%s", g.Admin, path), strings.NewReader(body))
		gatewaytest.Must(t, err)
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		gatewaytest.Must(t, err)
		defer answer.Body.Close()
		var text bytes.Buffer
		_, err = text.ReadFrom(answer.Body)
		gatewaytest.Must(t, err)
		return answer.StatusCode, text.String()
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/stepgate/", "", 404, "not_found"},
		{"GET", "/stepgate/users/", "", 400, "user_missing"},
		{"GET", "/stepgate/users/nobody", "", 404, "user_unknown"},
		{"GET", "/stepgate/users/a%00b", "", 400, "user_invalid"},
		{"GET", "/stepgate/users/%FF", "", 400, "user_invalid"},
		{"GET", "/stepgate/users/" + strings.Repeat("a", 513), "", 400, "user_invalid"},
		{"GET", "/stepgate/users?limit=0", "", 400, "body_malformed"},
		{"GET", "/stepgate/users?limit=1001", "", 400, "body_malformed"},
		{"GET", "/stepgate/users?limit=1&limit=2", "", 400, "body_malformed"},
		{"GET", "/stepgate/users?befor=x", "", 400, "body_malformed"},
		{"GET", "/stepgate/users?after=%00", "", 400, "user_invalid"},
		{"GET", "/stepgate/users?after=%zz", "", 400, "body_malformed"},
		{"GET", "/stepgate/users?rp_id=example.com", "", 409, "relying_party_mismatch"},
		{"GET", "/stepgate/users/alice/reset", "", 405, "method_not_allowed"},
		{"GET", "/stepgate/users/alice/revoke", "", 405, "method_not_allowed"},
		{"POST", "/stepgate/users/alice", "", 405, "method_not_allowed"},
		{"POST", "/stepgate/users/alice/reset/", "", 404, "not_found"},
		{"POST", "/stepgate/users/alice/reset?rp_id=example.com", "", 409, "relying_party_mismatch"},
		{"POST", "/stepgate/users/alice/reset?yes=1", "", 400, "body_malformed"},
		{"POST", "/stepgate/users/alice/reset", "{}", 400, "body_malformed"},
		{"POST", "/stepgate/users/nobody/reset", "", 404, "user_unknown"},
		{"POST", "/stepgate/users/nobody/revoke", "", 404, "user_unknown"},
		{"DELETE", "/stepgate/users/alice/passkeys/x", "", 404, "passkey_unknown"},
		{"DELETE", "/stepgate/users/alice/passkeys/", "", 404, "passkey_unknown"},
		{"DELETE", "/stepgate/users/nobody", "", 404, "user_unknown"},
		{"DELETE", "/stepgate/users/", "", 400, "user_missing"},
		{"DELETE", "/stepgate/users/alice/", "", 404, "not_found"},
		{"DELETE", "/stepgate/users", "", 405, "method_not_allowed"},
		{"DELETE", "/stepgate/users/alice?tag=", "", 400, "body_malformed"},
		{"DELETE", "/stepgate/users/alice?tag=x", "", 409, "conflict"},
		{"DELETE", "/stepgate/users/alice?yes=1", "", 400, "body_malformed"},
		{"DELETE", "/stepgate/users/alice?rp_id=example.com", "", 409, "relying_party_mismatch"},
		{"DELETE", "/stepgate/users/alice", "{}", 400, "body_malformed"},
	} {
		status, text := ask(c.method, c.path, c.body)
		var got struct{ Code, Message string }
		if json.Unmarshal([]byte(text), &got) != nil || status != c.status || got.Code != c.code || got.Message == "" {
			t.Errorf("%s %.60s: %d %s, want %d %s", c.method, c.path, status, text, c.status, c.code)
		}
	}
	// Caddy's own checks stand in front: another site's script, and a host that was rebound.
	for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Mode", "no-cors"}} {
		if status, text := ask("POST", "/stepgate/users/alice/reset", "", headers...); status < 400 {
			t.Errorf("%v: %d %s", headers, status, text)
		}
	}
	if answer := alice.Get("/keys"); answer.Status != 200 {
		t.Fatalf("something changed: %d %s", answer.Status, answer.Body)
	}

	var page struct {
		Users []listed
		Next  string
	}
	var seen []string
	for after := ""; ; after = "&after=" + page.Next {
		_, text := ask("GET", "/stepgate/users?limit=1"+after, "")
		page.Next = ""
		gatewaytest.Must(t, json.Unmarshal([]byte(text), &page))
		for _, user := range page.Users {
			seen = append(seen, user.User)
		}
		if page.Next == "" {
			break
		}
	}
	if slices.Sort(seen); strings.Join(seen, " ") != "alice bob carol" {
		t.Errorf("page by page: %v", seen)
	}

	// A gateway honours at once what it was told to do, however old its view may be.
	if status, text := ask("POST", "/stepgate/users/alice/revoke", ""); status != 200 || text != `{"user":"alice","revoked":true}`+"\n" {
		t.Errorf("%d %s", status, text)
	}
	if reason := refusal(alice, "/keys"); reason != "grant_revoked" {
		t.Errorf("after the revocation: %q", reason)
	}
	if e := g.Audited("grants_revoked", ""); e.User != "alice" || e.Action != "admin" || e.Client == "" {
		t.Errorf("audited %+v", e)
	}
}

// Before a roll-out: who could not get in.
func TestForecast(t *testing.T) { gatewaytest.OnEachStore(t, testForecast) }

func testForecast(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.HeaderConsole("", "mode report\nprotect /admin/* {\nlevel device_bound\n}"))
	for _, user := range []string{"ok", "had"} {
		gatewaytest.Must(t, gatewaytest.NewClient(t, g, user).Register("Key"))
	}
	weak := gatewaytest.NewClient(t, g, "weak")
	weak.Key = authtest.New(authtest.Config{Synced: true})
	gatewaytest.Must(t, weak.Register("Synced"))
	administer(g, 0, "reset", "had", "--yes")
	gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, "team"), []byte("\ufeff# the team\nok\r\n\n  weak \nhad\nnew one\nok\n"), 0o600))
	out, _ := administer(g, 2, "forecast", "--users", "team")
	for _, want := range []string{"the configuration demands is device_bound", "4 users:", "1   25%  ok", "1   25%  never registered", "registration_closed", "level_unreachable", `"new one"`} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
	out, _ = administer(g, 2, "forecast", "--users", "team", "--json")
	var report struct {
		Demanded string
		Total    int
		Counts   map[string]int
		Users    []struct{ User, State, Level string }
	}
	gatewaytest.Must(t, json.Unmarshal([]byte(out), &report))
	var states []string
	for _, user := range report.Users {
		states = append(states, user.User+" "+user.State)
	}
	if got := strings.Join(states, ", "); got != "ok ok, weak level_unreachable, had registration_closed, new one no_passkey" || report.Total != 4 || report.Counts["ok"] != 1 {
		t.Errorf("%s", out)
	}
	gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, "fine"), []byte("ok\n"), 0o600))
	prints(g, []string{"forecast", "--users", "fine"}, "100%  ok")
	gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, "bad"), []byte("ok\na\x00b\n"), 0o600))
	gatewaytest.Must(t, g.Reload(gatewaytest.HeaderConsole("registration invite", "")))
	out, _ = administer(g, 2, "forecast", "--users", "team")
	for _, want := range []string{"the configuration demands is verified", "2   50%  ok", "invitation_needed"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in:\n%s", want, out)
		}
	}
	fails(g, "bad, line 2: no user has such a name", "forecast", "--users", "bad")
	fails(g, "opening the list of users", "forecast", "--users", "missing")
	fails(g, "--users", "forecast")
}
