package attacktest_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// single is something that may be done once. prepare makes everything that can be made before, and returns what the racers
// try; after looks at what became of it.
type single struct {
	name    string
	prepare func(*track) (owner *gatewaytest.Client, attempts []attempt, after func(answers []gatewaytest.Reply))
	wins    int
	status  int // of the winners
	losers  []string
	left    state
}

// everybody makes the attempts of all racers.
func everybody(n int, try func(i int) attempt) (attempts []attempt) {
	for i := range n {
		attempts = append(attempts, try(i))
	}
	return attempts
}

// same has everybody send the same thing, in the same browser.
func sameByAll(tr *track, c *gatewaytest.Client, method, path string, body any) []attempt {
	at := []*gatewaytest.Client{tr.same(c, 0), tr.same(c, 1)}
	return everybody(tr.racers, func(i int) attempt {
		return func() (gatewaytest.Reply, error) { return at[i%2].Send(method, path, body) }
	})
}

// finishing has everybody register a passkey of their own, each in a browser of their own, begun with this wish.
func finishing(tr *track, user string, wish func(i int, c *gatewaytest.Client) map[string]any) []attempt {
	return everybody(tr.racers, func(i int) attempt {
		c := tr.client(user, i)
		options, err := c.Step("POST", gatewaytest.Account+"/options", wish(i, c), 200)
		gatewaytest.Must(tr.t, err)
		credential, err := c.Key.Register(options, c.Origin)
		gatewaytest.Must(tr.t, err)
		c.Confide(options, credential)
		return func() (gatewaytest.Reply, error) {
			return c.Send("POST", gatewaytest.Account, map[string]any{"credential": gatewaytest.RawJSON(credential)})
		}
	})
}

// grantsOf counts the answers that set a grant.
func grantsOf(answers []gatewaytest.Reply) (n int) {
	for _, answer := range answers {
		if answer.Grants() {
			n++
		}
	}
	return n
}

// singles is everything that works once.
var singles = []single{
	{"A3 the challenge of a step-up", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, _ := tr.person("challenge")
		body, err := c.Begin(map[string]any{"return_to": "/keys"})
		gatewaytest.Must(tr.t, err)
		return c, sameByAll(tr, c, "POST", "/.stepgate/challenge/verify", body), func(answers []gatewaytest.Reply) {
			if n := grantsOf(answers); n != 1 {
				tr.t.Errorf("%d grants", n)
			}
		}
	}, 1, 200, []string{"challenge_used"}, state{1, 8}},

	{"the challenge of a registration", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		tr.users++
		c := tr.client(fmt.Sprint("registration ", tr.users), 0)
		body, err := c.BeginRegistration(c.Key, "Key", nil)
		gatewaytest.Must(tr.t, err)
		return c, sameByAll(tr, c, "POST", gatewaytest.Account, body), nil
	}, 1, 201, []string{"challenge_used"}, state{1, 8}},

	{"the authorization to add a passkey", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, _ := tr.person("adding")
		authorization, err := c.Authorize("add", "")
		gatewaytest.Must(tr.t, err)
		at := []*gatewaytest.Client{tr.same(c, 0), tr.same(c, 1)}
		// In networks of their own, as the limits are not what is raced for.
		return c, everybody(tr.racers, func(i int) attempt {
			racer := *at[i%2]
			speaker := *racer.HTTP
			speaker.Transport = fromNetwork{speaker.Transport.(fromNetwork).RoundTripper, fmt.Sprint("198.51.98.", i+1)}
			racer.HTTP = &speaker
			return func() (gatewaytest.Reply, error) {
				return racer.Send("POST", gatewaytest.Account+"/options", map[string]any{"name": "x", "authorization": authorization})
			}
		}), nil
	}, 1, 200, []string{"challenge_used", "rate_limited"}, state{1, 8}},

	{"the authorization to remove a passkey", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, _ := tr.person("removing")
		tr.another(c, "Second", 1)
		ids, err := c.Passkeys()
		gatewaytest.Must(tr.t, err)
		authorization, err := c.Authorize("remove", ids["Second"])
		gatewaytest.Must(tr.t, err)
		return c, sameByAll(tr, c, "DELETE", gatewaytest.Account+"/"+ids["Second"], map[string]any{"authorization": authorization}), nil
	}, 1, 204, []string{"challenge_used"}, state{1, 8}},

	{"the authorization to make recovery codes", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, old := tr.person("codes")
		authorization, err := c.Authorize("recovery_codes", "")
		gatewaytest.Must(tr.t, err)
		return c, sameByAll(tr, c, "POST", "/.stepgate/recovery-codes", map[string]any{"authorization": authorization}), func(answers []gatewaytest.Reply) {
			for _, answer := range answers {
				if answer.Status != 200 {
					continue
				}
				var made struct {
					Codes []string `json:"recovery_codes"`
				}
				gatewaytest.Must(tr.t, json.Unmarshal(answer.Body, &made))
				for i, code := range []string{made.Codes[7], old[0]} {
					got, err := tr.client(c.User, i).Send("POST", gatewaytest.Account+"/options", map[string]any{"recovery_code": code})
					gatewaytest.Must(tr.t, err)
					if i == 0 {
						gatewaytest.Must(tr.t, got.Expect(200))
					} else {
						gatewaytest.Must(tr.t, got.Refused(403, "recovery_code_invalid"))
					}
				}
			}
		}
	}, 1, 200, []string{"challenge_used"}, state{1, 8}},

	{"a recovery code", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, codes := tr.person("recovery")
		return c, finishing(tr, c.User, func(int, *gatewaytest.Client) map[string]any {
			return map[string]any{"recovery_code": codes[0]}
		}), nil
	}, 1, 201, []string{"recovery_code_invalid", "conflict"}, state{2, 7}},

	{"an invitation of somebody new", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		tr.users++
		c := tr.client(fmt.Sprint("invited ", tr.users), 0)
		code := invite(tr.gateways[0], c.User)
		return c, finishing(tr, c.User, func(int, *gatewaytest.Client) map[string]any { return map[string]any{"invitation": code} }), nil
	}, 1, 201, []string{"invitation_invalid", "conflict"}, state{1, 8}},

	{"an invitation of somebody with a passkey", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, _ := tr.person("invited again")
		code := invite(tr.gateways[0], c.User)
		return c, finishing(tr, c.User, func(int, *gatewaytest.Client) map[string]any { return map[string]any{"invitation": code} }), nil
	}, 1, 201, []string{"invitation_invalid", "conflict"}, state{2, 8}},

	{"F4 the first use", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		tr.users++
		c := tr.client(fmt.Sprint("first ", tr.users), 0)
		return c, finishing(tr, c.User, func(int, *gatewaytest.Client) map[string]any { return map[string]any{} }), nil
	}, 1, 201, []string{"registration_closed", "authorization_needed"}, state{1, 8}},

	{"A25 a sign count, by clones", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, _ := tr.person("clone")
		return c, everybody(tr.racers, func(i int) attempt {
				clone := tr.client(c.User, i)
				clone.Key = c.Key
				body, err := clone.Begin(map[string]any{"return_to": "/keys"}, authtest.SignCount(1000))
				gatewaytest.Must(tr.t, err)
				return func() (gatewaytest.Reply, error) { return clone.Finish(body) }
			}), func(answers []gatewaytest.Reply) {
				if n := grantsOf(answers); n != 1 {
					tr.t.Errorf("%d grants", n)
				}
			}
	}, 1, 200, []string{"counter_regressed"}, state{1, 8}},

	{"the last place for a passkey", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, _ := tr.person("place")
		for i := range 7 { // of 9
			tr.another(c, fmt.Sprint("Further ", i), i)
		}
		return c, finishing(tr, c.User, func(i int, racer *gatewaytest.Client) map[string]any {
			own := racer.Key
			racer.Key = c.Key
			authorization, err := racer.Authorize("add", "")
			gatewaytest.Must(tr.t, err)
			racer.Key = own
			return map[string]any{"authorization": authorization}
		}), nil
	}, 1, 201, []string{"too_many_passkeys", "conflict"}, state{9, 8}},

	{"being the last passkey", func(tr *track) (*gatewaytest.Client, []attempt, func([]gatewaytest.Reply)) {
		c, _ := tr.person("last")
		holders := []*gatewaytest.Client{c, tr.another(c, "Other", 1)}
		ids, err := c.Passkeys()
		gatewaytest.Must(tr.t, err)
		return c, everybody(tr.racers, func(i int) attempt { // half of them with the one passkey remove the other
			racer, target := tr.client(c.User, i), ids[[]string{"Other", "Key"}[i/2%2]]
			racer.Key = holders[i/2%2].Key
			authorization, err := racer.Authorize("remove", target)
			gatewaytest.Must(tr.t, err)
			return func() (gatewaytest.Reply, error) {
				return racer.Send("DELETE", gatewaytest.Account+"/"+target, map[string]any{"authorization": authorization})
			}
		}), nil
	}, 1, 204, []string{"last_passkey", "passkey_unknown", "authorization_needed", "conflict"}, state{1, 8}},
}

// Whatever works once works once, however many try at the same instant, at one gateway or two: the others are told why it does
// not, in the answer and in the audit log, and what is stored afterwards is what one of them did.
//
// Each request has 2.5 s for the store, and then ends in a 503, which says so. Where a machine is too slow for that many at once,
// nobody may have won twice all the same, and fewer race again.
func TestDoubleSpend(t *testing.T) {
	onEachTrack(t, func(tr *track) {
		for _, test := range singles {
			tr.t.Run(test.name, func(t *testing.T) {
				defer func(outer *testing.T) { tr.t = outer }(tr.t)
				tr.t = t
				for tr.racers = racers; ; tr.racers /= 2 {
					owner, attempts, after := test.prepare(tr)
					answers, counts := tr.race(owner.User, attempts)
					t.Logf("%d racers: %v", tr.racers, counts)
					if late := counts[outOfTime]; late > 0 && tr.racers > fewest {
						tr.atMost(counts, test)
						continue
					}
					tr.won(counts, test.wins, test.status, test.losers...)
					tr.stored(owner, test.left)
					if after != nil {
						after(answers)
					}
					return
				}
			})
		}
	})
}

// invite makes an invitation as an administrator does.
func invite(g *gatewaytest.Gateway, user string) string {
	g.T.Helper()
	out, err := g.Command("invite", "--json", user).Output()
	if exit, failed := err.(*exec.ExitError); failed {
		g.T.Fatalf("invite: %v\n%s", err, exit.Stderr)
	}
	gatewaytest.Must(g.T, err)
	var invitation struct{ Code string }
	gatewaytest.Must(g.T, json.Unmarshal(out, &invitation))
	g.Log.Secret("invitation", invitation.Code)
	return invitation.Code
}
