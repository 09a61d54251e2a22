package e2etest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// faulty is a gateway whose way to DynamoDB fails on demand. Faults are about one user each, so that many can be tried on
// one gateway at the same time.
type faulty struct {
	*gateway
	*tables
	proxy *faulttest.Proxy
}

func newFaulty(t *testing.T, app string) faulty {
	t.Helper()
	f := faulty{gateway: prepare(t), tables: newTables(t)}
	f.proxy = faulttest.New(t, f.endpoint)
	f.uses(f.tables, f.proxy.URL, newKey(f.gateway))
	f.configure(headerConsole(app, "open /open"))
	f.run()
	return f
}

// afflict makes a fault strike requests about one user only. "" afflicts every operation. What count strikes is 0 for all.
func (f faulty) afflict(user string, kind faulttest.Kind, count int, operations ...string) (lift func()) {
	needle := []byte(fmt.Sprintf("#%d:%s\"", len(user), user)) // ends the partition keys of a user's records
	var lifts []func()
	for _, operation := range operations {
		lifts = append(lifts, f.proxy.Inject(faulttest.Fault{
			Operation: operation, Match: func(request []byte) bool { return bytes.Contains(request, needle) }, Kind: kind, Count: count,
		}))
	}
	return func() {
		for _, lift := range lifts {
			lift()
		}
	}
}

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

// few is how many clients keep DynamoDB Local busy for no longer than a request waits, also on a slow machine. A starved one
// gets a true 503 where a test wants none, so those that race the budget have the machine to themselves as far as this
// package goes, and are patient before and after what they test.
const few = 4

// patiently repeats what may be repeated while its error is that DynamoDB Local was too slow.
func patiently(do func() error) (err error) {
	for range 5 {
		if err = do(); err == nil || !strings.Contains(err.Error(), "store_unavailable") {
			return err
		}
	}
	return err
}

// person returns a client that prepared something. Half of it may be done when DynamoDB Local was too slow: then another
// one tries.
func (f faulty) person(user string, prepare func(c *client) error) (c *client, err error) {
	tries := 0
	err = patiently(func() error {
		tries++
		c = newClient(f.gateway.t, f.gateway, fmt.Sprintf("%s-%d", user, tries))
		return prepare(c)
	})
	if err != nil {
		return nil, fmt.Errorf("before: %w", err)
	}
	return c, nil
}

// unavailable holds that an answer is a 503 that says why, without a grant.
func (r reply) unavailable() error {
	if err := r.refused(503, "store_unavailable"); err != nil {
		return err
	}
	if r.header.Get("Retry-After") == "" {
		return fmt.Errorf("no Retry-After in %v", r.header)
	}
	return nil
}

// Whatever is wrong with DynamoDB: protected routes and the gateway's own answer 503 in time and grant nothing, open
// routes know nothing of it, and once it is over all is as before.
//
// It is not parallel to others, see [few].
func TestDynamoDBFails(t *testing.T) {
	f := newFaulty(t, "revocation_lag 0s")
	type person struct {
		*client
		kind             faulttest.Kind
		lift             func()
		stepUp, newcomer map[string]any // begun before the fault
		guest            *client
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
	all(few, func(p *person) (err error) {
		p.client, err = f.person("user-"+p.kind.String(), func(c *client) (err error) {
			if err = session(c); err == nil {
				p.stepUp, err = c.begin(map[string]any{"return_to": "/keys"})
			}
			return err
		})
		if err != nil {
			return err
		}
		p.guest, err = f.person("guest-"+p.kind.String(), func(c *client) (err error) {
			p.newcomer, err = c.beginRegistration(c.key, "Key", nil)
			return err
		})
		return err
	})
	if t.Failed() {
		return
	}
	f.upstream.take()
	for _, p := range people {
		user, guest := f.afflict(p.user, p.kind, 0, ""), f.afflict(p.guest.user, p.kind, 0, "")
		p.lift = func() { user(); guest() }
	}

	// A protected request, alone: its time is promised.
	var mu sync.Mutex
	var slowest time.Duration
	all(len(people), func(p *person) error {
		began := time.Now()
		answer, err := p.send("GET", "/keys", nil)
		took := time.Since(began)
		mu.Lock()
		slowest = max(slowest, took)
		mu.Unlock()
		if err == nil && took > answerTime+noise {
			err = fmt.Errorf("answered after %v", took)
		}
		return errors.Join(err, answer.unavailable(), f.recorded("request_refused", "store_unavailable", p.user))
	})
	t.Logf("the slowest protected request was refused after %v", slowest.Round(time.Millisecond))

	// All the rest.
	all(len(people), func(p *person) error {
		var failures [7]error
		unavailable := func(place int, c *client, method, path string, body any) func() {
			return func() {
				answer, err := c.send(method, path, body)
				if failures[place] = errors.Join(err, answer.unavailable()); failures[place] != nil {
					failures[place] = fmt.Errorf("%s %s: %w", method, path, failures[place])
				}
			}
		}
		together(
			unavailable(0, p.client, "POST", "/.stepgate/challenge/verify", p.stepUp),
			unavailable(1, p.guest, "POST", account, p.newcomer),
			unavailable(2, p.client, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"}),
			unavailable(3, p.client, "POST", "/.stepgate/logout", map[string]any{}),
			unavailable(4, p.client, "GET", account, nil),
			unavailable(5, p.client, "GET", "/.stepgate/status", nil),
			func() { // open routes ask nobody
				began := time.Now()
				_, failures[6] = p.step("GET", "/open", nil, 200)
				if took := time.Since(began); failures[6] == nil && took > answerTime/3*2 {
					failures[6] = fmt.Errorf("the open route answered after %v", took)
				}
			},
		)
		return errors.Join(append(failures[:], f.recorded("ceremony_refused", "store_unavailable", p.user),
			f.recorded("ceremony_refused", "store_unavailable", p.guest.user))...)
	})
	for _, r := range f.upstream.take() {
		if r.Target != "/open" {
			t.Errorf("reached the upstream: %s %s", r.Method, r.Target)
		}
	}

	for _, p := range people {
		p.lift()
	}
	all(few, func(p *person) error {
		return patiently(func() error {
			_, err := p.step("GET", "/keys", nil, 200) // nobody was logged out
			return err
		})
	})
	all(few, func(p *person) error { return patiently(func() error { return recovered(p.client) }) })
	all(few, func(p *person) error { // nobody has used the first use
		answer, err := p.guest.send("POST", account, p.newcomer)
		if err == nil && answer.status != 201 { // then the challenge was consumed, and its answer lost
			if err = answer.refused(409, "challenge_used"); err == nil {
				err = p.guest.register("Key")
			}
		}
		if err != nil {
			return err
		}
		return patiently(func() error { return recovered(p.guest) })
	})
	f.earned(t)
}

// recovered holds that all is well for a client that has a passkey.
func recovered(c *client) error {
	answer, err := c.stepUp("/keys")
	if err != nil {
		return err
	}
	return passes(c, answer)
}

// passes holds that an answer is a grant, and that it is good.
func passes(c *client, answer reply) error {
	if err := answer.expect(200); err != nil {
		return err
	}
	if !answer.grants() {
		return errors.New("no grant was set")
	}
	_, err := c.step("GET", "/keys", nil, 200)
	return err
}

// recorded holds that there is an audit line of this kind and reason about a user.
func (g *gateway) recorded(kind, reason, user string) error {
	line := regexp.MustCompile(fmt.Sprintf(`"logger":%q,"msg":%q,"reason":%q,"user":%q`, auditLogger, kind, reason, user))
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !line.MatchString(g.log.text()) {
		if time.Now().After(deadline) {
			return fmt.Errorf("no audit line %s %q about %s", kind, reason, user)
		}
		<-tick.C
	}
	return nil
}

// earned holds that nobody finished more ceremonies than DynamoDB says that challenges of theirs were consumed, nor more
// than uses of their passkeys were written.
func (f faulty) earned(t *testing.T) {
	t.Helper()
	finished, consumed, used := map[string]int{}, map[string]int{}, map[string]int{}
	for {
		e, ok := f.log.next("ceremony_finished", "")
		if !ok {
			break
		}
		finished[e.User]++
	}
	for _, call := range f.proxy.Calls() {
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
