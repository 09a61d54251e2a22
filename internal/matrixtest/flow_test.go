package matrixtest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

// flow is something that people or administrators do, in steps that ask DynamoDB.
type flow struct {
	name      string
	alone     bool // lists users, so it has tables of its own
	setup     func(s *scene)
	steps     []step
	from      int            // the first step whose calls are struck: those before are another flow's too
	persists  bool           // a wrong row need not end it: it asks again by itself, or has no use for every row
	strangers bool           // whoever was never seen is passed over: that is right here
	after     func(s *scene) // holds what else there is to hold, with the fault gone
}

// step is one request.
type step struct {
	name    string
	do      func(s *scene) reply
	status  int             // without a fault
	code    passkey.Refusal // why not, where it is refused
	reaches bool            // the upstream
}

func (st step) done(in reply) bool {
	return in.status == st.status && in.code == st.code && in.reached == st.reaches
}

func (s *scene) post(path string, body any) reply {
	s.t.Helper()
	in := s.send(http.MethodPost, prefix+path, body)
	if in.status == http.StatusOK {
		s.options = in.body
	}
	return in
}

func (s *scene) verifies(credential json.RawMessage) reply {
	s.t.Helper()
	return s.finish(credential, http.StatusOK, func() reply {
		return s.send(http.MethodPost, prefix+"/challenge/verify", map[string]any{"return_to": keys, "credential": credential})
	})
}

// start makes the step that begins a ceremony.
func start(name, path string, body map[string]any) step {
	return step{name: name, status: http.StatusOK, do: func(s *scene) reply {
		full := map[string]any{}
		for name, value := range body {
			if with, ok := value.(func(*scene) any); ok {
				value = with(s)
			}
			full[name] = value
		}
		return s.post(path, full)
	}}
}

var (
	startStepUp       = start("start a step-up", "/challenge/options", map[string]any{"return_to": keys})
	startFirst        = start("start a registration", "/passkeys/options", map[string]any{"name": "Key"})
	authorizeAdding   = start("authorize adding", "/passkeys/authorize/options", map[string]any{"action": "add"})
	authorizeCodes    = start("authorize codes", "/passkeys/authorize/options", map[string]any{"action": "recovery_codes"})
	authorizeRemoving = start("authorize removing", "/passkeys/authorize/options", map[string]any{"action": "remove", "id": func(s *scene) any { return s.id }})

	finishStepUp = step{name: "finish a step-up", status: http.StatusOK, do: func(s *scene) reply {
		return s.verifies(s.credential("finish a step-up", s.key.Authenticate))
	}}
	finishFirst = step{name: "finish a registration", status: http.StatusCreated, do: func(s *scene) reply {
		return s.registers(s.credential("finish a registration", s.key.Register), "Key")
	}}
	startSpare = step{name: "start another registration", status: http.StatusOK, do: func(s *scene) reply {
		authorization := s.credential("start another registration", s.key.Authenticate)
		return s.finish(authorization, http.StatusOK, func() reply {
			return s.post("/passkeys/options", map[string]any{"name": "Spare", "authorization": authorization})
		})
	}}
	finishSpare = step{name: "finish another registration", status: http.StatusCreated, do: func(s *scene) reply {
		return s.registers(s.credential("finish another registration", s.spare.Register), "Spare")
	}}
	get = func(name, method, target string, status int) step {
		return step{name: name, status: status, do: func(s *scene) reply { return s.send(method, target, nil) }}
	}
	protected = step{name: "a protected request", status: http.StatusOK, reaches: true, do: func(s *scene) reply { return s.send(http.MethodGet, keys, nil) }}
)

// run makes steps that nothing is wrong with.
func (s *scene) run(steps ...step) {
	s.t.Helper()
	for _, st := range steps {
		in := st.do(s)
		if in.code == passkey.StoreUnavailable {
			panic(starved{st.name})
		}
		if !st.done(in) {
			s.t.Fatalf("before: %s: %v", st.name, in)
		}
	}
	s.made, s.ledger.finals = map[string][]byte{}, nil
}

func nobody(*scene) {}

// enrolled has the user hold a passkey, and recovery codes. It is written past the gateway, which has flows of its own for
// that: a cell is about one of them.
func enrolled(s *scene) {
	s.code = "ABCD-EFGH-ABCD-EFGH"
	s.holder(s.key, "Key", passkey.User{
		Name: user, Handle: bytes.Repeat([]byte{7}, passkey.HandleLength), Epoch: passkey.Epoch{7},
		Recovery: passkey.Recovery{Codes: []passkey.Digest{passkey.CodeDigest(s.code)}, MadeAt: s.clock.Now()},
	})
}

func twoKeys(s *scene) {
	enrolled(s)
	s.holder(s.spare, "Spare", s.user)
}

func granted(s *scene) {
	enrolled(s)
	s.run(startStepUp, finishStepUp)
}

// steppedUp has the user be back within the minute, with a passkey that keeps no sign count: then the start need not read who
// they are, nor the finish write that they used it.
func steppedUp(s *scene) {
	s.key = authtest.New(authtest.Config{})
	granted(s)
}

// holder writes the passkey that an authenticator makes for a user.
func (s *scene) holder(a *authtest.Authenticator, name string, u passkey.User) {
	s.t.Helper()
	options, err := json.Marshal(map[string]any{"publicKey": map[string]any{
		"rp": map[string]any{"id": s.rpID}, "challenge": base64.RawURLEncoding.EncodeToString(make([]byte, 32)),
		"user":             map[string]any{"id": base64.RawURLEncoding.EncodeToString(u.Handle), "name": user},
		"pubKeyCredParams": []map[string]any{{"type": "public-key", "alg": -7}},
	}})
	must(s.t, err)
	var data []byte
	_, err = a.Register(options, s.origin(), authtest.AfterSigning(func(d *authtest.Draft) { data = d.AuthenticatorData }))
	must(s.t, err)
	held := a.Credentials()[0]
	p := passkey.Passkey{
		ID: held.ID, PublicKey: data[55+len(held.ID):], SignCount: held.SignCount, Transports: []string{"usb"}, AttestationFormat: "none", Name: name,
		CreatedAt: s.clock.Now(), LastCeremony: passkey.ChallengeID(held.ID),
	}
	s.user, err = u.Adding(p)
	must(s.t, err)
	s.sets(s.direct.Register(s.t.Context(), s.user, p))
	s.ledger.has[string(p.ID)], s.id = []string{name}, p.ShortID()
}

// invite invites past the proxy: what is written is the same.
func invite(s *scene) {
	in := s.administer(func(ctx context.Context) (err error) {
		s.code, _, err = s.service.Invite(ctx, user, 24*time.Hour)
		return err
	})
	s.sets(in.err)
}

// sets is must for what a setup writes.
func (s *scene) sets(err error) {
	s.t.Helper()
	if errors.Is(err, passkey.StoreUnavailable) {
		panic(starved{"setting up"})
	}
	must(s.t, err)
}

func byAdministrator(name string, do func(s *scene, ctx context.Context) error) step {
	return step{name: name, status: http.StatusOK, do: func(s *scene) reply {
		return s.administer(func(ctx context.Context) error { return do(s, ctx) })
	}}
}

// emptying makes a step of an administrator's that takes all passkeys away.
func emptying(name string, do func(s *scene, ctx context.Context) error) step {
	return step{name: name, status: http.StatusOK, do: func(s *scene) (in reply) {
		s.removes("", func() bool {
			in = s.administer(func(ctx context.Context) error { return do(s, ctx) })
			return in.status == http.StatusOK
		})
		return in
	}}
}

// others are users beside the one that a flow is about.
func others(s *scene) {
	enrolled(s)
	for _, name := range []string{"bob", "Zoë #1"} {
		account := passkey.Account{User: passkey.User{Name: name, Version: 1, Handle: bytes.Repeat([]byte{7}, passkey.HandleLength), Epoch: passkey.Epoch{7}}}
		s.sets(s.direct.Import(s.t.Context(), account))
	}
}

// everybody are the users of [others].
var everybody = []string{"Zoë #1", user, "bob"}

func sameUsers(got []string) error {
	if slices.Sort(got); !slices.Equal(got, everybody) {
		return fmt.Errorf("listed %q, want %q", got, everybody)
	}
	return nil
}

// options of a transfer that does not wait long before it asks again.
var swift = transfer.Options{Timeout: 3 * time.Second, Wait: func(context.Context, time.Duration) error { return nil }}

var flows = []flow{
	{name: "first registration", setup: nobody, steps: []step{startFirst, finishFirst}},
	{name: "registration by invitation", setup: invite, steps: []step{
		start("start a registration", "/passkeys/options", map[string]any{"name": "Key", "invitation": func(s *scene) any { return s.code }}), finishFirst,
	}},
	{name: "registration by recovery code", setup: enrolled, steps: []step{
		start("start another registration", "/passkeys/options", map[string]any{"name": "Spare", "recovery_code": func(s *scene) any { return s.code }}), finishSpare,
	}},
	{name: "adding a passkey", setup: enrolled, steps: []step{authorizeAdding, startSpare, finishSpare}},
	{name: "step-up", setup: enrolled, steps: []step{startStepUp, finishStepUp, protected}},
	{name: "step-up in the same minute", setup: steppedUp, steps: []step{startStepUp, finishStepUp, protected}},
	{name: "replayed step-up", setup: enrolled, from: 2, steps: []step{startStepUp, finishStepUp, {
		name: "finish it again", status: http.StatusConflict, code: passkey.ChallengeUsed, do: func(s *scene) reply {
			return s.verifies(s.credential("finish a step-up", s.key.Authenticate))
		},
	}}},
	{name: "pages", strangers: true, setup: granted, steps: []step{
		get("the list of passkeys", http.MethodGet, prefix+"/passkeys", http.StatusOK),
		get("the challenge page", http.MethodGet, prefix+"/challenge?return_to="+keys, http.StatusSeeOther),
		get("the status", http.MethodGet, prefix+"/status", http.StatusOK),
	}},
	{name: "account page", setup: enrolled, steps: []step{get("the account page", "NAVIGATE", prefix+"/passkeys", http.StatusOK)}},
	{name: "challenge page", setup: enrolled, steps: []step{get("the challenge page", http.MethodGet, prefix+"/challenge?return_to="+keys, http.StatusOK)}},
	{name: "rollout", strangers: true, setup: enrolled, steps: []step{{
		name: "a request without a grant", status: http.StatusUnauthorized, code: passkey.StepUpRequired, do: func(s *scene) reply { return s.send(http.MethodGet, lax, nil) },
	}}},
	{name: "renaming", setup: enrolled, steps: []step{{name: "rename", status: http.StatusOK, do: func(s *scene) (in reply) {
		s.renames(s.id, "Blue", func() bool {
			in = s.send(http.MethodPatch, prefix+"/passkeys/"+s.id, map[string]any{"name": "Blue"})
			return in.status == http.StatusOK
		})
		return in
	}}}},
	{name: "removing", setup: twoKeys, from: 1, steps: []step{authorizeRemoving, {name: "remove", status: http.StatusNoContent, do: func(s *scene) reply {
		authorization := s.credential("remove", s.key.Authenticate)
		return s.finish(authorization, http.StatusNoContent, func() (in reply) {
			s.removes(s.id, func() bool {
				in = s.send(http.MethodDelete, prefix+"/passkeys/"+s.id, map[string]any{"authorization": authorization})
				return in.status == http.StatusNoContent
			})
			return in
		})
	}}}},
	{name: "recovery codes", setup: enrolled, from: 1, steps: []step{authorizeCodes, {name: "make codes", status: http.StatusOK, do: func(s *scene) reply {
		authorization := s.credential("make codes", s.key.Authenticate)
		return s.finish(authorization, http.StatusOK, func() reply {
			return s.send(http.MethodPost, prefix+"/recovery-codes", map[string]any{"authorization": authorization})
		})
	}}}},
	{name: "log-out", setup: granted, steps: []step{
		{name: "log out", status: http.StatusNoContent, do: func(s *scene) reply { return s.send(http.MethodPost, prefix+"/logout", map[string]any{}) }},
	}},
	{name: "administrator invites", setup: enrolled, steps: []step{byAdministrator("invite", func(s *scene, ctx context.Context) error {
		_, _, err := s.service.Invite(ctx, user, time.Hour)
		return err
	})}},
	{name: "administrator revokes", setup: granted, steps: []step{
		byAdministrator("show", func(s *scene, ctx context.Context) error {
			account, err := s.service.Account(ctx, user)
			if err == nil && account.User.Version == 0 {
				return passkey.UserUnknown
			}
			return err
		}),
		byAdministrator("revoke", func(s *scene, ctx context.Context) error { return s.service.Revoke(ctx, user) }),
	}},
	{name: "administrator removes a passkey", setup: twoKeys, steps: []step{{name: "discard", status: http.StatusOK, do: func(s *scene) (in reply) {
		s.removes(s.id, func() bool {
			in = s.administer(func(ctx context.Context) error {
				_, err := s.service.Discard(ctx, user, s.id)
				return err
			})
			return in.status == http.StatusOK
		})
		return in
	}}}},
	{name: "administrator resets", setup: func(s *scene) { twoKeys(s); invite(s) }, steps: []step{emptying("reset", func(s *scene, ctx context.Context) error {
		_, err := s.service.Reset(ctx, user)
		return err
	})}},
	{name: "administrator deletes", setup: func(s *scene) { enrolled(s); invite(s) }, steps: []step{emptying("delete", func(s *scene, ctx context.Context) error {
		_, err := s.service.Erase(ctx, user, "")
		return err
	})}},
	{name: "purge", alone: true, persists: true, strangers: true, setup: others, steps: []step{emptying("purge", func(s *scene, ctx context.Context) error {
		tag := ""
		err := s.store.Users(ctx, "", func(account passkey.Account) error {
			if account.User.Name == user {
				tag = account.Tag()
			}
			return nil
		})
		if err == nil && tag == "" {
			err = errors.New("not listed")
		}
		if err != nil {
			return err
		}
		_, err = s.service.Erase(ctx, user, tag)
		return err
	})}},
	{name: "list of users", alone: true, persists: true, strangers: true, setup: others, steps: []step{byAdministrator("list", func(s *scene, ctx context.Context) error {
		var names []string
		err := s.store.Users(ctx, "", func(account passkey.Account) error {
			names = append(names, account.User.Name)
			return nil
		})
		if err != nil {
			return err
		}
		return sameUsers(names)
	})}},
	{name: "export", alone: true, persists: true, strangers: true, setup: others, steps: []step{byAdministrator("export", func(s *scene, ctx context.Context) error {
		var out bytes.Buffer
		if _, err := transfer.Export(ctx, s.store, s.rpID, &out, swift); err != nil {
			return err
		}
		exported, err := transfer.NewReader(&out, s.rpID)
		must(s.t, err)
		var names []string
		for {
			account, err := exported.Next()
			if err == io.EOF {
				return sameUsers(names)
			}
			must(s.t, err)
			names = append(names, account.User.Name)
		}
	})}},
	{name: "import", persists: true, setup: nobody, after: imported, steps: []step{byAdministrator("import", importCarol)}},
}

func importCarol(s *scene, ctx context.Context) error {
	account := passkey.Account{User: passkey.User{Name: "carol", Version: 1, Handle: bytes.Repeat([]byte{7}, passkey.HandleLength), Epoch: passkey.Epoch{7}}}
	for i := range byte(5) { // more than one transaction holds
		p := passkey.Passkey{ID: bytes.Repeat([]byte{i + 1}, passkey.MinIDLength), PublicKey: []byte("key"), Name: fmt.Sprint(i), CreatedAt: s.clock.Now()}
		account.Passkeys = append(account.Passkeys, p)
		account.User.Passkeys = append(account.User.Passkeys, passkey.Ref{ID: p.ID, Folded: p.Name})
	}
	return s.store.Import(ctx, account)
}

// imported holds that whoever was to be imported is there, completely, once the same import is run again as its message says.
func imported(s *scene) {
	s.proxy.Settle()
	var account passkey.Account
	var err error
	for range 3 {
		if account, err = s.direct.Account(s.t.Context(), "carol"); err == nil && account.User.Version > 0 {
			break
		}
		_ = importCarol(s, s.t.Context())
	}
	if len(account.Passkeys) != 5 {
		s.t.Errorf("%d passkeys were imported, want 5 (%v)", len(account.Passkeys), err)
	}
}
