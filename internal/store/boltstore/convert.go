package boltstore

import (
	"errors"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Between the domain's values and the records. Times go in as UTC, so that they come out as they went in.

var errMalformed = errors.New("unreadable record: an attribute is missing or out of range")

// errMisplaced is what a file that somebody edited, or a bug here, looks like.
var errMisplaced = errors.New("unreadable record: it belongs under another key")

func (t tx) encodeUser(u passkey.User) ([]byte, error) {
	refs := make([]refRecord, 0, len(u.Passkeys))
	for _, r := range u.Passkeys {
		refs = append(refs, refRecord{ID: r.ID, Folded: []byte(r.Folded)})
	}
	var codes [][]byte
	for _, code := range u.Recovery.Codes {
		codes = append(codes, code[:])
	}
	return encode(userRecord{
		V: recordVersion, RPID: t.rpID, User: []byte(u.Name),
		Version: u.Version, Handle: u.Handle, Epoch: u.Epoch[:], Passkeys: refs,
		RecoveryCodes: codes, RecoveryMadeAt: u.Recovery.MadeAt.UTC(),
	})
}

func (t tx) decodeUser(data []byte, name string) (passkey.User, error) {
	r, err := decode[userRecord](data)
	if err != nil {
		return passkey.User{}, err
	}
	if r.RPID != t.rpID || string(r.User) != name {
		return passkey.User{}, errMisplaced
	}
	u := passkey.User{Name: name, Version: r.Version, Handle: r.Handle}
	if r.Version == 0 || !fixed(u.Epoch[:], r.Epoch) {
		return passkey.User{}, errMalformed
	}
	for _, ref := range r.Passkeys {
		if len(ref.ID) == 0 {
			return passkey.User{}, errMalformed
		}
		u.Passkeys = append(u.Passkeys, passkey.Ref{ID: ref.ID, Folded: string(ref.Folded)})
	}
	u.Recovery.MadeAt = r.RecoveryMadeAt
	for _, code := range r.RecoveryCodes {
		var digest passkey.Digest
		if !fixed(digest[:], code) {
			return passkey.User{}, errMalformed
		}
		u.Recovery.Codes = append(u.Recovery.Codes, digest)
	}
	if err := u.Recovery.Valid(); err != nil {
		return passkey.User{}, errMalformed
	}
	return u, nil
}

func (t tx) encodePasskey(user string, p passkey.Passkey) ([]byte, error) {
	return encode(passkeyRecord{
		V: recordVersion, RPID: t.rpID, User: []byte(user),
		ID: p.ID, PublicKey: p.PublicKey, SignCount: p.SignCount, Transports: p.Transports,
		BackupEligible: p.BackupEligible, BackedUp: p.BackedUp, AAGUID: p.AAGUID[:], AttestationFormat: p.AttestationFormat,
		Name: []byte(p.Name), CreatedAt: p.CreatedAt.UTC(), LastUsedAt: p.LastUsedAt.UTC(), LastCeremony: p.LastCeremony,
		BackupUnknown: p.BackupUnknown, Trusted: p.Trusted, MaxLevel: p.MaxLevel.String(), LastUsedOn: p.LastUsedOn,
	})
}

func (t tx) decodePasskey(data []byte, user string) (passkey.Passkey, error) {
	r, err := decode[passkeyRecord](data)
	if err != nil {
		return passkey.Passkey{}, err
	}
	if r.RPID != t.rpID || string(r.User) != user {
		return passkey.Passkey{}, errMisplaced
	}
	p := passkey.Passkey{
		ID: r.ID, PublicKey: r.PublicKey, SignCount: r.SignCount, Transports: r.Transports,
		BackupEligible: r.BackupEligible, BackedUp: r.BackedUp, AttestationFormat: r.AttestationFormat,
		Name: string(r.Name), CreatedAt: r.CreatedAt, LastUsedAt: r.LastUsedAt, LastCeremony: r.LastCeremony,
		BackupUnknown: r.BackupUnknown, Trusted: r.Trusted, LastUsedOn: r.LastUsedOn,
	}
	if r.MaxLevel != "" {
		if p.MaxLevel, err = passkey.ParseLevel(r.MaxLevel); err != nil {
			return passkey.Passkey{}, errMalformed
		}
	}
	if len(r.ID) == 0 || len(r.PublicKey) == 0 || r.CreatedAt.IsZero() || !fixed(p.AAGUID[:], r.AAGUID) {
		return passkey.Passkey{}, errMalformed
	}
	return p, nil
}

func (t tx) encodeChallenge(c passkey.Challenge) ([]byte, error) {
	return encode(challengeRecord{
		V: recordVersion, RPID: c.RPID, User: []byte(c.User), ID: c.ID,
		Action: string(c.Action), Target: c.Target, Level: c.Level.String(), Origin: c.Origin,
		Browser: c.Browser[:], Session: c.Session[:], Handle: c.Handle, Name: []byte(c.Name), Expires: c.Expires.UTC(),
	})
}

func (t tx) decodeChallenge(data []byte, user, id string) (passkey.Challenge, error) {
	r, err := decode[challengeRecord](data)
	if err != nil {
		return passkey.Challenge{}, err
	}
	if r.RPID != t.rpID || string(r.User) != user || r.ID != id {
		return passkey.Challenge{}, errMisplaced
	}
	c := passkey.Challenge{
		ID: r.ID, RPID: r.RPID, User: user, Action: passkey.Action(r.Action), Target: r.Target, Origin: r.Origin,
		Handle: r.Handle, Name: string(r.Name), Expires: r.Expires,
	}
	if r.Level != "" { // a registration demands none
		if c.Level, err = passkey.ParseLevel(r.Level); err != nil {
			return passkey.Challenge{}, errMalformed
		}
	}
	if c.Action.Kind() == 0 || c.Expires.IsZero() || !fixed(c.Browser[:], r.Browser) || !fixed(c.Session[:], r.Session) {
		return passkey.Challenge{}, errMalformed
	}
	return c, nil
}
