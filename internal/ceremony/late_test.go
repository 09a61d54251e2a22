package ceremony_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// late is a store whose writes of challenges can come late, or come to nothing.
type late struct {
	ceremony.Store
	unsure int                 // so many writes get no answer
	begun  []passkey.Challenge // what was to be written
}

func (s *late) Begin(ctx context.Context, c passkey.Challenge) (passkey.Account, error) {
	s.begun = append(s.begun, c)
	if len(s.begun) <= s.unsure {
		return passkey.Account{}, fmt.Errorf("no answer: %w: %w", passkey.StoreUnavailable, ceremony.ErrUnsure)
	}
	return s.Store.Begin(ctx, c)
}

func (s *late) Issue(ctx context.Context, c passkey.Challenge) error {
	s.begun = append(s.begun, c)
	if len(s.begun) <= s.unsure {
		return fmt.Errorf("no answer: %w: %w", passkey.StoreUnavailable, ceremony.ErrUnsure)
	}
	return s.Store.Issue(ctx, c)
}

// A challenge whose write got no answer is given up for another one, a few times.
func TestUnsureBeginning(t *testing.T) {
	t.Run("read", func(t *testing.T) { testUnsureBeginning(t, false) })
	t.Run("recalled", func(t *testing.T) { testUnsureBeginning(t, true) })
}

func testUnsureBeginning(t *testing.T, recalled bool) {
	for unsure, want := range []error{nil, nil, nil, passkey.StoreUnavailable} {
		var store *late
		w := newWorld(t, func(c *ceremony.Config) { store = &late{Store: c.Store}; c.Store, c.Recall = store, true })
		a := key()
		w.enrol(ada, a)
		if recalled { // then the use below is not written either
			must(w.authenticate(ada, stepUp, a))(t)
		}
		store.begun, store.unsure = nil, unsure
		options, err := w.Start(t.Context(), ada, stepUp)
		if !errors.Is(err, want) {
			t.Fatalf("%d writes without an answer: %v, want %v", unsure, err, want)
		}
		ids := map[string]bool{}
		for _, c := range store.begun {
			ids[c.ID] = true
		}
		if len(ids) != len(store.begun) || len(ids) != min(unsure+1, 3) {
			t.Errorf("%d challenges in %d writes", len(ids), len(store.begun))
		}
		if err != nil {
			continue
		}
		reply := must(a.Authenticate(options, origin))(t)
		must(w.finish(ada, stepUp, reply))(t)

		// Whatever comes late, from the one that was used too, nothing works twice: stores must not let it come to that.
		for _, c := range store.begun {
			must(store.Store.Begin(t.Context(), c))(t)
		}
		_, err = w.finish(ada, stepUp, reply)
		refused(t, err, passkey.ChallengeUsed)
		must(store.Store.Begin(t.Context(), store.begun[len(store.begun)-1]))(t)
		_, err = w.finish(ada, stepUp, reply)
		refused(t, err, passkey.ChallengeUsed)
	}
}
