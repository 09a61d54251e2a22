package attacktest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// on runs one of several tests on a track.
func (tr *track) on(name string, test func()) {
	tr.t.Run(name, func(t *testing.T) {
		defer func(outer *testing.T) { tr.t = outer }(tr.t)
		tr.t, tr.racers = t, racers
		test()
	})
}

// begun has the racers sign a step-up each, in a browser of their own, with a client's passkey.
func (tr *track) begun(c *gatewaytest.Client, n int) (browsers []*gatewaytest.Client, finishes []attempt) {
	tr.t.Helper()
	for i := range n {
		browser := tr.client(c.User, i)
		browser.Key = c.Key
		body, err := browser.Begin(map[string]any{"return_to": "/keys"})
		gatewaytest.Must(tr.t, err)
		browsers = append(browsers, browser)
		finishes = append(finishes, func() (gatewaytest.Reply, error) { return browser.Finish(body) })
	}
	return browsers, finishes
}

// administers asks the admin API of a gateway, as the commands do. What it refuses it does not audit.
func administers(g *gatewaytest.Gateway, path string) attempt {
	return func() (gatewaytest.Reply, error) {
		answer, err := http.Post(fmt.Sprintf("http://localhost:%d%s", g.Admin, path), "", nil)
		if err != nil {
			return gatewaytest.Reply{}, err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return gatewaytest.Reply{Status: answer.StatusCode, Header: answer.Header, Body: body}, err
	}
}

// allDead holds that no grant of these answers opens anything.
func (tr *track) allDead(c *gatewaytest.Client, answers []gatewaytest.Reply, reason string) {
	tr.t.Helper()
	for _, answer := range answers {
		if cookie := answer.Cookie("stepgate"); answer.Grants() {
			tr.dead(c, cookie, reason)
		}
	}
}

// What ends passkeys and grants comes in the middle of everything that uses them. Once it was acknowledged, nothing that was
// under way opens anything, or gives anybody a passkey.
func TestEndsRaceUses(t *testing.T) {
	onEachTrack(t, func(tr *track) {
		tr.on("a passkey is removed while it is used", func() {
			c, _ := tr.person("used")
			other := tr.another(c, "Other", 1)
			ids, err := c.Passkeys()
			gatewaytest.Must(tr.t, err)
			remover := tr.client(c.User, racers)
			remover.Key = other.Key
			authorization, err := remover.Authorize("remove", ids["Key"])
			gatewaytest.Must(tr.t, err)
			_, attempts := tr.begun(c, 31)
			attempts = slices.Insert(attempts, 15, func() (gatewaytest.Reply, error) {
				return remover.Send("DELETE", gatewaytest.Account+"/"+ids["Key"], map[string]any{"authorization": authorization})
			})
			answers, counts := tr.race(c.User, attempts)
			tr.t.Log(counts)
			removed := answers[15]
			for removed.Status == 503 { // out of time: it may have been done all the same, or is asked for again
				now, err := remover.Passkeys()
				gatewaytest.Must(tr.t, err)
				if _, there := now["Key"]; !there {
					break
				}
				authorization, err := remover.Authorize("remove", ids["Key"])
				if err != nil {
					continue // out of time, or done just now
				}
				removed, err = remover.Send("DELETE", gatewaytest.Account+"/"+ids["Key"], map[string]any{"authorization": authorization})
				gatewaytest.Must(tr.t, err)
			}
			if removed.Status != 204 && removed.Status != 503 && removed.Refused(404, "passkey_unknown") != nil {
				tr.t.Fatalf("the removal: %d %s", removed.Status, removed.Body)
			}
			for outcome := range counts {
				if outcome != "200" && outcome != "204" && outcome != "passkey_unknown" && outcome != outOfTime {
					tr.t.Errorf("some got %s", outcome)
				}
			}
			tr.allDead(c, answers, "grant_passkey_removed")
			tr.stored(c, state{1, 8})
		})

		tr.on("a user is reset while everything goes on", func() {
			c, codes := tr.person("reset")
			held, err := c.StepUp("/keys")
			gatewaytest.Must(tr.t, err)
			_, attempts := tr.begun(c, 12)
			register := func(browser *gatewaytest.Client, wish map[string]any) {
				options, err := browser.Step("POST", gatewaytest.Account+"/options", wish, 200)
				gatewaytest.Must(tr.t, err)
				credential, err := authtest.New(authtest.Config{}).Register(options, browser.Origin)
				gatewaytest.Must(tr.t, err)
				browser.Confide(options, credential)
				attempts = append(attempts, func() (gatewaytest.Reply, error) {
					return browser.Send("POST", gatewaytest.Account, map[string]any{"credential": gatewaytest.RawJSON(credential)})
				})
			}
			invitation := invite(tr.gateways[0], c.User)
			for i := range 6 {
				browser := tr.client(c.User, 100+i)
				browser.Key = c.Key
				authorization, err := browser.Authorize("add", "")
				gatewaytest.Must(tr.t, err)
				register(browser, map[string]any{"authorization": authorization})
				register(tr.client(c.User, 110+i), map[string]any{"recovery_code": codes[i]})
				register(tr.client(c.User, 120+i), map[string]any{"invitation": invitation})
			}
			reset := administers(tr.gateways[0], "/stepgate/users/"+url.PathEscape(c.User)+"/reset")
			attempts = slices.Insert(attempts, len(attempts)/2, reset)
			answers, counts := tr.race(c.User, attempts)
			tr.t.Log(counts)
			for done := answers[(len(attempts)-1)/2]; done.Status != 200; { // time ran out: it goes on when it is called again
				gatewaytest.Must(tr.t, done.Refused(503, outOfTime))
				var err error
				done, err = reset()
				gatewaytest.Must(tr.t, err)
			}
			for outcome := range counts {
				switch outcome {
				case "200", "201", "204", "passkey_unknown", "authorization_needed", "recovery_code_invalid", "invitation_invalid", "conflict", outOfTime,
					"too_many_passkeys": // that came before the reset, and after nine others
				default:
					tr.t.Errorf("some got %s", outcome)
				}
			}
			tr.stored(c, state{0, 0})
			tr.allDead(c, append(answers, held), "grant_revoked")
			for i, wish := range []map[string]any{{"recovery_code": codes[7]}, {"invitation": invitation}, {}} {
				answer, err := tr.client(c.User, 130+i).Send("POST", gatewaytest.Account+"/options", wish)
				gatewaytest.Must(tr.t, err)
				gatewaytest.Must(tr.t, answer.Refused([]int{403, 403, 403}[i], []string{"recovery_code_invalid", "invitation_invalid", "registration_closed"}[i]))
			}
		})

		tr.on("grants are revoked while more are made", func() {
			c, _ := tr.person("revoked")
			held, err := c.StepUp("/keys")
			gatewaytest.Must(tr.t, err)
			_, attempts := tr.begun(c, 31)
			revoke := administers(tr.gateways[0], "/stepgate/users/"+url.PathEscape(c.User)+"/revoke")
			answers, counts := tr.race(c.User, slices.Insert(attempts, 15, revoke))
			tr.t.Log(counts)
			for done := answers[15]; done.Status != 200; {
				gatewaytest.Must(tr.t, done.Refused(503, outOfTime))
				done, err = revoke()
				gatewaytest.Must(tr.t, err)
			}
			for outcome := range counts {
				if outcome != "200" && outcome != "204" && outcome != outOfTime {
					tr.t.Errorf("some got %s", outcome)
				}
			}
			tr.dead(c, held.Cookie("stepgate"), "grant_revoked")
			tr.stored(c, state{1, 8})
			gatewaytest.Must(tr.t, gatewaytest.Recovered(tr.same(c, 1)))
		})

		tr.on("everybody logs out", func() {
			c, _ := tr.person("logout")
			browsers, finishes := tr.begun(c, 16)
			var held []gatewaytest.Reply
			for _, finish := range finishes {
				answer, err := finish()
				gatewaytest.Must(tr.t, err)
				gatewaytest.Must(tr.t, answer.Expect(200))
				held = append(held, answer)
			}
			_, counts := tr.race(c.User, everybody(racers, func(i int) attempt {
				return func() (gatewaytest.Reply, error) {
					return browsers[i%16].Send("POST", "/.stepgate/logout", map[string]any{})
				}
			}))
			tr.t.Log(counts)
			// Whoever is told that they are logged out is, everywhere.
			if counts["204"] == 0 {
				tr.t.Errorf("nobody was logged out: %v", counts)
			}
			for outcome := range counts {
				if outcome != "204" && outcome != "authorization_needed" && outcome != outOfTime {
					tr.t.Errorf("some got %s", outcome)
				}
			}
			tr.allDead(c, held, "grant_revoked")
			tr.stored(c, state{1, 8})
		})

		tr.on("one name for many passkeys", func() {
			c, _ := tr.person("names")
			for i := range 7 {
				tr.another(c, fmt.Sprint("Further ", i), i)
			}
			ids, err := c.Passkeys()
			gatewaytest.Must(tr.t, err)
			var list []string
			for _, id := range ids {
				list = append(list, id)
			}
			answers, counts := tr.race(c.User, everybody(racers, func(i int) attempt {
				browser, name := tr.client(c.User, i), []string{"Tablet", "TABLET", "tablet "}[i%3]
				return func() (gatewaytest.Reply, error) {
					return browser.Send("PATCH", gatewaytest.Account+"/"+list[i%8], map[string]any{"name": name})
				}
			}))
			tr.t.Log(counts)
			won := map[string]bool{} // the passkeys that were told they have the name now
			for i, answer := range answers {
				if answer.Status == 200 {
					won[list[i%8]] = true
				}
			}
			for outcome := range counts {
				if outcome != "200" && outcome != "name_taken" && outcome != "conflict" && outcome != outOfTime {
					tr.t.Errorf("some got %s", outcome)
				}
			}
			now, err := c.Passkeys()
			gatewaytest.Must(tr.t, err)
			var named []string
			for name, id := range now {
				if ids[name] != id {
					named = append(named, id)
				}
			}
			if len(won) > 1 || len(named) != 1 || len(won) == 1 && !won[named[0]] || len(now) != 8 {
				tr.t.Errorf("told so: %v; named so: %v; in all: %v", won, named, now)
			}
		})
	})
}
