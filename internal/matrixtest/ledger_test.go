package matrixtest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// ledger is what people were told, to hold against what DynamoDB has.
type ledger struct {
	grants  int                 // answers that came with one
	stepUps []steppedUpAt       // what a grant was given for
	spent   map[string]int      // challenge ids: how often a ceremony succeeded with it
	has     map[string][]string // credential ids of passkeys that were acknowledged: the names that they may have
	perhaps map[string][]string // the same of passkeys that may be there or not: nobody acknowledged what was done last
	finals  []final
}

// steppedUpAt is a challenge that a grant was given for, and when.
type steppedUpAt struct {
	challenge string // id
	at        time.Time
}

// final is a request that holds the reply to a ceremony.
type final struct {
	challenge string // id
	again     func() reply
}

func newLedger() ledger {
	return ledger{spent: map[string]int{}, has: map[string][]string{}, perhaps: map[string][]string{}}
}

// challengeOf returns the id of the challenge that a credential answers, and whether it is a registration.
func (s *scene) challengeOf(credential []byte) (id string, registration bool) {
	s.t.Helper()
	var c struct {
		Response struct{ ClientDataJSON string }
	}
	must(s.t, json.Unmarshal(credential, &c))
	data, err := base64.RawURLEncoding.DecodeString(c.Response.ClientDataJSON)
	must(s.t, err)
	var client struct{ Type, Challenge string }
	must(s.t, json.Unmarshal(data, &client))
	challenge, err := base64.RawURLEncoding.DecodeString(client.Challenge)
	must(s.t, err)
	return passkey.ChallengeID(challenge), client.Type == "webauthn.create"
}

// finish sends a request that holds the reply to a ceremony, and notes it.
func (s *scene) finish(credential []byte, status int, send func() reply) reply {
	s.t.Helper()
	id, _ := s.challengeOf(credential)
	grants := s.ledger.grants
	in := send()
	if in.status == status {
		s.ledger.spent[id]++
	}
	for range s.ledger.grants - grants {
		s.ledger.stepUps = append(s.ledger.stepUps, steppedUpAt{id, s.clock.Now()})
	}
	if !slices.ContainsFunc(s.ledger.finals, func(f final) bool { return f.challenge == id }) {
		s.ledger.finals = append(s.ledger.finals, final{id, func() reply { return s.finish(credential, status, send) }})
	}
	return in
}

// registers sends the reply to a registration and notes what became of it.
func (s *scene) registers(credential json.RawMessage, name string) reply {
	s.t.Helper()
	id := s.credentialID(credential)
	return s.finish(credential, http.StatusCreated, func() reply {
		if s.ledger.has[id] == nil {
			s.ledger.perhaps[id] = []string{name}
		}
		in := s.send(http.MethodPost, prefix+"/passkeys", map[string]any{"credential": credential, "name": name})
		if in.status == http.StatusCreated {
			delete(s.ledger.perhaps, id)
			s.ledger.has[id] = []string{name}
			var answer struct {
				ID    string   `json:"id"`
				Codes []string `json:"recovery_codes"`
			}
			must(s.t, json.Unmarshal(in.body, &answer))
			if s.id = answer.ID; len(answer.Codes) > 0 {
				s.code = answer.Codes[0]
			}
		}
		return in
	})
}

func (s *scene) credentialID(credential []byte) string {
	s.t.Helper()
	var c struct {
		RawID string `json:"rawId"`
	}
	must(s.t, json.Unmarshal(credential, &c))
	id, err := base64.RawURLEncoding.DecodeString(c.RawID)
	must(s.t, err)
	return string(id)
}

// removes notes that passkeys are removed, all of them or the one with this short id, and what became of it.
func (s *scene) removes(short string, remove func() (done bool)) {
	gone := map[string][]string{}
	for id, names := range s.ledger.has {
		if short == "" || short == passkey.ShortID([]byte(id)) {
			gone[id] = names
			delete(s.ledger.has, id)
			s.ledger.perhaps[id] = names
		}
	}
	if short == "" { // and those of whom nobody knows
		for id, names := range s.ledger.perhaps {
			gone[id] = names
		}
	}
	if remove() {
		for id := range gone {
			delete(s.ledger.perhaps, id)
		}
	}
}

// renames notes that a passkey is given another name, and what became of it.
func (s *scene) renames(short, name string, rename func() (done bool)) {
	for id := range s.ledger.has {
		if short == passkey.ShortID([]byte(id)) {
			s.ledger.has[id] = append(s.ledger.has[id], name)
			if rename() {
				s.ledger.has[id] = []string{name}
			}
			return
		}
	}
	s.t.Fatalf("there is no passkey %s to be renamed", short)
}

// holds is the end of a cell, with the fault gone: what was begun is tried again, as people do, no answer works twice, the user
// can go on, and DynamoDB has what was acknowledged and no more. wrote says that what went wrong was a write; after a read, whoever
// got on with what they were at need not prove it by a step-up as well.
func (s *scene) holds(failed *step, wrote bool) {
	s.t.Helper()
	goesOn := failed == nil && !wrote // as the rest of the flow did
	s.clock.Advance(time.Minute)      // nobody is slowed down for having tried
	if failed != nil {
		if in := patiently(func() reply { return failed.do(s) }); in.code == passkey.Internal || in.code == passkey.StoreUnavailable {
			s.t.Errorf("%s, again, with the fault gone: %v", failed.name, in)
		} else if failed.done(in) && !wrote {
			goesOn = true
		}
	}
	for _, f := range slices.Clone(s.ledger.finals) {
		if in := patiently(f.again); in.code != passkey.ChallengeUsed {
			s.t.Errorf("a reply to a ceremony, once more: %v", in)
		}
	}
	s.proxy.Settle() // what was on its way has arrived
	if !goesOn {
		s.goesOn()
	}
	s.consumed()
	s.kept(wrote)
}

// patiently repeats what may be repeated while DynamoDB Local is too slow.
func patiently(do func() reply) (in reply) {
	for range 5 {
		if in = do(); in.code != passkey.StoreUnavailable {
			return in
		}
	}
	return in
}

// account reads what DynamoDB has of the user, past the proxy.
func (s *scene) account() (account passkey.Account, err error) {
	for range 5 {
		if account, err = s.direct.Account(s.t.Context(), user); err == nil {
			break
		}
	}
	return account, err
}

// goesOn holds that the user isn't locked out.
func (s *scene) goesOn() {
	s.t.Helper()
	var err error
	for range 5 { // something that arrived late may have been first
		if err = s.stepsUp(); err == nil {
			return
		}
	}
	s.t.Errorf("locked out: %v", err)
}

func (s *scene) stepsUp() error {
	s.t.Helper()
	s.clock.Advance(time.Minute)
	account, err := s.account()
	if err != nil {
		return fmt.Errorf("reading the account: %w", err)
	}
	if len(account.Passkeys) == 0 {
		if err := s.enrolsAgain(account); err != nil {
			return err
		}
		if account, err = s.account(); err != nil {
			return fmt.Errorf("reading the account: %w", err)
		}
	}
	var key *authtest.Authenticator
	for _, a := range []*authtest.Authenticator{s.key, s.spare} {
		for _, c := range a.Credentials() {
			if _, ok := account.Passkey(c.ID); ok {
				key = a
			}
		}
	}
	if key == nil {
		return fmt.Errorf("nobody has any of the %d passkeys", len(account.Passkeys))
	}
	in := s.post("/challenge/options", map[string]any{"return_to": keys})
	if in.status != http.StatusOK {
		return fmt.Errorf("starting a step-up: %v", in)
	}
	delete(s.made, "going on")
	credential := s.credential("going on", key.Authenticate)
	if in = s.verifies(credential); in.status != http.StatusOK {
		return fmt.Errorf("finishing a step-up: %v", in)
	}
	if in = s.send(http.MethodGet, keys, nil); !in.reached {
		return fmt.Errorf("stepped up, and refused: %v", in)
	}
	return nil
}

// enrolsAgain registers a passkey for somebody who has none: as a stranger, or by an invitation where that was closed by what
// was done, not by a fault.
func (s *scene) enrolsAgain(account passkey.Account) error {
	s.t.Helper()
	body := map[string]any{"name": "Again"}
	if account.User.Version > 0 {
		code, _, err := s.service.Invite(s.t.Context(), user, time.Hour)
		if err != nil {
			return fmt.Errorf("inviting: %w", err)
		}
		body["invitation"] = code
	}
	in := s.post("/passkeys/options", body)
	if in.status != http.StatusOK {
		return fmt.Errorf("starting a registration: %v", in)
	}
	delete(s.made, "enrolling again")
	if in = s.registers(s.credential("enrolling again", s.key.Register), "Again"); in.status != http.StatusCreated {
		return fmt.Errorf("finishing a registration: %v", in)
	}
	return nil
}

// consumed holds that whatever a ceremony achieved was paid for: DynamoDB deleted its challenge, once, and wrote the use of the
// passkey, or, of one that keeps no sign count, had written another use in the minute before.
func (s *scene) consumed() {
	s.t.Helper()
	s.calls = append(s.calls, s.proxy.Take()...)
	deleted, used := map[string]int{}, map[string]bool{}
	var written []time.Time
	for _, c := range s.calls {
		var in struct {
			Key struct {
				Pk struct{ S string }
				Sk struct{ S string }
			}
			ExpressionAttributeValues map[string]struct{ S string }
		}
		if c.Backend != http.StatusOK || json.Unmarshal(c.Request, &in) != nil {
			continue
		}
		switch {
		case c.Operation == "DeleteItem" && strings.HasPrefix(in.Key.Pk.S, "challenge#"):
			deleted[in.Key.Sk.S]++
		case c.Operation == "UpdateItem":
			used[in.ExpressionAttributeValues[":ceremony"].S] = true
			if at, err := time.Parse(time.RFC3339Nano, in.ExpressionAttributeValues[":at"].S); err == nil {
				written = append(written, at)
			}
		}
	}
	for id, n := range deleted {
		if n > 1 {
			s.t.Errorf("challenge %s was deleted %d times", id, n)
		}
	}
	for id, n := range s.ledger.spent {
		if n > 1 || deleted[id] != 1 {
			s.t.Errorf("%d ceremonies succeeded with challenge %s, which was deleted %d times", n, id, deleted[id])
		}
	}
	if len(s.ledger.stepUps) != s.ledger.grants {
		s.t.Errorf("%d grants were given, %d of them by a step-up", s.ledger.grants, len(s.ledger.stepUps))
	}
	for _, made := range s.ledger.stepUps {
		id := made.challenge
		known := used[id] || s.key.Credentials()[0].SignCount == 0 && slices.ContainsFunc(written, func(at time.Time) bool {
			return !at.After(made.at) && made.at.Sub(at) < ceremony.Lately
		})
		if s.ledger.spent[id] != 1 || !known {
			s.t.Errorf("a grant was given for challenge %s: %d ceremonies, use written: %v", id, s.ledger.spent[id], used[id])
		}
		used[id] = used[id] || known
	}
	finished, both := 0, 0
	for _, e := range s.journal.since(0) {
		if e.Kind == audit.CeremonyFinished {
			finished++
		}
	}
	for id := range deleted {
		if used[id] {
			both++
		}
	}
	if finished > both {
		s.t.Errorf("%d authentications are said to have succeeded; %d challenges were deleted and their use written", finished, both)
	}
}

// kept holds that the user has the passkeys that were acknowledged, under their names, each once and with its owner, and none
// that nobody asked for.
func (s *scene) kept(owners bool) {
	s.t.Helper()
	account, err := s.account()
	if err != nil {
		s.t.Errorf("reading the account: %v", err)
		return
	}
	there := map[string]bool{}
	for _, p := range account.Passkeys {
		id := string(p.ID)
		if there[id] {
			s.t.Errorf("passkey %s is there twice", p.Name)
		}
		there[id] = true
		names, acknowledged := s.ledger.has[id]
		if !acknowledged {
			if names = s.ledger.perhaps[id]; names == nil {
				s.t.Errorf("there is a passkey %s that nobody registered, or that was removed", p.Name)
				continue
			}
		}
		if !slices.Contains(names, p.Name) {
			s.t.Errorf("a passkey is called %q, not one of %q", p.Name, names)
		}
	}
	for id, names := range s.ledger.has {
		if !there[id] {
			s.t.Errorf("passkey %q was acknowledged and is lost", names)
		}
	}
	if !owners {
		return
	}
	for _, a := range []*authtest.Authenticator{s.key, s.spare} {
		for _, c := range a.Credentials() {
			digest := sha256.Sum256(c.ID)
			partition := fmt.Sprintf("credential#%d:%s#%s", len(s.rpID), s.rpID, base64.RawURLEncoding.EncodeToString(digest[:]))
			owner := s.tables.row(s.t, partition, "owner")
			if owned := owner != nil; owned != there[string(c.ID)] {
				s.t.Errorf("a passkey is there: %v, its owner: %v", there[string(c.ID)], owned)
			} else if owned && owner.Text("user") != user {
				s.t.Errorf("a passkey is owned by %q", owner.Text("user"))
			}
		}
	}
}
