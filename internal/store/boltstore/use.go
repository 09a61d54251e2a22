package boltstore

import (
	"context"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Use implements [ceremony.Store].
func (s *Store) Use(ctx context.Context, user string, use passkey.Use) error {
	return s.update(ctx, "recording a passkey's use", func(t tx) error {
		p, found, err := t.passkey(user, use.ID)
		switch {
		case err != nil:
			return err
		case !found:
			return passkey.PasskeyUnknown
		case isSame(p.LastCeremony, use.Ceremony):
			return errNoChange // this very use was written and its answer lost; judged as new, its count would not have risen
		}
		rose := use.SignCount > p.SignCount
		unkept := use.SignCount == 0 && p.SignCount == 0 // the authenticator keeps no count: WebAuthn L3 §7.2 step 22
		if !rose && !unkept && !use.AllowReset {
			return passkey.CounterRegressed
		}
		if use.LearnBackup {
			if !p.BackupUnknown && p.BackupEligible != use.BackupEligible {
				return passkey.BackupFlagsInconsistent // another use was first, and learned otherwise
			}
			p.BackupUnknown, p.BackupEligible = false, use.BackupEligible
		}
		p.SignCount = max(p.SignCount, use.SignCount)
		p.BackedUp = use.BackedUp
		p.LastUsedAt, p.LastUsedOn = use.At, use.On
		p.LastCeremony = use.Ceremony
		return t.putPasskey(user, p)
	})
}
