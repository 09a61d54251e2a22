package e2etest_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
)

// Somebody lost their only passkey and has their recovery codes: they come back by themselves, as far as a piece of paper goes.
func TestRecoveryByCode(t *testing.T) { gatewaytest.OnEachStore(t, testRecoveryByCode) }

func testRecoveryByCode(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("revocation_lag 0s", vault))
	p := visit(g, "alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	p.press()
	p.says("section[data-panel=codes]", "They are shown only now")
	codes := p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys")
	if e := g.Audited("recovery_codes_made", ""); e.User != "alice" {
		t.Errorf("audited %+v", e)
	}
	p.open("/vault/root") // what she can do with the passkey that she is about to lose
	p.at("/vault/root")
	g.Upstream.Take()

	// Another device. The codes work once, and only for her.
	p = visit(g, "alice", options{}, calm)
	p.open("/vault/root")
	p.panel("use")
	p.Click(".foot a[href$='#recover']")
	p.Wait("document.activeElement?.name === 'recovery_code'")
	p.Fill("#recovery-code", "ABCD-EFGH-IJKL-MNOP")
	p.Click("form[data-step=recover] button")
	p.failure("recovery_code_invalid")
	g.Audited("ceremony_refused", "recovery_code_invalid")
	p.Fill("#recovery-code", codes[2])
	p.Click("form[data-step=recover] button")
	p.Wait("document.querySelector('form[data-step=create]')?.checkVisibility()")
	p.Fill("#add-name", "New phone")
	p.Click("form[data-step=create] button")
	p.Wait(fmt.Sprintf("document.querySelector(%q)", row("New phone")))
	p.says("#status", "“New phone” has been added. You have 7 recovery codes left.")
	p.says(row("New phone"), "Standard") // though the authenticator says that it is bound to a device
	for e := g.Audited("passkey_registered", ""); e.Action != "recovered"; e = g.Audited("passkey_registered", "") {
		if e.Action != "first_use" {
			t.Fatalf("audited %+v", e)
		}
	}
	if e := g.Audited("recovery_code_used", ""); e.CodesLeft != 7 || e.User != "alice" {
		t.Errorf("audited %+v", e)
	}

	// It was no step-up. It opens what needs its level, and nothing above.
	if status := p.fetch("/keys", "{}").Status; status != 401 {
		t.Errorf("after recovering: %d", status)
	}
	p.open("/keys")
	p.panel("use")
	p.press()
	p.at("/keys")
	g.Upstream.One()
	p.open("/vault/root")
	p.says("main", "this needs a stronger passkey")
	g.Upstream.Untouched()

	c := signedIn(gatewaytest.NewClient(t, g, ""), "alice")
	for _, user := range []string{"alice", "bob"} {
		body := map[string]any{"recovery_code": codes[2]}
		if user == "bob" {
			body["recovery_code"] = codes[3]
		}
		gatewaytest.Must(t, signedIn(gatewaytest.NewClient(t, g, ""), user).Post(gatewaytest.Account+"/options", body).Refused(403, "recovery_code_invalid"))
	}

	// What it adds is bounded too, once the lost passkey is out of the way; an administrator lifts that.
	ids, err := c.Passkeys()
	gatewaytest.Must(t, err)
	for name, id := range ids {
		if name != "New phone" {
			if out, code := g.Call("passkeys", "remove", "alice", id); code != 0 {
				t.Fatal(out)
			}
		}
	}
	p.add("Tablet", options{Transport: "usb"})
	p.says(row("Tablet"), "Standard", "Security key")
}

// The account page makes new codes with a confirmation, and lets the only passkey go after a warning. Password managers hear of it.
func TestCodesAndTheOnlyPasskey(t *testing.T) { gatewaytest.OnEachStore(t, testCodesAndTheOnlyPasskey) }

func testCodesAndTheOnlyPasskey(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.Console("revocation_lag 0s", ""))
	p := visit(g, "alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	p.press()
	old := p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys")

	p.open(gatewaytest.Account)
	p.Click("button[data-do=codes]")
	p.says("form[data-do=codes]", "stop working as soon as you have new ones")
	p.Click("form[data-do=codes] .primary")
	codes := p.keeps()
	p.Wait("document.querySelector('#status').textContent.includes('Earlier ones no longer work')")
	for e := g.Audited("recovery_codes_made", ""); e.Action != "recovery_codes"; e = g.Audited("recovery_codes_made", "") {
		if e.Action != "first_use" {
			t.Fatalf("audited %+v", e)
		}
	}
	gatewaytest.Must(t, signedIn(gatewaytest.NewClient(t, g, ""), "alice").Post(gatewaytest.Account+"/options", map[string]any{"recovery_code": old[0]}).Refused(403, "recovery_code_invalid"))

	// The browser is told what is left: nothing.
	if held := p.key.Credentials(); len(held) != 1 {
		t.Fatalf("the authenticator holds %v", held)
	}
	p.Click("button[data-do=remove]")
	p.says("dialog", "This is your only passkey", "one of your 8 recovery codes")
	p.Click("dialog [data-do=confirm-remove]")
	p.Wait("document.querySelectorAll('li[data-id]').length === 0 && document.querySelector('#status').textContent.includes('has been removed')")
	g.Audited("passkey_removed", "")
	p.Wait("document.querySelector('main').dataset.state === 'ready'")
	gatewaytest.Eventually(t, "the password manager drops the passkey", func() bool { return len(p.key.Credentials()) == 0 })
	answer := p.fetch("/keys", "{}")
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 401 || got.Reason != "grant_passkey_removed" {
		t.Errorf("with the grant of the removed passkey: %d %+v", answer.Status, got)
	}
	p.open("/keys")
	p.says("section[data-panel=closed]", "needs one of your recovery codes")
	p.Click("section[data-panel=closed] a.button")
	p.Fill("#recovery-code", codes[0])
	p.Click("form[data-step=recover] button")
	p.Wait("document.querySelector('form[data-step=create]')?.checkVisibility()")
	p.Click("form[data-step=create] button")
	p.Wait("document.querySelectorAll('li[data-id]').length === 1")
	p.says("#status", "7 recovery codes left")
}

// One code from many browsers at once, on as many gateways as the store allows: one passkey.
func TestRecoveryCodeOnceAcrossGateways(t *testing.T) {
	f := gatewaytest.NewFleet(t, 2)
	f.Start(gatewaytest.HeaderConsole("revocation_lag 0s", ""))
	owner := gatewaytest.NewClient(t, f.Gateways[0], "alice")
	body, err := owner.BeginRegistration(owner.Key, "Laptop", nil)
	gatewaytest.Must(t, err)
	text, err := owner.Step("POST", gatewaytest.Account, body, 201)
	gatewaytest.Must(t, err)
	var registered struct {
		Codes []string `json:"recovery_codes"`
	}
	gatewaytest.Must(t, json.Unmarshal(text, &registered))
	const racers = 8
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		got  = map[int]int{}
	)
	ready := make([]*gatewaytest.Client, racers)
	bodies := make([]map[string]any, racers)
	for i := range ready {
		ready[i] = gatewaytest.NewClient(t, f.Gateways[i%2], "alice")
		options, err := ready[i].Step("POST", gatewaytest.Account+"/options", map[string]any{"recovery_code": registered.Codes[0]}, 200)
		gatewaytest.Must(t, err)
		key := authtest.New(authtest.Config{})
		credential, err := key.Register(options, ready[i].Origin)
		gatewaytest.Must(t, err)
		ready[i].Confide(options, credential)
		bodies[i] = map[string]any{"credential": gatewaytest.RawJSON(credential)}
	}
	for i, c := range ready {
		wait.Go(func() {
			answer, err := c.Send("POST", gatewaytest.Account, bodies[i])
			if err == nil && answer.Status != 201 {
				err = answer.Refused(403, "recovery_code_invalid")
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			got[answer.Status]++
		})
	}
	wait.Wait()
	if got[201] != 1 || got[403] != racers-1 {
		t.Errorf("answers %v", got)
	}
	ids, err := owner.Passkeys()
	gatewaytest.Must(t, err)
	if len(ids) != 2 {
		t.Errorf("registered: %v", ids)
	}
}

// Two removals of the last two passkeys, and two renamings to one name, each at the same time: one of each is done.
func TestLifecycleRaces(t *testing.T) { gatewaytest.OnEachStore(t, testLifecycleRaces) }

func testLifecycleRaces(t *testing.T, on gatewaytest.Store) {
	g := on.Start(t, gatewaytest.HeaderConsole("revocation_lag 0s", ""))
	for round := range 4 {
		laptop := gatewaytest.NewClient(t, g, fmt.Sprint("user ", round))
		gatewaytest.Must(t, laptop.Register("Laptop"))
		authorization, err := laptop.Authorize("add", "")
		gatewaytest.Must(t, err)
		phone := *laptop
		phone.Key = authtest.New(authtest.Config{Counts: true})
		body, err := laptop.BeginRegistration(phone.Key, "Phone", authorization)
		gatewaytest.Must(t, err)
		_, err = laptop.Step("POST", gatewaytest.Account, body, 201)
		gatewaytest.Must(t, err)
		ids, err := laptop.Passkeys()
		gatewaytest.Must(t, err)

		answers := [2]gatewaytest.Reply{}
		race := func(do func(i int) (gatewaytest.Reply, error), refusal string) {
			t.Helper()
			var errs [2]error
			gatewaytest.Together(func() { answers[0], errs[0] = do(0) }, func() { answers[1], errs[1] = do(1) })
			done := 0
			for i, answer := range answers {
				gatewaytest.Must(t, errs[i])
				if answer.Status < 300 {
					done++
				} else {
					gatewaytest.Must(t, answer.Refused(409, refusal))
				}
			}
			if done != 1 {
				t.Errorf("%s: %d were done: %s, %s", refusal, done, answers[0].Body, answers[1].Body)
			}
		}
		race(func(i int) (gatewaytest.Reply, error) {
			return laptop.Send("PATCH", gatewaytest.Account+"/"+ids[[]string{"Laptop", "Phone"}[i]], map[string]any{"name": []string{"Tablet", "TABLET"}[i]})
		}, "name_taken")

		authorizations := [2]json.RawMessage{}
		for i, c := range []*gatewaytest.Client{laptop, &phone} {
			authorizations[i], err = c.Authorize("remove", ids[[]string{"Laptop", "Phone"}[i]])
			gatewaytest.Must(t, err)
		}
		race(func(i int) (gatewaytest.Reply, error) {
			return laptop.Send("DELETE", gatewaytest.Account+"/"+ids[[]string{"Laptop", "Phone"}[i]], map[string]any{"authorization": authorizations[i]})
		}, "last_passkey")
		left, err := laptop.Passkeys()
		gatewaytest.Must(t, err)
		if len(left) != 1 {
			t.Errorf("left: %v", left)
		}
	}
}
