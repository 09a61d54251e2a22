package e2etest_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
)

// Somebody lost their only passkey and has their recovery codes: they come back by themselves, as far as a piece of paper goes.
func TestRecoveryByCode(t *testing.T) { onEachStore(t, testRecoveryByCode) }

func testRecoveryByCode(t *testing.T, on store) {
	g := on.start(t, console("revocation_lag 0s", vault))
	p := g.visit("alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	p.press()
	p.says("section[data-panel=codes]", "They are shown only now")
	codes := p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys")
	if e := g.audited("recovery_codes_made", ""); e.User != "alice" {
		t.Errorf("audited %+v", e)
	}
	p.open("/vault/root") // what she can do with the passkey that she is about to lose
	p.at("/vault/root")
	g.upstream.take()

	// Another device. The codes work once, and only for her.
	p = g.visit("alice", options{}, calm)
	p.open("/vault/root")
	p.panel("use")
	p.Click(".foot a[href$='#recover']")
	p.Wait("document.activeElement?.name === 'recovery_code'")
	p.Fill("#recovery-code", "ABCD-EFGH-IJKL-MNOP")
	p.Click("form[data-step=recover] button")
	p.failure("recovery_code_invalid")
	g.audited("ceremony_refused", "recovery_code_invalid")
	p.Fill("#recovery-code", codes[2])
	p.Click("form[data-step=recover] button")
	p.Wait("document.querySelector('form[data-step=create]')?.checkVisibility()")
	p.Fill("#add-name", "New phone")
	p.Click("form[data-step=create] button")
	p.Wait(fmt.Sprintf("document.querySelector(%q)", row("New phone")))
	p.says("#status", "“New phone” has been added. You have 7 recovery codes left.")
	p.says(row("New phone"), "Standard") // though the authenticator says that it is bound to a device
	for e := g.audited("passkey_registered", ""); e.Action != "recovered"; e = g.audited("passkey_registered", "") {
		if e.Action != "first_use" {
			t.Fatalf("audited %+v", e)
		}
	}
	if e := g.audited("recovery_code_used", ""); e.CodesLeft != 7 || e.User != "alice" {
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
	g.upstream.one()
	p.open("/vault/root")
	p.says("main", "this needs a stronger passkey")
	g.upstream.untouched()

	c := newClient(t, g, "").signedIn("alice")
	for _, user := range []string{"alice", "bob"} {
		body := map[string]any{"recovery_code": codes[2]}
		if user == "bob" {
			body["recovery_code"] = codes[3]
		}
		must(t, newClient(t, g, "").signedIn(user).post(account+"/options", body).refused(403, "recovery_code_invalid"))
	}

	// What it adds is bounded too, once the lost passkey is out of the way; an administrator lifts that.
	ids, err := c.passkeys()
	must(t, err)
	for name, id := range ids {
		if name != "New phone" {
			if out, code := g.call("passkeys", "remove", "alice", id); code != 0 {
				t.Fatal(out)
			}
		}
	}
	p.add("Tablet", options{Transport: "usb"})
	p.says(row("Tablet"), "Standard", "Security key")
}

// The account page makes new codes with a confirmation, and lets the only passkey go after a warning. Password managers hear of it.
func TestCodesAndTheOnlyPasskey(t *testing.T) { onEachStore(t, testCodesAndTheOnlyPasskey) }

func testCodesAndTheOnlyPasskey(t *testing.T, on store) {
	g := on.start(t, console("revocation_lag 0s", ""))
	p := g.visit("alice", options{}, calm)
	p.open("/keys")
	p.panel("create")
	p.press()
	old := p.keeps()
	p.panel("confirm")
	p.press()
	p.at("/keys")

	p.open(account)
	p.Click("button[data-do=codes]")
	p.says("form[data-do=codes]", "stop working as soon as you have new ones")
	p.Click("form[data-do=codes] .primary")
	codes := p.keeps()
	p.Wait("document.querySelector('#status').textContent.includes('Earlier ones no longer work')")
	for e := g.audited("recovery_codes_made", ""); e.Action != "recovery_codes"; e = g.audited("recovery_codes_made", "") {
		if e.Action != "first_use" {
			t.Fatalf("audited %+v", e)
		}
	}
	must(t, newClient(t, g, "").signedIn("alice").post(account+"/options", map[string]any{"recovery_code": old[0]}).refused(403, "recovery_code_invalid"))

	// The browser is told what is left: nothing.
	if held := p.key.Credentials(); len(held) != 1 {
		t.Fatalf("the authenticator holds %v", held)
	}
	p.Click("button[data-do=remove]")
	p.says("dialog", "This is your only passkey", "one of your 8 recovery codes")
	p.Click("dialog [data-do=confirm-remove]")
	p.Wait("document.querySelectorAll('li[data-id]').length === 0 && document.querySelector('#status').textContent.includes('has been removed')")
	g.audited("passkey_removed", "")
	p.Wait("document.querySelector('main').dataset.state === 'ready'")
	eventually(t, "the password manager drops the passkey", func() bool { return len(p.key.Credentials()) == 0 })
	answer := p.fetch("/keys", "{}")
	if got := problemIn(t, answer.Body); answer.Status != 401 || got.Reason != "grant_passkey_removed" {
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
	f := newFleet(t, 2)
	f.start(headerConsole("revocation_lag 0s", ""))
	owner := newClient(t, f.gateways[0], "alice")
	body, err := owner.beginRegistration(owner.key, "Laptop", nil)
	must(t, err)
	text, err := owner.step("POST", account, body, 201)
	must(t, err)
	var registered struct {
		Codes []string `json:"recovery_codes"`
	}
	must(t, json.Unmarshal(text, &registered))
	const racers = 8
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		got  = map[int]int{}
	)
	ready := make([]*client, racers)
	bodies := make([]map[string]any, racers)
	for i := range ready {
		ready[i] = newClient(t, f.gateways[i%2], "alice")
		options, err := ready[i].step("POST", account+"/options", map[string]any{"recovery_code": registered.Codes[0]}, 200)
		must(t, err)
		key := authtest.New(authtest.Config{})
		credential, err := key.Register(options, ready[i].origin)
		must(t, err)
		ready[i].confide(options, credential)
		bodies[i] = map[string]any{"credential": rawJSON(credential)}
	}
	for i, c := range ready {
		wait.Go(func() {
			answer, err := c.send("POST", account, bodies[i])
			if err == nil && answer.status != 201 {
				err = answer.refused(403, "recovery_code_invalid")
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			got[answer.status]++
		})
	}
	wait.Wait()
	if got[201] != 1 || got[403] != racers-1 {
		t.Errorf("answers %v", got)
	}
	ids, err := owner.passkeys()
	must(t, err)
	if len(ids) != 2 {
		t.Errorf("registered: %v", ids)
	}
}

// Two removals of the last two passkeys, and two renamings to one name, each at the same time: one of each is done.
func TestLifecycleRaces(t *testing.T) { onEachStore(t, testLifecycleRaces) }

func testLifecycleRaces(t *testing.T, on store) {
	g := on.start(t, headerConsole("revocation_lag 0s", ""))
	for round := range 4 {
		laptop := newClient(t, g, fmt.Sprint("user ", round))
		must(t, laptop.register("Laptop"))
		authorization, err := laptop.authorize("add", "")
		must(t, err)
		phone := *laptop
		phone.key = authtest.New(authtest.Config{Counts: true})
		body, err := laptop.beginRegistration(phone.key, "Phone", authorization)
		must(t, err)
		_, err = laptop.step("POST", account, body, 201)
		must(t, err)
		ids, err := laptop.passkeys()
		must(t, err)

		answers := [2]reply{}
		race := func(do func(i int) (reply, error), refusal string) {
			t.Helper()
			var errs [2]error
			together(func() { answers[0], errs[0] = do(0) }, func() { answers[1], errs[1] = do(1) })
			done := 0
			for i, answer := range answers {
				must(t, errs[i])
				if answer.status < 300 {
					done++
				} else {
					must(t, answer.refused(409, refusal))
				}
			}
			if done != 1 {
				t.Errorf("%s: %d were done: %s, %s", refusal, done, answers[0].body, answers[1].body)
			}
		}
		race(func(i int) (reply, error) {
			return laptop.send("PATCH", account+"/"+ids[[]string{"Laptop", "Phone"}[i]], map[string]any{"name": []string{"Tablet", "TABLET"}[i]})
		}, "name_taken")

		authorizations := [2]json.RawMessage{}
		for i, c := range []*client{laptop, &phone} {
			authorizations[i], err = c.authorize("remove", ids[[]string{"Laptop", "Phone"}[i]])
			must(t, err)
		}
		race(func(i int) (reply, error) {
			return laptop.send("DELETE", account+"/"+ids[[]string{"Laptop", "Phone"}[i]], map[string]any{"authorization": authorizations[i]})
		}, "last_passkey")
		left, err := laptop.passkeys()
		must(t, err)
		if len(left) != 1 {
			t.Errorf("left: %v", left)
		}
	}
}
