package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

// movable is a store whose records can be moved.
type movable interface {
	ceremony.Store
	transfer.Store
}

// importers is how many goroutines import what only one may: fewer than racers, as each writes several records.
const importers = 16

// runTransfer tests the stores of databases that can be moved from and to.
func runTransfer(t *testing.T, open func(t *testing.T) Database) {
	for name, test := range map[string]func(*testing.T, movable){
		"complete":         testImportComplete,
		"hostile names":    testImportHostileNames,
		"many passkeys":    testImportManyPasskeys,
		"users":            testUsers,
		"users/error":      testUsersError,
		"users/erased":     testUsersErased,
		"refused":          testImportRefused,
		"one winner":       testImportRace,
		"one owner":        testImportOneOwner,
		"registering":      testImportWhileRegistering,
		"used afterwards":  testImportedIsUsed,
		"transfer context": testTransferContext,
	} {
		t.Run("transfer/"+name, func(t *testing.T) { test(t, open(t).For(RPID).(movable)) })
	}
	t.Run("transfer/relying parties", func(t *testing.T) { testTransferRelyingParties(t, open(t)) })
	if probe := open(t); probe.Close != nil {
		t.Run("transfer/closed", func(t *testing.T) { testTransferClosed(t, open(t)) })
	}
}

// newAccount returns an account as it is read from an export, with a version that its passkeys alone don't explain.
func newAccount(user string, passkeys ...passkey.Passkey) passkey.Account {
	first, second := passkey.DigestOf("handle of "+user), passkey.DigestOf("more handle of "+user)
	account := passkey.Account{
		User:     passkey.User{Name: user, Version: 41, Handle: append(first[:], second[:]...), Epoch: sixteen("epoch of " + user)},
		Passkeys: passkeys,
	}
	for _, p := range passkeys {
		account.User.Passkeys = append(account.User.Passkeys, passkey.Ref{ID: p.ID, Folded: passkey.FoldName(p.Name)})
	}
	return account
}

// numbered returns passkeys, oldest first.
func numbered(seed string, n int) (list []passkey.Passkey) {
	for i := range n {
		p := newPasskey(fmt.Sprint(seed, " ", i))
		p.CreatedAt = now.Add(time.Duration(i) * time.Microsecond)
		list = append(list, p)
	}
	return list
}

// users returns what Users yields.
func users(t *testing.T, s transfer.Store, after string) (list []passkey.Account) {
	t.Helper()
	accepted(t, "Users", s.Users(t.Context(), after, func(a passkey.Account) error {
		list = append(list, a)
		return nil
	}))
	return list
}

func names(accounts []passkey.Account) (list []string) {
	for _, a := range accounts {
		list = append(list, a.User.Name)
	}
	return list
}

// "Import writes a user who is not there yet with all their passkeys, as they are."
func testImportComplete(t *testing.T, s movable) {
	bare := passkey.Passkey{ID: []byte("sixteen bytes id"), PublicKey: []byte{0}, Name: "bare", CreatedAt: now.Add(time.Nanosecond)}
	long := newPasskey("long")
	long.ID, long.SignCount = []byte(strings.Repeat("\xff", passkey.MaxIDLength)), 1<<32-1
	ada := newAccount("ada", long, newPasskey("laptop"), bare)
	ada.User.Version = 1<<53 + 1 // no floating point on its way
	bob := newAccount("bob")     // had passkeys once: nobody registers the first one again
	for _, account := range []passkey.Account{ada, bob} {
		accepted(t, "Import", s.Import(t.Context(), account))
		stored(t, s, account)
	}
	p := newPasskey("first")
	refused(t, "a first passkey for a user without any", s.Register(t.Context(), adding(t, passkey.User{Name: "bob"}, p), p), passkey.Conflict)
	byName := func(a, b passkey.Account) int { return strings.Compare(a.User.Name, b.User.Name) }
	same(t, "users", slices.SortedFunc(slices.Values(users(t, s, "")), byName), []passkey.Account{ada, bob})
}

func testImportHostileNames(t *testing.T, s movable) {
	want := map[string]passkey.Account{}
	for i, name := range []string{
		"a", "A", "a#b", "b", "ab", " a", "a ", "a\x00", "\x00\x00\x00\x01a", "a\nb", "a/b", `a"b\u0000`, "USER#a", RPID, "\U0001F511", "é", "e\u0301",
		"\u202ea", "\ufffd", "\U0010ffff", strings.Repeat("x", 512), strings.Repeat("x", 511) + "y", strings.Repeat("\U0001F511", 128),
	} {
		want[name] = newAccount(name, newPasskey(fmt.Sprint("passkey ", i)))
		accepted(t, "Import", s.Import(t.Context(), want[name]))
	}
	all := users(t, s, "")
	if len(all) != len(want) {
		t.Errorf("%d users, want %d", len(all), len(want))
	}
	for i, account := range all {
		same(t, "account that Users yields", account, want[account.User.Name])
		stored(t, s, want[account.User.Name])
		same(t, fmt.Sprintf("users behind %.20q", account.User.Name), names(users(t, s, account.User.Name)), names(all[i+1:]))
	}
}

// More passkeys than one transaction of DynamoDB has room for, and as many as the configuration allows.
func testImportManyPasskeys(t *testing.T, s movable) {
	var want []passkey.Account
	for _, n := range []int{49, 50, 60, 100} {
		account := newAccount(fmt.Sprint("user with ", n), numbered(fmt.Sprint("one of ", n), n)...)
		accepted(t, "Import", s.Import(t.Context(), account))
		stored(t, s, account)
		want = append(want, account)
	}
	byCount := func(a, b passkey.Account) int { return len(a.Passkeys) - len(b.Passkeys) }
	same(t, "users", slices.SortedFunc(slices.Values(users(t, s, "")), byCount), want)

	// One of a hundred is somebody else's, the last one: nothing is written, and the ninety-nine stay free.
	account := newAccount("eve", append(numbered("one of eve's", 99), want[0].Passkeys[0])...)
	refused(t, "Import with somebody else's passkey", s.Import(t.Context(), account), passkey.PasskeyExists)
	stored(t, s, passkey.Account{User: passkey.User{Name: "eve"}})
	for i, p := range account.Passkeys[:99] {
		if i%33 == 0 {
			stored(t, s, enroll(t, s, fmt.Sprint("owner ", i), p))
		}
	}
	stored(t, s, want[0])
}

// "In an order of the store's own that is the same at each call, beginning behind the user named after, who need not
// exist any more." Users who are not named by after may be there in any number of pages.
func testUsers(t *testing.T, s movable) {
	same(t, "users of an empty store", users(t, s, ""), nil)
	same(t, "users of an empty store, behind one", users(t, s, "ada"), nil)
	const count = 70
	for i := range count {
		accepted(t, "Import", s.Import(t.Context(), newAccount(fmt.Sprint("user ", i), numbered(fmt.Sprint(i), i%3)...)))
	}
	all := users(t, s, "")
	if got := slices.Compact(slices.Sorted(slices.Values(names(all)))); len(all) != count || len(got) != count {
		t.Fatalf("%d users, %d different ones, want %d", len(all), len(got), count)
	}
	for _, i := range []int{0, 1, 31, 32, 33, 63, 64, 68, 69} {
		same(t, "users behind the one at "+fmt.Sprint(i), names(users(t, s, all[i].User.Name)), names(all[i+1:]))
	}
	// A name that is not there has a place in the order all the same.
	absent := "user 33 who is gone"
	behind := names(users(t, s, absent))
	accepted(t, "Import", s.Import(t.Context(), newAccount(absent)))
	same(t, "users behind one who is there now", names(users(t, s, absent)), behind)
	withAbsent := names(users(t, s, ""))
	at := slices.Index(withAbsent, absent)
	if at < 0 {
		t.Fatal("the new user is not listed")
	}
	same(t, "users behind the new one", withAbsent[at+1:], behind)
	same(t, "users but the new one", slices.Delete(withAbsent, at, at+1), names(all))
}

// "Who is added or changed meanwhile may be missed or seen as before": somebody who is erased too. What comes is never an
// account that nobody has, which no export takes.
func testUsersErased(t *testing.T, s movable) {
	for i := range 5 {
		accepted(t, "Import", s.Import(t.Context(), newAccount(fmt.Sprint("user ", i))))
	}
	seen := 0
	accepted(t, "Users", s.Users(t.Context(), "", func(a passkey.Account) error {
		if a.User.Version == 0 {
			t.Errorf("%s, who was erased, is listed as somebody never seen", a.User.Name)
		}
		if seen++; seen > 1 {
			return nil
		}
		for i := range 5 {
			name := fmt.Sprint("user ", i)
			account, err := s.Account(t.Context(), name)
			accepted(t, "Account within yield", err)
			if name != a.User.Name {
				accepted(t, "Erase within yield", s.Erase(t.Context(), account.User, ""))
			}
		}
		return nil
	}))
}

// "An error of yield ends it and is returned as it is." Yield may call the store.
func testUsersError(t *testing.T, s movable) {
	for i := range 5 {
		accepted(t, "Import", s.Import(t.Context(), newAccount(fmt.Sprint("user ", i))))
	}
	enough, calls := errors.New("enough"), 0
	err := s.Users(t.Context(), "", func(a passkey.Account) error {
		calls++
		p := newPasskey("added to " + a.User.Name)
		accepted(t, "Register within yield", s.Register(t.Context(), adding(t, a.User, p), p))
		if calls == 3 {
			return enough
		}
		return nil
	})
	if err != enough || calls != 3 {
		t.Errorf("%d calls, then %v", calls, err)
	}
}

// "Conflict when there is a user record of that name, whatever it says; otherwise PasskeyExists when somebody else holds
// one of the credential ids." Nothing is overwritten, nothing is left behind.
func testImportRefused(t *testing.T, s movable) {
	ada := enroll(t, s, "ada", newPasskey("laptop"))
	bob := newAccount("bob", newPasskey("phone"), newPasskey("key"))
	accepted(t, "Import", s.Import(t.Context(), bob))
	gone := enroll(t, s, "gone", newPasskey("lost"))
	none, err := gone.User.Removing(gone.Passkeys[0].ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), none, gone.Passkeys[0].ID))

	newer := bob
	newer.User.Epoch, newer.User.Version = sixteen("another epoch"), 99
	for what, account := range map[string]passkey.Account{
		"the same again":                   bob,
		"the same in another epoch":        newer,
		"another record of the same name":  newAccount("ada", newPasskey("other")),
		"one without passkeys":             newAccount("ada"),
		"one with their own passkey":       newAccount("ada", newPasskey("laptop")),
		"one with somebody else's passkey": newAccount("ada", newPasskey("phone")),
		"a user without passkeys":          newAccount("gone", newPasskey("lost")),
	} {
		refused(t, "Import of "+what, s.Import(t.Context(), account), passkey.Conflict)
	}
	mixed := newAccount("eve", newPasskey("hers"), newPasskey("laptop"), newPasskey("hers too"))
	refused(t, "Import with somebody else's passkey", s.Import(t.Context(), mixed), passkey.PasskeyExists)

	stored(t, s, ada)
	stored(t, s, bob)
	stored(t, s, passkey.Account{User: none})
	stored(t, s, passkey.Account{User: passkey.User{Name: "eve"}})
	stored(t, s, enroll(t, s, "carol", newPasskey("hers"), newPasskey("hers too"), newPasskey("other"), newPasskey("lost")))
	if got := slices.Sorted(slices.Values(names(users(t, s, "")))); !slices.Equal(got, []string{"ada", "bob", "carol", "gone"}) {
		t.Errorf("users %q", got)
	}
}

// Of any number of imports of one user exactly one is written.
func testImportRace(t *testing.T, s movable) {
	accounts := make([]passkey.Account, importers)
	won := make(chan int, importers)
	for i := range accounts {
		accounts[i] = newAccount("ada", newPasskey("laptop"), newPasskey("phone"))
		accounts[i].User.Epoch = sixteen(fmt.Sprint("epoch ", i))
	}
	got := race(importers, func(i int) error {
		err := s.Import(context.Background(), accounts[i])
		if err == nil {
			won <- i
		}
		return err
	})
	want := map[string]int{"accepted": 1, string(passkey.Conflict): importers - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("concurrent imports (-want +got):\n%s", diff)
	}
	stored(t, s, accounts[<-won])
}

// Imports of several users that hold one credential id: one of them gets it.
func testImportOneOwner(t *testing.T, s movable) {
	got := race(importers, func(i int) error {
		return s.Import(context.Background(), newAccount(fmt.Sprint("user ", i), newPasskey(fmt.Sprint("own ", i)), newPasskey("shared")))
	})
	want := map[string]int{"accepted": 1, string(passkey.PasskeyExists): importers - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("concurrent imports of one credential id (-want +got):\n%s", diff)
	}
	if all := users(t, s, ""); len(all) != 1 || len(all[0].Passkeys) != 2 {
		t.Errorf("users %+v", all)
	}
}

// Somebody registers a first passkey while their user is imported: one of the two is written.
func testImportWhileRegistering(t *testing.T, s movable) {
	imported := newAccount("ada", newPasskey("imported"))
	got := race(importers, func(i int) error {
		if i%2 == 0 {
			return s.Import(context.Background(), imported)
		}
		p := newPasskey(fmt.Sprint("registered ", i))
		next, err := passkey.User{Name: "ada"}.Adding(p)
		if err != nil {
			return err
		}
		next.Handle, next.Epoch = []byte("handle"), sixteen("epoch")
		return s.Register(context.Background(), next, p)
	})
	want := map[string]int{"accepted": 1, string(passkey.Conflict): importers - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("concurrent imports and registrations (-want +got):\n%s", diff)
	}
	if account := read(t, s, "ada"); len(account.Passkeys) != 1 || (account.User.Version == 41) != (account.Passkeys[0].Name == imported.Passkeys[0].Name) {
		t.Errorf("account %+v", account)
	}
}

// What was imported is as good as what was registered.
func testImportedIsUsed(t *testing.T, s movable) {
	laptop, phone := newPasskey("laptop"), newPasskey("phone")
	account := newAccount("ada", laptop, phone)
	accepted(t, "Import", s.Import(t.Context(), account))

	accepted(t, "Use", s.Use(t.Context(), "ada", newUse(laptop, "use", 11)))
	refused(t, "Use with a lower count", s.Use(t.Context(), "ada", newUse(phone, "clone", 10)), passkey.CounterRegressed)
	laptop.SignCount, laptop.LastUsedAt, laptop.LastCeremony = 11, now, passkey.ChallengeID([]byte("use"))

	next, err := account.User.Renaming(phone.ID, "Tablet")
	accepted(t, "Renaming", err)
	accepted(t, "Rename", s.Rename(t.Context(), next, phone.ID, "Tablet"))
	phone.Name = "Tablet"
	third := newPasskey("third")
	next = adding(t, next, third)
	accepted(t, "Register", s.Register(t.Context(), next, third))
	stored(t, s, passkey.Account{User: next, Passkeys: []passkey.Passkey{laptop, phone, third}})

	next, err = next.Removing(laptop.ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), next, laptop.ID))
	next = next.InEpoch(sixteen("revoked"))
	accepted(t, "Revoke", s.ChangeUser(t.Context(), next))
	stored(t, s, passkey.Account{User: next, Passkeys: []passkey.Passkey{phone, third}})
	accepted(t, "Import with a passkey that was removed", s.Import(t.Context(), newAccount("bob", laptop)))
}

// Two relying parties of one database share nothing.
func testTransferRelyingParties(t *testing.T, db Database) {
	here, there := db.For(RPID).(movable), db.For(OtherRPID).(movable)
	ours, theirs := newAccount("ada", newPasskey("laptop")), newAccount("ada", newPasskey("laptop"))
	theirs.User.Epoch = sixteen("there")
	accepted(t, "Import here", here.Import(t.Context(), ours))
	same(t, "users there", users(t, there, ""), nil)
	accepted(t, "Import there", there.Import(t.Context(), theirs))
	same(t, "users here", users(t, here, ""), []passkey.Account{ours})
	same(t, "users there", users(t, there, ""), []passkey.Account{theirs})
}

// transferMethods calls each method with arguments that would be accepted.
func transferMethods(s transfer.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Users":  func(ctx context.Context) error { return s.Users(ctx, "", func(passkey.Account) error { return nil }) },
		"Import": func(ctx context.Context) error { return s.Import(ctx, newAccount("never", newPasskey("never"))) },
	}
}

func testTransferContext(t *testing.T, s movable) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range transferMethods(s) {
		err := call(cancelled)
		refused(t, name+" with a cancelled context", err, passkey.StoreUnavailable)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v does not wrap context.Canceled", name, err)
		}
	}
	stored(t, s, passkey.Account{User: passkey.User{Name: "never"}})
}

func testTransferClosed(t *testing.T, db Database) {
	s := db.For(RPID).(movable)
	accepted(t, "Close", db.Close())
	for name, call := range transferMethods(s) {
		refused(t, name+" after closing", call(t.Context()), passkey.StoreUnavailable)
	}
}
