package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/ceremony/metadata"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/metadatatest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// counts returns what a registry would show: each series with its labels, and a counter's value or how often a histogram
// was told something.
func (m *meters) counts(t testing.TB) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := m.register(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.Metric {
			var labels []string
			for _, pair := range metric.Label {
				labels = append(labels, pair.GetName()+"="+pair.GetValue())
			}
			name := family.GetName() + "{" + strings.Join(labels, ",") + "}"
			if metric.Histogram != nil {
				counts[name] = float64(metric.Histogram.GetSampleCount())
			} else {
				counts[name] = metric.Counter.GetValue()
			}
		}
	}
	return counts
}

// since returns what was counted since before.
func (m *meters) since(t testing.TB, before map[string]float64) map[string]float64 {
	t.Helper()
	grown := map[string]float64{}
	for name, value := range m.counts(t) {
		if value != before[name] {
			grown[name] = value - before[name]
		}
	}
	return grown
}

// fakeParts are ceremonies that all end with one error, or with none.
type fakeParts struct {
	gate.Ceremonies
	err        error
	authorized *ceremony.Proof
	action     passkey.Action
}

func (f fakeParts) Start(context.Context, ceremony.Party, ceremony.Purpose) (ceremony.Options, error) {
	return nil, f.err
}

func (f fakeParts) Finish(context.Context, ceremony.Party, ceremony.Purpose, []byte) (ceremony.Proof, error) {
	return ceremony.Proof{}, f.err
}

func (f fakeParts) StartRegistration(context.Context, ceremony.Party, string, []byte) (ceremony.Begun, error) {
	return ceremony.Begun{Authorized: f.authorized}, f.err
}

func (f fakeParts) FinishRegistration(context.Context, ceremony.Party, ceremony.Naming, []byte) (ceremony.Registered, error) {
	return ceremony.Registered{Action: f.action}, f.err
}

func (f fakeParts) Remove(context.Context, ceremony.Party, string, []byte, bool) (ceremony.Removed, error) {
	return ceremony.Removed{Authorized: f.authorized}, f.err
}

// Whatever happens, a label has one of the values that it may have: so many series there are at most. Whoever adds a metric
// or a reason sees here what it costs.
func TestLabelsAreClosed(t *testing.T) {
	m := newMeters()
	strange := passkey.Refusal("a store of another package says alice@example.com")
	for _, reason := range append(gate.Reasons(), "", strange) {
		for _, result := range []gate.Result{gate.Open, gate.Allowed, gate.StepUp, gate.Refused, gate.Failed, gate.WouldStep, gate.WouldRefuse} {
			m.Judged(result, reason)
		}
		for _, result := range []gate.Result{gate.Served, gate.Refused, gate.Failed} {
			m.Own(result, reason)
		}
		var err error
		if reason != "" {
			err = fmt.Errorf("wrapped: %w", reason)
		}
		drive(t.Context(), m, err)
	}
	drive(t.Context(), m, errors.New("no refusal at all"))
	for level := range passkey.Attested + 2 {
		m.Minted(level)
	}
	for _, source := range []gate.Source{gate.Cached, gate.Read, gate.Shared, gate.Unreadable, "another"} {
		m.viewed(source)
	}
	for _, operation := range append(slices.Clone(dynamoOperations), "DropTable") {
		m.observeDynamoDB(dynamostore.Call{Operation: operation, ReadUnits: -1, WriteUnits: 2})
	}
	for _, result := range metadata.Results() {
		m.loaded(result)
	}
	m.metadata.add(loadedHolder(t))

	registry := prometheus.NewPedanticRegistry()
	if err := m.register(registry); err != nil {
		t.Fatal(err)
	}
	gathered, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	closed, most, series := map[string]family{}, 0, 0
	for _, family := range m.families {
		closed[family.name] = family
		values := 1
		for _, label := range family.labels {
			values *= len(label.values)
		}
		most += values
	}
	for _, got := range gathered {
		family, described := closed[got.GetName()]
		if !described {
			t.Fatalf("%s is not described", got.GetName())
		}
		delete(closed, got.GetName())
		series += len(got.Metric)
		for _, metric := range got.Metric {
			for _, pair := range metric.Label {
				i := slices.Index(names(family.labels), pair.GetName())
				if i < 0 || !slices.Contains(family.labels[i].values, pair.GetValue()) {
					t.Errorf("%s has the label %s=%q", got.GetName(), pair.GetName(), pair.GetValue())
				}
			}
		}
	}
	for name := range closed {
		t.Errorf("%s is never seen", name)
	}
	t.Logf("%d series, all at once; %d by the lists", series, most)
	if series > 3000 || len(newMeters().counts(t)) > 150 {
		t.Errorf("%d series at most, %d at the start: too many", series, len(newMeters().counts(t)))
	}
}

// loadedHolder returns a holder that has metadata.
func loadedHolder(t *testing.T) *metadata.Holder {
	t.Helper()
	authority := metadatatest.NewAuthority()
	path := filepath.Join(t.TempDir(), "mds.jwt")
	if err := os.WriteFile(path, authority.Blob(metadatatest.Blob{Number: 3, NextUpdate: time.Now().AddDate(0, 1, 0)}), 0o600); err != nil {
		t.Fatal(err)
	}
	holder := metadata.NewHolder(metadata.Config{
		Source: metadata.NewFile(path, ""), Signer: func() (metadata.Signer, error) { return metadata.Signer{Root: authority.Root}, nil },
	})
	if err := holder.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return holder
}

// drive makes all that is watched happen, ending with an error.
func drive(ctx context.Context, m *meters, err error) {
	proof := new(ceremony.Proof)
	for _, authorized := range []*ceremony.Proof{nil, proof} {
		action := passkey.FirstUse
		if authorized != nil {
			action = passkey.Another
		}
		watched := watchedCeremonies{fakeParts{err: err, authorized: authorized, action: action}, m}
		for _, action := range []passkey.Action{passkey.StepUp, passkey.Add, passkey.Remove, passkey.FirstUse, passkey.Another, "alice"} {
			_, _ = watched.Start(ctx, ceremony.Party{}, ceremony.Purpose{Action: action})
			_, _ = watched.Finish(ctx, ceremony.Party{}, ceremony.Purpose{Action: action}, nil)
		}
		_, _ = watched.StartRegistration(ctx, ceremony.Party{}, "", nil)
		_, _ = watched.StartRegistration(ctx, ceremony.Party{}, "", []byte("{}"))
		_, _ = watched.FinishRegistration(ctx, ceremony.Party{}, ceremony.Naming{}, nil)
		_, _ = watched.Remove(ctx, ceremony.Party{}, "", nil, false)
	}
	for _, operation := range storeOperations {
		_, ended := watchedStore{meters: m}.watch(ctx, operation)
		ended(err)
	}
}

// A ceremony is counted once, when it ends, for what it was.
func TestCeremoniesAreCounted(t *testing.T) {
	refusal := func(r passkey.Refusal) error { return fmt.Errorf("finishing: %w", r) }
	ctx := t.Context()
	stepUp := ceremony.Purpose{Action: passkey.StepUp}
	for _, test := range []struct {
		name  string
		parts fakeParts
		do    func(w watchedCeremonies)
		want  map[string]float64
	}{
		{"a step-up starts", fakeParts{}, func(w watchedCeremonies) { _, _ = w.Start(ctx, ceremony.Party{}, stepUp) }, map[string]float64{
			"stepgate_ceremonies_started_total{action=step_up,kind=authentication}": 1,
		}},
		{"a step-up can't start", fakeParts{err: refusal(passkey.NoPasskey)}, func(w watchedCeremonies) { _, _ = w.Start(ctx, ceremony.Party{}, stepUp) }, map[string]float64{
			"stepgate_ceremonies_total{action=step_up,kind=authentication,reason=no_passkey,result=refused}": 1,
		}},
		{"a step-up is finished", fakeParts{}, func(w watchedCeremonies) { _, _ = w.Finish(ctx, ceremony.Party{}, stepUp, nil) }, map[string]float64{
			"stepgate_ceremonies_total{action=step_up,kind=authentication,reason=,result=ok}": 1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=ok}":               1,
		}},
		{"a copy is refused", fakeParts{err: &ceremony.Failed{Err: refusal(passkey.CounterRegressed)}}, func(w watchedCeremonies) { _, _ = w.Finish(ctx, ceremony.Party{}, stepUp, nil) }, map[string]float64{
			"stepgate_ceremonies_total{action=step_up,kind=authentication,reason=counter_regressed,result=refused}": 1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=refused}":                                1,
		}},
		{"the store is down", fakeParts{err: refusal(passkey.StoreUnavailable)}, func(w watchedCeremonies) { _, _ = w.Finish(ctx, ceremony.Party{}, stepUp, nil) }, map[string]float64{
			"stepgate_ceremonies_total{action=step_up,kind=authentication,reason=store_unavailable,result=error}": 1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=error}":                                1,
		}},
		{"a first passkey", fakeParts{action: passkey.FirstUse}, func(w watchedCeremonies) {
			_, _ = w.StartRegistration(ctx, ceremony.Party{}, "", nil)
			_, _ = w.FinishRegistration(ctx, ceremony.Party{}, ceremony.Naming{}, nil)
		}, map[string]float64{
			"stepgate_ceremonies_started_total{action=first_use,kind=registration}":           1,
			"stepgate_ceremonies_total{action=first_use,kind=registration,reason=,result=ok}": 1,
			"stepgate_ceremony_duration_seconds{kind=registration,result=ok}":                 1,
			"stepgate_passkeys_registered_total{first=true}":                                  1,
		}},
		{"another passkey", fakeParts{authorized: new(ceremony.Proof), action: passkey.Another}, func(w watchedCeremonies) {
			_, _ = w.StartRegistration(ctx, ceremony.Party{}, "", []byte("{}"))
			_, _ = w.FinishRegistration(ctx, ceremony.Party{}, ceremony.Naming{}, nil)
		}, map[string]float64{
			"stepgate_ceremonies_total{action=add,kind=authentication,reason=,result=ok}":   1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=ok}":             1,
			"stepgate_ceremonies_started_total{action=another,kind=registration}":           1,
			"stepgate_ceremonies_total{action=another,kind=registration,reason=,result=ok}": 1,
			"stepgate_ceremony_duration_seconds{kind=registration,result=ok}":               1,
			"stepgate_passkeys_registered_total{first=false}":                               1,
		}},
		{"another passkey is one too many", fakeParts{authorized: new(ceremony.Proof), err: refusal(passkey.TooManyPasskeys)}, func(w watchedCeremonies) {
			_, _ = w.StartRegistration(ctx, ceremony.Party{}, "", []byte("{}"))
		}, map[string]float64{
			"stepgate_ceremonies_total{action=add,kind=authentication,reason=,result=ok}":                         1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=ok}":                                   1,
			"stepgate_ceremonies_total{action=another,kind=registration,reason=too_many_passkeys,result=refused}": 1,
		}},
		{"adding is not authorised", fakeParts{err: refusal(passkey.SignatureInvalid)}, func(w watchedCeremonies) {
			_, _ = w.StartRegistration(ctx, ceremony.Party{}, "", []byte("{}"))
		}, map[string]float64{
			"stepgate_ceremonies_total{action=add,kind=authentication,reason=signature_invalid,result=refused}": 1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=refused}":                            1,
		}},
		{"a registration is refused", fakeParts{err: refusal(passkey.AttestationInvalid)}, func(w watchedCeremonies) {
			_, _ = w.FinishRegistration(ctx, ceremony.Party{}, ceremony.Naming{}, nil)
		}, map[string]float64{
			"stepgate_ceremonies_total{action=,kind=registration,reason=attestation_invalid,result=refused}": 1,
			"stepgate_ceremony_duration_seconds{kind=registration,result=refused}":                           1,
		}},
		{"a passkey is removed", fakeParts{authorized: new(ceremony.Proof)}, func(w watchedCeremonies) { _, _ = w.Remove(ctx, ceremony.Party{}, "", nil, false) }, map[string]float64{
			"stepgate_ceremonies_total{action=remove,kind=authentication,reason=,result=ok}": 1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=ok}":              1,
			"stepgate_passkeys_removed_total{}":                                              1,
		}},
		{"it is the last one", fakeParts{authorized: new(ceremony.Proof), err: refusal(passkey.LastPasskey)}, func(w watchedCeremonies) { _, _ = w.Remove(ctx, ceremony.Party{}, "", nil, false) }, map[string]float64{
			"stepgate_ceremonies_total{action=remove,kind=authentication,reason=,result=ok}": 1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=ok}":              1,
		}},
		{"removing is not authorised", fakeParts{err: refusal(passkey.ChallengeUsed)}, func(w watchedCeremonies) { _, _ = w.Remove(ctx, ceremony.Party{}, "", nil, false) }, map[string]float64{
			"stepgate_ceremonies_total{action=remove,kind=authentication,reason=challenge_used,result=refused}": 1,
			"stepgate_ceremony_duration_seconds{kind=authentication,result=refused}":                            1,
		}},
	} {
		m := newMeters()
		before := m.counts(t)
		test.do(watchedCeremonies{test.parts, m})
		if diff := cmp.Diff(test.want, m.since(t, before)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// unavailable is a store all of whose methods fail. Those that watchedStore has not of its own would not be counted.
type unavailable struct{ ceremony.Store }

func (unavailable) Begin(context.Context, passkey.Challenge) (passkey.Account, error) {
	return passkey.Account{}, passkey.StoreUnavailable
}

func (unavailable) Issue(context.Context, passkey.Challenge) error { return passkey.StoreUnavailable }

func (unavailable) Consume(context.Context, passkey.Claim, time.Time) (passkey.Challenge, passkey.Account, error) {
	return passkey.Challenge{}, passkey.Account{}, passkey.StoreUnavailable
}

func (unavailable) Account(context.Context, string) (passkey.Account, error) {
	return passkey.Account{}, passkey.StoreUnavailable
}

func (unavailable) Use(context.Context, string, passkey.Use) error { return passkey.StoreUnavailable }

func (unavailable) Register(context.Context, passkey.User, passkey.Passkey) error {
	return passkey.StoreUnavailable
}

func (unavailable) Rename(context.Context, passkey.User, []byte, string) error {
	return passkey.StoreUnavailable
}

func (unavailable) Remove(context.Context, passkey.User, []byte) error {
	return passkey.StoreUnavailable
}

func (unavailable) Erase(context.Context, passkey.User, string) error {
	return passkey.StoreUnavailable
}

func (unavailable) ChangeUser(context.Context, passkey.User) error { return passkey.StoreUnavailable }

func (unavailable) RegisterInvited(context.Context, passkey.User, passkey.Passkey, string) error {
	return passkey.StoreUnavailable
}

func (unavailable) Invite(context.Context, string, passkey.Invitation) error {
	return passkey.StoreUnavailable
}

var wordBegins = regexp.MustCompile(`([a-z])([A-Z])`)

// Every method of a store is watched: whoever adds one must name it.
func TestEveryStoreCallIsCounted(t *testing.T) {
	m := newMeters()
	before := m.counts(t)
	watched := reflect.ValueOf(watchedStore{unavailable{}, m})
	contract := reflect.TypeFor[ceremony.Store]()
	want := map[string]float64{}
	for i := range contract.NumMethod() {
		method := contract.Method(i)
		arguments := []reflect.Value{reflect.ValueOf(t.Context())}
		for j := 1; j < method.Type.NumIn(); j++ {
			arguments = append(arguments, reflect.Zero(method.Type.In(j)))
		}
		results := watched.MethodByName(method.Name).Call(arguments)
		if err, _ := results[len(results)-1].Interface().(error); !errors.Is(err, passkey.StoreUnavailable) {
			t.Errorf("%s returns %v", method.Name, err)
		}
		operation := strings.ToLower(wordBegins.ReplaceAllString(method.Name, "${1}_$2"))
		want["stepgate_store_calls_total{operation="+operation+",result=store_unavailable}"] = 1
		want["stepgate_store_call_duration_seconds{operation="+operation+"}"] = 1
	}
	if diff := cmp.Diff(want, m.since(t, before)); diff != "" {
		t.Error(diff)
	}
	if contract.NumMethod() != len(storeOperations) {
		t.Errorf("a store has %d methods, and %d are named", contract.NumMethod(), len(storeOperations))
	}
}

func TestRateLimitsAreCounted(t *testing.T) {
	m := newMeters()
	before := m.counts(t)
	m.Own(gate.Refused, passkey.RateLimited)
	m.Judged(gate.Refused, passkey.RateLimited)
	m.Own(gate.Refused, passkey.CrossSite)
	if got := m.since(t, before)["stepgate_rate_limited_total{}"]; got != 2 {
		t.Errorf("counted %v, want 2", got)
	}
}

// Two contexts of one configuration may share a registry, and the next configuration has another one.
func TestRegisterTwice(t *testing.T) {
	m := newMeters()
	m.Own(gate.Served, "")
	for range 2 {
		registry := prometheus.NewPedanticRegistry()
		for range 2 {
			if err := m.register(registry); err != nil {
				t.Fatal(err)
			}
		}
		if families, err := registry.Gather(); err != nil || len(families) == 0 {
			t.Errorf("%d families: %v", len(families), err)
		}
	}
	if err := newMeters().register(func() *prometheus.Registry {
		registry := prometheus.NewPedanticRegistry()
		_ = m.register(registry)
		return registry
	}()); err == nil {
		t.Error("collectors of the same name that are others' were taken for ours")
	}
}
