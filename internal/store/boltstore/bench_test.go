package boltstore_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// What a step-up costs in the store. With NoSync it is the work; without it the disk's fsync comes on top of each write.
func benchmark(b *testing.B, run func(b *testing.B, s *boltstore.Store)) {
	for _, noSync := range []bool{true, false} {
		b.Run(fmt.Sprintf("NoSync=%t", noSync), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "stepgate.db"), boltstore.Options{NoSync: noSync}).For(rpID)
			for _, name := range []string{"laptop", "phone", "key"} {
				register(b, s, "ada", newPasskey(name))
			}
			run(b, s)
		})
	}
}

func BenchmarkBegin(b *testing.B) {
	benchmark(b, func(b *testing.B, s *boltstore.Store) {
		for i := 0; b.Loop(); i++ {
			if _, err := s.Begin(b.Context(), newChallenge("ada", fmt.Sprint(i))); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBeginAndConsume(b *testing.B) {
	benchmark(b, func(b *testing.B, s *boltstore.Store) {
		for i := 0; b.Loop(); i++ {
			c := newChallenge("ada", fmt.Sprint(i))
			if _, err := s.Begin(b.Context(), c); err != nil {
				b.Fatal(err)
			}
			if _, _, err := s.Consume(b.Context(), claimOf(c), now); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkUse(b *testing.B) {
	benchmark(b, func(b *testing.B, s *boltstore.Store) {
		id := newPasskey("laptop").ID
		for i := uint32(1); b.Loop(); i++ {
			if err := s.Use(b.Context(), "ada", passkey.Use{ID: id, Ceremony: fmt.Sprint(i), SignCount: i, At: now}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Account is what the gateway's cached view of a user is refreshed with.
func BenchmarkAccount(b *testing.B) {
	benchmark(b, func(b *testing.B, s *boltstore.Store) {
		for b.Loop() {
			if _, err := s.Account(b.Context(), "ada"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
