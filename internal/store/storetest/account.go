package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// "A user never seen has Version 0 and no error." The name is set, so that what is made from it can be stored.
func testNeverSeen(t *testing.T, s ceremony.Store) {
	stored(t, s, passkey.Account{User: passkey.User{Name: "ada"}})
	refused(t, "Use", s.Use(t.Context(), "ada", newUse(newPasskey("laptop"), "one", 11)), passkey.PasskeyUnknown)
	stored(t, s, passkey.Account{User: passkey.User{Name: "ada"}})
}

// "Account reads a user with all passkeys": each attribute comes back as it was written, and the oldest passkey first.
func testAccountComplete(t *testing.T, s ceremony.Store) {
	full, bare := newPasskey("full"), passkey.Passkey{
		ID:           []byte("sixteen bytes id"),
		PublicKey:    []byte{0},
		Name:         "bare",
		CreatedAt:    now.Add(time.Nanosecond),
		LastCeremony: passkey.ChallengeID([]byte("bare")),
	}
	highest := newPasskey("highest")
	highest.SignCount = 1<<32 - 1
	highest.CreatedAt = now
	elsewhere := newPasskey("elsewhere") // an instant, in whatever time zone a gateway runs
	elsewhere.CreatedAt = now.Add(time.Second).In(time.FixedZone("", -3600))

	account := enroll(t, s, "ada", elsewhere, bare, highest, full) // registered in another order than created
	account.Passkeys = []passkey.Passkey{full, highest, bare, elsewhere}
	stored(t, s, account)
	for _, p := range read(t, s, "ada").Passkeys {
		if p.CreatedAt.Location() != time.UTC || p.LastUsedAt.Location() != time.UTC {
			t.Errorf("%s: times are not in UTC: %v, %v", p.Name, p.CreatedAt, p.LastUsedAt)
		}
	}
	if p := read(t, s, "ada").Passkeys[2]; !p.LastUsedAt.IsZero() {
		t.Errorf("a passkey never used was last used at %v", p.LastUsedAt)
	}

	// As many as the configuration could plausibly allow.
	var many []passkey.Passkey
	for i := range 25 {
		p := newPasskey(fmt.Sprint("one of many ", i))
		p.CreatedAt = now.Add(time.Duration(i) * time.Microsecond)
		many = append(many, p)
	}
	stored(t, s, enroll(t, s, "bob", many...))
}

// "User names are opaque: any two different strings are different users."
func testHostileNames(t *testing.T, s ceremony.Store) {
	long := strings.Repeat("x", 500)
	names := []string{
		"a", "A", "a#b", "a#", "#b", "b", "ab", "abc", "a b", "a ", " a",
		"a\x00", "\x00a", "a\x00b", "\x00", "\x00\x00\x00\x01a", "\x00\x00\x00\x02ab", "a\n", "a\r\nb", "\n",
		"a/b", "a\\b", "a|b", "a:b", "a,b", "a;b", "a=b", "a%23b", "a%00", `a"b`, `a\u0000`, "{a}", "../a", "*", "$a", "<a>&",
		"USER#a", "USER#a#PASSKEY#b", "u", "p", "c", RPID, RPID + "#a", "example.com\x00a",
		"\U0001F511", "\U0001F511\U0001F511", "a\U0001F511", "é", "e\u0301", "ﬀ", "ff", "İ", "i", "ſ", "\u202ea", "\ufeffa", "\ufffd",
		long, long[:499], long + "x", long[:499] + "y", strings.Repeat("\U0001F511", 125), strings.Repeat("#", 500), strings.Repeat("\x00", 500),
		"\U0010ffff", "\uffff", "~",
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(names)))); n != len(names) {
		t.Fatalf("%d names are repeated", len(names)-n)
	}
	accounts := make(map[string]passkey.Account, len(names))
	challenges := make(map[string]passkey.Challenge, len(names))
	for i, name := range names {
		accounts[name] = enroll(t, s, name, newPasskey(fmt.Sprint("passkey ", i)))
		c := newChallenge(name, "the same", passkey.StepUp) // one challenge id for all: only the user tells them apart
		c.Name = name
		challenges[name] = c
		issue(t, s, c)
	}
	for _, name := range names {
		stored(t, s, accounts[name])
	}
	for i, name := range names {
		got, account, err := s.Consume(t.Context(), claimOf(challenges[name]), now)
		if err != nil {
			t.Errorf("consuming the challenge of user %.20q: %v", name, err)
			continue
		}
		same(t, "consumed challenge", got, challenges[name])
		same(t, "account read by Consume", account, accounts[name])

		other := names[(i+1)%len(names)]
		use := newUse(accounts[name].Passkeys[0], "stolen", 11)
		refused(t, "using somebody else's passkey", s.Use(t.Context(), other, use), passkey.PasskeyUnknown)
	}
	for _, name := range names {
		stored(t, s, accounts[name])
	}
}
