package gate_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/clock"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// jumps are how far clocks are set, in each direction.
func jumps() (list []time.Duration) {
	for _, d := range []time.Duration{time.Second, 10 * time.Second, 11 * time.Second, 5 * time.Minute, 24 * time.Hour, 87600 * time.Hour} {
		list = append(list, -d, d)
	}
	return list
}

// machine has a wall clock, which can be set, and time that passes.
type machine struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

func (m *machine) read() (time.Time, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall, m.elapsed
}

func (m *machine) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall, m.elapsed = m.wall.Add(d), m.elapsed+d
}

func (m *machine) set(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall = m.wall.Add(by)
}

// service is what the gates of a world run their ceremonies with.
func (w *world) service() *ceremony.Service { return w.backend.Ceremonies.(*ceremony.Service) }

func (w *world) invite(user string, lasts time.Duration) string {
	w.t.Helper()
	code, _, err := w.service().Invite(w.t.Context(), user, lasts)
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

// signed begins a step-up and returns the finished body: a challenge that is still to be used.
func (b *browser) signed(a *authtest.Authenticator, target string) object {
	b.w.t.Helper()
	options := want(b.w.t, b.post("/.stepgate/challenge/options", object{"return_to": target}), http.StatusOK)
	credential, err := a.Authenticate(options, b.origin)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return object{"return_to": target, "credential": raw(credential)}
}

// The clock of a gateway that is alone is set, in either direction, in the middle of everything. What was used stays used, what
// had ended stays ended, nothing lives longer than it would have, and nobody is locked out.
func TestClockIsSet(t *testing.T) {
	const maxAge = 5 * time.Minute // of /admin
	for _, jump := range jumps() {
		t.Run(jump.String(), func(t *testing.T) {
			m := &machine{wall: noon}
			steady := clock.By(m.read, policy.MaxSkew, nil)
			db, err := boltstore.Open(filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true, Now: steady.Now})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			w := newWorldOn(t, db.For(rpID), steady.Now, func(c *gate.Config) {
				later := protectPath("/later", verified(maxAge))
				later.From = noon.Add(time.Minute)
				c.Rules = append(c.Rules, later)
			})

			// Before.
			stranger := w.browser("stranger")
			stranger.passes("/later") // not enforced yet
			alice, key := w.browser("alice"), authtest.New(authtest.Config{})
			codes := alice.registerBy(key, object{"name": "Key"}).Codes
			alice.registerBy(authtest.New(authtest.Config{}), object{"recovery_code": codes[0]})
			erin, erins := w.browser("erin"), authtest.New(authtest.Config{})
			erin.register(erins, "Key")
			bob, carol, dave := w.browser("bob"), w.browser("carol"), w.browser("dave")
			used, expired, live := w.invite("bob", time.Hour), w.invite("carol", time.Minute), w.invite("dave", 10*time.Minute)
			bob.registerBy(authtest.New(authtest.Config{}), object{"invitation": used})
			tooLate := alice.signed(key, "/admin")
			m.pass(6 * time.Minute) // longer than a challenge and carol's invitation live
			consumed := alice.signed(key, "/admin")
			want(t, alice.post("/.stepgate/challenge/verify", consumed), http.StatusOK)
			alice.passes("/admin")
			want(t, erin.stepUp(erins, "/admin"), http.StatusOK)
			erin.passes("/admin")
			pending := alice.signed(key, "/admin")
			mallory := w.browser("mallory")
			for mallory.post("/.stepgate/passkeys/options", object{"name": "x"}).StatusCode != http.StatusTooManyRequests {
			}
			if err := w.service().Revoke(t.Context(), "erin"); err != nil { // on another gateway: this one's view is from before
				t.Fatal(err)
			}

			m.set(jump)

			// At once. What is set forward has passed.
			passed := max(jump, 0)
			judge := func(since time.Duration) {
				t.Helper()
				if since < maxAge {
					alice.passes("/admin")
					return
				}
				alice.needsStepUp(passkey.GrantStale, func() *http.Response { return alice.get("/admin") })
			}
			judge(passed)
			stranger.needsStepUp(passkey.GrantMissing, func() *http.Response { return stranger.get("/later") })
			alice.refused(http.StatusConflict, passkey.ChallengeUsed, func() *http.Response {
				return alice.post("/.stepgate/challenge/verify", consumed)
			})
			alice.refused(http.StatusGone, passkey.ChallengeExpired, func() *http.Response {
				return alice.post("/.stepgate/challenge/verify", tooLate)
			})
			if _, err := db.Sweep(steady.Now()); err != nil { // takes nothing that is alive, and what is gone stays gone
				t.Fatal(err)
			}
			alice.refused(http.StatusConflict, passkey.ChallengeUsed, func() *http.Response {
				return alice.post("/.stepgate/challenge/verify", tooLate)
			})
			for code, refusal := range map[string]passkey.Refusal{codes[0]: passkey.RecoveryCodeInvalid, codes[1]: ""} {
				phone := w.browser("alice")
				start := func() *http.Response {
					return phone.post("/.stepgate/passkeys/options", object{"recovery_code": code})
				}
				if refusal == "" {
					want(t, start(), http.StatusOK) // does not depend on the time at all
					continue
				}
				phone.refused(http.StatusForbidden, refusal, start)
			}
			bob.refused(http.StatusForbidden, passkey.InvitationInvalid, func() *http.Response {
				return bob.post("/.stepgate/passkeys/options", object{"invitation": used})
			})
			carol.refused(http.StatusForbidden, passkey.InvitationExpired, func() *http.Response {
				return carol.post("/.stepgate/passkeys/options", object{"invitation": expired})
			})
			invited := func() *http.Response { return dave.post("/.stepgate/passkeys/options", object{"invitation": live}) }
			if passed < 4*time.Minute {
				want(t, invited(), http.StatusOK)
			} else {
				dave.refused(http.StatusForbidden, passkey.InvitationExpired, invited)
			}

			// Two seconds later whoever was limited has one start again, and as many as a full bucket has where the clock went on.
			m.pass(2 * time.Second)
			starts := 0
			for mallory.post("/.stepgate/passkeys/options", object{"name": "x"}).StatusCode != http.StatusTooManyRequests {
				starts++
			}
			if most := min(30, 1+int(passed/(2*time.Second))); starts < 1 || starts > most {
				t.Errorf("%d starts within two seconds, want 1 to %d", starts, most)
			}

			// When the revocation lag is over, the revocation counts.
			m.pass(3 * time.Second)
			erin.needsStepUp(passkey.GrantRevoked, func() *http.Response { return erin.get("/admin") })

			// A challenge lives as long as it would have, and works once.
			if finish := func() *http.Response { return alice.post("/.stepgate/challenge/verify", pending) }; passed+5*time.Second < 5*time.Minute {
				other := w.browser("alice")
				other.cookies["__Host-stepgate-ceremony"] = alice.cookies["__Host-stepgate-ceremony"]
				want(t, other.post("/.stepgate/challenge/verify", pending), http.StatusOK)
				alice.refused(http.StatusConflict, passkey.ChallengeUsed, finish)
			} else {
				alice.refused(http.StatusConflict, passkey.ChallengeUsed, finish) // the sweeper took it
			}

			// So does a grant, to the nanosecond.
			if left := maxAge - passed - 5*time.Second; left > 0 {
				m.pass(left - 1)
				alice.passes("/admin")
				m.pass(1)
			}
			judge(maxAge)
			m.set(-jump)
			judge(maxAge)

			// And the gateway goes on working.
			want(t, alice.stepUp(key, "/admin"), http.StatusOK)
			alice.passes("/admin")
		})
	}
}

// Where the first factor says when somebody signed in, that is by its own clock: what is set back makes no sign-in young.
func TestSignInByAClockThatIsSet(t *testing.T) {
	for _, jump := range jumps() {
		m := &machine{wall: noon}
		steady := clock.By(m.read, policy.MaxSkew, nil)
		if steady.Now(); ceremony.CheckSignIn(noon, steady.Now(), 10*time.Minute) != nil {
			t.Fatal("refused at once")
		}
		m.pass(10*time.Minute + 1)
		m.set(jump)
		if err := ceremony.CheckSignIn(noon, steady.Now(), 10*time.Minute); err != passkey.SignInTooOld {
			t.Errorf("%v: %v", jump, err)
		}
	}
}

// docs/running.md says how far apart clocks may be: the numbers there are those of the code.
func TestClockInTheDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/running.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := bytes.Cut(text, []byte("\n## Clocks\n"))
	if !found {
		t.Fatal("no section about clocks")
	}
	section, _, _ = bytes.Cut(section, []byte("\n## "))
	for what, want := range map[string]time.Duration{
		`more than (\d+) seconds\s+from DynamoDB's closes`:          policy.MaxSkew / 2,
		`More than (\d+) seconds are logged`:                        policy.MaxSkew,
		`two gateways\s+may\s+be\s+(\d+) seconds\s+apart`:           policy.MaxSkew,
		`at\s+most\s+(\d+) seconds\s+longer\s+than\s+its\s+max_age`: policy.MaxSkew,
	} {
		m := regexp.MustCompile(what).FindSubmatch(section)
		if m == nil {
			t.Errorf("nothing there reads like %s", what)
			continue
		}
		if d, err := time.ParseDuration(string(m[1]) + "s"); err != nil || d != want {
			t.Errorf("%s: %q, want %v", what, m[0], want)
		}
	}
}
