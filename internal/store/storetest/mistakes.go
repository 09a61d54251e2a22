package storetest

import (
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// A caller's mistake is refused as one and writes nothing: what could not be read back would lock its user out.
func testMistakes(t *testing.T, s ceremony.Store) {
	ctx, p := t.Context(), newPasskey("laptop")
	account := enroll(t, s, "ada", p)
	user := account.User
	other := newPasskey("phone")
	another := func(edit func(*passkey.Passkey)) error {
		p := other
		edit(&p)
		next, _ := user.Adding(p)
		return s.Register(ctx, next, p)
	}
	challenge := func(edit func(*passkey.Challenge)) error {
		c := newChallenge("ada", "one", passkey.StepUp)
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
		"registering under another name":    s.Register(ctx, added, named(other, "another")),
		"a first passkey that is not alone": s.Register(ctx, passkey.User{Name: "bob", Version: 1, Passkeys: added.Passkeys}, other),
		"renaming and dropping":             s.Rename(ctx, removed, p.ID, "renamed"),
		"renaming to what is not listed":    s.Rename(ctx, next, p.ID, "another"),
		"renaming to nothing":               s.Rename(ctx, next, p.ID, ""),
		"removing and still listing":        s.Remove(ctx, next, p.ID),
		"revoking and dropping":             s.ChangeUser(ctx, removed),
		"revoking and listing what is not":  s.ChangeUser(ctx, added),
		"a passkey without a public key":    another(func(p *passkey.Passkey) { p.PublicKey = nil }),
		"a passkey without an id":           another(func(p *passkey.Passkey) { p.ID = []byte{} }),
		"a passkey without a date":          another(func(p *passkey.Passkey) { p.CreatedAt = time.Time{} }),
		"a passkey of the year 10000":       another(func(p *passkey.Passkey) { p.CreatedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"a format that is not UTF-8":        another(func(p *passkey.Passkey) { p.AttestationFormat = "\xff" }),
		"another relying party's challenge": challenge(func(c *passkey.Challenge) { c.RPID = "other.example" }),
		"issuing another one's challenge":   s.Issue(ctx, passkey.Challenge{ID: passkey.ChallengeID([]byte("one")), RPID: "other.example", User: "ada", Action: passkey.StepUp, Expires: now}),
		"a challenge for nothing":           challenge(func(c *passkey.Challenge) { c.Action = "" }),
		"a challenge of no known level":     challenge(func(c *passkey.Challenge) { c.Level = 9 }),
		"a challenge that never expires":    challenge(func(c *passkey.Challenge) { c.Expires = time.Time{} }),
	} {
		refused(t, name, err, passkey.Internal)
	}
	stored(t, s, account)
	accepted(t, "Register after mistakes", another(func(*passkey.Passkey) {}))
}

// A challenge id that comes round again is not issued, nor does it replace what is stored: ids come from 32 random bytes,
// so it is a broken source of randomness, or a replay.
func testRepeatedChallenge(t *testing.T, s ceremony.Store) {
	enroll(t, s, "ada", newPasskey("laptop"))
	c := newChallenge("ada", "one", passkey.StepUp)
	issue(t, s, c)
	again := c
	again.Origin, again.Expires = "https://evil.example", c.Expires.Add(time.Hour)
	_, err := s.Begin(t.Context(), again)
	refused(t, "Begin with an id that is stored", err, passkey.StoreUnavailable)
	got, _, err := s.Consume(t.Context(), claimOf(c), now)
	accepted(t, "Consume", err)
	same(t, "consumed challenge", got, c)
}

func named(p passkey.Passkey, name string) passkey.Passkey {
	p.Name = name
	return p
}
