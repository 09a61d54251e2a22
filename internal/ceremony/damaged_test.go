package ceremony_test

import (
	"context"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// damaged is a store whose records of challenges have lost something.
type damaged struct {
	ceremony.Store
	lose func(*passkey.Challenge)
}

func (s *damaged) Consume(ctx context.Context, claim passkey.Claim, now time.Time) (passkey.Challenge, passkey.Account, error) {
	c, account, err := s.Store.Consume(ctx, claim, now)
	s.lose(&c)
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
