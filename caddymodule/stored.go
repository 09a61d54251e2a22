package caddymodule

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

// storedRecord is everything that is stored about a person, for a request of theirs, but for what would be of use to nobody
// and to a thief: the digests of recovery codes and of an invitation, and the epoch. docs/privacy.md says so in words.
type storedRecord struct {
	userRecord
	Passkeys          []storedPasskey `json:"passkeys"`
	Handle            string          `json:"user_handle,omitempty"` // base64url; what authenticators know the user by
	Version           uint64          `json:"version"`               // how often the user's record was written
	RecoveryCodes     recoveryRecord  `json:"recovery_codes"`
	InvitationExpired *time.Time      `json:"invitation_expired_at,omitempty"` // of an invitation that is there, and is good no more
}

// storedPasskey is a passkey with all that is stored of it.
type storedPasskey struct {
	passkeyRecord
	CredentialID      string   `json:"credential_id"` // base64url
	PublicKey         string   `json:"public_key"`    // COSE_Key, base64url
	SignCount         uint32   `json:"sign_count"`
	Transports        []string `json:"transports"`
	AttestationFormat string   `json:"attestation_format"`
	Trusted           bool     `json:"attestation_trusted"`
	MaxLevel          string   `json:"max_level,omitempty"` // of one that a recovery code registered
	LastCeremony      string   `json:"last_ceremony"`       // random
}

// recoveryRecord tells of recovery codes without telling them.
type recoveryRecord struct {
	Left   int        `json:"left"`
	MadeAt *time.Time `json:"made_at,omitempty"`
}

func storedRecordOf(account passkey.Account, now time.Time, reach reaches) storedRecord {
	r := storedRecord{
		userRecord: recordOf(account, now, reach), Passkeys: []storedPasskey{},
		Handle: base64.RawURLEncoding.EncodeToString(account.User.Handle), Version: account.User.Version,
		RecoveryCodes: recoveryRecord{Left: len(account.User.Recovery.Codes)},
	}
	if made := account.User.Recovery.MadeAt.UTC(); !made.IsZero() {
		r.RecoveryCodes.MadeAt = &made
	}
	if expired := account.Invitation.Expires.UTC(); account.Invitation.ID != "" && r.Invited == nil {
		r.InvitationExpired = &expired
	}
	for _, p := range account.Passkeys {
		r.Passkeys = append(r.Passkeys, storedPasskey{
			passkeyRecord: passkeyRecordOf(p, reach),
			CredentialID:  base64.RawURLEncoding.EncodeToString(p.ID), PublicKey: base64.RawURLEncoding.EncodeToString(p.PublicKey),
			SignCount: p.SignCount, Transports: append([]string{}, p.Transports...),
			AttestationFormat: p.AttestationFormat, Trusted: p.Trusted, MaxLevel: p.MaxLevel.String(), LastCeremony: p.LastCeremony,
		})
	}
	return r
}

// stored implements [administration].
func (a *administrator) stored(ctx context.Context, name string) (storedRecord, error) {
	if err := passkey.CheckUser(name); err != nil {
		return storedRecord{}, err
	}
	account, err := a.service.Account(ctx, name)
	if err != nil {
		return storedRecord{}, err
	}
	r := storedRecordOf(account, time.Now(), a.reach)
	if !r.Registered && r.Invited == nil && r.InvitationExpired == nil {
		return storedRecord{}, passkey.UserUnknown
	}
	return r, nil
}
