package gate_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

// imported returns a world in which alice has a passkey that came without backup flags.
func imported(t *testing.T, key *authtest.Authenticator, changes ...func(*gate.Config)) (*world, *browser) {
	t.Helper()
	before := newWorld(t)
	before.browser("alice").register(key, "Key")
	account, err := before.store.Account(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	p := &account.Passkeys[0]
	p.BackupUnknown, p.BackupEligible, p.BackedUp, p.LastCeremony = true, false, false, ""
	w := newWorld(t, changes...)
	if err := w.store.Store.(transfer.Store).Import(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	return w, w.browser("alice")
}

// learned returns the levels that the audit says imported passkeys reach.
func (w *world) learned() (levels []string) {
	for _, event := range w.audit.since(0) {
		if event.Kind == audit.BackupLearned && event.User == "alice" && event.Passkey != "" {
			levels = append(levels, event.Level)
		}
	}
	return levels
}

// A passkey that came without backup flags opens no device_bound route until it has been used elsewhere; that use is
// audited, once.
func TestImportedPasskeyLearns(t *testing.T) {
	for name, test := range map[string]struct {
		key   *authtest.Authenticator
		level string
	}{
		"bound":  {authtest.New(authtest.Config{}), "device_bound"},
		"synced": {authtest.New(authtest.Config{Synced: true}), "verified"},
	} {
		t.Run(name, func(t *testing.T) {
			w, alice := imported(t, test.key)
			hardware := func() *http.Response {
				return alice.post("/.stepgate/challenge/options", object{"return_to": "/hardware"})
			}
			list := func() string {
				return string(want(t, alice.get("/.stepgate/passkeys", header("Accept", "application/json")), http.StatusOK))
			}
			if got := list(); !strings.Contains(got, `"kind":"unknown"`) || !strings.Contains(got, `"level":"verified"`) {
				t.Errorf("listed as %s", got)
			}
			alice.refused(http.StatusConflict, passkey.LevelUnreachable, hardware)
			if got := w.learned(); len(got) != 0 {
				t.Errorf("learned from a refusal: %v", got)
			}
			want(t, alice.stepUp(test.key, "/admin"), http.StatusOK)
			if got := w.learned(); len(got) != 1 || got[0] != test.level {
				t.Errorf("audited %v, want %s", got, test.level)
			}
			if got := list(); strings.Contains(got, `"kind":"unknown"`) || !strings.Contains(got, `"level":"`+test.level+`"`) {
				t.Errorf("listed as %s", got)
			}
			if r := alice.passes("/admin"); r.Header.Get(gate.HeaderLevel) != "verified" {
				t.Errorf("the first use proved %s", r.Header.Get(gate.HeaderLevel))
			}
			alice.needsStepUp(passkey.GrantLevel, func() *http.Response { return alice.get("/hardware") })
			if test.level == "verified" {
				alice.refused(http.StatusConflict, passkey.LevelUnreachable, hardware)
			} else {
				want(t, alice.stepUp(test.key, "/hardware"), http.StatusOK)
				alice.passes("/hardware")
			}
			if got := w.learned(); len(got) != 1 {
				t.Errorf("audited %d times", len(got))
			}
		})
	}
}

// Authorising another passkey is a use like any other.
func TestImportedPasskeyLearnsWhileAdding(t *testing.T) {
	key := authtest.New(authtest.Config{})
	w, alice := imported(t, key)
	alice.add(key, authtest.New(authtest.Config{}), "Second")
	if got := w.learned(); len(got) != 1 || got[0] != "device_bound" {
		t.Errorf("audited %v", got)
	}
}

// unlearned is a recorder that does not take what was learned.
type unlearned struct{ audit.Recorder }

func (r unlearned) Record(e audit.Event) error {
	if e.Kind == audit.BackupLearned {
		return audit.ErrNotRecorded
	}
	return r.Recorder.Record(e)
}

// What could not be audited earns no grant.
func TestUnauditedLearningGrantsNothing(t *testing.T) {
	key := authtest.New(authtest.Config{})
	_, alice := imported(t, key, func(c *gate.Config) { c.Audit = unlearned{c.Audit} })
	response := alice.stepUp(key, "/admin")
	if body := want(t, response, http.StatusServiceUnavailable); !strings.Contains(string(body), string(passkey.AuditUnavailable)) {
		t.Errorf("%s", body)
	}
	for _, cookie := range response.Cookies() {
		if cookie.Name == "__Host-stepgate" && cookie.Value != "" {
			t.Error("a grant was set")
		}
	}
}
