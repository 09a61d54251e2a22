package gate_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// begun starts a ceremony and returns what finishes it.
func (b *browser) begun(a *authtest.Authenticator) object {
	b.w.t.Helper()
	options := want(b.w.t, b.post("/.stepgate/challenge/options", object{"return_to": "/admin"}), http.StatusOK)
	credential, err := a.Authenticate(options, b.origin)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return object{"return_to": "/admin", "credential": raw(credential)}
}

// codeOf returns the status and problem code of an answer.
func codeOf(t *testing.T, response *http.Response) string {
	t.Helper()
	var problem struct{ Code string }
	if err := json.Unmarshal(wantBody(t, response), &problem); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(response.StatusCode, " ", problem.Code)
}

// challengeOf returns the challenge in options.
func challengeOf(t testing.TB, options []byte) []byte {
	t.Helper()
	var is struct {
		PublicKey struct{ Challenge string }
	}
	if err := json.Unmarshal(options, &is); err != nil || is.PublicKey.Challenge == "" {
		t.Fatalf("%v: %s", err, options)
	}
	return []byte(is.PublicKey.Challenge)
}

// Somebody with a stolen sign-in finishes in alice's name what nobody started, from everywhere. From a point on the store is
// not asked any more, and she finishes what she has begun, and steps up, where she has confirmed before.
func TestFinishesAreLimited(t *testing.T) {
	w := newWorld(t)
	victim, key := w.browser("alice"), authtest.New(authtest.Config{})
	registering := want(t, victim.post("/.stepgate/passkeys/options", object{"name": "Key"}), http.StatusOK)
	credential, err := key.Register(registering, console)
	if err != nil {
		t.Fatal(err)
	}
	registration := object{"credential": raw(credential), "name": "Key"}
	want(t, victim.post("/.stepgate/passkeys", registration), http.StatusCreated)
	used := victim.begun(key)
	want(t, victim.post("/.stepgate/challenge/verify", used), http.StatusOK)
	underWay := victim.begun(key)

	before, counts := w.store.consumes.Load(), map[string]int{}
	for i := range 600 {
		thief := w.browser("alice") // a new browser each time
		thief.client = fmt.Sprintf("198.51.100.%d", i%20)
		counts[codeOf(t, thief.post("/.stepgate/challenge/verify", used))]++
	}
	if counts["409 challenge_used"] != 300 || counts["429 rate_limited"] != 300 {
		t.Errorf("answers %v", counts)
	}
	if asked := w.store.consumes.Load() - before; asked != 300 {
		t.Errorf("the store was asked %d times, want 300", asked)
	}
	thief := w.browser("alice")
	thief.client = "203.0.113.7"
	before = w.store.consumes.Load()
	for _, send := range []func() *http.Response{
		func() *http.Response { return thief.post("/.stepgate/challenge/verify", used) },
		func() *http.Response { return thief.post("/.stepgate/passkeys", registration) },
		func() *http.Response {
			return thief.post("/.stepgate/recovery-codes", object{"authorization": used["credential"]})
		},
		func() *http.Response {
			return thief.send("DELETE", "/.stepgate/passkeys/"+strings.Repeat("A", 22), object{"authorization": used["credential"]})
		},
	} {
		thief.refused(http.StatusTooManyRequests, passkey.RateLimited, send)
	}
	if asked := w.store.consumes.Load() - before; asked != 0 {
		t.Errorf("the store was asked %d times by who was refused", asked)
	}
	if wait := thief.post("/.stepgate/challenge/verify", used).Header.Get("Retry-After"); wait != "1" {
		t.Errorf("Retry-After: %q", wait)
	}

	want(t, victim.post("/.stepgate/challenge/verify", underWay), http.StatusOK)
	want(t, victim.stepUp(key, "/admin"), http.StatusOK)
	victim.passes("/admin")
	bob, other := w.browser("bob"), authtest.New(authtest.Config{})
	bob.register(other, "Key")
	want(t, bob.stepUp(other, "/admin"), http.StatusOK)

	w.clock.Advance(time.Minute)
	thief.refused(http.StatusConflict, passkey.ChallengeUsed, func() *http.Response { return thief.post("/.stepgate/challenge/verify", used) })
}

// Each way to finish without using up a challenge has its price.
func TestFinishesThatLeaveTheChallenge(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		code   passkey.Refusal
		send   func(w *world, alice *browser, finish object) func() *http.Response
	}{
		{"another kind", http.StatusBadRequest, passkey.CeremonyMismatch, func(_ *world, alice *browser, _ object) func() *http.Response {
			options := want(alice.w.t, alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"}), http.StatusOK)
			// Options of a registration, with the challenge of the step-up.
			create := want(alice.w.t, alice.w.browser("bob").post("/.stepgate/passkeys/options", object{"name": "x"}), http.StatusOK)
			create = bytes.Replace(create, challengeOf(alice.w.t, create), challengeOf(alice.w.t, options), 1)
			credential, err := authtest.New(authtest.Config{}).Register(create, console)
			if err != nil {
				alice.w.t.Fatal(err)
			}
			return func() *http.Response { return alice.post("/.stepgate/passkeys", object{"credential": raw(credential)}) }
		}},
		{"expired", http.StatusGone, passkey.ChallengeExpired, func(w *world, alice *browser, finish object) func() *http.Response {
			w.clock.Advance(6 * time.Minute)
			return func() *http.Response { return alice.post("/.stepgate/challenge/verify", finish) }
		}},
		{"another browser", http.StatusForbidden, passkey.BrowserMismatch, func(w *world, _ *browser, finish object) func() *http.Response {
			return func() *http.Response { return w.browser("alice").post("/.stepgate/challenge/verify", finish) }
		}},
		{"a store that fails", http.StatusServiceUnavailable, passkey.StoreUnavailable, func(w *world, alice *browser, finish object) func() *http.Response {
			w.store.fail.Store(true)
			return func() *http.Response { return alice.post("/.stepgate/challenge/verify", finish) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			alice, key := w.browser("alice"), authtest.New(authtest.Config{})
			alice.register(key, "Key")
			want(t, alice.stepUp(key, "/admin"), http.StatusOK)
			send := test.send(w, alice, alice.begun(key))
			before := w.store.consumes.Load()
			for range 100 {
				if got, want := codeOf(t, send()), fmt.Sprint(test.status, " ", test.code); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
			}
			alice.refused(http.StatusTooManyRequests, passkey.RateLimited, send)
			if asked := w.store.consumes.Load() - before; asked != 100 {
				t.Errorf("the store was asked %d times, want 100", asked)
			}
		})
	}
}

// Who finishes what they started pays for the start alone, however it ends.
func TestHonestFinishesCostNothing(t *testing.T) {
	w := newWorld(t)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{})
	alice.register(key, "Key")
	for range 100 {
		want(t, alice.stepUp(key, "/admin"), http.StatusOK)
		w.clock.Advance(2 * time.Second) // for the starts
	}
	w.backend.Limiter = gate.NewLimiter()
	var last object
	for range 30 {
		last = alice.begun(key)
		want(t, alice.post("/.stepgate/challenge/verify", last), http.StatusOK)
	}
	alice.refused(http.StatusTooManyRequests, passkey.RateLimited, func() *http.Response {
		return alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"})
	})
	again := func() *http.Response { return alice.post("/.stepgate/challenge/verify", last) }
	for range 100 { // not one token of a finish is gone
		alice.refused(http.StatusConflict, passkey.ChallengeUsed, again)
	}
	alice.refused(http.StatusTooManyRequests, passkey.RateLimited, again)
}
