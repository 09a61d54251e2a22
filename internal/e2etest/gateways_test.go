package e2etest_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
)

// Gateways on the same tables are one gateway to their clients: whatever begins on one goes on at the next, at once, and
// what may happen once happens once.
func TestGatewaysOnOneDynamoDB(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3)
	// The first two have a view of users that may be a minute old, so that nothing here works only because a view was
	// dropped in time. The third reads at each request.
	f.start(headerConsole("revocation_lag 1m", ""), headerConsole("revocation_lag 1m", ""), headerConsole("revocation_lag 0s", ""))
	a, b, strict := f.gateways[0], f.gateways[1], f.gateways[2]

	t.Run("begun on one, finished on another", func(t *testing.T) {
		here := newClient(t, a, "ada")
		there := here.at(b)
		for _, c := range []*client{here, there} { // both know that there is no passkey
			_, err := c.step("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/"}, 409)
			must(t, err)
		}

		body, err := here.beginRegistration(here.key, "Laptop", nil)
		must(t, err)
		_, err = there.step("POST", account, body, 201)
		must(t, err)
		if e := b.audited("passkey_registered", ""); e.User != "ada" || e.Action != "first_use" {
			t.Errorf("audited %+v", e)
		}

		body, err = here.begin(map[string]any{"return_to": "/keys"})
		must(t, err)
		answer, err := there.finish(body)
		must(t, err)
		if answer.status != 200 || !answer.grants() {
			t.Fatalf("finishing elsewhere: %d %s", answer.status, answer.body)
		}
		b.audited("ceremony_finished", "")
		for _, g := range f.gateways {
			if answer := here.at(g).get("/keys"); answer.status != 200 {
				t.Errorf("with the grant of another gateway: %d %s", answer.status, answer.body)
			}
		}

		// The answer to a wrong kind of demand would be demand_invalid.
		other := newClient(t, a, "ada")
		other.key = here.key
		answer = other.get("/keys?from=a")
		must(t, answer.refused(401, "grant_missing"))
		page, err := url.Parse(problemIn(t, answer.body).StepUpURL)
		must(t, err)
		sealed := page.Query().Get("demand")
		if answer := other.at(b).get(page.RequestURI()); answer.status != 200 {
			t.Errorf("the page of another gateway's demand: %d %s", answer.status, answer.body)
		}
		body, err = other.at(b).begin(map[string]any{"demand": sealed})
		must(t, err)
		answer, err = other.at(strict).finish(body)
		must(t, err)
		if answer.status != 200 || !answer.grants() {
			t.Errorf("finishing another gateway's demand: %d %s", answer.status, answer.body)
		}
		strict.audited("ceremony_finished", "")

		// Adding and removing with an authorization that was begun elsewhere.
		usb := authtest.New(authtest.Config{Counts: true})
		authorization, err := here.authorize("add", "")
		must(t, err)
		body, err = there.beginRegistration(usb, "USB", authorization)
		must(t, err)
		b.audited("ceremony_finished", "")
		_, err = here.step("POST", account, body, 201)
		must(t, err)
		if e := a.audited("passkey_registered", ""); e.Action != "another" {
			t.Errorf("audited %+v", e)
		}
		ids, err := there.passkeys()
		must(t, err)
		here.key = usb
		authorization, err = here.authorize("remove", ids["Laptop"])
		must(t, err)
		_, err = there.step("DELETE", account+"/"+ids["Laptop"], map[string]any{"authorization": authorization}, 204)
		must(t, err)
		b.audited("passkey_removed", "")
		ids, err = here.passkeys()
		must(t, err)
		if _, kept := ids["USB"]; len(ids) != 1 || !kept {
			t.Errorf("left are %v", ids)
		}
	})

	t.Run("one challenge on both at once", func(t *testing.T) {
		c := newClient(t, a, "bob")
		at := []*client{c, c.at(b)}
		must(t, c.register("Key"))
		for round := range 20 {
			body, err := at[round%2].begin(map[string]any{"return_to": "/"})
			must(t, err)
			winner := once(t, "challenge_used", at, func(c *client) (reply, error) { return c.finish(body) })
			if answers := winner.answers; !answers[winner.index].grants() || answers[1-winner.index].grants() {
				t.Errorf("grants: %v, %v", answers[0].header["Set-Cookie"], answers[1].header["Set-Cookie"])
			}
			at[winner.index].g.audited("ceremony_finished", "")
			at[1-winner.index].g.audited("ceremony_refused", "challenge_used")
		}
	})

	t.Run("one registration on both at once", func(t *testing.T) {
		for _, user := range []string{"carl", "cleo", "cora", "curt", "cyd"} {
			c := newClient(t, a, user)
			at := []*client{c, c.at(b)}
			body, err := c.beginRegistration(c.key, "Key", nil)
			must(t, err)
			winner := once(t, "challenge_used", at, func(c *client) (reply, error) { return c.send("POST", account, body) })
			at[winner.index].g.audited("passkey_registered", "")
			at[1-winner.index].g.audited("ceremony_refused", "challenge_used")
		}
	})

	// First use is once, whoever of two comes first: two browsers with the same stolen or shared sign-in.
	t.Run("two first passkeys at once", func(t *testing.T) {
		for _, user := range []string{"dan", "dee", "dirk", "dora", "dov"} {
			at := []*client{newClient(t, a, user), newClient(t, b, user)}
			bodies := map[*client]map[string]any{}
			for _, c := range at {
				body, err := c.beginRegistration(c.key, "Key", nil)
				must(t, err)
				bodies[c] = body
			}
			winner := once(t, "registration_closed authorization_needed", at, func(c *client) (reply, error) { return c.send("POST", account, bodies[c]) })
			at[winner.index].g.audited("passkey_registered", "")
			at[1-winner.index].g.audited("ceremony_refused", winner.code)
			ids, err := at[0].passkeys()
			must(t, err)
			if len(ids) != 1 {
				t.Errorf("%s has %v", user, ids)
			}
			answer, err := at[winner.index].at(strict).stepUp("/")
			must(t, err)
			must(t, answer.expect(200))
		}
	})

	// An authenticator and its copy answer two challenges with the same sign count.
	t.Run("one sign count on both at once", func(t *testing.T) {
		c := newClient(t, a, "eve")
		at := []*client{c, c.at(b)}
		must(t, c.register("Key"))
		for round := range uint32(10) {
			bodies := map[*client]map[string]any{}
			for _, c := range at {
				body, err := c.begin(map[string]any{"return_to": "/"}, authtest.SignCount(10+round))
				must(t, err)
				bodies[c] = body
			}
			winner := once(t, "counter_regressed", at, func(c *client) (reply, error) { return c.finish(bodies[c]) })
			at[winner.index].g.audited("ceremony_finished", "")
			if e := at[1-winner.index].g.audited("clone_suspected", "counter_regressed"); e.User != "eve" || e.Passkey == "" {
				t.Errorf("audited %+v", e)
			}
		}
	})

	// A grant that is newer than a gateway's view of its user is no revoked one, however stale the view may be.
	t.Run("a passkey and a step-up that the other gateway has not seen", func(t *testing.T) {
		c := newClient(t, a, "finn")
		must(t, session(c))
		must(t, c.at(b).get("/keys").expect(200)) // b has its view now
		authorization, err := c.authorize("add", "")
		must(t, err)
		usb := authtest.New(authtest.Config{Counts: true})
		body, err := c.beginRegistration(usb, "USB", authorization)
		must(t, err)
		_, err = c.step("POST", account, body, 201)
		must(t, err)
		again := newClient(t, a, "finn")
		again.key = usb
		answer, err := again.stepUp("/keys")
		must(t, err)
		must(t, answer.expect(200))
		must(t, again.at(b).get("/keys").expect(200))
		_, err = again.step("POST", "/.stepgate/logout", map[string]any{}, 204)
		must(t, err)
		answer, err = again.stepUp("/keys")
		must(t, err)
		must(t, answer.expect(200))
		must(t, again.at(b).get("/keys").expect(200))
	})
}

// one is what came of a thing that may happen once: everybody's answer, and whose was the success.
type one struct {
	answers []reply
	index   int
	code    string // that the other one got
}

// once lets two clients do something at the same instant and holds that one succeeds and the other is refused with one of
// these codes.
func once(t *testing.T, codes string, at []*client, do func(*client) (reply, error)) one {
	t.Helper()
	o := one{answers: make([]reply, 2), index: -1}
	failures := make([]error, 2)
	together(
		func() { o.answers[0], failures[0] = do(at[0]) },
		func() { o.answers[1], failures[1] = do(at[1]) },
	)
	for i, answer := range o.answers {
		must(t, failures[i])
		if answer.status < 300 {
			if o.index >= 0 {
				t.Fatal("both succeeded")
			}
			o.index = i
			continue
		}
		got := problemIn(t, answer.body)
		if !slices.Contains(strings.Fields(codes), got.Code) || answer.grants() {
			t.Fatalf("%d %+v %v, want %s", answer.status, got, answer.header["Set-Cookie"], codes)
		}
		o.code = got.Code
	}
	if o.index < 0 {
		t.Fatalf("nobody succeeded: %s, %s", o.answers[0].body, o.answers[1].body)
	}
	return o
}

// What ends a grant on one gateway ends it on every other within the revocation lag; with a lag of 0, at once.
func TestGrantsEndOnEveryGateway(t *testing.T) {
	t.Parallel()
	const lag, margin = time.Second, 4 * time.Second // machines that run tests are slow
	f := newFleet(t, 3)
	f.start(headerConsole("", ""), headerConsole("revocation_lag 0s", ""), headerConsole("revocation_lag 1s", ""))
	acting, strict, lagging := f.gateways[0], f.gateways[1], f.gateways[2]

	for _, end := range []struct {
		name, reason, audited string
		by                    func(t *testing.T, c *client) error
	}{
		{"the passkey is removed", "grant_passkey_removed", "passkey_removed", func(t *testing.T, c *client) error {
			usb := authtest.New(authtest.Config{Counts: true})
			authorization, err := c.authorize("add", "")
			must(t, err)
			body, err := c.beginRegistration(usb, "USB", authorization)
			must(t, err)
			_, err = c.step("POST", account, body, 201)
			must(t, err)
			ids, err := c.passkeys()
			must(t, err)
			remover := newClient(t, acting, c.user)
			remover.key = usb
			authorization, err = remover.authorize("remove", ids["Key"])
			must(t, err)
			fresh(t, c, strict, lagging)
			_, err = remover.step("DELETE", account+"/"+ids["Key"], map[string]any{"authorization": authorization}, 204)
			return err
		}},
		{"a log-out in another browser", "grant_revoked", "grants_revoked", func(t *testing.T, c *client) error {
			other := newClient(t, acting, c.user)
			other.key = c.key
			answer, err := other.stepUp("/keys")
			must(t, err)
			must(t, answer.expect(200))
			fresh(t, c, strict, lagging)
			_, err = other.step("POST", "/.stepgate/logout", map[string]any{}, 204)
			return err
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			c := newClient(t, acting, end.reason)
			must(t, session(c))
			must(t, end.by(t, c))
			ended := time.Now()
			acting.audited(end.audited, "")
			f.upstream().take()
			for _, g := range []*gateway{acting, strict} { // whoever acts knows it too
				must(t, c.at(g).get("/keys").refused(401, end.reason))
				g.audited("step_up_required", end.reason)
			}
			f.upstream().untouched()
			late := c.at(lagging)
			eventually(t, "the lagging gateway refuses", func() bool {
				answer := late.get("/keys")
				return answer.status != 200 && answer.refused(401, end.reason) == nil
			})
			took := time.Since(ended)
			if took > lag+margin {
				t.Errorf("the grant was good for %v more, with a lag of %v", took, lag)
			}
			t.Logf("with a lag of %v the grant was refused after %v", lag, took.Round(time.Millisecond))
			lagging.audited("step_up_required", end.reason)
		})
	}
}

// fresh makes gateways read the client's user just now, and let it pass.
func fresh(t *testing.T, c *client, gateways ...*gateway) {
	t.Helper()
	for _, g := range gateways {
		must(t, c.at(g).get("/keys").expect(200))
	}
}
