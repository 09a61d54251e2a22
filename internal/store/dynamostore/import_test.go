package dynamostore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// accountOf is an account as an export would hold it, with so many passkeys.
func accountOf(user string, passkeys int) passkey.Account {
	account := passkey.Account{User: passkey.User{Name: user, Version: 41, Handle: []byte("handle of " + user), Epoch: passkey.Epoch{1}}}
	for i := range passkeys {
		p := newPasskey(fmt.Sprint(user, " ", i))
		p.CreatedAt = now.Add(time.Duration(i) * time.Second)
		account.Passkeys = append(account.Passkeys, p)
		account.User.Passkeys = append(account.User.Passkeys, passkey.Ref{ID: p.ID, Folded: passkey.FoldName(p.Name)})
	}
	return account
}

// An import that is cut off after any of its calls leaves a user whom nobody can read, let alone register for, and who is
// whole once it is made again; with another file too.
func TestImportCutOff(t *testing.T) {
	want := accountOf("ada", 6) // a place, two transactions, the user record
	for call := range 5 {
		tables := newTables(t)
		proxy := faulttest.New(t, endpoint)
		direct := tables.open(dynamostore.Options{}).For(rpID)
		store := tables.open(dynamostore.Options{Endpoint: proxy.URL}).For(rpID)
		lift := proxy.Inject(faulttest.Fault{Kind: faulttest.AccessDenied, Skip: call})
		refused(t, "an import that is cut off", store.Import(t.Context(), want), passkey.StoreUnavailable)
		lift()
		if call > 0 {
			_, err := direct.Account(t.Context(), "ada")
			refused(t, "reading a user who is not whole", err, passkey.StoreUnavailable)
			next, _ := passkey.User{Name: "ada"}.Adding(newPasskey("first"))
			refused(t, "registering a first passkey meanwhile", direct.Register(t.Context(), next, newPasskey("first")), passkey.Conflict)
			other := want
			other.User.Handle = []byte("another handle")
			refused(t, "importing another user of the name", direct.Import(t.Context(), other), passkey.Conflict)
		}
		if call%2 == 0 {
			fewer := accountOf("ada", 3)
			must(t, direct.Import(t.Context(), fewer))
			got, err := direct.Account(t.Context(), "ada")
			must(t, err)
			same(t, "account", got, fewer)
			for _, p := range want.Passkeys[3:] { // those of the first try are free again
				register(t, direct, "bob", p)
			}
			continue
		}
		must(t, direct.Import(t.Context(), want))
		got, err := direct.Account(t.Context(), "ada")
		must(t, err)
		same(t, "account", got, want)
	}
}

// Passkeys whose user record somebody deleted are no part of whoever is imported.
func TestImportOverOrphans(t *testing.T) {
	tables := newTables(t)
	s := tables.open(dynamostore.Options{}).For(rpID)
	register(t, s, "ada", newPasskey("orphan"))
	tables.remove(tables.passkeys, tables.find(tables.passkeys, "user"))
	_, err := s.Account(t.Context(), "ada")
	refused(t, "passkeys without a user", err, passkey.StoreUnavailable)

	want := accountOf("ada", 2)
	must(t, s.Import(t.Context(), want))
	got, err := s.Account(t.Context(), "ada")
	must(t, err)
	same(t, "account", got, want)
}

// The budget is for each step: however many passkeys a user has, a slow store takes them.
func TestImportManySlowly(t *testing.T) {
	tables := newTables(t)
	proxy := faulttest.New(t, endpoint)
	proxy.Inject(faulttest.Fault{Kind: faulttest.Delay, Delay: 60 * time.Millisecond})
	s := tables.open(dynamostore.Options{Endpoint: proxy.URL, Budget: time.Second}).For(rpID) // 28 calls of 60 ms do not fit into it
	must(t, s.Import(t.Context(), accountOf("ada", 100)))
}

// The write that takes the place hangs and comes when it was given up: it must not take the place again.
func TestLateImport(t *testing.T) {
	s := newSceneWith(t, dynamostore.Options{Attempt: time.Second})
	lift := s.proxy.Inject(faulttest.Fault{Operation: "PutItem", Count: 1, Kind: faulttest.Hold})
	account := accountOf("bob", 2)
	account.Passkeys[1].ID = s.phone.ID // ada's
	account.User.Passkeys[1].ID = s.phone.ID
	refused(t, "an import whose first write hangs", s.store.Import(t.Context(), account), passkey.StoreUnavailable)
	lift()
	s.proxy.Settle()
	if puts := len(s.proxy.Take()); puts != 1 {
		t.Errorf("%d calls, want the one that hung", puts)
	}
	refused(t, "the import again", s.store.Import(t.Context(), account), passkey.PasskeyExists)
	got, err := s.direct.Account(t.Context(), "bob")
	must(t, err)
	same(t, "account", got, passkey.Account{User: passkey.User{Name: "bob"}})
}

// What could not be read back is not written.
func TestImportMistakes(t *testing.T) {
	s := newTables(t).open(dynamostore.Options{}).For(rpID)
	ctx, other := t.Context(), newPasskey("phone")
	for name, err := range map[string]error{
		"importing nobody":           s.Import(ctx, passkey.Account{User: passkey.User{Name: "bob", Handle: []byte("handle")}}),
		"importing without a handle": s.Import(ctx, passkey.Account{User: passkey.User{Name: "bob", Version: 1}}),
		"importing what is not listed": s.Import(ctx, passkey.Account{
			User: passkey.User{Name: "bob", Version: 1, Handle: []byte("handle")}, Passkeys: []passkey.Passkey{other},
		}),
	} {
		refused(t, name, err, passkey.Internal)
	}
}
