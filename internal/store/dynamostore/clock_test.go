package dynamostore_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/dynamotest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// skew is what these tests let clocks be off.
const skew = 5 * time.Second

// A gateway whose clock is off by more than is let be does nothing that rests on the time. It works again as soon as the
// clock is right.
func TestClockOff(t *testing.T) {
	tables, aws := newTables(t), dynamotest.Telling(t, endpoint, func() time.Time { return now })
	register(t, tables.open(dynamostore.Options{}).For(rpID), "ada", newPasskey("laptop"))
	for _, off := range []time.Duration{
		0, time.Second, -time.Second, skew - time.Second, time.Second - skew, -skew - 1, skew + 1, 6 * time.Second, -6 * time.Second,
		-10 * time.Second, 10 * time.Second, -11 * time.Second, 11 * time.Second, -5 * time.Minute, 5 * time.Minute,
		-24 * time.Hour, 24 * time.Hour, -87600 * time.Hour, 87600 * time.Hour,
	} {
		t.Run(off.String(), func(t *testing.T) {
			shift := off
			s := tables.open(dynamostore.Options{MaxSkew: skew, Endpoint: aws, Now: func() time.Time { return now.Add(shift) }}).For(rpID)
			wrong := off.Abs() > skew
			expect := func(what string, err error) {
				t.Helper()
				word := "ahead of"
				if off < 0 {
					word = "behind"
				}
				switch {
				case !wrong:
					must(t, err)
				case !errors.Is(err, passkey.StoreUnavailable) || !strings.Contains(err.Error(), "clock is "+word):
					t.Errorf("%s: %v, want it refused because the clock is %s", what, err, word)
				}
			}
			fresh := func(what string) passkey.Challenge { return newChallenge("ada", off.String()+what) }

			_, err := s.Account(t.Context(), "ada")
			expect("Account", err)
			c := fresh("begun")
			account, err := s.Begin(t.Context(), c)
			expect("Begin", err)
			if wrong && account.User.Version != 0 {
				t.Error("Begin returned an account all the same")
			}
			_, account, err = s.Consume(t.Context(), claimOf(c), now)
			expect("Consume", err)
			if wrong && account.User.Version != 0 {
				t.Error("Consume returned an account all the same")
			}
			shift = 0
			_, _, err = s.Consume(t.Context(), claimOf(c), now)
			refused(t, "Consume again, by the right clock", err, passkey.ChallengeUsed) // a challenge that was tried is used up
			_, err = s.Account(t.Context(), "ada")
			must(t, err)
		})
	}
}

// What DynamoDB says of the time is in whole seconds, and some time before it arrives: neither is held against the clock.
func TestClockLeeway(t *testing.T) {
	for _, test := range []struct {
		name           string
		there          time.Duration // later than the request was sent
		took           time.Duration
		wrong, without bool
	}{
		{name: "at once"},
		{name: "a slow answer, said when it was asked for", took: 2500 * time.Millisecond},
		{name: "a slow answer, said at its end", there: 2500 * time.Millisecond, took: 2500 * time.Millisecond},
		{name: "a slow answer from far behind", there: skew + 4*time.Second, took: 2500 * time.Millisecond, wrong: true},
		{name: "a slow answer from far ahead", there: -skew - 2*time.Second, took: 2500 * time.Millisecond, wrong: true},
		{name: "ahead within what is let be", there: -skew},
		{name: "perhaps further ahead", there: -skew - 1, wrong: true}, // it says the second before
		{name: "ahead, and it took a while", there: -skew + time.Second, took: 900 * time.Millisecond},
		{name: "perhaps ahead by what it took", there: -skew, took: time.Millisecond, wrong: true},
		{name: "behind within what is let be", there: skew - 1},
		{name: "perhaps further behind", there: skew, wrong: true},
		{name: "behind, and it took a while", there: skew - 1, took: 900 * time.Millisecond},
		{name: "a slow answer from further behind", there: skew + 2*time.Second, took: 2500 * time.Millisecond},
		{name: "nothing said", there: time.Hour, without: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			tables := newTables(t)
			sent := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) // the clock of this gateway, which runs by calls
			reads := 0
			s := tables.open(dynamostore.Options{
				MaxSkew: skew,
				Now: func() time.Time {
					if reads++; reads%2 == 1 {
						return sent
					}
					return sent.Add(test.took)
				},
				Endpoint: dynamotest.Telling(t, endpoint, func() time.Time {
					if test.without {
						return time.Time{}
					}
					return sent.Add(test.there)
				}),
			}).For(rpID)
			_, err := s.Account(t.Context(), "ada")
			if test.wrong && !errors.Is(err, passkey.StoreUnavailable) || !test.wrong && err != nil {
				t.Errorf("wrong %t: %v", test.wrong, err)
			}
		})
	}
}

// An answer to what was asked before the clock was set, which comes last, does not undo what one asked later has shown.
func TestClockLateAnswer(t *testing.T) {
	tables := newTables(t)
	arrived, later := make(chan struct{}), make(chan struct{})
	var calls atomic.Int64
	s := tables.open(dynamostore.Options{
		MaxSkew: skew, Endpoint: dynamotest.Telling(t, endpoint, func() time.Time { return now }),
		Now: func() time.Time {
			switch calls.Add(1) {
			case 1: // the first is sent
				return now
			case 2: // and received
				close(arrived)
				<-later
				return now
			}
			return now.Add(time.Hour)
		},
	}).For(rpID)
	first := make(chan error, 1)
	go func() {
		_, err := s.Account(t.Context(), "ada")
		first <- err
	}()
	<-arrived
	_, err := s.Account(t.Context(), "ada")
	close(later)
	for what, err := range map[string]error{"second": err, "first": <-first} {
		if !errors.Is(err, passkey.StoreUnavailable) || !strings.Contains(fmt.Sprint(err), "clock is ahead of") {
			t.Errorf("the %s: %v", what, err)
		}
	}
}

// Whoever does not ask for it is not compared: an export may run on a machine that is off.
func TestClockNotCompared(t *testing.T) {
	tables := newTables(t)
	s := tables.open(dynamostore.Options{Endpoint: dynamotest.Telling(t, endpoint, time.Now), Now: func() time.Time { return time.Unix(0, 0) }}).For(rpID)
	for i := range 2 {
		_, err := s.Begin(t.Context(), newChallenge("ada", fmt.Sprint(i)))
		must(t, err)
	}
}
