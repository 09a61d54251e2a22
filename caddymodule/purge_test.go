package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// registry stands in the place of a gateway: it lists users, and says of each deletion what the test wants.
type registry struct {
	*httptest.Server
	mu      sync.Mutex
	users   []string                             // as JSON
	delete  func(user, tag string) (int, string) // nil: all are deleted
	removed int                                  // passkeys, before a deletion was cut off
	deleted []string                             // asked for, with their tags
}

func newRegistry(t *testing.T, users ...string) *registry {
	t.Helper()
	r := new(registry)
	for _, user := range users {
		r.users = append(r.users, fmt.Sprintf(`{"user":%q,"registered":true,"tag":"tag of %s","passkeys":[{"created_at":"2026-01-02T03:04:05Z"}]}`, user, user))
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		w.Header().Set("Stepgate-Admin", "1")
		if q.Method == "GET" {
			fmt.Fprintf(w, `{"users":[%s]}`, strings.Join(r.users, ","))
			return
		}
		user := strings.TrimPrefix(q.URL.Path, "/stepgate/users/")
		r.deleted = append(r.deleted, user+": "+q.URL.Query().Get("tag"))
		status, text := 200, `{"user":"x","removed":[]}`
		if r.delete != nil {
			if code, problem := r.delete(user, q.URL.Query().Get("tag")); code != 0 {
				status, text = code, fmt.Sprintf(`{"code":%q,"message":"the reason","removed":%d}`, problem, r.removed)
			}
		}
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}))
	t.Cleanup(r.Close)
	return r
}

// answers has deletions answered like this.
func (r *registry) answers(delete func(user, tag string) (int, string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delete = delete
}

func (r *registry) address() string { return strings.TrimPrefix(r.URL, "http://") }

// purge runs the command and returns the states, in the order of the list.
func (r *registry) purge(s shop, code int, arguments ...string) (states []string, problems string) {
	s.t.Helper()
	out, problems, got := s.call("ada\n", append([]string{"purge", "--absent-from", "-", "--json", "--address", r.address()}, arguments...)...)
	if got != code {
		s.t.Errorf("%v: exit code %d, want %d\n%s%s", arguments, got, code, out, problems)
	}
	var report struct {
		Users []struct{ User, State, Problem string }
	}
	if out != "" {
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			s.t.Errorf("%v\n%s", err, out)
		}
	}
	for _, user := range report.Users {
		states = append(states, strings.TrimSpace(user.User+" "+user.State+" "+user.Problem))
	}
	return states, problems
}

// What fails for one user does not hold up the others, and is told of; whoever changed since they were looked at stays.
func TestPurgeGoesOn(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	r := newRegistry(t, "ada", "changed", "broken", "gone already", "leaver")
	r.answers(func(user, _ string) (int, string) {
		switch user {
		case "changed":
			return 409, "conflict"
		case "broken":
			return 503, "store_unavailable"
		case "gone already":
			return 404, "user_unknown"
		}
		return 0, ""
	})
	states, problems := r.purge(s, 1, "--yes")
	want := []string{"changed changed the reason", "broken failed the reason", "gone already deleted", "leaver deleted"}
	if !slices.Equal(states, want) || !strings.Contains(problems, "not all who should go are gone; run it again") {
		t.Errorf("%q\n%s", states, problems)
	}
	if want := []string{"changed: tag of changed", "broken: tag of broken", "gone already: tag of gone already", "leaver: tag of leaver"}; !slices.Equal(r.deleted, want) {
		t.Errorf("asked for %q", r.deleted)
	}
	out, _, _ := s.call("ada\n", "purge", "--absent-from", "-", "--address", r.address(), "--yes")
	if !strings.Contains(out, "the reason") || !strings.Contains(out, "2 users deleted") {
		t.Errorf("for people:\n%s", out)
	}
}

// Who changes in the middle of their turn is not as they were: that is a failure, and no reason to give up.
func TestPurgeCutOff(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	r := newRegistry(t, "ada", "a", "b", "c", "d", "e", "f")
	r.removed = 1
	r.delete = func(string, string) (int, string) { return 409, "conflict" }
	states, problems := r.purge(s, 1, "--yes")
	if want := []string{"a failed the reason", "b failed the reason", "c failed the reason", "d failed the reason", "e failed the reason", "f failed the reason"}; !slices.Equal(states, want) ||
		!strings.Contains(problems, "not all who should go are gone; run it again") || strings.Contains(problems, "given up") {
		t.Errorf("%q\n%s", states, problems)
	}
}

// Where it is not about the users, it stops: when the store fails, and when the audit log takes no line.
func TestPurgeGivesUp(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	for name, test := range map[string]struct {
		status  int
		code    string
		deleted int
		want    string
	}{
		"the store fails":    {503, "store_unavailable", 5, "given up: the reason; not all who should go are gone"},
		"nothing is audited": {503, "audit_unavailable", 1, "given up: the reason; not all who should go are gone"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t, "ada", "a", "b", "c", "d", "e", "f", "g")
			r.answers(func(string, string) (int, string) { return test.status, test.code })
			states, problems := r.purge(shop{t, s.folder}, 1, "--yes")
			if len(r.deleted) != test.deleted || !strings.Contains(problems, test.want) || len(states) != 7 || states[6] != "g absent" {
				t.Errorf("asked for %q\n%q\n%s", r.deleted, states, problems)
			}
			if test.deleted == 1 && states[0] != "a deleted the reason" { // it is done, and there is no line of it
				t.Errorf("%q", states)
			}
		})
	}
	// One that works in between is a sign that the store does.
	r, n := newRegistry(t, "ada", "a", "b", "c", "d", "e", "f", "g"), 0
	r.answers(func(string, string) (int, string) {
		if n++; n == 4 {
			return 0, ""
		}
		return 503, "store_unavailable"
	})
	if _, problems := r.purge(s, 1, "--yes"); len(r.deleted) != 7 || strings.Contains(problems, "given up") {
		t.Errorf("asked for %q\n%s", r.deleted, problems)
	}
}

// Who may have come after the list was made stays, and so does whoever no list can name.
func TestPurgeKeeps(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	r := newRegistry(t, "ada", " ada", "#hash", "\ufeffx", "bob\ufeff", "x\ufeffy", "\u202ex", "x\u200b", "x\u3164")
	ago := func(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }
	for name, record := range map[string]string{
		"registered": `"passkeys":[{"created_at":"` + ago(time.Hour) + `"}]`,
		"used":       `"passkeys":[{"created_at":"2026-01-01T00:00:00Z"},{"created_at":"2026-01-01T00:00:00Z","last_used_at":"` + ago(time.Hour) + `"}]`,
		"ahead":      `"passkeys":[{"created_at":"` + ago(-time.Hour) + `"}]`,
		"invited":    `"passkeys":[],"invited_until":"` + ago(-time.Hour) + `"`,
		"old":        `"passkeys":[{"created_at":"2026-01-01T00:00:00Z","last_used_at":"` + ago(25*time.Hour) + `"}]`,
	} {
		r.users = append(r.users, fmt.Sprintf(`{"user":%q,"registered":true,"tag":"t",%s}`, name, record))
	}
	sorted := func(states []string, _ string) []string { slices.Sort(states); return states }
	for _, test := range []struct {
		flags []string
		code  int
		want  []string
	}{
		{nil, 2, []string{"ahead recent", "invited recent", "old absent", "registered recent", "used recent"}},
		{[]string{"--unused-for", "30m"}, 2, []string{"ahead recent", "invited recent", "old absent", "registered absent", "used absent"}},
		{[]string{"--unused-for", "72h"}, 0, []string{"ahead recent", "invited recent", "old recent", "registered recent", "used recent"}},
		{[]string{"--unused-for", "0s"}, 2, []string{"ahead absent", "invited absent", "old absent", "registered absent", "used absent"}},
	} {
		want := append([]string{"#hash unnameable", "ada unnameable", "\ufeffx unnameable", "bob\ufeff unnameable", "x\ufeffy unnameable", "\u202ex unnameable",
			"x\u200b unnameable", "x\u3164 unnameable"}, test.want...)
		slices.Sort(want)
		if got := sorted(r.purge(s, test.code, test.flags...)); !slices.Equal(got, want) {
			t.Errorf("%v: %q, want %q", test.flags, got, want)
		}
	}
	if len(r.deleted) != 0 {
		t.Errorf("dry runs deleted %q", r.deleted)
	}
}

// Two sites call people differently. Who is on the list for either of them stays: as named, and in any case.
func TestPurgeWhereAnySiteFolds(t *testing.T) {
	sites := func(fold string) string {
		return "{\n\tstepgate {\n\t\trp_id localhost\n\t\torigins http://localhost:1 http://localhost:2\n\t}\n}\n" +
			"http://localhost:1 {\n\tstepgate {\n\t\t" + fold + "\n\t}\n}\nhttp://localhost:2 {\n\tstepgate {\n\t\tuser {header.X-User}\n\t}\n}\n"
	}
	for name, test := range map[string]struct {
		fold, list string
		users      []string
		deleted    []string
	}{
		"stored as the site that does not fold has it": {"fold_user", "ada\nbob\n", []string{"ada", "Bob"}, nil},
		"stored as the site that folds has it":         {"fold_user", "ada\nBob\n", []string{"ada", "bob"}, nil},
		"another case altogether":                      {"fold_user", "ada\nbOB\nSTRASSE\n", []string{"ada", "Bob", "bob", "BOB", "straße"}, nil},
		"another name":                                 {"fold_user", "ada\nbob\n", []string{"ada", "Bob", "Bobby"}, []string{"Bobby: tag of Bobby"}},
		"no site folds":                                {"max_age 1h", "ada\nbob\n", []string{"ada", "bob", "Bob"}, []string{"Bob: tag of Bob"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, "rp_id localhost")
			s.write("Caddyfile", sites(test.fold))
			r := newRegistry(t, test.users...)
			out, problems, code := s.call(test.list, "purge", "--absent-from", "-", "--yes", "--address", r.address())
			if code != 0 || !slices.Equal(r.deleted, test.deleted) {
				t.Errorf("%d, deleted %q\n%s%s", code, r.deleted, out, problems)
			}
		})
	}
}

// What editors, exports and cat leave around a name does not make it another one. What can't be seen and may not be taken
// away is refused with its line, by both commands that read a list.
func TestListOfUsers(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	for name, test := range map[string]struct{ list, refused string }{
		"a mark, then space":            {"\ufeff ada\nbob\n", ""},
		"space, then a mark":            {" \ufeffada\nbob\n", ""},
		"files put together":            {"ada\n\ufeffbob\r\n", ""},
		"marks and space by turns":      {"\ufeff\u00a0\ufeff \ufeffada\n\t\ufeff \ufeffbob \r\n", ""},
		"a comment behind a mark":       {"ada\n\ufeff # bob's file\nbob\n", ""},
		"a line of a mark":              {"ada\n\ufeff\nbob\n", ""},
		"files put together in a line":  {"ada\ufeffbob\n", `line 1: "ada\ufeffbob" has U+FEFF`},
		"a mark behind":                 {"ada\nbob\ufeff\n", `line 2: "bob\ufeff" has U+FEFF`},
		"no width in front":             {"ada\n\n\u200bbob\n", `line 3: "\u200bbob" has U+200B`},
		"no width, and space behind it": {"ada\n\u2060 bob\n", `line 2: "\u2060 bob" has U+2060`},
		"no width behind":               {"ada\u200d\nbob\n", `line 1: "ada\u200d" has U+200D`},
		"a filler":                      {"ada\nbob\u3164\n", `line 2: "bob\u3164" has U+3164`},
		"an empty pattern of dots":      {"ada\u2800\nbob\n", `line 1: "ada\u2800" has U+2800`},
		"written from right to left":    {"ada\n\u202ebob\n", `line 2: "\u202ebob" has U+202E`},
		"a comment that is none":        {"ada\nbob\n\u200b# x\n", `line 3: "\u200b# x" has U+200B`},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := shop{t, s.folder}, newRegistry(t, "ada", "bob")
			out, problems, code := s.call(test.list, "purge", "--absent-from", "-", "--yes", "--address", r.address())
			if len(r.deleted) != 0 || (test.refused == "") != (code == 0) || !strings.Contains(problems, test.refused) {
				t.Errorf("purge: %d, deleted %q\n%s%s", code, r.deleted, out, problems)
			}
			out, problems, code = s.call(test.list, "forecast", "--users", "-", "--json", "--address", r.address())
			if (test.refused == "") != strings.Contains(out, `"total": 2`) || test.refused != "" && code != 1 || !strings.Contains(problems, test.refused) {
				t.Errorf("forecast: %d\n%s%s", code, out, problems)
			}
		})
	}
}

// The bounds: ten may go of any number, and half of more than twenty.
func TestPurgeBounds(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	people := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("u%02d", i))
		}
		return append(names, "ada")
	}
	for _, test := range []struct {
		leave, stay int
		flags       []string
		refused     string
	}{
		{10, 1, nil, ""},
		{11, 1, nil, "11 of 12 users would go, more than half"},
		{11, 11, nil, ""},
		{11, 10, nil, "11 of 21 users would go, more than half"},
		{11, 1, []string{"--at-most", "11"}, ""},
		{3, 1, []string{"--at-most", "2"}, "3 of 4 users would go, and --at-most allows 2"},
		{3, 1, []string{"--at-most", "0"}, "3 of 4 users would go, and --at-most allows 0"},
	} {
		names := people(test.leave)
		list := "ada\n"
		for i := 1; i < test.stay; i++ {
			names, list = append(names, fmt.Sprintf("s%02d", i)), list+fmt.Sprintf("s%02d\n", i)
		}
		r := newRegistry(t, names...)
		s.write("list", list)
		_, problems, code := s.call("", append([]string{"purge", "--absent-from", "list", "--yes", "--address", r.address()}, test.flags...)...)
		switch {
		case test.refused == "" && (code != 0 || len(r.deleted) != test.leave):
			t.Errorf("%+v: %d, %d deleted\n%s", test, code, len(r.deleted), problems)
		case test.refused != "" && (code != 1 || len(r.deleted) != 0 || !strings.Contains(problems, test.refused)):
			t.Errorf("%+v: %d, deleted %q\n%s", test, code, r.deleted, problems)
		}
	}
	// Nobody of the list is there: it is of another directory, however few there are.
	r := newRegistry(t, "bob")
	if _, problems := r.purge(s, 1, "--yes"); len(r.deleted) != 0 || !strings.Contains(problems, "of 1 user nobody is on the list") {
		t.Errorf("deleted %q\n%s", r.deleted, problems)
	}
	if states, _ := r.purge(s, 0, "--yes", "--at-most", "1"); !slices.Equal(states, []string{"bob deleted"}) {
		t.Errorf("%q", states)
	}
	// A gateway that can't tell whether somebody changed is of another version.
	r.users = []string{`{"user":"ada","tag":"t","passkeys":[]}`, `{"user":"bob","passkeys":[]}`}
	if _, problems := r.purge(s, 1, "--yes", "--at-most", "1"); !strings.Contains(problems, "is of another version") {
		t.Errorf("%s", problems)
	}
	// Names of a stranger do nothing to the terminal.
	r = newRegistry(t)
	r.users = []string{`{"user":"\u001b]0;owned\u0007\u202e","tag":"t","passkeys":[]}`, `{"user":"ada","tag":"t","passkeys":[]}`}
	r.answers(func(string, string) (int, string) { return 503, "\x1b]0;owned\x07" })
	out, problems, _ := s.call("ada\n", "purge", "--absent-from", "-", "--yes", "--address", r.address())
	if strings.ContainsAny(out+problems, "\x1b\x07\u202e") || !strings.Contains(out, `\u202e`) {
		t.Errorf("%q %q", out, problems)
	}
}

// Ctrl-C ends it between two users, and what was done is told.
func TestPurgeInterrupted(t *testing.T) {
	s := newShop(t, "rp_id localhost")
	s.write("list", "ada\n")
	r := newRegistry(t, "ada", "a", "b", "c")
	asked, on := make(chan struct{}, 1), make(chan struct{})
	r.answers(func(user, _ string) (int, string) {
		if user == "b" {
			asked <- struct{}{}
			<-on
		}
		return 0, ""
	})
	path, err := binaryPath()
	if err != nil {
		t.Fatal(err)
	}
	var out, problems strings.Builder
	c := exec.Command(path, "purge", "--absent-from", "list", "--yes", "--address", r.address())
	c.Dir, c.Stdout, c.Stderr = s.folder, &out, &problems
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
	close(on)
	if c.ProcessState.ExitCode() != 1 || !strings.Contains(problems.String(), "interrupted") || !strings.Contains(out.String(), "may have done it") || !strings.Contains(out.String(), "1 user deleted") {
		t.Errorf("exit code %d\n%s%s", c.ProcessState.ExitCode(), &out, &problems)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.deleted) != 2 {
		t.Errorf("asked for %q", r.deleted)
	}
}
