package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

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
