package ceremony

import (
	"context"
	"encoding/base32"
	"fmt"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// The limits of how long an invitation is good.
const (
	MinInvitation = time.Minute
	MaxInvitation = 30 * 24 * time.Hour
)

// invitationLength is in bytes, so that nobody guesses one.
const invitationLength = 20

// Invite makes an invitation for a user, who need not be known yet, and returns its code, which is kept nowhere. It takes
// the place of an earlier one. lasts is from [MinInvitation] to [MaxInvitation].
func (s *Service) Invite(ctx context.Context, user string, lasts time.Duration) (code string, expires time.Time, err error) {
	if err := passkey.CheckUser(user); err != nil {
		return "", time.Time{}, err
	}
	if lasts < MinInvitation || lasts > MaxInvitation {
		return "", time.Time{}, fmt.Errorf("an invitation that lasts %s: %w", lasts, passkey.Internal)
	}
	secret, err := s.draw(invitationLength)
	if err != nil {
		return "", time.Time{}, err
	}
	code = passkey.PrintCode(base32.StdEncoding.EncodeToString(secret))
	expires = s.config.Now().Add(lasts).UTC().Truncate(time.Second)
	if err := s.config.Store.Invite(ctx, user, passkey.Invitation{ID: passkey.CodeID(code), Expires: expires}); err != nil {
		return "", time.Time{}, fmt.Errorf("inviting: %w", err)
	}
	return code, expires, nil
}
