package e2etest_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// drained is what makes a restart invisible. The gateway goes on serving for a second after it was told to stop, while
// its health says that it is going (docs: shutdown_delay); the load balancer asks for that and sends new requests
// elsewhere. Without it a request may arrive in the instant in which the listener closes, and is reset: what is safe to
// repeat, the load balancer repeats (a GET), the rest it can't know to be unserved, and answers 502. The question about
// the health must name the site's host: to any other, Caddy says 200.
const (
	drained = `shutdown_delay 1s`
	health  = `handle /alive {
		@going vars {http.shutting_down} true
		respond @going 503
		respond 200
	}`
	balancing = `lb_policy round_robin
		lb_try_duration 15s
		lb_try_interval 20ms
		health_uri /alive
		health_headers {
			Host localhost
		}
		health_interval 100ms
		health_timeout 5s`
)

// draining is a console that says when it is going. The question about that comes to the gate like any other.
func draining() string {
	text := gatewaytest.HeaderConsole("revocation_lag 0s", "open /open /alive")
	text = strings.Replace(text, "grace_period 1s", "grace_period 5s\n\t"+drained, 1)
	return strings.Replace(text, "\treverse_proxy", "\t"+health+"\n\treverse_proxy", 1)
}

// load is clients that use a fleet until they are told to stop, and what they did.
type load struct {
	f      *gatewaytest.Fleet
	done   chan struct{}
	wait   sync.WaitGroup
	errs   chan error
	people atomic.Int64
	phase  atomic.Value // what is being done to the fleet
	counts sync.Map     // *atomic.Int64 by name
}

func (l *load) count(name string) *atomic.Int64 {
	n, _ := l.counts.LoadOrStore(name, new(atomic.Int64))
	return n.(*atomic.Int64)
}

// Two gateways are stopped and started in turn while people go on using the console through the load balancer. Nobody
// gets a wrong answer: not one request is refused that should pass, or passes that should not.
//
// It is not parallel to others, see [gatewaytest.Few].
func TestRollingRestart(t *testing.T) {
	const clients, rounds = 6, 3
	f := gatewaytest.NewFleet(t, 2)
	f.Start(draining())
	f.Balance(balancing)

	l := &load{f: f, done: make(chan struct{}), errs: make(chan error, clients)}
	l.phase.Store("both run")
	for range clients {
		l.wait.Go(func() {
			for {
				select {
				case <-l.done:
					return
				default:
				}
				if err := l.visit(t); err != nil {
					l.errs <- err
					return
				}
			}
		})
	}
	end := sync.OnceFunc(func() {
		close(l.done)
		l.wait.Wait()
	})
	defer end()
	// progress waits until enough more has been done by the clients, whatever time that takes.
	progress := func() {
		t.Helper()
		before := l.count("requests").Load()
		gatewaytest.Eventually(t, "the clients go on", func() bool {
			select {
			case err := <-l.errs:
				t.Fatal(err)
			default:
			}
			return l.count("requests").Load() >= before+60
		})
	}
	progress()
	for range rounds {
		for i, g := range f.Gateways {
			l.phase.Store("a gateway stops")
			g.Stop()
			l.phase.Store(fmt.Sprintf("gateway %d is down", i))
			progress()
			l.phase.Store(fmt.Sprintf("gateway %d starts", i))
			g.Run()
			l.count("restarts").Add(1)
			progress()
		}
	}
	end()
	close(l.errs)
	for err := range l.errs {
		t.Error(err)
	}
	var report []string
	l.counts.Range(func(name, n any) bool {
		report = append(report, fmt.Sprintf("%d %s", n.(*atomic.Int64).Load(), name))
		return true
	})
	slices.Sort(report)
	t.Logf("%s", strings.Join(report, ", "))
	// A load balancer that is starved for a second may not have heard in time. Even then it repeats what it may.
	if n := l.count("GET lost").Load(); n > 0 {
		t.Errorf("%d GET lost", n)
	}
	if lost, stopping := l.count("POST lost").Load(), l.count("lost while a gateway stops").Load(); lost > stopping {
		t.Errorf("%d POST lost, only %d of them while a gateway stopped", lost, stopping)
	}
}

// ask sends a request. What the load balancer could not pass on is counted and sent again.
func (l *load) ask(c *gatewaytest.Client, method, path string, body any, headers ...string) (gatewaytest.Reply, error) {
	for {
		answer, err := c.Send(method, path, body, headers...)
		l.count("requests").Add(1)
		if err == nil && answer.Status != http.StatusBadGateway {
			return answer, nil
		}
		l.count(method + " lost").Add(1)
		l.count(fmt.Sprintf("lost while %v", l.phase.Load())).Add(1)
		if method != http.MethodGet {
			return answer, errRepeat // it may have been carried out
		}
	}
}

// errRepeat tells that a request was lost in a restart, and what it belongs to must begin anew.
var errRepeat = errors.New("lost")

// visit is a new person's day: first use, step-ups, requests in between, and a log-out.
func (l *load) visit(t *testing.T) error {
	c := gatewaytest.NewClient(t, l.f.Balancer, fmt.Sprintf("person-%d", l.people.Add(1)))
	defer c.HTTP.CloseIdleConnections()
	wrong := func(what string, err error) error {
		return fmt.Errorf("%s, while %v: %s: %w", c.User, l.phase.Load(), what, err)
	}
	again := func(what string, do func() error) error {
		for {
			err := do()
			if err == nil {
				return nil
			}
			if !errors.Is(err, errRepeat) {
				return wrong(what, err)
			}
		}
	}
	expect := func(method, path string, body any, check func(gatewaytest.Reply) error) error {
		answer, err := l.ask(c, method, path, body)
		if err == nil {
			err = check(answer)
		}
		return err
	}
	status := func(n int) func(gatewaytest.Reply) error {
		return func(r gatewaytest.Reply) error { return r.Expect(n) }
	}
	refused := func(n int, code string) func(gatewaytest.Reply) error {
		return func(r gatewaytest.Reply) error { return r.Refused(n, code) }
	}

	if err := again("before first use", func() error { return expect("GET", "/keys", nil, refused(401, "grant_missing")) }); err != nil {
		return err
	}
	if err := again("registering", func() error {
		answer, err := l.ask(c, "POST", gatewaytest.Account+"/options", map[string]any{"name": "Key"})
		if err != nil {
			return err
		}
		if err := answer.Refused(403, "authorization_needed"); err == nil && l.count("POST lost").Load() > 0 {
			return nil // the registration that was lost had been carried out
		}
		if err := answer.Expect(200); err != nil {
			return err
		}
		credential, err := c.Key.Register(answer.Body, c.Origin)
		if err != nil {
			return err
		}
		c.Confide(answer.Body, credential)
		l.count("ceremonies").Add(1)
		return expect("POST", gatewaytest.Account, map[string]any{"credential": gatewaytest.RawJSON(credential), "name": "Key"}, status(201))
	}); err != nil {
		return err
	}
	stepUp := func() (grant string, err error) {
		err = again("stepping up", func() error {
			answer, err := l.ask(c, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
			if err == nil {
				err = answer.Expect(200)
			}
			if err != nil {
				return err
			}
			credential, err := c.Key.Authenticate(answer.Body, c.Origin)
			if err != nil {
				return err
			}
			c.Confide(answer.Body, credential)
			body := map[string]any{"return_to": "/keys", "credential": gatewaytest.RawJSON(credential)}
			l.count("ceremonies").Add(1)
			return expect("POST", "/.stepgate/challenge/verify", body, func(r gatewaytest.Reply) error {
				grant = r.Cookie("stepgate")
				if !r.Grants() {
					return fmt.Errorf("no grant: %w", r.Expect(200))
				}
				return r.Expect(200)
			})
		})
		return grant, err
	}
	for range 3 {
		grant, err := stepUp()
		if err != nil {
			return err
		}
		for range 6 {
			if err := again("a protected request", func() error { return expect("GET", "/keys", nil, status(200)) }); err != nil {
				return err
			}
		}
		if err := again("an open request", func() error { return expect("GET", "/open", nil, status(200)) }); err != nil {
			return err
		}
		if err := again("another's request with this grant", func() error {
			other := *c
			other.User = "mallory"
			speaker := *c.HTTP
			speaker.Jar = nil
			other.HTTP = &speaker
			answer, err := l.ask(&other, "GET", "/keys", nil, "Cookie", grant)
			if err == nil {
				err = answer.Refused(401, "grant_other_user")
			}
			return err
		}); err != nil {
			return err
		}
		if err := again("logging out", func() error { return expect("POST", "/.stepgate/logout", map[string]any{}, status(204)) }); err != nil {
			return err
		}
		if err := again("with a grant that was revoked", func() error {
			bare := *c
			speaker := *c.HTTP
			speaker.Jar = nil
			bare.HTTP = &speaker
			answer, err := l.ask(&bare, "GET", "/keys", nil, "Cookie", grant)
			if err == nil {
				err = answer.Refused(401, "grant_revoked")
			}
			return err
		}); err != nil {
			return err
		}
	}
	l.count("people").Add(1)
	return nil
}
