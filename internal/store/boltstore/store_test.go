package boltstore_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// A caller's mistake is refused as one and writes nothing.
func TestMistakesAreRefused(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{}).For(rpID)
	ctx, p := t.Context(), newPasskey("laptop")
	user := register(t, s, "ada", p)
	other := newPasskey("phone")
	another := func(edit func(*passkey.Passkey)) error {
		p := other
		edit(&p)
		next, _ := user.Adding(p)
		return s.Register(ctx, next, p)
	}
	challenge := func(edit func(*passkey.Challenge)) error {
		c := newChallenge("ada", "one")
		edit(&c)
		_, err := s.Begin(ctx, c)
		return err
	}
	next := user.InEpoch(passkey.Epoch{1})
	removed, _ := user.Removing(p.ID)
	added, _ := user.Adding(other)
	twice := added
	twice.Passkeys = append(twice.Passkeys, twice.Passkeys[1])
	for name, err := range map[string]error{
		"registering without listing":       s.Register(ctx, next, other),
		"registering and listing twice":     s.Register(ctx, twice, other),
		"registering and dropping another":  s.Register(ctx, passkey.User{Name: "ada", Version: 2, Passkeys: added.Passkeys[1:]}, other),
		"renaming and dropping":             s.Rename(ctx, removed, p.ID, "renamed"),
		"removing and still listing":        s.Remove(ctx, next, p.ID),
		"revoking and dropping":             s.Revoke(ctx, removed),
		"revoking and listing what is not":  s.Revoke(ctx, added),
		"a passkey without a public key":    another(func(p *passkey.Passkey) { p.PublicKey = nil }),
		"a passkey without an id":           another(func(p *passkey.Passkey) { p.ID = []byte{} }),
		"a passkey without a date":          another(func(p *passkey.Passkey) { p.CreatedAt = time.Time{} }),
		"a passkey of the year 10000":       another(func(p *passkey.Passkey) { p.CreatedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"a format that is not UTF-8":        another(func(p *passkey.Passkey) { p.AttestationFormat = "\xff" }),
		"another relying party's challenge": challenge(func(c *passkey.Challenge) { c.RPID = "other.example" }),
		"a challenge for nothing":           challenge(func(c *passkey.Challenge) { c.Action = "" }),
		"a challenge of no known level":     challenge(func(c *passkey.Challenge) { c.Level = 9 }),
		"a challenge that never expires":    challenge(func(c *passkey.Challenge) { c.Expires = time.Time{} }),
	} {
		refused(t, name, err, passkey.Internal)
	}
	if account, err := s.Account(ctx, "ada"); err != nil || account.User.Version != 1 || len(account.Passkeys) != 1 {
		t.Errorf("account after mistakes: %+v, %v", account, err)
	}
	if err := another(func(*passkey.Passkey) {}); err != nil {
		t.Errorf("registering after mistakes: %v", err)
	}
}

// A challenge id that comes round again is not issued, nor does it replace what is stored.
func TestRepeatedChallengeID(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{}).For(rpID)
	c := newChallenge("ada", "one")
	begin(t, s, c)
	again := c
	again.Origin, again.Expires = "https://evil.example", c.Expires.Add(time.Hour)
	_, err := s.Begin(t.Context(), again)
	unavailable(t, "Begin with an id that is stored", err)
	if got, _, err := s.Consume(t.Context(), claimOf(c), now); err != nil || got.Origin != c.Origin {
		t.Errorf("Consume: %+v, %v", got, err)
	}
}

// A user without passkeys has no use for an authentication, and costs no write.
func TestBeginStoresNothingInVain(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{}).For(rpID)
	c := newChallenge("ada", "one")
	c.Action = passkey.StepUp
	begin(t, s, c)
	_, _, err := s.Consume(t.Context(), claimOf(c), now)
	refused(t, "consuming what was not worth storing", err, passkey.ChallengeUsed)
}

// Names that run into each other once they are put together, and names that JSON would make one.
func TestNamesStayApart(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "stepgate.db"), boltstore.Options{NoSync: true})
	names := []struct{ rpID, user string }{
		{"a", "bc"}, {"ab", "c"}, {"abc", ""}, {"", "abc"}, {"", ""},
		{"a", "\x00\x00\x00\x01b"}, {"a\x00\x00\x00\x01", "b"},
		{rpID, "\xff"}, {rpID, "\xfe"}, {rpID, "\ufffd"}, {rpID, "\xed\xa0\x80"},
	}
	for _, n := range names {
		register(t, db.For(n.rpID), n.user, newPasskey(n.rpID+"|"+n.user))
	}
	for _, n := range names {
		account, err := db.For(n.rpID).Account(t.Context(), n.user)
		if err != nil || account.User.Name != n.user || account.User.Version != 1 || len(account.Passkeys) != 1 ||
			account.Passkeys[0].Name != n.rpID+"|"+n.user {
			t.Errorf("%q of %q: %+v, %v", n.user, n.rpID, account, err)
		}
	}
}
