package transfer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stepgate/stepgate/internal/passkey"
)

// MaxPasskeys is how many passkeys a user can have: as many as max_passkeys can allow.
const MaxPasskeys = 100

// The bounds of one user's line. With [MaxPasskeys] they keep it below [MaxLine].
const (
	maxPublicKey  = 2048 // bytes; RSA with the longest modulus that a registration accepts takes 1100
	maxTransports = 16
	maxVersion    = 1 << 53     // more changes than anybody makes; the highest possible could not be followed by another
	maxOrigin     = 8 + 253 + 6 // bytes: scheme, host, port
	maxText       = 32          // bytes of an attestation format (WebAuthn L3 §8.1) or a transport
)

// Check refuses an account that no export could hold, and says why. An import of anything but an export has to ask.
func Check(account passkey.Account) error { return checkAccount(account) }

// checkAccount refuses what the gateway could not have made: such a record comes from a damaged or edited file, or from
// a bug, and would be trusted for good once it is in a store. It says why, and quotes nothing.
func checkAccount(account passkey.Account) error {
	u := account.User
	if err := passkey.CheckUser(u.Name); err != nil {
		return errors.New("user is empty, too long, not UTF-8, or holds control characters")
	}
	if u.Version == 0 || u.Version > maxVersion {
		return errors.New("version is out of range")
	}
	if len(u.Handle) < 1 || len(u.Handle) > passkey.HandleLength {
		return fmt.Errorf("handle has %d bytes, not 1 to %d", len(u.Handle), passkey.HandleLength)
	}
	if len(account.Passkeys) > MaxPasskeys {
		return fmt.Errorf("it has %d passkeys; %d are the most", len(account.Passkeys), MaxPasskeys)
	}
	if account.User.Recovery.Valid() != nil {
		return fmt.Errorf("recovery_codes are more than %d, repeated, or without a date", passkey.RecoveryCodes)
	}
	if at := account.User.Recovery.MadeAt; !at.IsZero() && !goodYear(at.UTC().Year()) {
		return errors.New("recovery_made_at is out of range")
	}
	ids, names := map[string]bool{}, map[string]bool{}
	for i, p := range account.Passkeys {
		err := checkPasskey(p)
		folded := passkey.FoldName(p.Name)
		switch {
		case err != nil:
		case ids[string(p.ID)]:
			err = errors.New("its id is another one's too")
		case names[folded]:
			err = errors.New("its name is another one's too, but for upper and lower case")
		}
		if err != nil {
			return fmt.Errorf("passkey %d: %w", i+1, err)
		}
		ids[string(p.ID)], names[folded] = true, true
	}
	return nil
}

func checkPasskey(p passkey.Passkey) error {
	name, err := passkey.CheckName(p.Name)
	switch {
	case len(p.ID) < passkey.MinIDLength || len(p.ID) > passkey.MaxIDLength:
		return fmt.Errorf("id has %d bytes, not %d to %d", len(p.ID), passkey.MinIDLength, passkey.MaxIDLength)
	case len(p.PublicKey) < 1 || len(p.PublicKey) > maxPublicKey:
		return fmt.Errorf("public_key has %d bytes, not 1 to %d", len(p.PublicKey), maxPublicKey)
	case !goodTransports(p.Transports):
		return errors.New("transports are too many, not sorted, repeated, or no plain words")
	case p.BackupUnknown && p.BackupEligible:
		return errors.New("it is backup eligible though that is not known")
	case p.BackedUp && !p.BackupEligible && !p.BackupUnknown:
		return errors.New("it is backed up though it is not backup eligible")
	case !isWord(p.AttestationFormat) && p.AttestationFormat != "":
		return errors.New("attestation_format is no plain word")
	case err != nil || name != p.Name:
		return errors.New("name is empty, too long, or holds characters that a passkey's name can't have")
	case !goodYear(p.CreatedAt.UTC().Year()) || p.CreatedAt.IsZero():
		return errors.New("created_at is out of range")
	case !p.LastUsedAt.IsZero() && !goodYear(p.LastUsedAt.UTC().Year()):
		return errors.New("last_used_at is out of range")
	case p.LastUsedOn != "" && (p.LastUsedAt.IsZero() || len(p.LastUsedOn) > maxOrigin || !isPrintable(p.LastUsedOn)):
		return errors.New("last_used_on is no origin, or stands without last_used_at")
	case !isCeremony(p.LastCeremony):
		return errors.New("last_ceremony is no ceremony's id")
	}
	return nil
}

// goodYear leaves a year at both ends of what RFC 3339 can say, whatever the zone.
func goodYear(year int) bool { return year >= 1 && year < 9999 }

func goodTransports(transports []string) bool {
	return len(transports) <= maxTransports && slices.IsSortedFunc(transports, strings.Compare) &&
		len(slices.Compact(slices.Clone(transports))) == len(transports) &&
		!slices.ContainsFunc(transports, func(t string) bool { return !isWord(t) })
}

// isWord tells whether text is a WebAuthn identifier: visible ASCII without what would need an escape.
func isWord(text string) bool {
	return text != "" && len(text) <= maxText && isPrintable(text)
}

func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\\'
	})
}

// isCeremony tells whether text is empty or a [passkey.ChallengeID].
func isCeremony(text string) bool {
	if text == "" {
		return true
	}
	value, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(value) == 32 && base64.RawURLEncoding.EncodeToString(value) == text
}

// optionalLevel reads a level that may be missing.
func optionalLevel(text string) (passkey.Level, error) {
	if text == "" {
		return 0, nil
	}
	level, err := passkey.ParseLevel(text)
	if err != nil {
		return 0, errors.New("max_level is no level")
	}
	return level, nil
}
