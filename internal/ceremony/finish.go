package ceremony

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Finish verifies the reply to an authentication: credential is the JSON text of PublicKeyCredential.toJSON(). It makes
// two calls of the store, one to consume the challenge and one to record the use of the passkey. A step-up makes only the
// first where the record would say nothing new: the passkey keeps no sign count and was used on that origin less than
// [Lately] before. That it is still there was read after the call began.
//
// Refusals that leave the challenge alone: [passkey.BodyTooLarge], [passkey.BodyMalformed], and those of
// [passkey.Challenge.Check]. Everything else has used it up: [passkey.CeremonyMismatch], [passkey.SessionMismatch],
// [passkey.OriginMismatch], [passkey.CrossOrigin], [passkey.RelyingPartyMismatch], [passkey.UserPresenceMissing],
// [passkey.UserVerificationMissing], [passkey.BackupFlagsInconsistent], [passkey.PasskeyUnknown],
// [passkey.LevelUnreachable], [passkey.UserHandleMismatch], [passkey.ExtensionRefused], [passkey.SignatureInvalid],
// [passkey.CounterRegressed], [passkey.StoreUnavailable].
func (s *Service) Finish(ctx context.Context, party Party, purpose Purpose, credential []byte) (Proof, error) {
	proof, _, err := s.finish(ctx, party, purpose, credential)
	return proof, err
}

// finish is Finish, and returns the account as it was when the challenge was consumed too.
func (s *Service) finish(ctx context.Context, party Party, purpose Purpose, credential []byte) (Proof, passkey.Account, error) {
	proof, account, err := s.authenticate(ctx, party, purpose, credential)
	if err != nil {
		return Proof{}, passkey.Account{}, fmt.Errorf("finishing an authentication: %w", err)
	}
	return proof, account, nil
}

func (s *Service) authenticate(ctx context.Context, party Party, purpose Purpose, credential []byte) (Proof, passkey.Account, error) {
	var none passkey.Account
	if err := s.admit(party); err != nil {
		return Proof{}, none, err
	}
	if err := purpose.check(); err != nil {
		return Proof{}, none, err
	}
	reply, err := parseAssertion(credential)
	if err != nil {
		return Proof{}, none, err
	}
	now, mark := s.config.Now(), s.recent.mark()
	record, account, err := s.consume(ctx, party, passkey.Authentication, reply.challenge, now)
	if err != nil {
		return Proof{}, none, err
	}
	// From here on the challenge is gone, whatever happens.
	if record.Action != purpose.Action || record.Target != purpose.Target || record.Level != purpose.level() {
		return Proof{}, none, passkey.CeremonyMismatch
	}
	if err := s.checkRecord(record, party); err != nil {
		return Proof{}, none, err
	}
	var proof Proof
	used, level, err := s.verifyAssertion(reply, record, account, purpose)
	if err == nil {
		proof, err = s.use(ctx, record, used, level, reply, now)
	}
	if err != nil {
		s.recent.doubt(party.User)
		if named, owned := account.Passkey(reply.credential); owned {
			err = &Failed{Passkey: named.ShortID(), Err: err}
		}
		return Proof{}, none, err
	}
	proof.Epoch = account.User.Epoch
	if record.Action == passkey.StepUp && !proof.Learned {
		last := stepUp{browser: party.Browser, passkey: proof.Passkey.ID, ceremony: record.ID, account: account, at: now}
		s.recent.add(party.User, last, mark)
	}
	return proof, account, nil
}

func (s *Service) consume(ctx context.Context, party Party, kind passkey.Kind, challenge []byte, now time.Time) (passkey.Challenge, passkey.Account, error) {
	claim := passkey.Claim{ID: passkey.ChallengeID(challenge), User: party.User, Kind: kind, Browser: party.Browser}
	return s.config.Store.Consume(ctx, claim, now)
}

// verifyAssertion follows WebAuthn L3 §7.2 and returns the passkey that signed, and what that proved.
func (s *Service) verifyAssertion(a assertion, record passkey.Challenge, account passkey.Account, purpose Purpose) (passkey.Passkey, passkey.Level, error) {
	want := expected{record: record, kind: protocol.AssertCeremony, verified: record.Level != passkey.Present}
	if err := a.check(want); err != nil {
		return passkey.Passkey{}, 0, err
	}
	p, owned := account.Passkey(a.credential)
	level := s.provedLevel(p, a.flags)
	switch {
	case !owned: // steps 5 and 6
		return passkey.Passkey{}, 0, passkey.PasskeyUnknown
	case p.LastCeremony == record.ID, s.recent.of(record.User).ceremony == record.ID: // the store gave out a challenge twice: it must never, and this is where it would count
		return passkey.Passkey{}, 0, passkey.ChallengeUsed
	case !p.BackupUnknown && p.BackupEligible != a.flags.HasBackupEligible(): // step 19
		return passkey.Passkey{}, 0, passkey.BackupFlagsInconsistent
	case level < s.neededLevel(account, purpose): // step 5: it was not offered
		return passkey.Passkey{}, 0, passkey.LevelUnreachable
	case len(a.userHandle) > 0 && !bytes.Equal(a.userHandle, account.User.Handle): // step 6
		return passkey.Passkey{}, 0, passkey.UserHandleMismatch
	}
	if err := a.extensions.check(); err != nil {
		return passkey.Passkey{}, 0, err
	}
	session := s.session(a.challenge, record, account.User.Handle)
	session.AllowedCredentialIDs = [][]byte{p.ID}
	if !want.verified {
		session.UserVerification = protocol.VerificationDiscouraged
	}
	known := p
	known.BackupEligible = a.flags.HasBackupEligible() // another one than the record's only where that does not know
	user := libraryUser{name: account.User.Name, handle: account.User.Handle, passkeys: []passkey.Passkey{known}}
	if _, err := s.library.ValidateLogin(user, session, a.parsed); err != nil {
		return passkey.Passkey{}, 0, passkey.SignatureInvalid // steps 20 and 21; all others were made above
	}
	return p, level, nil
}

// use records the use of a passkey and makes the proof of it. WebAuthn L3 §7.2 steps 22 and 24: go-webauthn only warns
// about a sign count that did not rise. A passkey whose backup eligibility is not known learns it here, from the first
// assertion that verifies, whatever that is for; this one still proves no more than [Service.provedLevel] says.
func (s *Service) use(ctx context.Context, record passkey.Challenge, p passkey.Passkey, level passkey.Level, a assertion, now time.Time) (Proof, error) {
	lenient := s.config.CounterWarn && (p.BackupEligible || p.BackupUnknown && a.flags.HasBackupEligible())
	regress := (p.SignCount > 0 || a.signCount > 0) && a.signCount <= p.SignCount
	if regress && !lenient {
		return Proof{}, passkey.CounterRegressed
	}
	use := passkey.Use{
		ID: p.ID, Ceremony: record.ID, SignCount: a.signCount, BackedUp: a.flags.HasBackupState(), At: now, On: record.Origin, AllowReset: regress,
		LearnBackup: p.BackupUnknown, BackupEligible: p.BackupUnknown && a.flags.HasBackupEligible(),
	}
	if record.Action == passkey.StepUp && saysNothingNew(p, use) {
		return Proof{Passkey: p, Level: level, At: now}, nil
	}
	err := s.config.Store.Use(ctx, record.User, use)
	if lenient && !regress && errors.Is(err, passkey.CounterRegressed) { // another assertion came between
		regress, use.AllowReset = true, true
		err = s.config.Store.Use(ctx, record.User, use)
	}
	if err != nil {
		return Proof{}, err
	}
	p.SignCount = max(p.SignCount, a.signCount)
	p.BackedUp, p.LastUsedAt, p.LastUsedOn, p.LastCeremony = use.BackedUp, now, use.On, use.Ceremony
	if use.LearnBackup {
		p.BackupUnknown, p.BackupEligible = false, use.BackupEligible
	}
	return Proof{Passkey: p, Level: level, At: now, Regress: regress, Learned: use.LearnBackup}, nil
}

// saysNothingNew reports whether a use would change nothing of a passkey's record but when it was last used, by less than
// [Lately], and in which ceremony. Where a sign count is kept, each use is written: it is what tells a clone.
//
// Writing would also find out that the passkey was removed since the account was read. It was there after the reply was
// sent, so this is a step-up that came before the removal; what it earns is judged on the passkeys that are there, as
// every grant is. What changes passkeys is always written.
func saysNothingNew(p passkey.Passkey, use passkey.Use) bool {
	return p.SignCount == 0 && use.SignCount == 0 && !use.LearnBackup && use.BackedUp == p.BackedUp && use.On == p.LastUsedOn && lately(p.LastUsedAt, use.At)
}
