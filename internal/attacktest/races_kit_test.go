package attacktest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

const (
	racers    = 64 // how many try at once what only one may do
	fewest    = 8  // as many must be served in time on any machine
	outOfTime = "store_unavailable"
)

// track is where races are run: one gateway, or two on the same tables.
type track struct {
	t        *testing.T
	gateways []*gatewaytest.Gateway
	users    int
	racers   int
}

// networked is a Caddyfile whose clients say which network they are in: else the limits of one address would end every race
// before it begins.
func networked(app, block string) string {
	return strings.Replace(gatewaytest.HeaderConsole("revocation_lag 0s\n"+app, block), "\tdebug\n",
		"\tdebug\n\tservers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}\n", 1)
}

// onEachTrack runs a test on one gateway with each store, and on two gateways on DynamoDB.
func onEachTrack(t *testing.T, test func(*track)) {
	t.Helper()
	caddyfile := networked("max_passkeys 9", "")
	for _, on := range []gatewaytest.Store{gatewaytest.OnFile, gatewaytest.OnDynamoDB} {
		t.Run("one gateway on "+string(on), func(t *testing.T) {
			test(&track{t: t, gateways: []*gatewaytest.Gateway{on.Start(t, caddyfile)}})
		})
	}
	t.Run("two gateways", func(t *testing.T) {
		f := gatewaytest.NewFleet(t, 2)
		f.Start(caddyfile)
		test(&track{t: t, gateways: f.Gateways})
	})
}

// fromNetwork says which address a client has.
type fromNetwork struct {
	http.RoundTripper
	address string
}

// RoundTrip asks again for what can be asked for again, where DynamoDB Local is still busy with the race before.
func (n fromNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	for tries := 1; ; tries++ {
		again := r.Clone(r.Context())
		again.Header.Set("X-Forwarded-For", n.address)
		if r.GetBody != nil {
			body, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			again.Body = body
		}
		answer, err := n.RoundTripper.RoundTrip(again)
		repeatable := r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/options")
		if err != nil || !repeatable || answer.StatusCode != http.StatusServiceUnavailable || tries == 10 {
			return answer, err
		}
		answer.Body.Close()
	}
}

// client returns a browser of a user's, the i-th, in a network of its own and at the gateway whose turn it is.
func (tr *track) client(user string, i int) *gatewaytest.Client {
	tr.t.Helper()
	c := gatewaytest.NewClient(tr.t, tr.gateways[i%len(tr.gateways)], user)
	c.HTTP.Transport = fromNetwork{c.HTTP.Transport, fmt.Sprintf("198.51.%d.%d", 100+i/250, 1+i%250)}
	return c
}

// same returns the same browser at the gateway whose turn it is.
func (tr *track) same(c *gatewaytest.Client, i int) *gatewaytest.Client {
	other := c.At(tr.gateways[i%len(tr.gateways)])
	other.HTTP.Transport = fromNetwork{other.HTTP.Transport, "198.51.99.1"}
	return other
}

// person returns somebody new with one passkey, and their recovery codes.
func (tr *track) person(name string) (*gatewaytest.Client, []string) {
	tr.t.Helper()
	var c *gatewaytest.Client
	var text []byte
	err := gatewaytest.Patiently(func() error {
		tr.users++
		c = tr.client(fmt.Sprintf("%s %d", name, tr.users), 0)
		c.Key = authtest.New(authtest.Config{}) // it counts nothing: whoever comes second in a race has not the lower count
		body, err := c.BeginRegistration(c.Key, "Key", nil)
		if err == nil {
			text, err = c.Step("POST", gatewaytest.Account, body, 201)
		}
		return err
	})
	gatewaytest.Must(tr.t, err)
	var made struct {
		Codes []string `json:"recovery_codes"`
	}
	gatewaytest.Must(tr.t, json.Unmarshal(text, &made))
	return c, made.Codes
}

// another gives a client's user one more passkey, and returns a browser with it.
func (tr *track) another(c *gatewaytest.Client, name string, i int) *gatewaytest.Client {
	tr.t.Helper()
	browser := tr.client(c.User, i)
	browser.Key = c.Key
	authorization, err := browser.Authorize("add", "")
	gatewaytest.Must(tr.t, err)
	key := authtest.New(authtest.Config{})
	body, err := browser.BeginRegistration(key, name, authorization)
	gatewaytest.Must(tr.t, err)
	_, err = browser.Step("POST", gatewaytest.Account, body, 201)
	gatewaytest.Must(tr.t, err)
	browser.Key = key
	return browser
}

// attempt is one racer's request.
type attempt func() (gatewaytest.Reply, error)

// race has everybody try at the same instant and counts the answers by status, or code where it is a refusal. Nobody may be
// told of any failure but that time ran out, and every refusal is audited, under the user's name, with the reason it was
// answered with.
func (tr *track) race(user string, attempts []attempt) ([]gatewaytest.Reply, map[string]int) {
	tr.t.Helper()
	before := tr.audited(user)
	answers, errs := make([]gatewaytest.Reply, len(attempts)), make([]error, len(attempts))
	var all []func()
	for i, try := range attempts {
		all = append(all, func() { answers[i], errs[i] = try() })
	}
	gatewaytest.Together(all...)
	counts, refused := map[string]int{}, map[string]int{}
	for i, answer := range answers {
		gatewaytest.Must(tr.t, errs[i])
		if answer.Status < 300 {
			counts[fmt.Sprint(answer.Status)]++
			continue
		}
		var problem gatewaytest.Problem
		if json.Unmarshal(answer.Body, &problem) != nil || problem.Code == "" || answer.Status >= 500 && problem.Code != outOfTime {
			tr.t.Errorf("status %d: %s", answer.Status, answer.Body)
		}
		if answer.Grants() {
			tr.t.Errorf("%s, and a grant", problem.Code)
		}
		counts[problem.Code]++
		refused[problem.Code]++
	}
	gatewaytest.Eventually(tr.t, "each refusal is audited", func() bool {
		after := tr.audited(user)
		for reason, n := range refused {
			if after[reason]-before[reason] != n {
				return false
			}
		}
		return true
	})
	return answers, counts
}

// audited counts the reasons of all audit lines about a user.
func (tr *track) audited(user string) map[string]int {
	counts := map[string]int{}
	for _, g := range tr.gateways {
		for line := range strings.SplitSeq(g.Log.Text(), "\n") {
			var e gatewaytest.Entry
			if strings.Contains(line, gatewaytest.AuditLogger) && json.Unmarshal([]byte(line), &e) == nil && e.User == user {
				counts[e.Reason]++
			}
		}
	}
	return counts
}

// won holds that so many won, with this status, and that everybody else was refused for one of these reasons.
func (tr *track) won(counts map[string]int, wins int, status int, reasons ...string) {
	tr.t.Helper()
	if got := counts[fmt.Sprint(status)]; got != wins {
		tr.t.Errorf("%d won, want %d: %v", got, wins, counts)
	}
	for outcome := range counts {
		if outcome != fmt.Sprint(status) && !slices.Contains(reasons, outcome) {
			tr.t.Errorf("some got %s: %v", outcome, counts)
		}
	}
}

// atMost holds of a race in which some had not the time that nobody won who must not.
func (tr *track) atMost(counts map[string]int, test single) {
	tr.t.Helper()
	if got := counts[fmt.Sprint(test.status)]; got > test.wins {
		tr.t.Errorf("%d won, want %d at the most: %v", got, test.wins, counts)
	}
}

// state is what is stored of a user, as their account page has it.
type state struct {
	Passkeys int
	Codes    int
}

func (tr *track) state(c *gatewaytest.Client) (s state) {
	tr.t.Helper()
	answer, err := c.Send("GET", gatewaytest.Account, nil, "Accept", "application/json")
	gatewaytest.Must(tr.t, err)
	gatewaytest.Must(tr.t, answer.Expect(200))
	var list struct {
		Passkeys []struct{ ID string }
		Recovery struct{ Left int } `json:"recovery_codes"`
	}
	gatewaytest.Must(tr.t, json.Unmarshal(answer.Body, &list))
	return state{len(list.Passkeys), list.Recovery.Left}
}

// stored holds what is stored of a user now, by the word of every gateway.
func (tr *track) stored(c *gatewaytest.Client, want state) {
	tr.t.Helper()
	for i := range tr.gateways {
		if diff := cmp.Diff(want, tr.state(tr.same(c, i))); diff != "" {
			tr.t.Errorf("stored (-want +got):\n%s", diff)
		}
	}
}

// dead holds that a grant opens nothing on any gateway, for this reason.
func (tr *track) dead(c *gatewaytest.Client, cookie, reason string) {
	tr.t.Helper()
	for i := range tr.gateways {
		bearer := tr.client(c.User, i)
		answer, err := bearer.Send("GET", "/keys", nil, "Cookie", cookie)
		gatewaytest.Must(tr.t, err)
		gatewaytest.Must(tr.t, answer.Refused(401, reason))
	}
}
