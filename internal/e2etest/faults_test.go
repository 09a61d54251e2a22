package e2etest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// Every way that DynamoDB is known to fail, for as long as it lasts.
var lasting = []faulttest.Kind{
	faulttest.Hang, faulttest.HangAfter, faulttest.Throttle, faulttest.RequestLimit, faulttest.ServerError, faulttest.HTML503, faulttest.AccessDenied,
	faulttest.Expired, faulttest.ResourceNotFound, faulttest.Conflict, faulttest.DropBefore, faulttest.DropAfter, faulttest.ResetBefore,
	faulttest.ResetAfter, faulttest.Truncate, faulttest.Garble,
}

// afterwards are the ways in which a write is applied, and nobody told.
var afterwards = []faulttest.Kind{faulttest.HangAfter, faulttest.DropAfter, faulttest.ResetAfter, faulttest.Truncate, faulttest.Garble}

const (
	answerTime = 3 * time.Second // promised: a budget of 2.5 s, and half a second for the rest
	noise      = time.Second     // more on machines that run other tests beside these
)

// Whatever is wrong with DynamoDB: protected routes and the gateway's own answer 503 in time and grant nothing, open
// routes know nothing of it, and once it is over all is as before.
//
// It is not parallel to others, see [gatewaytest.Few].
func TestDynamoDBFails(t *testing.T) {
	f := gatewaytest.NewFaulty(t, "revocation_lag 0s")
	type person struct {
		*gatewaytest.Client
		kind             faulttest.Kind
		lift             func()
		stepUp, newcomer map[string]any // begun before the fault
		guest            *gatewaytest.Client
	}
	var people []*person
	for _, kind := range lasting {
		people = append(people, &person{kind: kind})
	}
	// all runs something for so many people at the same time, and for everybody in the end.
	all := func(atOnce int, do func(p *person) error) {
		t.Helper()
		var wait sync.WaitGroup
		turns := make(chan struct{}, atOnce)
		for _, p := range people {
			wait.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				if err := do(p); err != nil {
					t.Errorf("%v: %v", p.kind, err)
				}
			})
		}
		wait.Wait()
	}
	all(gatewaytest.Few, func(p *person) (err error) {
		p.Client, err = f.Person("user-"+p.kind.String(), func(c *gatewaytest.Client) (err error) {
			if err = gatewaytest.Session(c); err == nil {
				p.stepUp, err = c.Begin(map[string]any{"return_to": "/keys"})
			}
			return err
		})
		if err != nil {
			return err
		}
		p.guest, err = f.Person("guest-"+p.kind.String(), func(c *gatewaytest.Client) (err error) {
			p.newcomer, err = c.BeginRegistration(c.Key, "Key", nil)
			return err
		})
		return err
	})
	if t.Failed() {
		return
	}
	f.Upstream.Take()
	for _, p := range people {
		user, guest := f.Afflict(p.User, p.kind, 0, ""), f.Afflict(p.guest.User, p.kind, 0, "")
		p.lift = func() { user(); guest() }
	}

	// A protected request, alone: its time is promised.
	var mu sync.Mutex
	var slowest time.Duration
	all(len(people), func(p *person) error {
		began := time.Now()
		answer, err := p.Send("GET", "/keys", nil)
		took := time.Since(began)
		mu.Lock()
		slowest = max(slowest, took)
		mu.Unlock()
		if err == nil && took > answerTime+noise {
			err = fmt.Errorf("answered after %v", took)
		}
		return errors.Join(err, answer.Unavailable(), f.Recorded("request_refused", "store_unavailable", p.User))
	})
	t.Logf("the slowest protected request was refused after %v", slowest.Round(time.Millisecond))

	// All the rest.
	all(len(people), func(p *person) error {
		var failures [7]error
		unavailable := func(place int, c *gatewaytest.Client, method, path string, body any) func() {
			return func() {
				answer, err := c.Send(method, path, body)
				if failures[place] = errors.Join(err, answer.Unavailable()); failures[place] != nil {
					failures[place] = fmt.Errorf("%s %s: %w", method, path, failures[place])
				}
			}
		}
		gatewaytest.Together(
			unavailable(0, p.Client, "POST", "/.stepgate/challenge/verify", p.stepUp),
			unavailable(1, p.guest, "POST", gatewaytest.Account, p.newcomer),
			unavailable(2, p.Client, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"}),
			unavailable(3, p.Client, "POST", "/.stepgate/logout", map[string]any{}),
			unavailable(4, p.Client, "GET", gatewaytest.Account, nil),
			unavailable(5, p.Client, "GET", "/.stepgate/status", nil),
			func() { // open routes ask nobody
				began := time.Now()
				_, failures[6] = p.Step("GET", "/open", nil, 200)
				if took := time.Since(began); failures[6] == nil && took > answerTime/3*2 {
					failures[6] = fmt.Errorf("the open route answered after %v", took)
				}
			},
		)
		return errors.Join(append(failures[:], f.Recorded("ceremony_refused", "store_unavailable", p.User),
			f.Recorded("ceremony_refused", "store_unavailable", p.guest.User))...)
	})
	for _, r := range f.Upstream.Take() {
		if r.Target != "/open" {
			t.Errorf("reached the upstream: %s %s", r.Method, r.Target)
		}
	}

	for _, p := range people {
		p.lift()
	}
	all(gatewaytest.Few, func(p *person) error {
		return gatewaytest.Patiently(func() error {
			_, err := p.Step("GET", "/keys", nil, 200) // nobody was logged out
			return err
		})
	})
	all(gatewaytest.Few, func(p *person) error {
		return gatewaytest.Patiently(func() error { return gatewaytest.Recovered(p.Client) })
	})
	all(gatewaytest.Few, func(p *person) error { // nobody has used the first use
		answer, err := p.guest.Send("POST", gatewaytest.Account, p.newcomer)
		if err == nil && answer.Status != 201 { // then the challenge was consumed, and its answer lost
			if err = answer.Refused(409, "challenge_used"); err == nil {
				err = p.guest.Register("Key")
			}
		}
		if err != nil {
			return err
		}
		return gatewaytest.Patiently(func() error { return gatewaytest.Recovered(p.guest) })
	})
	earned(f, t)
}

// earned holds that nobody finished more ceremonies than DynamoDB says that challenges of theirs were consumed, nor more
// than uses of their passkeys were written.
func earned(f gatewaytest.Faulty, t *testing.T) {
	t.Helper()
	finished, consumed, used := map[string]int{}, map[string]int{}, map[string]int{}
	for {
		e, ok := f.Log.Next("ceremony_finished", "")
		if !ok {
			break
		}
		finished[e.User]++
	}
	for _, call := range f.Proxy.Calls() {
		var input struct {
			Key struct{ Pk struct{ S string } }
		}
		if call.Backend != http.StatusOK || json.Unmarshal(call.Request, &input) != nil {
			continue
		}
		user := input.Key.Pk.S[strings.LastIndex(input.Key.Pk.S, ":")+1:]
		switch call.Operation {
		case "DeleteItem":
			consumed[user]++
		case "UpdateItem":
			used[user]++
		}
	}
	if len(finished) == 0 {
		t.Error("no ceremony was finished")
	}
	for user, n := range finished {
		if n > consumed[user] || n > used[user] {
			t.Errorf("%s finished %d ceremonies; %d challenges were consumed, %d uses written", user, n, consumed[user], used[user])
		}
	}
}
