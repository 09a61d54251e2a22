package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/clocktest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

const (
	rpID    = "example.com"
	console = "https://console.example.com"
	aws     = "https://aws.example.com" // of the same relying party
)

// world is a gate on real parts: ceremonies, the file store, and an upstream that remembers what it got. Only the clock
// and the authenticators are ours to lie with.
type world struct {
	t       testing.TB
	gate    *gate.Gate
	backend *gate.Backend
	store   *faultyStore
	clock   *clocktest.Clock // what now returns, unless a test says otherwise
	now     func() time.Time
	audit   *events
	meter   *tally
	origins []string // of the ceremonies

	mu       sync.Mutex
	upstream []*http.Request
	down     atomic.Bool // the store can't be opened
}

// protectPath and openPath are rules that match a path and what is below it.
func protectPath(path string, d policy.Demand) gate.Route {
	return gate.Route{Rule: policy.Rule{Name: "protect " + path, Demand: d}, Match: below(path)}
}

func openPath(path string) gate.Route {
	return gate.Route{Rule: policy.Rule{Name: "open " + path, Open: true}, Match: below(path)}
}

func below(path string) func(*http.Request) (bool, error) {
	return func(r *http.Request) (bool, error) {
		if r.URL.Path == "/matcher-error" {
			return false, errors.New("matcher failed")
		}
		return r.URL.Path == path || strings.HasPrefix(r.URL.Path, path+"/"), nil
	}
}

func verified(age time.Duration) policy.Demand {
	return policy.Demand{Level: passkey.Verified, MaxAge: age}
}

// newWorld returns a gate with these rules: /open is open, /touch demands presence, /hardware a device-bound passkey,
// both for 15 minutes, /admin a verified one for 5, and everything else a verified one for 15.
func newWorld(t testing.TB, changes ...func(*gate.Config)) *world {
	t.Helper()
	db, err := boltstore.Open(filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	clock := clocktest.New(noon)
	w := newWorldOn(t, db.For(rpID), clock.Now, changes...)
	w.clock = clock
	return w
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// newWorldOn is newWorld on a store that others may use too, by a clock of its own.
func newWorldOn(t testing.TB, store ceremony.Store, now func() time.Time, changes ...func(*gate.Config)) *world {
	t.Helper()
	w := &world{t: t, now: now, audit: new(events), meter: new(tally), origins: []string{console, aws}, store: &faultyStore{Store: store}}
	w.backend = w.newBackend(5 * time.Second)
	config := gate.Config{
		RPName: "Example", RPID: rpID, Origins: []string{console, aws},
		Rules: []gate.Route{
			openPath("/open"),
			protectPath("/touch", policy.Demand{Level: passkey.Present, MaxAge: 15 * time.Minute}),
			protectPath("/hardware", policy.Demand{Level: passkey.DeviceBound, MaxAge: 15 * time.Minute}),
			protectPath("/admin", verified(5*time.Minute)),
		},
		Default:      policy.Rule{Name: "default", Demand: verified(15 * time.Minute)},
		ChallengeTTL: 5 * time.Minute, MaxPasskeys: 10,
		IdentityHeaders: []string{"X-Auth-User"},
		Backend: func() (*gate.Backend, error) {
			if w.down.Load() {
				return nil, passkey.StoreUnavailable
			}
			return w.backend, nil
		},
		Audit: w.audit, Meter: w.meter, Now: w.now,
	}
	for _, change := range changes {
		change(&config)
	}
	var err error
	if w.gate, err = gate.New(config); err != nil {
		t.Fatal(err)
	}
	return w
}

// testKey is fixed so that several gateways of a test can share it.
var testKey = grant.NewKey()

// newBackend returns what one more gateway on the same store would have.
func (w *world) newBackend(lag time.Duration) *gate.Backend {
	w.t.Helper()
	return w.backendOf(ceremony.Config{}, lag)
}

// warningBackend is one that lets a regressed sign count pass.
func (w *world) warningBackend() *gate.Backend {
	w.t.Helper()
	return w.backendOf(ceremony.Config{CounterWarn: true}, 5*time.Second)
}

func (w *world) backendOf(config ceremony.Config, lag time.Duration) *gate.Backend {
	w.t.Helper()
	config.RPID, config.Origins, config.Store, config.Now = rpID, w.origins, w.store, w.now
	service, err := ceremony.New(config)
	if err != nil {
		w.t.Fatal(err)
	}
	keys, err := grant.ParseKeys(testKey)
	if err != nil {
		w.t.Fatal(err)
	}
	grants, err := keys.Sealer(grant.ForGrant, rpID)
	if err != nil {
		w.t.Fatal(err)
	}
	demands, err := keys.Sealer(grant.ForDemand, rpID)
	if err != nil {
		w.t.Fatal(err)
	}
	browsers, err := keys.Sealer(grant.ForBrowser, rpID)
	if err != nil {
		w.t.Fatal(err)
	}
	return &gate.Backend{
		Ceremonies: service, Grants: grants, Demands: demands, Browsers: browsers, Limiter: gate.NewLimiter(),
		Views: gate.NewViews(service.Account, lag, gate.StoreBudget, w.now),
	}
}

// reached returns how many requests the upstream got so far.
func (w *world) reached() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.upstream)
}

// last returns the last request that the upstream got.
func (w *world) last() *http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.upstream) == 0 {
		w.t.Fatal("the upstream was not reached")
	}
	return w.upstream[len(w.upstream)-1]
}

// browser is one person's browser: a cookie jar and what the first factor says.
type browser struct {
	w       *world
	user    string
	session string
	client  string
	origin  string
	cookies map[string]*http.Cookie
}

func (w *world) browser(user string) *browser {
	return &browser{w: w, user: user, client: "192.0.2.1", origin: console, cookies: map[string]*http.Cookie{}}
}

// peer is a [gate.Peer].
type peer struct {
	client  string
	trusted bool
}

func (p peer) Client() string { return p.client }
func (p peer) Trusted() bool  { return p.trusted }

// from has a request come from an address.
func from(client string) change {
	return func(_ *http.Request, in *gate.Request) { in.Peer = peer{client: client} }
}

// change alters a request before it is sent.
type change func(*http.Request, *gate.Request)

func header(name string, values ...string) change {
	return func(r *http.Request, _ *gate.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

func navigate(r *http.Request, _ *gate.Request) {
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
}

// do sends a request through the gate.
func (b *browser) do(method, target string, body io.Reader, changes ...change) *http.Response {
	b.w.t.Helper()
	r := httptest.NewRequest(method, b.origin+target, body)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	var line []string
	for _, c := range b.cookies {
		line = append(line, c.Name+"="+c.Value)
	}
	if len(line) > 0 {
		r.Header.Set("Cookie", strings.Join(line, "; "))
	}
	original, err := url.ParseRequestURI(target)
	if err != nil {
		original = r.URL
	}
	in := &gate.Request{User: b.user, Session: b.session, Peer: peer{client: b.client}, Original: original}
	for _, change := range changes {
		change(r, in)
	}
	recorder := httptest.NewRecorder()
	if passed, ok := b.w.gate.Serve(recorder, r, in); ok {
		b.w.mu.Lock()
		b.w.upstream = append(b.w.upstream, r)
		b.w.mu.Unlock()
		recorder.Header().Set("X-Upstream", "reached")
		recorder.Header().Set("X-Passed-User", passed.User())
		recorder.Header().Set("X-Passed-Would", passed.Would())
		recorder.WriteHeader(http.StatusOK)
	}
	response := recorder.Result()
	for _, c := range response.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c
		}
	}
	return response
}

func (b *browser) get(target string, changes ...change) *http.Response {
	b.w.t.Helper()
	return b.do(http.MethodGet, target, nil, changes...)
}

// post sends a JSON body as a page of this origin would.
func (b *browser) post(target string, body any, changes ...change) *http.Response {
	b.w.t.Helper()
	return b.send(http.MethodPost, target, body, changes...)
}

func (b *browser) send(method, target string, body any, changes ...change) *http.Response {
	b.w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return b.do(method, target, bytes.NewReader(text), append([]change{header("Content-Type", "application/json")}, changes...)...)
}

type object = map[string]any

// raw puts a finished JSON value into a body.
func raw(text []byte) json.RawMessage { return text }

// register registers a passkey for a browser's user on the first factor alone.
func (b *browser) register(a *authtest.Authenticator, name string) {
	b.w.t.Helper()
	options := want(b.w.t, b.post("/.stepgate/passkeys/options", object{"name": name}), http.StatusOK)
	credential, err := a.Register(options, b.origin)
	if err != nil {
		b.w.t.Fatal(err)
	}
	want(b.w.t, b.post("/.stepgate/passkeys", object{"credential": raw(credential), "name": name}), http.StatusCreated)
}

// authorize runs the ceremony that adding or removing needs, and returns the credential that proves it.
func (b *browser) authorize(a *authtest.Authenticator, body object) []byte {
	b.w.t.Helper()
	options := want(b.w.t, b.post("/.stepgate/passkeys/authorize/options", body), http.StatusOK)
	credential, err := a.Authenticate(options, b.origin)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return credential
}

// add registers another passkey, authorised with an existing one.
func (b *browser) add(existing, next *authtest.Authenticator, name string) {
	b.w.t.Helper()
	authorization := b.authorize(existing, object{"action": "add"})
	options := want(b.w.t, b.post("/.stepgate/passkeys/options", object{"name": name, "authorization": raw(authorization)}), http.StatusOK)
	credential, err := next.Register(options, b.origin)
	if err != nil {
		b.w.t.Fatal(err)
	}
	want(b.w.t, b.post("/.stepgate/passkeys", object{"credential": raw(credential), "name": name}), http.StatusCreated)
}

// stepUp steps up for a path and returns the answer of the last call.
func (b *browser) stepUp(a *authtest.Authenticator, target string, lies ...authtest.Lie) *http.Response {
	b.w.t.Helper()
	options := want(b.w.t, b.post("/.stepgate/challenge/options", object{"return_to": target}), http.StatusOK)
	credential, err := a.Authenticate(options, b.origin, lies...)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return b.post("/.stepgate/challenge/verify", object{"return_to": target, "credential": raw(credential)})
}

// want checks a status and returns the body.
func want(t testing.TB, response *http.Response, status int) []byte {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", response.StatusCode, status, body)
	}
	return body
}

// refused checks that a request was refused for this reason: status, problem code, and the same reason in the audit;
// and that the upstream was not reached and no grant was set.
func (b *browser) refused(status int, code passkey.Refusal, send func() *http.Response) {
	t, w := b.w.t, b.w
	t.Helper()
	before, seen, counted := w.reached(), w.audit.count(), w.meter.len()
	response := send()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var problem struct {
		Code, Reason passkey.Refusal
		Status       int
	}
	if err := json.Unmarshal(body, &problem); err != nil {
		t.Fatalf("no problem, status %d: %.300s", response.StatusCode, body)
	}
	if response.StatusCode != status || problem.Status != status || problem.Code != code {
		t.Errorf("got %d %s, want %d %s", response.StatusCode, problem.Code, status, code)
	}
	if w.reached() != before {
		t.Error("the upstream was reached")
	}
	for _, c := range response.Cookies() {
		if c.Name == "__Host-stepgate" && c.MaxAge >= 0 {
			t.Error("a grant was set")
		}
	}
	events := w.audit.since(seen)
	if len(events) != 1 {
		t.Fatalf("%d audit events, want 1: %v", len(events), events)
	}
	reason := code
	if code == passkey.StepUpRequired {
		reason = problem.Reason
	}
	if events[0].Reason != reason {
		t.Errorf("audited as %q, answered as %q", events[0].Reason, reason)
	}
	w.meter.refusedOnce(t, counted, code, reason)
}

// needsStepUp checks that a request was told to step up for this reason.
func (b *browser) needsStepUp(reason passkey.Refusal, send func() *http.Response) {
	t := b.w.t
	t.Helper()
	seen := b.w.audit.count()
	b.refused(http.StatusUnauthorized, passkey.StepUpRequired, send)
	if events := b.w.audit.since(seen); len(events) == 1 && events[0].Reason != reason {
		t.Errorf("reason %q, want %q", events[0].Reason, reason)
	}
}

// passes checks that a request reaches the upstream.
func (b *browser) passes(target string, changes ...change) *http.Request {
	b.w.t.Helper()
	before := b.w.reached()
	response := b.get(target, changes...)
	if b.w.reached() != before+1 {
		b.w.t.Fatalf("the upstream was not reached: %d %s", response.StatusCode, want(b.w.t, response, response.StatusCode))
	}
	return b.w.last()
}

// events records what was audited.
type events struct {
	mu   sync.Mutex
	list []audit.Event
	full bool
}

func (e *events) Record(event audit.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.full {
		return audit.ErrNotRecorded
	}
	e.list = append(e.list, event)
	return nil
}

// fill makes the log take nothing any more, or again.
func (e *events) fill(full bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.full = full
}

func (e *events) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.list)
}

func (e *events) since(n int) []audit.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]audit.Event(nil), e.list[n:]...)
}

// faultyStore is the real store, which fails on demand and counts.
type faultyStore struct {
	ceremony.Store
	fail      atomic.Bool
	reads     atomic.Int64
	consumes  atomic.Int64
	unbounded atomic.Int64 // calls without a time limit, or one over the budget
	look      func(context.Context)
}

// bounded counts a call whose context lets it take too long.
func (s *faultyStore) bounded(ctx context.Context) {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > gate.StoreBudget {
		s.unbounded.Add(1)
	}
}

func (s *faultyStore) ChangeUser(ctx context.Context, next passkey.User) error {
	s.bounded(ctx)
	return s.Store.ChangeUser(ctx, next)
}

func (s *faultyStore) err() error {
	if s.fail.Load() {
		return passkey.StoreUnavailable
	}
	return nil
}

func (s *faultyStore) Account(ctx context.Context, user string) (passkey.Account, error) {
	s.reads.Add(1)
	s.bounded(ctx)
	if s.look != nil {
		s.look(ctx)
	}
	if err := s.err(); err != nil {
		return passkey.Account{}, err
	}
	return s.Store.Account(ctx, user)
}

func (s *faultyStore) Begin(ctx context.Context, c passkey.Challenge) (passkey.Account, error) {
	s.bounded(ctx)
	if err := s.err(); err != nil {
		return passkey.Account{}, err
	}
	return s.Store.Begin(ctx, c)
}

func (s *faultyStore) Consume(ctx context.Context, claim passkey.Claim, now time.Time) (passkey.Challenge, passkey.Account, error) {
	s.consumes.Add(1)
	s.bounded(ctx)
	if err := s.err(); err != nil {
		return passkey.Challenge{}, passkey.Account{}, err
	}
	return s.Store.Consume(ctx, claim, now)
}

func (s *faultyStore) Use(ctx context.Context, user string, use passkey.Use) error {
	s.bounded(ctx)
	if err := s.err(); err != nil {
		return err
	}
	return s.Store.Use(ctx, user, use)
}

// wantBody returns the body whatever the status.
func wantBody(t testing.TB, response *http.Response) []byte {
	t.Helper()
	return want(t, response, response.StatusCode)
}
