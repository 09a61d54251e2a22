package gate_test

import (
	"crypto/rand"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/clocktest"
	"github.com/stepgate/stepgate/internal/dynamotest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// sharing is gateways on the same tables, each with a clock that is off from DynamoDB's by so much.
type sharing struct {
	t        *testing.T
	endpoint string
	truth    *clocktest.Clock // DynamoDB's
	names    [2]string
}

func newSharing(t *testing.T) *sharing {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "local")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "local")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	// Ahead of the machine's, so that the time to live of DynamoDB Local, which goes by that, takes nothing.
	s := &sharing{t: t, truth: clocktest.New(time.Now().Add(24 * time.Hour).Truncate(time.Second).UTC())}
	s.endpoint = dynamotest.Telling(t, dynamotest.Start(t), s.truth.Now)
	s.renew()
	return s
}

// renew has the gateways that come use new tables.
func (s *sharing) renew() {
	s.t.Helper()
	name := rand.Text()
	s.names = [2]string{"Passkeys-" + name, "Challenges-" + name}
	db := s.open(time.Now)
	if err := db.Create(s.t.Context(), dynamostore.CreateOptions{Poll: 10 * time.Millisecond}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sharing) open(now func() time.Time) *dynamostore.DB {
	s.t.Helper()
	db, err := dynamostore.Open(s.t.Context(), dynamostore.Options{
		Region: "eu-west-1", Endpoint: s.endpoint, PasskeysTable: s.names[0], ChallengesTable: s.names[1],
		Now: now, MaxSkew: policy.MaxSkew / 2, Budget: time.Minute, Attempt: 20 * time.Second, // nothing here is about how long a call takes
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = db.Close() })
	return db
}

// gateway returns one whose clock is off by what off says.
func (s *sharing) gateway(off *atomic.Int64) *world {
	s.t.Helper()
	now := func() time.Time { return s.truth.Now().Add(time.Duration(off.Load())) }
	return newWorldOn(s.t, s.open(now).For(rpID), now)
}

func offBy(d time.Duration) *atomic.Int64 {
	off := new(atomic.Int64)
	off.Store(int64(d))
	return off
}

// at is the same browser, with its cookies, at another gateway.
func (b *browser) at(w *world) *browser {
	other := *b
	other.w = w
	return &other
}

// Clocks of two gateways that are as far apart as is let be, less the second that DynamoDB does not tell: everything works on either, what is used on one is used on the
// other, and what is made on the one that is ahead lives longer on the other by that much at the most.
func TestClocksApart(t *testing.T) {
	const maxAge, ttl = 5 * time.Minute, 5 * time.Minute
	s := newSharing(t)
	for _, off := range [][2]time.Duration{{0, 0}, {4 * time.Second, -4 * time.Second}, {-4 * time.Second, 4 * time.Second}, {4 * time.Second, 4 * time.Second}, {0, -4 * time.Second}} {
		t.Run(off[0].String()+" and "+off[1].String(), func(t *testing.T) {
			s.t = t
			s.renew()
			here, there := s.gateway(offBy(off[0])), s.gateway(offBy(off[1]))
			ahead := off[0] - off[1] // of what is made here and used there
			alice, key := here.browser("alice"), authtest.New(authtest.Config{})
			codes := alice.registerBy(key, object{"name": "Key"}).Codes
			invitation := here.invite("bob", 10*time.Minute)

			// What was used here is used there.
			used := alice.signed(key, "/admin")
			want(t, alice.post("/.stepgate/challenge/verify", used), http.StatusOK)
			elsewhere := alice.at(there)
			elsewhere.refused(http.StatusConflict, passkey.ChallengeUsed, func() *http.Response {
				return elsewhere.post("/.stepgate/challenge/verify", used)
			})
			alice.registerBy(authtest.New(authtest.Config{}), object{"recovery_code": codes[0]})
			elsewhere.refused(http.StatusForbidden, passkey.RecoveryCodeInvalid, func() *http.Response {
				return elsewhere.post("/.stepgate/passkeys/options", object{"recovery_code": codes[0]})
			})
			bob := there.browser("bob")
			bob.registerBy(authtest.New(authtest.Config{}), object{"invitation": invitation}) // good on both
			bob.at(here).refused(http.StatusForbidden, passkey.InvitationInvalid, func() *http.Response {
				return bob.at(here).post("/.stepgate/passkeys/options", object{"invitation": invitation})
			})

			// A grant made here passes at once on both. It ends here when it would, and there by as much later or earlier.
			want(t, alice.stepUp(key, "/admin"), http.StatusOK)
			late := alice.signed(key, "/admin")
			elsewhere = alice.at(there)
			alice.passes("/admin")
			elsewhere.passes("/admin")
			stale := func(b *browser) {
				t.Helper()
				b.needsStepUp(passkey.GrantStale, func() *http.Response { return b.get("/admin") })
			}
			first, second := alice, elsewhere
			if ahead < 0 {
				first, second = elsewhere, alice
			}
			s.truth.Advance(maxAge + min(ahead, 0) - 1)
			first.passes("/admin")
			s.truth.Advance(1)
			stale(first)
			if ahead != 0 {
				s.truth.Advance(ahead.Abs() - 1)
				second.passes("/admin")
				s.truth.Advance(1)
			}
			stale(second)
			if ahead > policy.MaxSkew {
				t.Errorf("the test itself: %v apart", ahead)
			}

			// A challenge of then has expired on both, at the latest as much later.
			s.truth.Advance(ttl - maxAge)
			for _, b := range []*browser{first, second} {
				b.refused(http.StatusGone, passkey.ChallengeExpired, func() *http.Response {
					return b.post("/.stepgate/challenge/verify", late)
				})
			}
			want(t, alice.stepUp(key, "/admin"), http.StatusOK)
			want(t, alice.at(there).stepUp(key, "/admin"), http.StatusOK)
		})
	}
}

// A gateway whose clock is further off closes: nothing is made on it that could live too long elsewhere, and what was made
// elsewhere is not let through by it. The other one does not notice. When the clock is put right, it works again.
func TestClockTooFarOff(t *testing.T) {
	s := newSharing(t)
	right := s.gateway(offBy(0))
	alice, key := right.browser("alice"), authtest.New(authtest.Config{})
	codes := alice.registerBy(key, object{"name": "Key"}).Codes
	invitation := right.invite("bob", 24*time.Hour)
	for _, d := range []time.Duration{6 * time.Second, 7 * time.Second, 11 * time.Second, 5 * time.Minute, 24 * time.Hour, 87600 * time.Hour} {
		for _, d := range []time.Duration{d, -d} {
			t.Run(d.String(), func(t *testing.T) {
				s.t = t
				off := offBy(0)
				wrong := s.gateway(off)
				right.t, wrong.t = t, t
				want(t, alice.stepUp(key, "/admin"), http.StatusOK)
				there := alice.at(wrong)
				begun, begunThere := alice.signed(key, "/admin"), there.signed(key, "/admin")
				granted := there.cookies["__Host-stepgate"]

				off.Store(int64(d))
				closed := func(b *browser, send func() *http.Response) {
					t.Helper()
					b.refused(http.StatusServiceUnavailable, passkey.StoreUnavailable, send)
				}
				closed(there, func() *http.Response { return there.get("/admin") })
				closed(there, func() *http.Response {
					return there.post("/.stepgate/challenge/options", object{"return_to": "/admin"})
				})
				closed(there, func() *http.Response { return there.post("/.stepgate/challenge/verify", begun) })
				closed(there, func() *http.Response {
					return there.post("/.stepgate/passkeys/authorize/options", object{"action": "add"})
				})
				closed(there, func() *http.Response {
					return there.post("/.stepgate/passkeys/options", object{"recovery_code": codes[1]})
				})
				bob := wrong.browser("bob")
				closed(bob, func() *http.Response {
					return bob.post("/.stepgate/passkeys/options", object{"invitation": invitation})
				})
				closed(bob, func() *http.Response { return bob.post("/.stepgate/passkeys/options", object{"name": "Key"}) })
				want(t, there.get("/open"), http.StatusOK)
				if there.cookies["__Host-stepgate"] != granted {
					t.Error("the grant was changed")
				}

				// The challenge that was tried there was used up, unless it looked expired: then nobody got anything for it.
				if finish := func() *http.Response { return alice.post("/.stepgate/challenge/verify", begun) }; d < 5*time.Minute {
					alice.refused(http.StatusConflict, passkey.ChallengeUsed, finish)
				} else {
					want(t, finish(), http.StatusOK)
				}
				alice.passes("/admin")
				want(t, alice.stepUp(key, "/admin"), http.StatusOK)

				off.Store(0)
				there = alice.at(wrong)
				there.passes("/admin")
				want(t, there.post("/.stepgate/challenge/verify", begunThere), http.StatusOK)
				want(t, there.stepUp(key, "/admin"), http.StatusOK)
				s.truth.Advance(time.Minute) // so that the limits of starts are no matter
			})
		}
	}
}

// However late in its second DynamoDB answers, and however long that takes: a gateway that is further off than is let be
// closes, and one that is right does not.
func TestClockWithinTheSecond(t *testing.T) {
	s := newSharing(t)
	s.truth.Advance(999 * time.Millisecond)
	const took = 900 * time.Millisecond
	for off, open := range map[time.Duration]bool{
		0: true, 3 * time.Second: true, -3 * time.Second: true,
		policy.MaxSkew/2 + 1: false, -policy.MaxSkew/2 - 1: false,
	} {
		t.Run(off.String(), func(t *testing.T) {
			var reads atomic.Int64
			db := s.open(func() time.Time {
				at := s.truth.Now().Add(off)
				if reads.Add(1)%2 == 0 { // the answer
					at = at.Add(took)
				}
				return at
			})
			_, err := db.For(rpID).Account(t.Context(), "alice")
			if open && err != nil || !open && !errors.Is(err, passkey.StoreUnavailable) {
				t.Errorf("open %t: %v", open, err)
			}
		})
	}
}
