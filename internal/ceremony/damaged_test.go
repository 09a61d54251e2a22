package ceremony_test

import (
	"context"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// damaged is a store whose records have lost something.
type damaged struct {
	ceremony.Store
	lose       func(*passkey.Challenge)
	loseHandle bool // of the user
}

func (s *damaged) Account(ctx context.Context, user string) (passkey.Account, error) {
	account, err := s.Store.Account(ctx, user)
	if s.loseHandle {
		account.User.Handle = nil
	}
	return account, err
}

func (s *damaged) Begin(ctx context.Context, c passkey.Challenge) (passkey.Account, error) {
	account, err := s.Store.Begin(ctx, c)
	if s.loseHandle {
		account.User.Handle = nil
	}
	return account, err
}

func (s *damaged) Consume(ctx context.Context, claim passkey.Claim, now time.Time) (passkey.Challenge, passkey.Account, error) {
	c, account, err := s.Store.Consume(ctx, claim, now)
	if s.lose(&c); s.loseHandle {
		account.User.Handle = nil
	}
	return c, account, err
}

// A record that has lost what every ceremony of its kind writes is unreadable. Taken for one that never had it, a registration
// without its user handle would make a user whom no passkey knows: nobody could ever step up as them.
func TestDamagedChallenge(t *testing.T) {
	for name, lose := range map[string]func(*passkey.Challenge){
		"handle": func(c *passkey.Challenge) { c.Handle = nil },
		"origin": func(c *passkey.Challenge) { c.Origin = "" },
		"target": func(c *passkey.Challenge) { c.Target = "" },
		"level":  func(c *passkey.Challenge) { c.Level = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			store := &damaged{lose: func(*passkey.Challenge) {}}
			w := newWorld(t, func(c *ceremony.Config) { store.Store = c.Store; c.Store = store })
			a := key()
			first := must(a.Register(w.startRegistration(ada, "Key", nil), origin))(t)
			store.lose = lose
			if name == "handle" || name == "origin" {
				_, err := w.finishRegistration(ada, "Key", first)
				refused(t, err, passkey.StoreUnavailable)
				same(t, w.account(ada.User).User.Version, uint64(0))
			}
			store.lose = func(*passkey.Challenge) {}
			p := w.enrol(ada, a)
			another := w.enrolAnother(ada, a, key())

			store.lose = lose
			if name != "target" && name != "handle" {
				_, err := w.authenticate(ada, stepUp, a)
				refused(t, err, passkey.StoreUnavailable)
			}
			if name == "target" {
				_, err := w.remove(ada, another.ShortID(), w.reply(ada, removal(another), a))
				refused(t, err, passkey.StoreUnavailable)
			}
			store.lose = func(*passkey.Challenge) {}
			if _, err := w.authenticate(ada, stepUp, a); err != nil {
				t.Errorf("whole again, with %s: %v", p.Name, err)
			}
		})
	}
}

// A user's record that came without its user handle is unreadable too: whatever is changed writes the record anew, and would
// write it without.
func TestDamagedUser(t *testing.T) {
	store := &damaged{lose: func(*passkey.Challenge) {}}
	w := newWorld(t, func(c *ceremony.Config) { store.Store = c.Store; c.Store = store })
	a := key()
	p := w.enrol(ada, a)
	reply := w.reply(ada, stepUp, a)

	store.loseHandle = true
	_, err := w.Rename(t.Context(), ada.User, p.ShortID(), "Blue")
	refused(t, err, passkey.StoreUnavailable)
	_, err = w.Start(t.Context(), ada, stepUp)
	refused(t, err, passkey.StoreUnavailable)
	_, err = w.finish(ada, stepUp, reply)
	refused(t, err, passkey.StoreUnavailable)
	refused(t, w.Revoke(t.Context(), ada.User), passkey.StoreUnavailable)
	_, err = w.Reset(t.Context(), ada.User)
	refused(t, err, passkey.StoreUnavailable)

	store.loseHandle = false
	if _, err := w.authenticate(ada, stepUp, a); err != nil {
		t.Errorf("whole again: %v", err)
	}
}
