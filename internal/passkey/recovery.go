package passkey

import (
	"slices"
	"time"
)

// RecoveryCodes is how many recovery codes are made at a time.
const RecoveryCodes = 8

// Recovery is a user's recovery codes: each lets them register one passkey when they have none at hand. Like an invitation
// a code is stored without the secret, see [CodeDigest]. They are a part of the user record, so a code is spent by the
// very write that registers what it was spent on.
type Recovery struct {
	Codes  []Digest  // of the codes not spent yet, at most [RecoveryCodes]
	MadeAt time.Time // when they were made; zero without codes that were ever made
}

// CodeDigest returns the digest that a recovery code is stored under, however it was typed: see [CodeID].
func CodeDigest(code string) Digest { return DigestOf(lettersOf(code)) }

// find returns the digest that has this [CodeID].
func (r Recovery) find(id string) (Digest, bool) {
	for _, d := range r.Codes {
		if idOf(d) == id {
			return d, true
		}
	}
	return Digest{}, false
}

// Check tells why somebody can't register who presents the code of this [CodeID], or nil.
func (r Recovery) Check(id string) error {
	if _, found := r.find(id); !found {
		return RecoveryCodeInvalid
	}
	return nil
}

// Equal reports whether both are the same codes.
func (r Recovery) Equal(other Recovery) bool {
	return slices.Equal(r.Codes, other.Codes) && r.MadeAt.Equal(other.MadeAt)
}

// Valid tells whether these can be somebody's recovery codes.
func (r Recovery) Valid() error {
	if len(r.Codes) > RecoveryCodes || len(r.Codes) > 0 && r.MadeAt.IsZero() {
		return Internal
	}
	for i, d := range r.Codes {
		if d == (Digest{}) || slices.Contains(r.Codes[:i], d) {
			return Internal
		}
	}
	return nil
}

// WithRecovery returns the user with new recovery codes in the place of all that they had.
func (u User) WithRecovery(r Recovery) User {
	next := u.next()
	next.Recovery = r
	return next
}

// Reset returns the user in a new epoch and without recovery codes: nothing that was given out before is good any more.
func (u User) Reset(e Epoch) User {
	next := u.InEpoch(e)
	next.Recovery = Recovery{}
	return next
}

// Spending returns the user without the recovery code of this [CodeID]. It is no change of its own: the version stays, and
// goes up with [User.Adding] what the code was spent on.
func (u User) Spending(id string) (User, error) {
	spent, found := u.Recovery.find(id)
	if !found {
		return User{}, RecoveryCodeInvalid
	}
	u.Recovery.Codes = slices.DeleteFunc(slices.Clone(u.Recovery.Codes), func(d Digest) bool { return d == spent })
	return u, nil
}
