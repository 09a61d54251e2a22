package e2etest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/faulttest"
)

// try is one write whose answer is lost, and what must come of it.
type try struct {
	name      string
	operation string
	prepare   func(c *client) error // before the fault
	once      func(c *client) error // while one answer is lost: the next attempt tells
	always    func(c *client) error // while every answer is lost
	after     func(c *client) error // after either: the write was applied, once
}

// Each write in turn is applied and its answer lost, once and for good. A challenge whose consumption nobody
// acknowledged counts as used up; every other write is recognised by the next attempt as its own.
//
// It is not parallel to others, see [few].
func TestDynamoDBLosesAnswers(t *testing.T) {
	f := newFaulty(t, "revocation_lag 0s")
	var mu sync.Mutex
	bodies := map[string]map[string]any{} // of requests begun before the fault, by user
	ids := map[string]string{}
	keep := func(c *client, body map[string]any, err error) error {
		mu.Lock()
		defer mu.Unlock()
		bodies[c.user] = body
		return err
	}
	kept := func(c *client) map[string]any {
		mu.Lock()
		defer mu.Unlock()
		return bodies[c.user]
	}
	id := func(c *client) string {
		mu.Lock()
		defer mu.Unlock()
		return ids[c.user]
	}
	stepUpBegun := func(c *client) error {
		body, err := c.begin(map[string]any{"return_to": "/keys"})
		return keep(c, body, err)
	}
	keyUsed := func(c *client) error {
		if err := c.register("Key"); err != nil {
			return err
		}
		return recovered(c)
	}
	finish := func(c *client) (reply, error) { return c.finish(kept(c)) }
	usedUp := func(c *client) error {
		answer, err := finish(c)
		err = errors.Join(err, answer.refused(409, "challenge_used"), f.recorded("ceremony_refused", "challenge_used", c.user))
		if err != nil {
			return err
		}
		return recovered(c)
	}
	down := func(do func(c *client) (reply, error)) func(c *client) error {
		return func(c *client) error {
			answer, err := do(c)
			return errors.Join(err, answer.unavailable(), f.recorded("(ceremony|request)_refused", "store_unavailable", c.user))
		}
	}
	well := func(status int, do func(c *client) (reply, error)) func(c *client) error {
		return func(c *client) error {
			answer, err := do(c)
			return errors.Join(err, answer.expect(status))
		}
	}
	has := func(names ...string) func(c *client) error {
		return func(c *client) error {
			got, err := c.passkeys()
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
			return recovered(c)
		}
	}
	twoKeys := func(c *client) error {
		if err := keyUsed(c); err != nil {
			return err
		}
		usb := authtest.New(authtest.Config{Counts: true})
		authorization, err := c.authorize("add", "")
		if err != nil {
			return err
		}
		body, err := c.beginRegistration(usb, "USB", authorization)
		if err != nil {
			return err
		}
		c.key = usb
		return keep(c, body, err)
	}
	register := func(c *client) (reply, error) { return c.send("POST", account, kept(c)) }
	rename := func(c *client) (reply, error) {
		return c.send("PATCH", account+"/"+id(c), map[string]any{"name": "Blue"})
	}
	remove := func(c *client) (reply, error) { return c.send("DELETE", account+"/"+id(c), kept(c)) }
	logOut := func(c *client) (reply, error) { return c.send("POST", "/.stepgate/logout", map[string]any{}) }
	oldGrant := func(reason string) func(c *client) error {
		return func(c *client) error {
			answer, err := c.send("GET", "/keys", nil, "Cookie", kept(c)["grant"].(string))
			return errors.Join(err, answer.refused(401, reason), f.recorded("step_up_required", reason, c.user))
		}
	}

	forged := func(c *client) error {
		answer, err := finish(c)
		return errors.Join(err, answer.refused(403, "signature_invalid"), f.recorded("ceremony_refused", "signature_invalid", c.user))
	}

	tries := []try{
		{
			name: "begin", operation: "PutItem", prepare: keyUsed,
			once: well(200, func(c *client) (reply, error) {
				return c.send("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
			}),
			always: down(func(c *client) (reply, error) {
				return c.send("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"})
			}),
			after: recovered,
		},
		{
			name: "consume", operation: "DeleteItem",
			prepare: func(c *client) error { return errors.Join(keyUsed(c), stepUpBegun(c)) },
			once:    down(finish),
			always:  down(finish),
			after:   usedUp,
		},
		{
			name: "use", operation: "UpdateItem",
			prepare: func(c *client) error { return errors.Join(keyUsed(c), stepUpBegun(c)) },
			once: func(c *client) error {
				answer, err := finish(c)
				if err != nil {
					return err
				}
				return passes(c, answer)
			},
			always: down(finish),
			after:  usedUp,
		},
		{
			name: "forged", operation: "UpdateItem", // which is never asked: nothing of this makes a wrong signature right
			prepare: func(c *client) error {
				if err := keyUsed(c); err != nil {
					return err
				}
				body, err := c.begin(map[string]any{"return_to": "/keys"}, authtest.Signature(func(s []byte) []byte { s[len(s)-1] ^= 1; return s }))
				return keep(c, body, err)
			},
			once: forged, always: forged, after: usedUp,
		},
		{
			name: "register", operation: "TransactWriteItems",
			prepare: func(c *client) error {
				body, err := c.beginRegistration(c.key, "Key", nil)
				return keep(c, body, err)
			},
			once:   well(201, register),
			always: down(register),
			after: func(c *client) error {
				answer, err := c.send("POST", account+"/options", map[string]any{"name": "Another"})
				return errors.Join(err, answer.refused(403, "authorization_needed"),
					f.recorded("ceremony_refused", "authorization_needed", c.user), has("Key")(c))
			},
		},
		{
			name: "add", operation: "TransactWriteItems", prepare: twoKeys,
			once: well(201, register), always: down(register), after: has("Key", "USB"),
		},
		{
			name: "rename", operation: "TransactWriteItems",
			prepare: func(c *client) error {
				if err := keyUsed(c); err != nil {
					return err
				}
				list, err := c.passkeys()
				mu.Lock()
				defer mu.Unlock()
				ids[c.user] = list["Key"]
				return err
			},
			once: well(200, rename), always: down(rename), after: has("Blue"),
		},
		{
			name: "remove", operation: "TransactWriteItems",
			prepare: func(c *client) error {
				if err := twoKeys(c); err != nil {
					return err
				}
				if _, err := c.step("POST", account, kept(c), 201); err != nil {
					return err
				}
				list, err := c.passkeys()
				if err != nil {
					return err
				}
				authorization, err := c.authorize("remove", list["Key"])
				if err != nil {
					return err
				}
				mu.Lock()
				ids[c.user] = list["Key"]
				mu.Unlock()
				return keep(c, map[string]any{"authorization": authorization}, nil)
			},
			once: well(204, remove), always: down(remove),
			after: func(c *client) error {
				answer, err := c.send("GET", "/keys", nil) // the grant is the removed passkey's
				return errors.Join(err, answer.refused(401, "grant_passkey_removed"),
					f.recorded("step_up_required", "grant_passkey_removed", c.user), has("USB")(c))
			},
		},
		{
			name: "log-out", operation: "TransactWriteItems",
			prepare: func(c *client) error {
				if err := c.register("Key"); err != nil {
					return err
				}
				answer, err := c.stepUp("/keys")
				if err == nil {
					err = answer.expect(200)
				}
				return keep(c, map[string]any{"grant": answer.cookie("stepgate")}, err)
			},
			once: well(204, logOut), always: down(logOut),
			after: func(c *client) error {
				if err := oldGrant("grant_revoked")(c); err != nil {
					return err
				}
				return recovered(c)
			},
		},
	}

	var wait sync.WaitGroup
	turns := make(chan struct{}, few)
	run := func(try try, kind faulttest.Kind, count int, lost string) {
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			c, err := f.person(fmt.Sprintf("%s-%v-%s", try.name, kind, lost), try.prepare)
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
	f.earned(t)
}

func (try try) run(f faulty, c *client, kind faulttest.Kind, count int) error {
	lift := f.afflict(c.user, kind, count, try.operation)
	defer lift()
	while := try.always
	if count == 1 {
		while = try.once
	}
	if err := while(c); err != nil {
		return err
	}
	lift()
	if err := patiently(func() error { return try.after(c) }); err != nil {
		return fmt.Errorf("after: %w", err)
	}
	return nil
}

// What goes wrong for a moment goes unnoticed: nobody gets anything but what they would have got anyway.
//
// It is not parallel to others, see [few].
func TestDynamoDBStumbles(t *testing.T) {
	f := newFaulty(t, "revocation_lag 0s")
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
	turns := make(chan struct{}, few)
	for i, s := range stumbles {
		c := newClient(t, f.gateway, fmt.Sprintf("user-%d-%v", i, s.kind))
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if err := life(c, func() func() { return f.afflict(c.user, s.kind, s.count, s.operations...) }); err != nil {
				t.Errorf("%v of %v: %v", s.kind, s.operations, err)
			}
		})
	}
	wait.Wait()
	for _, line := range f.log.unread() {
		if strings.Contains(line, "store_unavailable") {
			t.Errorf("audited: %s", line)
		}
	}
	f.earned(t)
}

// life does everything that a person can do, each step with a fault of its own.
func life(c *client, afflict func() (lift func())) error {
	usb := authtest.New(authtest.Config{Counts: true})
	var body map[string]any
	var authorization json.RawMessage
	var ids map[string]string
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"starting a registration", func() (err error) { body, err = c.beginRegistration(c.key, "Key", nil); return err }},
		{"finishing it", func() error { _, err := c.step("POST", account, body, 201); return err }},
		{"starting a step-up", func() (err error) { body, err = c.begin(map[string]any{"return_to": "/keys"}); return err }},
		{"finishing it", func() error {
			answer, err := c.finish(body)
			return errors.Join(err, answer.expect(200))
		}},
		{"a protected request", func() error { _, err := c.step("GET", "/keys", nil, 200); return err }},
		{"starting to add a passkey", func() (err error) { authorization, err = c.authorize("add", ""); return err }},
		{"going on", func() (err error) { body, err = c.beginRegistration(usb, "USB", authorization); return err }},
		{"finishing it", func() error { _, err := c.step("POST", account, body, 201); return err }},
		{"the list", func() (err error) { ids, err = c.passkeys(); return err }},
		{"renaming", func() error {
			_, err := c.step("PATCH", account+"/"+ids["USB"], map[string]any{"name": "Blue"}, 200)
			return err
		}},
		{"starting to remove one", func() (err error) { authorization, err = c.authorize("remove", ids["USB"]); return err }},
		{"finishing it", func() error {
			_, err := c.step("DELETE", account+"/"+ids["USB"], map[string]any{"authorization": authorization}, 204)
			return err
		}},
		{"logging out", func() error { _, err := c.step("POST", "/.stepgate/logout", map[string]any{}, 204); return err }},
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
