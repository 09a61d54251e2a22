package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/stepgate/stepgate/caddymodule"
	"github.com/stepgate/stepgate/internal/authtest"
)

// The commands of administrators.
var adminCommands = [][]string{
	{"users"}, {"users", "show", "ada"}, {"passkeys", "list", "ada"}, {"passkeys", "remove", "ada", "id"}, {"revoke", "ada"}, {"reset", "ada"}, {"reset", "ada", "--yes"}, {"invite", "ada"},
	{"users", "delete", "ada"}, {"users", "delete", "ada", "--yes"},
}

// What answers in the place of a gateway is not believed, and can't do anything to the terminal.
func TestAdministrationByAStranger(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	const escape = "\x1b]0;owned\x07\u202e"
	json := func(text string) string { return strings.ReplaceAll(text, "ESC", `\u001b]0;owned\u0007\u202e`) }
	for name, test := range map[string]struct {
		ours   bool
		status int
		body   string
		want   string
	}{
		"another program":            {false, 200, `{"users":[]}`, "is no gateway with this command's API"},
		"nothing there":              {false, 404, "404 page not found", "is no gateway with this command's API"},
		"Caddy's refusal":            {false, 403, json(`{"error":"host not allowed: ESC"}`), `refuses: status 403: host not allowed: \x1b]0;owned\a\u202e`},
		"no JSON":                    {false, 502, escape, `refuses: status 502: \x1b`},
		"a redirect":                 {false, 302, "", "refuses: status 302"},
		"a refusal with escapes":     {true, 409, json(`{"code":"conflict","message":"ESC"}`), `\x1b]0;owned\a`},
		"a refusal that is none":     {true, 409, `<`, "reading the gateway's error"},
		"an answer that is no JSON":  {true, 200, `<`, "reading the answer"},
		"an answer of another shape": {true, 200, `[]`, "reading the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if test.ours {
					w.Header().Set("Stepgate-Admin", "1")
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer server.Close()
			for _, arguments := range adminCommands {
				s := shop{t, s.folder}
				s.fails(test.want, append(arguments, "--address", strings.TrimPrefix(server.URL, "http://"))...)
			}
		})
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Stepgate-Admin", "1")
		user := `{"user":"ESC","registered":true,"level":"ESC","code":"ESC","links":["ESC"],"passkeys":[{"id":"ESC","name":"ESC","authenticator":"ESC","level":"ESC","last_used_on":"ESC"}]}`
		if r.URL.Path == "/stepgate/users" {
			user = `{"users":[` + user + `]}`
		}
		fmt.Fprint(w, json(user))
	}))
	defer server.Close()
	for _, arguments := range adminCommands {
		out, problems, _ := s.call("", append(arguments, "--address", strings.TrimPrefix(server.URL, "http://"))...)
		if strings.ContainsAny(out+problems, "\x1b\x07\u202e") {
			t.Errorf("%v prints %q", arguments, out)
		}
	}
}

// Ctrl-C ends a command whose gateway does not answer. Of a change it says what is not known.
func TestAdministrationInterrupted(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	asked, done := make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-done
	}))
	defer server.Close()
	defer close(done)
	path, err := binaryPath()
	if err != nil {
		t.Fatal(err)
	}
	for _, arguments := range adminCommands {
		var problems strings.Builder
		c := exec.Command(path, append(arguments, "--address", strings.TrimPrefix(server.URL, "http://"))...)
		c.Dir, c.Stderr = s.folder, &problems
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-asked:
		case <-time.After(20 * time.Second):
			t.Error("it never asked")
		}
		if err := c.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		changes := arguments[0] == "revoke" || arguments[0] == "invite" || slices.Contains(arguments, "remove") || slices.Contains(arguments, "--yes")
		if c.ProcessState.ExitCode() != 1 || !strings.Contains(problems.String(), "interrupted") ||
			strings.Contains(problems.String(), "may have done it") != changes {
			t.Errorf("%v: exit code %d: %s", arguments, c.ProcessState.ExitCode(), &problems)
		}
	}
}

// A long list comes in pages.
func TestUsersInPages(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Stepgate-Admin", "1")
		asked = append(asked, r.URL.Query().Get("after"))
		next := map[string]string{"": "a b", "a b": "c", "c": ""}[r.URL.Query().Get("after")]
		fmt.Fprintf(w, `{"users":[{"user":"one"},{"user":"two"}],"next":%q}`, next)
	}))
	defer server.Close()
	out, problems, code := s.call("", "users", "--json", "--address", strings.TrimPrefix(server.URL, "http://"))
	if code != 0 || strings.Count(out, "\n") != 6 || strings.Join(asked, ",") != ",a b,c" {
		t.Errorf("%d, asked %q:\n%s%s", code, asked, out, problems)
	}
}

// administer asks the admin API of the running gateway.
func administer(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	api := new(caddymodule.AdminAPI)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := api.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if err := api.Routes()[0].Handler.ServeHTTP(w, httptest.NewRequest(method, path, nil)); err != nil {
		t.Fatal(err)
	}
	return w
}

// With audit require and a log that takes nothing, nobody is let in, access can still be ended, and it is said that there is
// no line of it.
func TestAdministrationUnaudited(t *testing.T) {
	defer diskFull.Store(false)
	g := newGateway(t)
	const audit = "log audit {\n output stepgate_test\n include http.handlers.stepgate.audit\n}"
	if err := g.reload(options(audit, "audit require\nrevocation_lag 1m"), site("", proxy)); err != nil {
		t.Fatal(err)
	}
	alice := g.enrolled("alice")
	alice.want("/", 200, "")
	diskFull.Store(true)
	w := administer(t, "POST", "/stepgate/users/bob/invite?for=1h")
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"code":"audit_unavailable"`) || strings.Contains(w.Body.String(), "expires") {
		t.Errorf("inviting: %d %s", w.Code, w.Body)
	}
	for _, what := range []string{"revoke", "reset"} {
		w := administer(t, "POST", "/stepgate/users/alice/"+what)
		if w.Code != 503 || !strings.Contains(w.Body.String(), `"code":"audit_unavailable"`) || !strings.Contains(w.Body.String(), "it is done") {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	diskFull.Store(false)
	alice.want("/", 401, "step_up_required/grant_revoked")
	if w := administer(t, "GET", "/stepgate/users/alice"); !strings.Contains(w.Body.String(), `"passkeys":[]`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	carol := g.enrolled("carol")
	carol.want("/", 200, "")
	diskFull.Store(true)
	if w := administer(t, "DELETE", "/stepgate/users/carol"); w.Code != 503 || !strings.Contains(w.Body.String(), `"code":"audit_unavailable"`) || !strings.Contains(w.Body.String(), "it is done") {
		t.Errorf("deleting: %d %s", w.Code, w.Body)
	}
	diskFull.Store(false)
	carol.want("/", 401, "step_up_required/grant_revoked")
	if w := administer(t, "GET", "/stepgate/users/carol"); w.Code != 404 || !strings.Contains(w.Body.String(), `"code":"user_unknown"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What an administrator does is seen by those who hook into it, and by the next request.
func TestAdministrationInTheGateway(t *testing.T) {
	g := newGateway(t)
	if err := g.reload(options("events {\n on stepgate_passkey_removed stepgate_test\n}", "revocation_lag 1m"), site("", proxy)); err != nil {
		t.Fatal(err)
	}
	alice := g.enrolled("alice")
	alice.stepUp("/")
	alice.want("/", 200, "")
	if w := administer(t, "POST", "/stepgate/users/alice/reset"); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	alice.want("/", 401, "step_up_required/grant_revoked")
	select {
	case e := <-hooked:
		if e.Name() != "stepgate_passkey_removed" || e.Data["user"] != "alice" || e.Data["action"] != "admin" || e.Data["client"] != "192.0.2.1" {
			t.Errorf("%s %v", e.Name(), e.Data)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
	}
}

// Deleting a user ends their grants at the next request, is audited, and is told to those who hook into it.
func TestDeletionInTheGateway(t *testing.T) {
	g := newGateway(t)
	if err := g.reload(options("events {\n on stepgate_user_erased stepgate_test\n}", "revocation_lag 1m"), site("", proxy)); err != nil {
		t.Fatal(err)
	}
	alice := g.browser("alice")
	alice.key = authtest.New(authtest.Config{Counts: true}) // so that each use is written
	alice.register()
	alice.stepUp("/")
	alice.want("/", 200, "")
	var seen struct{ Tag string }
	if err := json.Unmarshal(administer(t, "GET", "/stepgate/users/alice").Body.Bytes(), &seen); err != nil || seen.Tag == "" {
		t.Fatalf("tag %q, %v", seen.Tag, err)
	}
	alice.stepUp("/") // so she is not as she was seen
	for query, want := range map[string]string{"?tag=" + seen.Tag: "conflict", "?tag=": "body_malformed", "?tag=a&tag=b": "body_malformed", "?yes=1": "body_malformed"} {
		if w := administer(t, "DELETE", "/stepgate/users/alice"+query); !strings.Contains(w.Body.String(), `"code":"`+want+`"`) {
			t.Errorf("%s: %d %s, want %s", query, w.Code, w.Body, want)
		}
	}
	alice.want("/", 200, "")
	if w := administer(t, "DELETE", "/stepgate/users/alice"); w.Code != 200 || !strings.Contains(w.Body.String(), `{"user":"alice","removed":[{"id"`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	alice.want("/", 401, "step_up_required/grant_revoked")
	for _, message := range []string{"passkey_removed", "user_erased"} {
		lines := g.logged(message)
		if len(lines) != 1 || lines[0]["user"] != "alice" || lines[0]["action"] != "admin" || lines[0]["client"] != "192.0.2.1" {
			t.Errorf("%s: %v", message, lines)
		}
	}
	select {
	case e := <-hooked:
		if e.Name() != "stepgate_user_erased" || e.Data["user"] != "alice" || e.Data["action"] != "admin" {
			t.Errorf("%s %v", e.Name(), e.Data)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
	}
	if w := administer(t, "DELETE", "/stepgate/users/alice"); w.Code != 404 || !strings.Contains(w.Body.String(), "user_unknown") {
		t.Errorf("again: %d %s", w.Code, w.Body)
	}
}

// Where nobody would be asked for anything, nobody can be told who would be locked out.
func TestForecastOfNothing(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	s.write("Caddyfile", "{\n\tstepgate {\n\t\trp_id localhost\n\t}\n}\nhttp://localhost:1 {\n\trespond ok\n}\n")
	s.write("team", "ada\n")
	s.fails("no site of the configuration has a stepgate block", "forecast", "--users", "team")
	s = newShop(t, "rp_id localhost")
	s.write("empty", "# nobody\n")
	s.fails("empty names no user", "forecast", "--users", "empty")
	s.fails("name the list of users with --users", "forecast")
}

// Every command says where users are, and what its exit code means.
func TestAdministrationHelp(t *testing.T) {
	for _, arguments := range append(adminCommands, []string{"forecast"}, []string{"purge"}) {
		help, _, code := command(t, append(arguments, "--help")...)
		for _, want := range []string{"--address", "--json", "through Caddy's admin API", "The exit code is 0"} {
			if !strings.Contains(help, want) || code != 0 {
				t.Errorf("%v: help does not say %q:\n%s", arguments, want, help)
			}
		}
	}
}
