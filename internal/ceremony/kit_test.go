package ceremony_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/clocktest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

const (
	rpID   = "example.com"
	origin = "https://console.example.com"
	other  = "https://aws.example.com" // of the same relying party
)

// place is where the lies of package authtest are told.
var place = authtest.Place{RPID: rpID, Origin: origin, Other: other}

var (
	stepUp      = ceremony.Purpose{Action: passkey.StepUp, Level: passkey.Verified}
	present     = ceremony.Purpose{Action: passkey.StepUp, Level: passkey.Present}
	deviceBound = ceremony.Purpose{Action: passkey.StepUp, Level: passkey.DeviceBound}
	add         = ceremony.Purpose{Action: passkey.Add}
)

func removal(p passkey.Passkey) ceremony.Purpose {
	return ceremony.Purpose{Action: passkey.Remove, Target: p.ShortID()}
}

// world is a service on a real store.
type world struct {
	*ceremony.Service
	t     testing.TB
	store ceremony.Store
	clock *clocktest.Clock
}

// newWorld returns a service on an empty store. The changes are made to its configuration.
func newWorld(t testing.TB, changes ...func(*ceremony.Config)) *world {
	t.Helper()
	c := clocktest.New(time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC))
	db, err := boltstore.Open(filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	config := ceremony.Config{RPID: rpID, RPName: "Example operations", Origins: []string{origin, other}, Now: c.Now, Store: db.For(rpID)}
	for _, change := range changes {
		change(&config)
	}
	if config.RPID != rpID {
		config.Store = db.For(config.RPID)
	}
	s, err := ceremony.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &world{s, t, config.Store, c}
}

// person is a user in one browser.
func person(user string) ceremony.Party {
	return ceremony.Party{
		User: user, Origin: origin, Browser: passkey.DigestOf("browser of " + user), Session: passkey.DigestOf("session of " + user),
	}
}

var (
	ada = person("ada@example.com")
	bob = person("bob@example.com")
)

func (w *world) start(p ceremony.Party, purpose ceremony.Purpose) []byte {
	w.t.Helper()
	return must(w.Start(w.t.Context(), p, purpose))(w.t)
}

func (w *world) finish(p ceremony.Party, purpose ceremony.Purpose, reply []byte) (ceremony.Proof, error) {
	return w.Finish(w.t.Context(), p, purpose, reply)
}

// authenticate runs a whole authentication.
func (w *world) authenticate(p ceremony.Party, purpose ceremony.Purpose, a *authtest.Authenticator, lies ...authtest.Lie) (ceremony.Proof, error) {
	w.t.Helper()
	return w.finish(p, purpose, must(a.Authenticate(w.start(p, purpose), p.Origin, lies...))(w.t))
}

// reply starts an authentication and returns the honest reply to it.
func (w *world) reply(p ceremony.Party, purpose ceremony.Purpose, a *authtest.Authenticator) []byte {
	w.t.Helper()
	return must(a.Authenticate(w.start(p, purpose), p.Origin))(w.t)
}

func (w *world) startRegistration(p ceremony.Party, name string, authorization []byte) []byte {
	w.t.Helper()
	return must(w.StartRegistration(w.t.Context(), p, name, authorization))(w.t).Options
}

func (w *world) finishRegistration(p ceremony.Party, name string, reply []byte) (ceremony.Registered, error) {
	return w.FinishRegistration(w.t.Context(), p, ceremony.Naming{Name: name}, reply)
}

// enrol registers the first passkey of a person.
func (w *world) enrol(p ceremony.Party, a *authtest.Authenticator) passkey.Passkey {
	w.t.Helper()
	reply := must(a.Register(w.startRegistration(p, "", nil), p.Origin))(w.t)
	return must(w.finishRegistration(p, "", reply))(w.t).Passkey
}

// enrolAnother registers another passkey, authorised with one on by.
func (w *world) enrolAnother(p ceremony.Party, by, a *authtest.Authenticator) passkey.Passkey {
	w.t.Helper()
	reply := must(a.Register(w.startRegistration(p, "", w.reply(p, add, by)), p.Origin))(w.t)
	return must(w.finishRegistration(p, "", reply))(w.t).Passkey
}

func (w *world) account(user string) passkey.Account {
	w.t.Helper()
	return must(w.Account(w.t.Context(), user))(w.t)
}

// must unpacks a value whose error would only mean that the test itself is wrong.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// leak is what go-webauthn's details have and our refusals must not: the values compared, encoded bytes, JSON.
var leak = regexp.MustCompile(`Expected|Received|[A-Za-z0-9_-]{32}|[{}\n]`)

// refused fails the test unless err is this refusal and no other, and tells nothing it should not.
func refused(t testing.TB, err error, want passkey.Refusal) {
	t.Helper()
	var got passkey.Refusal
	if !errors.As(err, &got) || got != want {
		t.Fatalf("refused with %v, want %s", err, want)
	}
	if leak.MatchString(err.Error()) {
		t.Errorf("the refusal %q tells more than it should", err)
	}
}

// same fails the test unless the two are equal, times by instant.
func same(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func challengeOf(t testing.TB, options []byte) []byte {
	t.Helper()
	var o struct {
		PublicKey struct{ Challenge string }
	}
	if err := json.Unmarshal(options, &o); err != nil {
		t.Fatal(err)
	}
	return must(base64.RawURLEncoding.DecodeString(o.PublicKey.Challenge))(t)
}

func key() *authtest.Authenticator { return authtest.New(authtest.Config{}) }

func synced() *authtest.Authenticator {
	return authtest.New(authtest.Config{Synced: true, Transports: []string{"internal", "hybrid"}})
}

func seeded(config authtest.Config, seed string) *authtest.Authenticator {
	config.Seed = seed
	return authtest.New(config)
}

// faulty is a store that does what a test tells it before, or instead of, what the real one does.
type faulty struct {
	ceremony.Store
	begin    func() error
	issue    func() error
	consume  func() error
	account  func() error
	use      func(passkey.Use) error
	register func() error
	rename   func() error
	remove   func() error
	revoke   func() error
	applied  passkey.Refusal          // what ChangeUser answers after it did what it was asked to
	record   func(*passkey.Challenge) // changes what Consume returns
}

func told(fault func() error) error {
	if fault == nil {
		return nil
	}
	return fault()
}

func (f *faulty) Begin(ctx context.Context, c passkey.Challenge) (passkey.Account, error) {
	if err := told(f.begin); err != nil {
		return passkey.Account{}, err
	}
	return f.Store.Begin(ctx, c)
}

func (f *faulty) Issue(ctx context.Context, c passkey.Challenge) error {
	if err := told(f.issue); err != nil {
		return err
	}
	return f.Store.Issue(ctx, c)
}

func (f *faulty) Consume(ctx context.Context, c passkey.Claim, now time.Time) (passkey.Challenge, passkey.Account, error) {
	if err := told(f.consume); err != nil {
		return passkey.Challenge{}, passkey.Account{}, err
	}
	record, account, err := f.Store.Consume(ctx, c, now)
	if f.record != nil {
		f.record(&record)
	}
	return record, account, err
}

func (f *faulty) Account(ctx context.Context, user string) (passkey.Account, error) {
	if err := told(f.account); err != nil {
		return passkey.Account{}, err
	}
	return f.Store.Account(ctx, user)
}

func (f *faulty) Use(ctx context.Context, user string, use passkey.Use) error {
	if f.use != nil {
		if err := f.use(use); err != nil {
			return err
		}
	}
	return f.Store.Use(ctx, user, use)
}

func (f *faulty) Register(ctx context.Context, next passkey.User, p passkey.Passkey) error {
	if err := told(f.register); err != nil {
		return err
	}
	return f.Store.Register(ctx, next, p)
}

func (f *faulty) Rename(ctx context.Context, next passkey.User, id []byte, name string) error {
	if err := told(f.rename); err != nil {
		return err
	}
	return f.Store.Rename(ctx, next, id, name)
}

func (f *faulty) Remove(ctx context.Context, next passkey.User, id []byte) error {
	if err := told(f.remove); err != nil {
		return err
	}
	return f.Store.Remove(ctx, next, id)
}

func (f *faulty) ChangeUser(ctx context.Context, next passkey.User) error {
	if err := told(f.revoke); err != nil {
		return err
	}
	err := f.Store.ChangeUser(ctx, next)
	if err == nil && f.applied != "" {
		return f.applied // and its answer is lost
	}
	return err
}

// onFaulty puts a faulty store before the real one.
func onFaulty(f *faulty) func(*ceremony.Config) {
	return func(c *ceremony.Config) {
		f.Store = c.Store
		c.Store = f
	}
}

// remove finishes the removal of a passkey that is not the user's only one.
func (w *world) remove(p ceremony.Party, shortID string, authorization []byte) (ceremony.Removed, error) {
	return w.Remove(w.t.Context(), p, shortID, authorization, false)
}

// withoutCodes is for sources of randomness that repeat themselves: no two codes may be the same.
func withoutCodes(c *ceremony.Config) { c.NoRecovery = true }
