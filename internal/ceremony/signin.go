package ceremony

import (
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// CheckSignIn tells why a sign-in at this time lets nobody register a first passkey, or nil. Where a time is asked for
// (within is not 0), one that is not known counts as none, and so does one further ahead than clocks are let be: whoever
// says it does not know. Refusals: [passkey.SignInTimeMissing], [passkey.SignInTooOld].
func CheckSignIn(signedIn, now time.Time, within time.Duration) error {
	switch {
	case within == 0:
		return nil
	case signedIn.IsZero(), signedIn.After(now.Add(policy.MaxSkew)):
		return passkey.SignInTimeMissing
	case now.Sub(signedIn) > within:
		return passkey.SignInTooOld
	}
	return nil
}

// signInAt is CheckSignIn of a party. A registration that was begun in time may be finished as long as its challenge
// lives: refused then, it would leave a passkey on the authenticator that nobody here knows.
func (s *Service) signInAt(party Party, finishing bool) error {
	within := s.config.SignInWithin
	if within > 0 && finishing {
		within += s.config.TTL
	}
	return CheckSignIn(party.SignedIn, s.config.Now(), within)
}
