package e2etest_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
)

// Gateways on the same tables are one gateway to their clients: whatever begins on one goes on at the next, at once, and
// what may happen once happens once.
func TestGatewaysOnOneDynamoDB(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFleet(t, 3)
	// The first two have a view of users that may be a minute old, so that nothing here works only because a view was
	// dropped in time. The third reads at each request.
	f.Start(gatewaytest.HeaderConsole("revocation_lag 1m", ""), gatewaytest.HeaderConsole("revocation_lag 1m", ""), gatewaytest.HeaderConsole("revocation_lag 0s", ""))
	a, b, strict := f.Gateways[0], f.Gateways[1], f.Gateways[2]

	t.Run("begun on one, finished on another", func(t *testing.T) {
		here := gatewaytest.NewClient(t, a, "ada")
		there := here.At(b)
		for _, c := range []*gatewaytest.Client{here, there} { // both know that there is no passkey
			_, err := c.Step("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/"}, 409)
			gatewaytest.Must(t, err)
		}

		body, err := here.BeginRegistration(here.Key, "Laptop", nil)
		gatewaytest.Must(t, err)
		_, err = there.Step("POST", gatewaytest.Account, body, 201)
		gatewaytest.Must(t, err)
		if e := b.Audited("passkey_registered", ""); e.User != "ada" || e.Action != "first_use" {
			t.Errorf("audited %+v", e)
		}

		body, err = here.Begin(map[string]any{"return_to": "/keys"})
		gatewaytest.Must(t, err)
		answer, err := there.Finish(body)
		gatewaytest.Must(t, err)
		if answer.Status != 200 || !answer.Grants() {
			t.Fatalf("finishing elsewhere: %d %s", answer.Status, answer.Body)
		}
		b.Audited("ceremony_finished", "")
		for _, g := range f.Gateways {
			if answer := here.At(g).Get("/keys"); answer.Status != 200 {
				t.Errorf("with the grant of another gateway: %d %s", answer.Status, answer.Body)
			}
		}

		// The answer to a wrong kind of demand would be demand_invalid.
		other := gatewaytest.NewClient(t, a, "ada")
		other.Key = here.Key
		answer = other.Get("/keys?from=a")
		gatewaytest.Must(t, answer.Refused(401, "grant_missing"))
		page, err := url.Parse(gatewaytest.ProblemIn(t, answer.Body).StepUpURL)
		gatewaytest.Must(t, err)
		sealed := page.Query().Get("demand")
		if answer := other.At(b).Get(page.RequestURI()); answer.Status != 200 {
			t.Errorf("the page of another gateway's demand: %d %s", answer.Status, answer.Body)
		}
		body, err = other.At(b).Begin(map[string]any{"demand": sealed})
		gatewaytest.Must(t, err)
		answer, err = other.At(strict).Finish(body)
		gatewaytest.Must(t, err)
		if answer.Status != 200 || !answer.Grants() {
			t.Errorf("finishing another gateway's demand: %d %s", answer.Status, answer.Body)
		}
		strict.Audited("ceremony_finished", "")

		// Adding and removing with an authorization that was begun elsewhere.
		usb := authtest.New(authtest.Config{Counts: true})
		authorization, err := here.Authorize("add", "")
		gatewaytest.Must(t, err)
		body, err = there.BeginRegistration(usb, "USB", authorization)
		gatewaytest.Must(t, err)
		b.Audited("ceremony_finished", "")
		_, err = here.Step("POST", gatewaytest.Account, body, 201)
		gatewaytest.Must(t, err)
		if e := a.Audited("passkey_registered", ""); e.Action != "another" {
			t.Errorf("audited %+v", e)
		}
		ids, err := there.Passkeys()
		gatewaytest.Must(t, err)
		here.Key = usb
		authorization, err = here.Authorize("remove", ids["Laptop"])
		gatewaytest.Must(t, err)
		_, err = there.Step("DELETE", gatewaytest.Account+"/"+ids["Laptop"], map[string]any{"authorization": authorization}, 204)
		gatewaytest.Must(t, err)
		b.Audited("passkey_removed", "")
		ids, err = here.Passkeys()
		gatewaytest.Must(t, err)
		if _, kept := ids["USB"]; len(ids) != 1 || !kept {
			t.Errorf("left are %v", ids)
		}
	})

	t.Run("one challenge on both at once", func(t *testing.T) {
		c := gatewaytest.NewClient(t, a, "bob")
		at := []*gatewaytest.Client{c, c.At(b)}
		gatewaytest.Must(t, c.Register("Key"))
		for round := range 20 {
			body, err := at[round%2].Begin(map[string]any{"return_to": "/"})
			gatewaytest.Must(t, err)
			winner := once(t, "challenge_used", at, func(c *gatewaytest.Client) (gatewaytest.Reply, error) { return c.Finish(body) })
			if answers := winner.answers; !answers[winner.index].Grants() || answers[1-winner.index].Grants() {
				t.Errorf("grants: %v, %v", answers[0].Header["Set-Cookie"], answers[1].Header["Set-Cookie"])
			}
			at[winner.index].G.Audited("ceremony_finished", "")
			at[1-winner.index].G.Audited("ceremony_refused", "challenge_used")
		}
	})

	t.Run("one registration on both at once", func(t *testing.T) {
		for _, user := range []string{"carl", "cleo", "cora", "curt", "cyd"} {
			c := gatewaytest.NewClient(t, a, user)
			at := []*gatewaytest.Client{c, c.At(b)}
			body, err := c.BeginRegistration(c.Key, "Key", nil)
			gatewaytest.Must(t, err)
			winner := once(t, "challenge_used", at, func(c *gatewaytest.Client) (gatewaytest.Reply, error) {
				return c.Send("POST", gatewaytest.Account, body)
			})
			at[winner.index].G.Audited("passkey_registered", "")
			at[1-winner.index].G.Audited("ceremony_refused", "challenge_used")
		}
	})

	// First use is once, whoever of two comes first: two browsers with the same stolen or shared sign-in.
	t.Run("two first passkeys at once", func(t *testing.T) {
		for _, user := range []string{"dan", "dee", "dirk", "dora", "dov"} {
			at := []*gatewaytest.Client{gatewaytest.NewClient(t, a, user), gatewaytest.NewClient(t, b, user)}
			bodies := map[*gatewaytest.Client]map[string]any{}
			for _, c := range at {
				body, err := c.BeginRegistration(c.Key, "Key", nil)
				gatewaytest.Must(t, err)
				bodies[c] = body
			}
			winner := once(t, "registration_closed authorization_needed", at, func(c *gatewaytest.Client) (gatewaytest.Reply, error) {
				return c.Send("POST", gatewaytest.Account, bodies[c])
			})
			at[winner.index].G.Audited("passkey_registered", "")
			at[1-winner.index].G.Audited("ceremony_refused", winner.code)
			ids, err := at[0].Passkeys()
			gatewaytest.Must(t, err)
			if len(ids) != 1 {
				t.Errorf("%s has %v", user, ids)
			}
			answer, err := at[winner.index].At(strict).StepUp("/")
			gatewaytest.Must(t, err)
			gatewaytest.Must(t, answer.Expect(200))
		}
	})

	// An authenticator and its copy answer two challenges with the same sign count.
	t.Run("one sign count on both at once", func(t *testing.T) {
		c := gatewaytest.NewClient(t, a, "eve")
		at := []*gatewaytest.Client{c, c.At(b)}
		gatewaytest.Must(t, c.Register("Key"))
		for round := range uint32(10) {
			bodies := map[*gatewaytest.Client]map[string]any{}
			for _, c := range at {
				body, err := c.Begin(map[string]any{"return_to": "/"}, authtest.SignCount(10+round))
				gatewaytest.Must(t, err)
				bodies[c] = body
			}
			winner := once(t, "counter_regressed", at, func(c *gatewaytest.Client) (gatewaytest.Reply, error) { return c.Finish(bodies[c]) })
			at[winner.index].G.Audited("ceremony_finished", "")
			if e := at[1-winner.index].G.Audited("clone_suspected", "counter_regressed"); e.User != "eve" || e.Passkey == "" {
				t.Errorf("audited %+v", e)
			}
		}
	})

	// A grant that is newer than a gateway's view of its user is no revoked one, however stale the view may be.
	t.Run("a passkey and a step-up that the other gateway has not seen", func(t *testing.T) {
		c := gatewaytest.NewClient(t, a, "finn")
		gatewaytest.Must(t, gatewaytest.Session(c))
		gatewaytest.Must(t, c.At(b).Get("/keys").Expect(200)) // b has its view now
		authorization, err := c.Authorize("add", "")
		gatewaytest.Must(t, err)
		usb := authtest.New(authtest.Config{Counts: true})
		body, err := c.BeginRegistration(usb, "USB", authorization)
		gatewaytest.Must(t, err)
		_, err = c.Step("POST", gatewaytest.Account, body, 201)
		gatewaytest.Must(t, err)
		again := gatewaytest.NewClient(t, a, "finn")
		again.Key = usb
		answer, err := again.StepUp("/keys")
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Expect(200))
		gatewaytest.Must(t, again.At(b).Get("/keys").Expect(200))
		_, err = again.Step("POST", "/.stepgate/logout", map[string]any{}, 204)
		gatewaytest.Must(t, err)
		answer, err = again.StepUp("/keys")
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Expect(200))
		gatewaytest.Must(t, again.At(b).Get("/keys").Expect(200))
	})
}

// one is what came of a thing that may happen once: everybody's answer, and whose was the success.
type one struct {
	answers []gatewaytest.Reply
	index   int
	code    string // that the other one got
}

// once lets two clients do something at the same instant and holds that one succeeds and the other is refused with one of
// these codes.
func once(t *testing.T, codes string, at []*gatewaytest.Client, do func(*gatewaytest.Client) (gatewaytest.Reply, error)) one {
	t.Helper()
	o := one{answers: make([]gatewaytest.Reply, 2), index: -1}
	failures := make([]error, 2)
	gatewaytest.Together(
		func() { o.answers[0], failures[0] = do(at[0]) },
		func() { o.answers[1], failures[1] = do(at[1]) },
	)
	for i, answer := range o.answers {
		gatewaytest.Must(t, failures[i])
		if answer.Status < 300 {
			if o.index >= 0 {
				t.Fatal("both succeeded")
			}
			o.index = i
			continue
		}
		got := gatewaytest.ProblemIn(t, answer.Body)
		if !slices.Contains(strings.Fields(codes), got.Code) || answer.Grants() {
			t.Fatalf("%d %+v %v, want %s", answer.Status, got, answer.Header["Set-Cookie"], codes)
		}
		o.code = got.Code
	}
	if o.index < 0 {
		t.Fatalf("nobody succeeded: %s, %s", o.answers[0].Body, o.answers[1].Body)
	}
	return o
}

// What ends a grant on one gateway ends it on every other within the revocation lag; with a lag of 0, at once.
func TestGrantsEndOnEveryGateway(t *testing.T) {
	t.Parallel()
	const lag, margin = time.Second, 4 * time.Second // machines that run tests are slow
	f := gatewaytest.NewFleet(t, 3)
	f.Start(gatewaytest.HeaderConsole("", ""), gatewaytest.HeaderConsole("revocation_lag 0s", ""), gatewaytest.HeaderConsole("revocation_lag 1s", ""))
	acting, strict, lagging := f.Gateways[0], f.Gateways[1], f.Gateways[2]

	for _, end := range []struct {
		name, reason, audited string
		by                    func(t *testing.T, c *gatewaytest.Client) error
	}{
		{"the passkey is removed", "grant_passkey_removed", "passkey_removed", func(t *testing.T, c *gatewaytest.Client) error {
			usb := authtest.New(authtest.Config{Counts: true})
			authorization, err := c.Authorize("add", "")
			gatewaytest.Must(t, err)
			body, err := c.BeginRegistration(usb, "USB", authorization)
			gatewaytest.Must(t, err)
			_, err = c.Step("POST", gatewaytest.Account, body, 201)
			gatewaytest.Must(t, err)
			ids, err := c.Passkeys()
			gatewaytest.Must(t, err)
			remover := gatewaytest.NewClient(t, acting, c.User)
			remover.Key = usb
			authorization, err = remover.Authorize("remove", ids["Key"])
			gatewaytest.Must(t, err)
			fresh(t, c, strict, lagging)
			_, err = remover.Step("DELETE", gatewaytest.Account+"/"+ids["Key"], map[string]any{"authorization": authorization}, 204)
			return err
		}},
		{"a log-out in another browser", "grant_revoked", "grants_revoked", func(t *testing.T, c *gatewaytest.Client) error {
			other := gatewaytest.NewClient(t, acting, c.User)
			other.Key = c.Key
			answer, err := other.StepUp("/keys")
			gatewaytest.Must(t, err)
			gatewaytest.Must(t, answer.Expect(200))
			fresh(t, c, strict, lagging)
			_, err = other.Step("POST", "/.stepgate/logout", map[string]any{}, 204)
			return err
		}},
	} {
		t.Run(end.name, func(t *testing.T) {
			c := gatewaytest.NewClient(t, acting, end.reason)
			gatewaytest.Must(t, gatewaytest.Session(c))
			gatewaytest.Must(t, end.by(t, c))
			ended := time.Now()
			acting.Audited(end.audited, "")
			f.Upstream().Take()
			for _, g := range []*gatewaytest.Gateway{acting, strict} { // whoever acts knows it too
				gatewaytest.Must(t, c.At(g).Get("/keys").Refused(401, end.reason))
				g.Audited("step_up_required", end.reason)
			}
			f.Upstream().Untouched()
			late := c.At(lagging)
			gatewaytest.Eventually(t, "the lagging gateway refuses", func() bool {
				answer := late.Get("/keys")
				return answer.Status != 200 && answer.Refused(401, end.reason) == nil
			})
			took := time.Since(ended)
			if took > lag+margin {
				t.Errorf("the grant was good for %v more, with a lag of %v", took, lag)
			}
			t.Logf("with a lag of %v the grant was refused after %v", lag, took.Round(time.Millisecond))
			lagging.Audited("step_up_required", end.reason)
		})
	}
}

// fresh makes gateways read the client's user just now, and let it pass.
func fresh(t *testing.T, c *gatewaytest.Client, gateways ...*gatewaytest.Gateway) {
	t.Helper()
	for _, g := range gateways {
		gatewaytest.Must(t, c.At(g).Get("/keys").Expect(200))
	}
}
