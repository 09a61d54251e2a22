package matrixtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/clocktest"
	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

const (
	user   = "ada"
	prefix = "/.stepgate"
	keys   = "/keys"    // protected
	lax    = "/rollout" // the same under if_enrolled
)

// scene is one cell's own world: a gateway of real parts whose way to DynamoDB fails on demand, the people before it, and
// what they were told.
type scene struct {
	t      *testing.T
	tables tables
	rpID   string
	clock  *clocktest.Clock
	proxy  *faulttest.Proxy

	gate    *gate.Gate
	service *ceremony.Service
	store   *dynamostore.Store // through the proxy
	direct  *dynamostore.Store // past it
	journal *journal

	user    passkey.User // as the setup wrote them
	cookies map[string]string
	key     *authtest.Authenticator // of the first passkey
	spare   *authtest.Authenticator // of one that is added
	options []byte                  // of the last start
	code    string                  // invitation or recovery code
	id      string                  // short id of the passkey that a flow is about
	made    map[string][]byte       // credentials, by step: who tries again sends the same

	ledger ledger
	calls  []faulttest.Call // all that DynamoDB was asked through the proxy
}

func newScene(t *testing.T, in place, rpID string) *scene {
	t.Helper()
	s := &scene{
		t: t, tables: in.tables, rpID: rpID, clock: clocktest.New(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)), proxy: faulttest.New(t, endpoint),
		journal: new(journal), cookies: map[string]string{}, made: map[string][]byte{}, ledger: newLedger(),
		key: authtest.New(authtest.Config{Counts: true}), spare: authtest.New(authtest.Config{Counts: true}),
	}
	s.store, s.direct = open(t, in.tables, s.proxy.URL).For(rpID), in.past.For(rpID)
	var err error
	s.service, err = ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{s.origin()}, Store: s.store, Now: s.clock.Now, Recall: true})
	must(t, err)
	sealers, err := grant.ParseKeys(grant.NewKey())
	must(t, err)
	b := &gate.Backend{
		Ceremonies: s.service, Limiter: gate.NewLimiter(),
		Views: gate.NewViews(s.service.Account, 0, gate.StoreBudget, s.clock.Now), // each request asks
	}
	for use, sealer := range map[grant.Purpose]**grant.Sealer{grant.ForGrant: &b.Grants, grant.ForDemand: &b.Demands, grant.ForBrowser: &b.Browsers} {
		*sealer, err = sealers.Sealer(use, rpID)
		must(t, err)
	}
	demand := policy.Demand{Level: passkey.Verified, MaxAge: 24 * time.Hour}
	s.gate, err = gate.New(gate.Config{
		RPName: "Example", RPID: rpID, Origins: []string{s.origin()},
		Rules: []gate.Route{{
			Rule:  policy.Rule{Name: "rollout", Demand: demand, Mode: policy.IfEnrolled},
			Match: func(r *http.Request) (bool, error) { return r.URL.Path == lax, nil },
		}},
		Default:      policy.Rule{Name: "default", Demand: demand},
		ChallengeTTL: 5 * time.Minute, MaxPasskeys: 10, IdentityHeaders: []string{"X-Auth-User"},
		Backend: func() (*gate.Backend, error) { return b, nil },
		Audit:   s.journal, Now: s.clock.Now,
	})
	must(t, err)
	return s
}

// open opens tables as a gateway does.
func open(t *testing.T, in tables, at string) *dynamostore.DB {
	t.Helper()
	db, err := dynamostore.Open(t.Context(), dynamostore.Options{Endpoint: at, PasskeysTable: in.passkeys, ChallengesTable: in.challenges})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

func (s *scene) origin() string { return "https://" + s.rpID }

// reply is an answer to a person, or to an administrator.
type reply struct {
	status  int             // of an administrator: 200, or 0 with an error
	code    passkey.Refusal // why not
	body    []byte
	reached bool // the upstream was
	took    time.Duration
	err     error // of an administrator
}

func (r reply) String() string {
	if r.err != nil {
		return fmt.Sprintf("%q: %v", r.code, r.err)
	}
	return fmt.Sprintf("%d %q %.200s", r.status, r.code, r.body)
}

// send makes a request as a page of the console does.
func (s *scene) send(method, target string, body any) reply {
	s.t.Helper()
	text, err := json.Marshal(body)
	must(s.t, err)
	r := httptest.NewRequestWithContext(s.t.Context(), method, s.origin()+target, bytes.NewReader(text))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	for name, value := range s.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	if method == "NAVIGATE" {
		r.Method = http.MethodGet
		r.Header.Set("Accept", "text/html")
	}
	if r.Method == http.MethodGet {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	seen := s.journal.count()
	began := time.Now()
	w := httptest.NewRecorder()
	_, reached := s.gate.Serve(w, r, &gate.Request{User: user, Peer: peer{}, Original: r.URL})
	in := reply{status: w.Code, body: w.Body.Bytes(), reached: reached, took: time.Since(began)}
	if !reached && in.status >= 400 {
		var reason passkey.Refusal
		if in.code, reason = reasonOf(in.body); in.code == "" {
			s.t.Errorf("%s %s: %v: a refusal without a reason", method, target, in)
		}
		s.sameInAudit(in, reason, s.journal.since(seen))
	}
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(s.cookies, c.Name)
			continue
		}
		s.cookies[c.Name] = c.Value
		if strings.HasSuffix(c.Name, "stepgate") {
			if in.status != http.StatusOK || !strings.HasSuffix(target, "/challenge/verify") {
				s.t.Errorf("%s %s: %v: it came with a grant", method, target, in)
			}
			s.ledger.grants++
		}
	}
	if in.took > answerTime {
		s.t.Errorf("%s %s: answered after %v", method, target, in.took)
	}
	return in
}

// answerTime is far more than the 2.5 s that a request has for the store: other cells keep the machine busy. It catches what
// does not end by itself.
const answerTime = 15 * time.Second

// reasonOf returns why a request was refused, by its problem or its page, and the reason to be found in the audit.
func reasonOf(body []byte) (code, audited passkey.Refusal) {
	var problem struct{ Code, Reason passkey.Refusal }
	if json.Unmarshal(body, &problem) != nil {
		_, after, _ := bytes.Cut(body, []byte("Code for support: <code>"))
		text, _, _ := bytes.Cut(after, []byte("</code>"))
		problem.Code = passkey.Refusal(text)
	}
	if problem.Code == passkey.StepUpRequired {
		return problem.Code, problem.Reason
	}
	return problem.Code, problem.Code
}

// sameInAudit holds that a refusal was recorded under the reason that was answered.
func (s *scene) sameInAudit(in reply, reason passkey.Refusal, events []audit.Event) {
	s.t.Helper()
	for _, e := range events {
		if e.Reason == reason && e.User == user {
			return
		}
	}
	s.t.Errorf("answered %v, audited %v", in, events)
}

// administer does what an administrator does, in the time that the admin API gives.
func (s *scene) administer(do func(ctx context.Context) error) reply {
	const adminTime = 30 * time.Second
	ctx, cancel := context.WithTimeout(s.t.Context(), adminTime)
	defer cancel()
	began := time.Now()
	in := reply{err: do(ctx), took: time.Since(began)}
	var refusal passkey.Refusal
	switch {
	case in.err == nil:
		in.status = http.StatusOK
	case errors.As(in.err, &refusal):
		in.code = refusal
	}
	if in.took > adminTime+answerTime {
		s.t.Errorf("an administrator was answered after %v", in.took)
	}
	return in
}

// credential returns what an authenticator says to the last options. Asked again for one step, it is the same.
func (s *scene) credential(step string, say func(options []byte, origin string, lies ...authtest.Lie) ([]byte, error)) json.RawMessage {
	s.t.Helper()
	if s.made[step] == nil {
		text, err := say(s.options, s.origin())
		if err != nil {
			s.t.Fatalf("%s: %v: options %s", step, err, s.options)
		}
		s.made[step] = text
	}
	return s.made[step]
}

// journal is the audit log.
type journal struct {
	mu   sync.Mutex
	list []audit.Event
}

func (j *journal) Record(e audit.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = append(j.list, e)
	return nil
}

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.list)
}

func (j *journal) since(n int) []audit.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]audit.Event(nil), j.list[n:]...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// peer is where every request comes from.
type peer struct{}

func (peer) Client() string { return "192.0.2.1" }
func (peer) Trusted() bool  { return false }
