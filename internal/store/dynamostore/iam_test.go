package dynamostore_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
	"github.com/stepgate/stepgate/internal/transfer"
)

// allowed returns what a policy allows, each action once for each table.
func allowed(t testing.TB, text string) map[string][]string {
	t.Helper()
	var document struct {
		Version   string
		Statement []struct {
			Sid, Effect string
			Action      []string
			Resource    string
		}
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	must(t, decoder.Decode(&document))
	if document.Version != "2012-10-17" {
		t.Errorf("version %s", document.Version)
	}
	seen := map[call]bool{}
	for _, s := range document.Statement {
		table := s.Resource[strings.LastIndexByte(s.Resource, '/')+1:]
		for _, action := range s.Action {
			name, ok := strings.CutPrefix(action, "dynamodb:")
			if s.Effect != "Allow" || !ok || strings.ContainsAny(action, "*?") || strings.ContainsAny(table, "*?") {
				t.Errorf("%+v", s)
			}
			seen[call{name, table}] = true
		}
	}
	return byTable(slices.Collect(maps.Keys(seen)))
}

// byTable returns the operations on each table, sorted.
func byTable(calls []call) map[string][]string {
	sorted := map[string][]string{}
	for _, c := range calls {
		if !slices.Contains(sorted[c.table], c.operation) {
			sorted[c.table] = append(sorted[c.table], c.operation)
		}
	}
	for _, operations := range sorted {
		slices.Sort(operations)
	}
	return sorted
}

// kinds replaces the tables' names, which are each test's own, by what the tables hold.
func kinds(calls []call) []call {
	for i, c := range calls {
		calls[i].table, _, _ = strings.Cut(c.table, "-")
	}
	return calls
}

// A gateway's policy is what a gateway calls: no action is missing, none is too many. Everything is called that a gateway
// has of its store, done and refused: some calls are made only to say why something was refused.
func TestPolicyIsWhatGatewaysCall(t *testing.T) {
	aws := newCloud(t)
	opened := newTables(t).open(dynamostore.Options{Endpoint: aws.url}) // without time to live: the challenges below are long expired
	must(t, opened.Watch(t.Context()))
	store := opened.For(rpID)
	p, other := newPasskey("key"), newPasskey("other")
	var user passkey.User
	calls := []struct {
		method string
		call   func()
	}{
		{"Account", func() {
			_, err := store.Account(t.Context(), "ada")
			must(t, err)
		}},
		{"Begin", func() {
			_, err := store.Begin(t.Context(), newChallenge("ada", "one"))
			must(t, err)
			_, err = store.Begin(t.Context(), newChallenge("ada", "one"))
			refused(t, "again", err, passkey.StoreUnavailable)
		}},
		{"Issue", func() {
			must(t, store.Issue(t.Context(), newChallenge("ada", "issued")))
			refused(t, "again", store.Issue(t.Context(), newChallenge("ada", "issued")), passkey.StoreUnavailable)
		}},
		{"Consume", func() {
			claim := claimOf(newChallenge("ada", "one"))
			other := claim
			other.Browser[0]++
			_, _, err := store.Consume(t.Context(), other, now)
			refused(t, "another browser", err, passkey.BrowserMismatch)
			_, _, err = store.Consume(t.Context(), claim, now)
			must(t, err)
			_, _, err = store.Consume(t.Context(), claim, now)
			refused(t, "again", err, passkey.ChallengeUsed)
		}},
		{"Register", func() {
			user = register(t, store, "ada", p)
			user = register(t, store, "ada", other)
			again, other := user, p
			again.Version, other.LastCeremony = 1, ""
			refused(t, "from an old record", store.Register(t.Context(), again, other), passkey.Conflict)
		}},
		{"Use", func() {
			use := passkey.Use{ID: p.ID, Ceremony: "one", SignCount: 2, At: now}
			must(t, store.Use(t.Context(), "ada", use))
			use.Ceremony, use.SignCount = "two", 1
			refused(t, "a count that fell", store.Use(t.Context(), "ada", use), passkey.CounterRegressed)
			use.ID = []byte("none")
			refused(t, "an unknown passkey", store.Use(t.Context(), "ada", use), passkey.PasskeyUnknown)
		}},
		{"Rename", func() {
			next, err := user.Renaming(p.ID, "new name")
			must(t, err)
			must(t, store.Rename(t.Context(), next, p.ID, "new name"))
			refused(t, "again", store.Rename(t.Context(), next, p.ID, "new name"), passkey.Conflict)
			user = next
		}},
		{"Remove", func() {
			next, err := user.Removing(other.ID)
			must(t, err)
			must(t, store.Remove(t.Context(), next, other.ID))
			refused(t, "again", store.Remove(t.Context(), next, other.ID), passkey.PasskeyUnknown)
			user = next
		}},
		{"ChangeUser", func() {
			must(t, store.ChangeUser(t.Context(), user.InEpoch(passkey.Epoch{1})))
			refused(t, "again", store.ChangeUser(t.Context(), user.InEpoch(passkey.Epoch{1})), passkey.Conflict)
		}},
		{"Erase", func() {
			refused(t, "at another version", store.Erase(t.Context(), passkey.User{Name: "ada", Version: 99}, ""), passkey.Conflict)
			must(t, store.Erase(t.Context(), passkey.User{Name: "never seen"}, ""))
		}},
		{"Invite", func() {
			for range 2 {
				must(t, store.Invite(t.Context(), "bob", passkey.Invitation{ID: "one", Expires: now}))
			}
		}},
		{"RegisterInvited", func() {
			next, err := passkey.User{Name: "bob"}.Adding(other)
			must(t, err)
			refused(t, "another one", store.RegisterInvited(t.Context(), next, other, "two"), passkey.InvitationInvalid)
			must(t, store.RegisterInvited(t.Context(), next, other, "one"))
		}},
	}
	var methods, called []string
	for method := range reflect.TypeFor[ceremony.Store]().Methods() {
		methods = append(methods, method.Name)
	}
	for _, c := range calls {
		called = append(called, c.method)
		c.call()
	}
	slices.Sort(called)
	if diff := cmp.Diff(methods, called); diff != "" {
		t.Errorf("this test does not call every method (-methods +called):\n%s", diff)
	}
	sameActions(t, dynamostore.Policy(target), kinds(aws.take()))
}

// The other policy is what the commands call that make tables and move users, done, refused, and with lost answers.
func TestAdminPolicyIsWhatCommandsCall(t *testing.T) {
	aws := newCloud(t)
	for _, db := range []*tables{unmade(t), newTables(t)} {
		_, err := db.create(aws.url)
		must(t, err)
		db.well(aws.url)

		store := db.open(dynamostore.Options{Endpoint: aws.url}).For(rpID)
		p, other := newPasskey("key"), newPasskey("other")
		account := func(name string, passkeys ...passkey.Passkey) passkey.Account {
			a := passkey.Account{User: passkey.User{Name: name, Version: 1, Handle: []byte("handle of " + name)}, Passkeys: passkeys}
			for _, p := range passkeys {
				a.User.Passkeys = append(a.User.Passkeys, passkey.Ref{ID: p.ID, Folded: passkey.FoldName(p.Name)})
			}
			return a
		}
		aws.loses("PutItem", 2) // the last step's answer
		must(t, store.Import(t.Context(), account("ada", p)))
		refused(t, "somebody else's passkey", store.Import(t.Context(), account("bob", other, p)), passkey.PasskeyExists)
		var file bytes.Buffer
		_, err = transfer.Export(t.Context(), store, rpID, &file, transfer.Options{})
		must(t, err)
		from, err := transfer.NewReader(&file, rpID)
		must(t, err)
		_, err = transfer.Import(t.Context(), store, from, transfer.Options{})
		must(t, err)
	}
	sameActions(t, dynamostore.AdminPolicy(target), kinds(aws.take()))
}

// target is of tables that are named as what they hold.
var target = dynamostore.Target{Tables: dynamostore.Tables{Passkeys: "Passkeys", Challenges: "Challenges"}, Region: "eu-west-1", Account: "123456789012"}

func sameActions(t *testing.T, policy string, calls []call) {
	t.Helper()
	if diff := cmp.Diff(allowed(t, policy), byTable(calls)); diff != "" {
		t.Errorf("the policy and the calls differ (-policy +calls):\n%s", diff)
	}
}
