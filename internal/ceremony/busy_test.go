package ceremony_test

import (
	"testing"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// A store that is busy with a user whom nobody has registered yet is no reason to say that somebody was first.
func TestFirstUseOfABusyUser(t *testing.T) {
	var store *faulty
	w := newWorld(t, func(c *ceremony.Config) { store = &faulty{Store: c.Store}; c.Store = store })
	reply := must(key().Register(w.startRegistration(ada, "", nil), origin))(t)
	store.register = func() error { return passkey.Conflict }
	_, err := w.finishRegistration(ada, "", reply)
	refused(t, err, passkey.Conflict)
}
