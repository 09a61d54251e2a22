package e2etest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/faulttest"
)

// try is one write whose answer is lost, and what must come of it.
type try struct {
	name      string
	operation string
	prepare   func(c *gatewaytest.Client) error // before the fault
	once      func(c *gatewaytest.Client) error // while one answer is lost: the next attempt tells
	always    func(c *gatewaytest.Client) error // while every answer is lost
	after     func(c *gatewaytest.Client) error // after either: the write was applied, once
}

// Each write in turn is applied and its answer lost, once and for good. A challenge whose consumption nobody
// acknowledged counts as used up; every other write is recognised by the next attempt as its own.
//
// It is not parallel to others, see [gatewaytest.Few].
func TestDynamoDBLosesAnswers(t *testing.T) {
	f := gatewaytest.NewFaulty(t, "revocation_lag 0s")
	var mu sync.Mutex
	bodies := map[string]map[string]any{} // of requests begun before the fault, by user
	ids := map[string]string{}
	keep := func(c *gatewaytest.Client, body map[string]any, err error) error {
		mu.Lock()
		defer mu.Unlock()
		bodies[c.User] = body
		return err
	}
	kept := func(c *gatewaytest.Client) map[string]any {
		mu.Lock()
		defer mu.Unlock()
		return bodies[c.User]
	}
	id := func(c *gatewaytest.Client) string {
		mu.Lock()
		defer mu.Unlock()
		return ids[c.User]
	}
	stepUpBegun := func(c *gatewaytest.Client) error {
		body, err := c.Begin(map[string]any{"return_to": "/keys"})
		return keep(c, body, err)
	}
	keyUsed := func(c *gatewaytest.Client) error {
		if err := c.Register("Key"); err != nil {
			return err
		}
		return gatewaytest.Recovered(c)
	}
	finish := func(c *gatewaytest.Client) (gatewaytest.Reply, error) { return c.Finish(kept(c)) }
	usedUp := func(c *gatewaytest.Client) error {
		answer, err := finish(c)
		err = errors.Join(err, answer.Refused(409, "challenge_used"), f.Recorded("ceremony_refused", "challenge_used", c.User))
		if err != nil {
			return err
		}
		return gatewaytest.Recovered(c)
	}
	down := func(do func(c *gatewaytest.Client) (gatewaytest.Reply, error)) func(c *gatewaytest.Client) error {
		return func(c *gatewaytest.Client) error {
			answer, err := do(c)
			return errors.Join(err, answer.Unavailable(), f.Recorded("(ceremony|request)_refused", "store_unavailable", c.User))
		}
	}
	well := func(status int, do func(c *gatewaytest.Client) (gatewaytest.Reply, error)) func(c *gatewaytest.Client) error {
		return func(c *gatewaytest.Client) error {
			answer, err := do(c)
			return errors.Join(err, answer.Expect(status))
		}
	}
	has := func(names ...string) func(c *gatewaytest.Client) error {
		return func(c *gatewaytest.Client) error {
			got, err := c.Passkeys()
			if err != nil {
				return err
			}
			for _, name := range names {
				if got[name] == "" {
					return fmt.Errorf("there is no %s among the passkeys %v", name, got)
				}
			}
			if len(got) != len(names) {
				return fmt.Errorf("the passkeys are %v, want %v", got, names)
			}
			return gatewaytest.Recovered(c)
		}
	}
	twoKeys := func(c *gatewaytest.Client) error {
		if err := keyUsed(c); err != nil {
			return err
		}
		usb := authtest.New(authtest.Config{Counts: true})
		authorization, err := c.Authorize("add", "")
		if err != nil {
			return err
		}
		body, err := c.BeginRegistration(usb, "USB", authorization)
		if err != nil {
			return err
		}
		c.Key = usb
		return keep(c, body, err)
	}
	register := func(c *gatewaytest.Client) (gatewaytest.Reply, error) {
		return c.Send("POST", gatewaytest.Account, kept(c))
	}
	rename := func(c *gatewaytest.Client) (gatewaytest.Reply, error) {
		return c.Send("PATCH", gatewaytest.Account+"/"+id(c), map[string]any{"name": "Blue"})
	}
	remove := func(c *gatewaytest.Client) (gatewaytest.Reply, error) {
		return c.Send("DELETE", gatewaytest.Account+"/"+id(c), kept(c))
	}
	logOut := func(c *gatewaytest.Client) (gatewaytest.Reply, error) {
		return c.Send("POST", "/.stepgate/logout", map[string]any{})
	}
	oldGrant := func(reason string) func(c *gatewaytest.Client) error {
		return func(c *gatewaytest.Client) error {
			answer, err := c.Send("GET", "/keys", nil, "Cookie", kept(c)["grant"].(string))
			return errors.Join(err, answer.Refused(401, reason), f.Recorded("step_up_required", reason, c.User))
		}
	}

	forged := func(c *gatewaytest.Client) error {
		answer, err := finish(c)
		return errors.Join(err, answer.Refused(403, "signature_invalid"), f.Recorded("ceremony_refused", "signature_invalid", c.User))
	}

	tries := []try{
		{
			name: "begin", operation: "PutItem", prepare: keyUsed,
			once: well(200, func(c *gatewaytest.Client) (gatewaytest.Reply, error) {
				return c.Send("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
			}),
			always: down(func(c *gatewaytest.Client) (gatewaytest.Reply, error) {
				return c.Send("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
			}),
			after: gatewaytest.Recovered,
		},
		{
			name: "consume", operation: "DeleteItem",
			prepare: func(c *gatewaytest.Client) error { return errors.Join(keyUsed(c), stepUpBegun(c)) },
			once:    down(finish),
			always:  down(finish),
			after:   usedUp,
		},
		{
			name: "use", operation: "UpdateItem",
			prepare: func(c *gatewaytest.Client) error { return errors.Join(keyUsed(c), stepUpBegun(c)) },
			once: func(c *gatewaytest.Client) error {
				answer, err := finish(c)
				if err != nil {
					return err
				}
				return gatewaytest.Passes(c, answer)
			},
			always: down(finish),
			after:  usedUp,
		},
		{
			name: "forged", operation: "UpdateItem", // which is never asked: nothing of this makes a wrong signature right
			prepare: func(c *gatewaytest.Client) error {
				if err := keyUsed(c); err != nil {
					return err
				}
				body, err := c.Begin(map[string]any{"return_to": "/keys"}, authtest.Signature(func(s []byte) []byte { s[len(s)-1] ^= 1; return s }))
				return keep(c, body, err)
			},
			once: forged, always: forged, after: usedUp,
		},
		{
			name: "register", operation: "TransactWriteItems",
			prepare: func(c *gatewaytest.Client) error {
				body, err := c.BeginRegistration(c.Key, "Key", nil)
				return keep(c, body, err)
			},
			once:   well(201, register),
			always: down(register),
			after: func(c *gatewaytest.Client) error {
				answer, err := c.Send("POST", gatewaytest.Account+"/options", map[string]any{"name": "Another"})
				return errors.Join(err, answer.Refused(403, "authorization_needed"),
					f.Recorded("ceremony_refused", "authorization_needed", c.User), has("Key")(c))
			},
		},
		{
			name: "add", operation: "TransactWriteItems", prepare: twoKeys,
			once: well(201, register), always: down(register), after: has("Key", "USB"),
		},
		{
			name: "rename", operation: "TransactWriteItems",
			prepare: func(c *gatewaytest.Client) error {
				if err := keyUsed(c); err != nil {
					return err
				}
				list, err := c.Passkeys()
				mu.Lock()
				defer mu.Unlock()
				ids[c.User] = list["Key"]
				return err
			},
			once: well(200, rename), always: down(rename), after: has("Blue"),
		},
		{
			name: "remove", operation: "TransactWriteItems",
			prepare: func(c *gatewaytest.Client) error {
				if err := twoKeys(c); err != nil {
					return err
				}
				if _, err := c.Step("POST", gatewaytest.Account, kept(c), 201); err != nil {
					return err
				}
				list, err := c.Passkeys()
				if err != nil {
					return err
				}
				authorization, err := c.Authorize("remove", list["Key"])
				if err != nil {
					return err
				}
				mu.Lock()
				ids[c.User] = list["Key"]
				mu.Unlock()
				return keep(c, map[string]any{"authorization": authorization}, nil)
			},
			once: well(204, remove), always: down(remove),
			after: func(c *gatewaytest.Client) error {
				answer, err := c.Send("GET", "/keys", nil) // the grant is the removed passkey's
				return errors.Join(err, answer.Refused(401, "grant_passkey_removed"),
					f.Recorded("step_up_required", "grant_passkey_removed", c.User), has("USB")(c))
			},
		},
		{
			name: "log-out", operation: "TransactWriteItems",
			prepare: func(c *gatewaytest.Client) error {
				if err := c.Register("Key"); err != nil {
					return err
				}
				answer, err := c.StepUp("/keys")
				if err == nil {
					err = answer.Expect(200)
				}
				return keep(c, map[string]any{"grant": answer.Cookie("stepgate")}, err)
			},
			once: well(204, logOut), always: down(logOut),
			after: func(c *gatewaytest.Client) error {
				if err := oldGrant("grant_revoked")(c); err != nil {
					return err
				}
				return gatewaytest.Recovered(c)
			},
		},
	}

	var wait sync.WaitGroup
	turns := make(chan struct{}, gatewaytest.Few)
	run := func(try try, kind faulttest.Kind, count int, lost string) {
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			c, err := f.Person(fmt.Sprintf("%s-%v-%s", try.name, kind, lost), try.prepare)
			if err == nil {
				err = try.run(f, c, kind, count)
			}
			if err != nil {
				t.Errorf("%s, %v, %s: %v", try.name, kind, lost, err)
			}
		})
	}
	for _, try := range tries {
		for _, kind := range afterwards {
			run(try, kind, 1, "once")
		}
		for _, kind := range []faulttest.Kind{faulttest.HangAfter, faulttest.DropAfter} {
			run(try, kind, 0, "always")
		}
	}
	wait.Wait()
	earned(f, t)
}

func (try try) run(f gatewaytest.Faulty, c *gatewaytest.Client, kind faulttest.Kind, count int) error {
	lift := f.Afflict(c.User, kind, count, try.operation)
	defer lift()
	while := try.always
	if count == 1 {
		while = try.once
	}
	if err := while(c); err != nil {
		return err
	}
	lift()
	if err := gatewaytest.Patiently(func() error { return try.after(c) }); err != nil {
		return fmt.Errorf("after: %w", err)
	}
	return nil
}

// What goes wrong for a moment goes unnoticed: nobody gets anything but what they would have got anyway.
//
// It is not parallel to others, see [gatewaytest.Few].
func TestDynamoDBStumbles(t *testing.T) {
	f := gatewaytest.NewFaulty(t, "revocation_lag 0s")
	operations := []string{"Query", "PutItem", "DeleteItem", "UpdateItem", "TransactWriteItems"}
	acknowledged := slices.DeleteFunc(slices.Clone(operations), func(o string) bool { return o == "DeleteItem" })
	type stumble struct {
		kind       faulttest.Kind
		count      int
		operations []string
	}
	var stumbles []stumble
	for _, kind := range []faulttest.Kind{
		faulttest.Throttle, faulttest.RequestLimit, faulttest.ServerError, faulttest.HTML503, faulttest.Conflict, faulttest.DropBefore, faulttest.ResetBefore,
	} {
		stumbles = append(stumbles, stumble{kind, 2, operations})
	}
	for _, kind := range []faulttest.Kind{faulttest.DropAfter, faulttest.ResetAfter, faulttest.Truncate, faulttest.Garble} {
		stumbles = append(stumbles, stumble{kind, 2, acknowledged}) // a challenge may not be consumed by a guess
	}
	for _, operation := range operations { // each costs a second of the 2.5 that there are
		stumbles = append(stumbles, stumble{faulttest.Hang, 1, []string{operation}})
	}

	var wait sync.WaitGroup
	turns := make(chan struct{}, gatewaytest.Few)
	for i, s := range stumbles {
		c := gatewaytest.NewClient(t, f.Gateway, fmt.Sprintf("user-%d-%v", i, s.kind))
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if err := life(c, func() func() { return f.Afflict(c.User, s.kind, s.count, s.operations...) }); err != nil {
				t.Errorf("%v of %v: %v", s.kind, s.operations, err)
			}
		})
	}
	wait.Wait()
	for _, line := range f.Log.Unread() {
		if strings.Contains(line, "store_unavailable") {
			t.Errorf("audited: %s", line)
		}
	}
	earned(f, t)
}

// life does everything that a person can do, each step with a fault of its own.
func life(c *gatewaytest.Client, afflict func() (lift func())) error {
	usb := authtest.New(authtest.Config{Counts: true})
	var body map[string]any
	var authorization json.RawMessage
	var ids map[string]string
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"starting a registration", func() (err error) { body, err = c.BeginRegistration(c.Key, "Key", nil); return err }},
		{"finishing it", func() error { _, err := c.Step("POST", gatewaytest.Account, body, 201); return err }},
		{"starting a step-up", func() (err error) { body, err = c.Begin(map[string]any{"return_to": "/keys"}); return err }},
		{"finishing it", func() error {
			answer, err := c.Finish(body)
			return errors.Join(err, answer.Expect(200))
		}},
		{"a protected request", func() error { _, err := c.Step("GET", "/keys", nil, 200); return err }},
		{"starting to add a passkey", func() (err error) { authorization, err = c.Authorize("add", ""); return err }},
		{"going on", func() (err error) { body, err = c.BeginRegistration(usb, "USB", authorization); return err }},
		{"finishing it", func() error { _, err := c.Step("POST", gatewaytest.Account, body, 201); return err }},
		{"the list", func() (err error) { ids, err = c.Passkeys(); return err }},
		{"renaming", func() error {
			_, err := c.Step("PATCH", gatewaytest.Account+"/"+ids["USB"], map[string]any{"name": "Blue"}, 200)
			return err
		}},
		{"starting to remove one", func() (err error) { authorization, err = c.Authorize("remove", ids["USB"]); return err }},
		{"finishing it", func() error {
			_, err := c.Step("DELETE", gatewaytest.Account+"/"+ids["USB"], map[string]any{"authorization": authorization}, 204)
			return err
		}},
		{"logging out", func() error { _, err := c.Step("POST", "/.stepgate/logout", map[string]any{}, 204); return err }},
	} {
		lift := afflict()
		err := step.do()
		lift()
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}
