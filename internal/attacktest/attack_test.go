package attacktest_test

import (
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// attack is one row: what somebody does, and the refusal that they must get.
type attack struct {
	name string // begins with the class of attack
	// do prepares everything, attacks, and returns the answer to the attack. The user is who the audit line must name, nil
	// where there is none.
	do     func(s *scene) (*gatewaytest.Client, gatewaytest.Reply)
	code   string // of the problem; the status is the documented one
	reason string // beside step_up_required
}

// group are attacks that have something in common.
type group struct {
	name    string
	control func(s *scene) // the same thing done right
	attacks []attack
	parsing bool // they end before the store and after HTTP: file over HTTP/1.1 and DynamoDB over HTTP/2 are enough
}

// run makes the attacks on each store, over each of these versions of HTTP, one after the other on one gateway.
func (g group) run(t *testing.T, versions ...string) {
	t.Helper()
	if len(versions) == 0 {
		versions = []string{http1, http2}
	}
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		for _, version := range versions {
			if g.parsing && (on == gatewaytest.OnFile) != (version == http1) {
				continue
			}
			t.Run(strings.ReplaceAll(version, "/", " "), func(t *testing.T) {
				t.Parallel()
				gateway := fortress(t, on)
				row(t, gateway, version, "control of "+g.name, g.control)
				gateway.Upstream.Take()
				for _, a := range g.attacks {
					row(t, gateway, version, a.name, a.judge)
				}
			})
		}
	})
}

// row plays a scene. One in which DynamoDB Local was too slow to answer in time, on a machine that has much else to do, is
// played again with other people: the gateway was right to refuse, but not for the reason that is tested. It is not played again
// if anything was let pass.
func row(t *testing.T, gateway *gatewaytest.Gateway, version, name string, play func(s *scene)) {
	t.Run(name, func(t *testing.T) {
		for try := 1; ; try++ {
			s := &scene{T: t, g: gateway, version: version, who: fmt.Sprintf("%s-%x-%d", plain(name), crc32.ChecksumIEEE([]byte(name)), try), held: new(notes)}
			done := make(chan struct{})
			go func() {
				defer close(done)
				play(s)
			}()
			<-done
			text, breached := s.held.all()
			if try < 4 && gateway.Store != "" && !breached && strings.Contains(text, "store_unavailable") {
				t.Logf("played again: %s", text)
				for _, r := range gateway.Upstream.Take() {
					t.Logf("the upstream had %s %s", r.Method, r.Target)
				}
				continue
			}
			if text != "" {
				t.Error(text)
			}
			return
		}
	})
}

// notes are what is wrong with a scene, until it is clear that it counts.
type notes struct {
	mu       sync.Mutex
	lines    []string
	breached bool // something was let pass that may not be
}

func (n *notes) add(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, line)
}

func (n *notes) all() (text string, breached bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, "\n"), n.breached
}

// breach reports that something was let pass.
func (s *scene) breach(f string, a ...any) {
	s.Helper()
	s.Errorf(f, a...)
	if s.held != nil {
		s.held.mu.Lock()
		s.held.breached = true
		s.held.mu.Unlock()
	}
}

// plain makes a name that can be part of a user's.
func plain(name string) string {
	return strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]+`).ReplaceAllString(name, "-"))
}

// judge is the oracle.
func (a attack) judge(s *scene) {
	victim, answer := a.do(s)
	s.refused(victim, answer, a.code, a.reason)
}

// refused holds that an answer is the refusal that it should be, that the audit log says the same about the same user, and
// that nothing reached the upstream since it was last looked at.
func (s *scene) refused(user *gatewaytest.Client, answer gatewaytest.Reply, code, reason string) {
	s.Helper()
	for _, r := range s.g.Upstream.Take() {
		s.breach("reached the upstream: %s %s", r.Method, r.Target)
	}
	got := gatewaytest.ProblemIn(s, answer.Body)
	if want := status(s, code); answer.Status != want || got.Status != want || got.Code != code || got.Reason != reason {
		s.Errorf("answered %d %s %s, want %d %s %s", answer.Status, got.Code, got.Reason, want, code, reason)
	}
	if answer.Grants() {
		s.breach("a grant was set: %q", answer.Header["Set-Cookie"])
	}
	if what, holds := s.g.Log.Holds(string(answer.Body)); holds {
		s.Errorf("the answer tells a secret (%s): %s", what, answer.Body)
	}
	line, kind, want := s.g.AuditedRequest(s, got.RequestID), "request_refused ceremony_refused", code
	switch {
	case code == "step_up_required":
		kind, want = code, reason
	case code == "counter_regressed":
		kind = "clone_suspected"
	}
	if line.Reason != want || !slices.Contains(strings.Fields(kind), line.Msg) {
		s.Errorf("the audit log says %s %q, want %s %q", line.Msg, line.Reason, kind, want)
	}
	if user != nil && line.User != user.User {
		s.Errorf("the audit log says that it was %q, want %q", line.User, user.User)
	}
}

// documented are the statuses that docs/http.md promises, by code.
var documented = sync.OnceValues(func() (map[string]int, error) {
	text, err := os.ReadFile("../../docs/http.md")
	if err != nil {
		return nil, err
	}
	statuses := map[string]int{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([0-9]{3}) \\|").FindAllStringSubmatch(string(text), -1) {
		statuses[row[1]], _ = strconv.Atoi(row[2])
	}
	return statuses, nil
})

func status(t testing.TB, code string) int {
	t.Helper()
	statuses, err := documented()
	gatewaytest.Must(t, err)
	if statuses[code] == 0 {
		t.Fatalf("docs/http.md has no status for %q", code)
	}
	if statuses[code] >= 500 {
		t.Fatalf("%s is no refusal of an attack", code)
	}
	return statuses[code]
}

// scene is where an attack takes place: a gateway, and people that nobody else's attack knows.
type scene struct {
	*testing.T
	g       *gatewaytest.Gateway
	version string // of HTTP
	who     string // of the names of users
	held    *notes // takes what the test would report; nil reports it
}

// Error, Errorf, Fatal and Fatalf hold back what they report until the scene has ended.
func (s *scene) Error(a ...any)            { s.Helper(); s.note(fmt.Sprint(a...)) }
func (s *scene) Errorf(f string, a ...any) { s.Helper(); s.note(fmt.Sprintf(f, a...)) }

func (s *scene) Fatal(a ...any) {
	s.Helper()
	s.Error(a...)
	runtime.Goexit()
}

func (s *scene) Fatalf(f string, a ...any) {
	s.Helper()
	s.Errorf(f, a...)
	runtime.Goexit()
}

func (s *scene) Failed() bool {
	if s.held == nil {
		return s.T.Failed()
	}
	text, _ := s.held.all()
	return text != ""
}

func (s *scene) note(line string) {
	s.Helper()
	if s.held == nil {
		s.T.Error(line)
		return
	}
	_, file, number, _ := runtime.Caller(2)
	s.held.add(fmt.Sprintf("%s:%d: %s", filepath.Base(file), number, line))
}

const (
	consoleHost = "console.example.test"
	otherHost   = "aws.example.test"     // of the same relying party
	sessionHost = "session.example.test" // binds to a session
	foldedHost  = "folded.example.test"  // ignores the case of users
	strayHost   = "stray.example.test"   // served, and no origin
	rpID        = "example.test"
)

func (s *scene) origin(host string) string { return fmt.Sprintf("https://%s:%d", host, s.g.Port) }

// place is where lies are told.
func (s *scene) place() authtest.Place {
	return authtest.Place{RPID: rpID, Origin: s.origin(consoleHost), Other: s.origin(otherHost)}
}

// visitor is somebody whom the first factor knows, and nobody else.
func (s *scene) visitor(name string) *gatewaytest.Client {
	s.Helper()
	c := gatewaytest.NewClient(s, s.g, name+"-"+s.who)
	c.HTTP.Transport = s.transport()
	return c
}

// sibling is the same person, with the same passkeys, in a new browser.
func (s *scene) sibling(c *gatewaytest.Client) *gatewaytest.Client {
	s.Helper()
	other := gatewaytest.NewClient(s, s.g, c.User)
	other.HTTP.Transport, other.Key, other.Origin = c.HTTP.Transport, c.Key, c.Origin
	return other
}

// holder is somebody with a passkey.
func (s *scene) holder(name string) *gatewaytest.Client {
	s.Helper()
	c := s.visitor(name)
	gatewaytest.Must(s, c.Register("Key"))
	return c
}

// insider is somebody with a passkey and a grant.
func (s *scene) insider(name string) *gatewaytest.Client {
	s.Helper()
	c := s.holder(name)
	s.stepsUp(c, "/keys")
	return c
}

// stepsUp is a step-up that must succeed, for the demand of a path. It returns the grant as a request sends it.
func (s *scene) stepsUp(c *gatewaytest.Client, path string, lies ...authtest.Lie) (grant string) {
	s.Helper()
	answer, err := c.StepUp(path, lies...)
	gatewaytest.Must(s, err)
	gatewaytest.Must(s, answer.Expect(http.StatusOK))
	if !answer.Grants() {
		s.Fatal("no grant was set")
	}
	return answer.Cookie("__Host-stepgate")
}

// begun is a step-up for a path, whose reply is signed and not sent yet.
func (s *scene) begun(c *gatewaytest.Client, path string, lies ...authtest.Lie) map[string]any {
	s.Helper()
	body, err := c.Begin(map[string]any{"return_to": path}, lies...)
	gatewaytest.Must(s, err)
	return body
}

// finished is the answer to a reply.
func (s *scene) finished(c *gatewaytest.Client, body map[string]any) gatewaytest.Reply {
	s.Helper()
	return s.sent(c, "POST", "/.stepgate/challenge/verify", body)
}

// sent is the answer to a request.
func (s *scene) sent(c *gatewaytest.Client, method, path string, body any, headers ...string) gatewaytest.Reply {
	s.Helper()
	answer, err := c.Send(method, path, body, headers...)
	gatewaytest.Must(s, err)
	return answer
}

// raw is the answer to a request of the gateway's own pages with this body, whatever it is.
func (s *scene) raw(c *gatewaytest.Client, method, path, body string, headers ...string) gatewaytest.Reply {
	s.Helper()
	request, err := http.NewRequest(method, c.Origin+path, strings.NewReader(body))
	gatewaytest.Must(s, err)
	request.Header.Set("X-User", c.User)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Origin", c.Origin)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			request.Header.Del(headers[i])
		}
	}
	answer, err := c.Do(request)
	gatewaytest.Must(s, err)
	return answer
}

// passes holds that a request reaches the upstream, once, as this user's.
func (s *scene) passes(c *gatewaytest.Client, method, path string, headers ...string) gatewaytest.Received {
	s.Helper()
	s.g.Upstream.Take()
	gatewaytest.Must(s, s.sent(c, method, path, nil, headers...).Expect(http.StatusOK))
	list := s.g.Upstream.Take()
	if len(list) != 1 {
		s.Fatalf("%d requests reached the upstream, want 1", len(list))
	}
	return list[0]
}
