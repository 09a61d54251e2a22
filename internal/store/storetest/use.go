package storetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// "Use records a successful authentication", and changes nothing else.
func testUse(t *testing.T, s ceremony.Store) {
	laptop, phone := newPasskey("laptop"), newPasskey("phone")
	account := enroll(t, s, "ada", laptop, phone)
	use := newUse(phone, "one", 11)
	use.BackedUp = false
	accepted(t, "Use", s.Use(t.Context(), "ada", use))
	phone.SignCount, phone.BackedUp, phone.LastUsedAt, phone.LastCeremony = 11, false, use.At, use.Ceremony
	account.Passkeys = []passkey.Passkey{laptop, phone}
	stored(t, s, account)
}

// "The sign count must be higher than the stored one, or both 0; if not: CounterRegressed, or with AllowReset the write
// goes through and the stored count stays what it was."
func testSignCount(t *testing.T, s ceremony.Store) {
	const highest = 1<<32 - 1
	for i, test := range []struct {
		stored, signed uint32
		allowReset     bool
		want           string
		count          uint32 // stored afterwards
	}{
		{stored: 0, signed: 0, want: "accepted", count: 0},
		{stored: 0, signed: 1, want: "accepted", count: 1},
		{stored: 10, signed: 11, want: "accepted", count: 11},
		{stored: 10, signed: highest, want: "accepted", count: highest},
		{stored: 10, signed: 10, want: "counter_regressed", count: 10},
		{stored: 10, signed: 9, want: "counter_regressed", count: 10},
		{stored: 10, signed: 0, want: "counter_regressed", count: 10},
		{stored: 1, signed: 0, want: "counter_regressed", count: 1},
		{stored: highest, signed: 0, want: "counter_regressed", count: highest},
		{stored: highest, signed: highest, want: "counter_regressed", count: highest},
		{stored: 0, signed: 0, allowReset: true, want: "accepted", count: 0},
		{stored: 10, signed: 11, allowReset: true, want: "accepted", count: 11},
		{stored: 10, signed: 10, allowReset: true, want: "accepted", count: 10},
		{stored: 10, signed: 9, allowReset: true, want: "accepted", count: 10},
		{stored: 10, signed: 0, allowReset: true, want: "accepted", count: 10},
	} {
		name := fmt.Sprintf("%d after %d, allow reset %t", test.signed, test.stored, test.allowReset)
		p := newPasskey(name)
		p.SignCount = test.stored
		account := enroll(t, s, fmt.Sprint("user ", i), p)
		use := newUse(p, "use in "+name, test.signed)
		use.AllowReset = test.allowReset
		use.BackedUp = false
		err := s.Use(t.Context(), account.User.Name, use)
		if got := reason(err); got != test.want {
			t.Errorf("%s: got %s (%v), want %s", name, got, err, test.want)
		}
		if test.want == "accepted" {
			p.SignCount, p.BackedUp, p.LastUsedAt, p.LastCeremony = test.count, false, use.At, use.Ceremony
		}
		account.Passkeys = []passkey.Passkey{p}
		stored(t, s, account)
	}
}

// "A record whose LastCeremony is the use's ceremony already holds this very use: success, nothing changes."
func testUseLostAnswer(t *testing.T, s ceremony.Store) {
	p := newPasskey("laptop")
	account := enroll(t, s, "ada", p)
	use := newUse(p, "one", 11)
	accepted(t, "Use", s.Use(t.Context(), "ada", use))
	p.SignCount, p.LastUsedAt, p.LastCeremony = 11, use.At, use.Ceremony
	account.Passkeys = []passkey.Passkey{p}
	for range 2 {
		accepted(t, "the same Use again", s.Use(t.Context(), "ada", use))
		stored(t, s, account)
	}
	// A clone's assertion has a ceremony of its own, and so does a late repeat once another use was written.
	refused(t, "the same count in another ceremony", s.Use(t.Context(), "ada", newUse(p, "clone", 11)), passkey.CounterRegressed)
	accepted(t, "the next Use", s.Use(t.Context(), "ada", newUse(p, "two", 12)))
	refused(t, "the first Use after the second", s.Use(t.Context(), "ada", use), passkey.CounterRegressed)
}

// "Only if the passkey's record is still there: an update must not bring a removed passkey back."
func testUseAfterRemoval(t *testing.T, s ceremony.Store) {
	p := newPasskey("laptop")
	account := enroll(t, s, "ada", p)
	next, err := account.User.Removing(p.ID)
	accepted(t, "Removing", err)
	accepted(t, "Remove", s.Remove(t.Context(), next, p.ID))
	use := newUse(p, "late", 11)
	for _, use.AllowReset = range []bool{false, true} {
		refused(t, "Use after Remove", s.Use(t.Context(), "ada", use), passkey.PasskeyUnknown)
	}
	use.Ceremony = p.LastCeremony // nor is it taken for a repeat
	refused(t, "Use after Remove", s.Use(t.Context(), "ada", use), passkey.PasskeyUnknown)
	stored(t, s, passkey.Account{User: next})

	// Whoever registers the credential id next is not reached by the old owner's uses.
	p.LastCeremony = passkey.ChallengeID([]byte("registered again"))
	bob := enroll(t, s, "bob", p)
	refused(t, "Use by the former owner", s.Use(t.Context(), "ada", newUse(p, "late", 11)), passkey.PasskeyUnknown)
	stored(t, s, bob)
}

// No accepted count is lost, whatever the order: the highest one stays.
func testConcurrentUses(t *testing.T, s ceremony.Store) {
	const n = 32
	p := newPasskey("laptop")
	enroll(t, s, "ada", p)
	got := race(n, func(i int) error {
		return s.Use(context.Background(), "ada", newUse(p, fmt.Sprint("use ", i), p.SignCount+1+uint32(i)))
	})
	if got["accepted"] < 1 || got["accepted"]+got[string(passkey.CounterRegressed)] != n {
		t.Errorf("concurrent uses: %v", got)
	}
	if count := read(t, s, "ada").Passkeys[0].SignCount; count != p.SignCount+n {
		t.Errorf("sign count is %d after concurrent uses up to %d", count, p.SignCount+n)
	}

	// Of two assertions with one count one is a clone's.
	got = race(n, func(i int) error {
		return s.Use(context.Background(), "ada", newUse(p, fmt.Sprint("clone ", i), 1000))
	})
	want := map[string]int{"accepted": 1, string(passkey.CounterRegressed): n - 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("concurrent uses with one sign count (-want +got):\n%s", diff)
	}
}

// Use and Rename write one record: neither may undo the other.
func testUseWhileRenaming(t *testing.T, s ceremony.Store) {
	const n = 16
	p := newPasskey("laptop")
	account := enroll(t, s, "ada", p)
	got := race(2, func(i int) error {
		ctx, user := context.Background(), account.User
		for j := range uint32(n) {
			if i == 0 {
				if err := s.Use(ctx, "ada", newUse(p, fmt.Sprint("use ", j), p.SignCount+1+j)); err != nil {
					return err
				}
				continue
			}
			name := fmt.Sprint("name ", j)
			next, err := user.Renaming(p.ID, name)
			if err != nil {
				return err
			}
			if err := s.Rename(ctx, next, p.ID, name); err != nil {
				return err
			}
			user = next
		}
		return nil
	})
	if diff := cmp.Diff(map[string]int{"accepted": 2}, got); diff != "" {
		t.Errorf("using while renaming (-want +got):\n%s", diff)
	}
	after := read(t, s, "ada").Passkeys[0]
	if after.SignCount != p.SignCount+n || after.Name != fmt.Sprint("name ", n-1) {
		t.Errorf("sign count is %d and the name %q, want %d and %q", after.SignCount, after.Name, p.SignCount+n, fmt.Sprint("name ", n-1))
	}
}

// A removal amid uses: each use came before it or is refused, and nothing is left of the passkey.
func testUseWhileRemoving(t *testing.T, s ceremony.Store) {
	const n = 32
	p := newPasskey("laptop")
	account := enroll(t, s, "ada", p)
	next, err := account.User.Removing(p.ID)
	accepted(t, "Removing", err)
	got := race(n, func(i int) error {
		if i == n/2 {
			return s.Remove(context.Background(), next, p.ID)
		}
		use := newUse(p, fmt.Sprint("use ", i), 11)
		use.AllowReset = true
		return s.Use(context.Background(), "ada", use)
	})
	for _, r := range slices.Sorted(maps.Keys(got)) {
		if r != "accepted" && r != string(passkey.PasskeyUnknown) {
			t.Errorf("%d uses while removing: %s", got[r], r)
		}
	}
	stored(t, s, passkey.Account{User: next})
	laptop := p
	laptop.LastCeremony = passkey.ChallengeID([]byte("registered again"))
	stored(t, s, enroll(t, s, "bob", laptop))
}
