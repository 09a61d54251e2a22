package ceremony

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/stepgate/stepgate/internal/passkey"
)

// StartRegistration begins registering a passkey and returns the options for navigator.credentials.create(). name may
// be empty. authorization is nil for the first passkey of a user; otherwise it is the reply to an authentication begun
// for [passkey.Add], which is finished first, with all refusals of [Service.Finish].
//
// Refusals of its own: [passkey.NameInvalid], [passkey.NameTaken], [passkey.TooManyPasskeys];
// [passkey.AuthorizationNeeded] when the user has passkeys and there is no authorization, [passkey.RegistrationClosed]
// when they had some and now have none; [passkey.InvitationNeeded], and those of [CheckSignIn], where the first factor's
// word is not enough.
func (s *Service) StartRegistration(ctx context.Context, party Party, name string, authorization []byte) (Begun, error) {
	begun, err := s.startRegistration(ctx, party, name, authorization)
	if err != nil {
		return begun, fmt.Errorf("starting a registration: %w", err)
	}
	return begun, nil
}

// offer decides, on the account as it is now, and returns the options.
func (s *Service) offer(party Party, record passkey.Challenge, challenge []byte, account passkey.Account) (Options, error) {
	if err := s.mayRegister(record, account, s.signInAt(party, false)); err != nil {
		return nil, err
	}
	if record.Name != "" && hasName(account.User, record.Name) {
		return nil, passkey.NameTaken
	}
	return s.creationOptions(party, record.Handle, challenge, account.Passkeys)
}

func (s *Service) startRegistration(ctx context.Context, party Party, name string, authorization []byte) (begun Begun, err error) {
	if err := s.admit(party); err != nil {
		return begun, err
	}
	if name, err = optionalName(name); err != nil {
		return begun, err
	}
	record := passkey.Challenge{Action: passkey.FirstUse, Level: passkey.Verified, Name: name}
	if len(authorization) > 0 {
		proof, account, err := s.finish(ctx, party, Purpose{Action: passkey.Add}, authorization)
		if err != nil {
			return begun, err
		}
		begun.Authorized = &proof
		record.Action = passkey.Another
		record.Target = proof.Passkey.ShortID() // so that removing it meanwhile ends what it authorised
		record.Handle = account.User.Handle
	} else if record.Handle, err = s.draw(passkey.HandleLength); err != nil {
		return begun, err
	}
	challenge, account, err := s.begin(ctx, party, record)
	if err != nil {
		return begun, err
	}
	begun.Options, err = s.offer(party, record, challenge, account)
	return begun, err
}

// mayRegister decides who may register a passkey: it is asked before the options are given out, and again on the account
// that the passkey is written to. signIn is what is wrong with the sign-in ([CheckSignIn]): it is the first use alone that
// rests on it.
func (s *Service) mayRegister(record passkey.Challenge, account passkey.Account, signIn error) error {
	switch {
	case record.Action == passkey.Invited, record.Action == passkey.Recovered:
		return s.mayRegisterByCode(record, account)
	case record.Action == passkey.FirstUse && account.User.Version == 0 && s.config.InviteOnly:
		return passkey.InvitationNeeded
	case record.Action == passkey.FirstUse && account.User.Version == 0:
		return signIn
	case record.Action == passkey.FirstUse && len(account.Passkeys) == 0:
		return passkey.RegistrationClosed
	case record.Action == passkey.FirstUse:
		return passkey.AuthorizationNeeded
	}
	// The passkey that authorised it must still be there, and still reach as high as any: the user may have added a
	// stronger one since, or its model lost its trust.
	authorised, ok := account.PasskeyByShortID(record.Target)
	if !ok || s.Reach(authorised) < s.recorded(account.Reach()) || !bytes.Equal(record.Handle, account.User.Handle) {
		return passkey.AuthorizationNeeded
	}
	if len(account.User.Passkeys) >= s.config.MaxPasskeys {
		return passkey.TooManyPasskeys
	}
	return nil
}

func (s *Service) creationOptions(party Party, handle, challenge []byte, existing []passkey.Passkey) (Options, error) {
	user := libraryUser{name: party.User, handle: handle, passkeys: existing}
	options, _, err := s.library.BeginRegistration(user,
		webauthn.WithRegistrationOrigin(party.Origin),
		webauthn.WithCredentialParameters(offered()),
		// go-webauthn excludes nothing by itself. Only this user's: others' ids would tell who has a passkey.
		webauthn.WithExclusions(webauthn.Credentials(user.WebAuthnCredentials()).CredentialDescriptors()),
		webauthn.WithExtensions(webauthn.WithExtensionCredProps()),
		func(o *protocol.PublicKeyCredentialCreationOptions) error {
			o.Challenge = challenge
			return nil
		},
	)
	if err != nil {
		return nil, fmt.Errorf("making options: %w", passkey.Internal)
	}
	return encodeOptions(options)
}

// FinishRegistration verifies the reply to a registration, the JSON text of toJSON(), and registers the passkey. Its
// name is as naming says; one that was taken meanwhile gets a number, because refusing would leave a passkey on the
// authenticator that nobody here knows.
//
// Refusals beside those that [Service.Finish] has in common with it: [passkey.NameInvalid] and
// [passkey.CredentialIDInvalid] for an id of more than 1023 bytes, which leave the challenge alone;
// [passkey.AttestationInvalid], [passkey.AlgorithmRefused], [passkey.KeyUnusable], [passkey.CredentialIDInvalid],
// [passkey.PasskeyExists], [passkey.TooManyPasskeys], [passkey.RegistrationClosed], [passkey.AuthorizationNeeded] when
// the passkey that authorised it is gone, [passkey.Conflict].
func (s *Service) FinishRegistration(ctx context.Context, party Party, naming Naming, credential []byte) (Registered, error) {
	registered, err := s.finishRegistration(ctx, party, naming, credential)
	if err != nil {
		return Registered{}, fmt.Errorf("finishing a registration: %w", err)
	}
	return registered, nil
}

func (s *Service) finishRegistration(ctx context.Context, party Party, naming Naming, credential []byte) (Registered, error) {
	if err := s.admit(party); err != nil {
		return Registered{}, err
	}
	var err error
	if naming.Name, err = optionalName(naming.Name); err != nil {
		return Registered{}, err
	}
	reply, err := parseAttestation(credential, s.config.Attestation != nil)
	if err != nil {
		return Registered{}, err
	}
	now := s.config.Now()
	record, account, err := s.consume(ctx, party, passkey.Registration, reply.challenge, now)
	if err != nil {
		return Registered{}, err
	}
	// From here on the challenge is gone, whatever happens.
	if err := s.checkRecord(record, party); err != nil {
		return Registered{}, err
	}
	signIn := s.signInAt(party, true)
	if err := s.mayRegister(record, account, signIn); err != nil {
		return Registered{}, err
	}
	p, err := s.verifyAttestation(reply, record)
	if err != nil {
		return Registered{}, err
	}
	p.CreatedAt, p.LastCeremony = now, record.ID
	p.Name = s.nameOf(p, record, naming)
	return s.register(ctx, record, account, p, signIn)
}

// register writes the passkey. What may be registered is decided again on every account it is tried on.
func (s *Service) register(ctx context.Context, record passkey.Challenge, account passkey.Account, p passkey.Passkey, signIn error) (Registered, error) {
	codes, recovery, err := s.firstCodes(record, account, p.CreatedAt)
	if err != nil {
		return Registered{}, err
	}
	wanted, registered := p.Name, Registered{Action: record.Action}
	// written reports whether this very registration is there already, and its answer was lost.
	written := func(account passkey.Account) bool {
		stored, ok := account.Passkey(p.ID)
		if ok = ok && stored.LastCeremony == p.LastCeremony; ok {
			registered.Passkey, registered.CodesLeft = stored, len(account.User.Recovery.Codes)
		}
		return ok
	}
	write := func(account passkey.Account) error {
		if written(account) {
			return nil
		}
		if err := s.mayRegister(record, account, signIn); err != nil {
			return err
		}
		user, err := s.userToBe(record, account)
		if err != nil {
			return err
		}
		if registered.Codes = nil; len(account.Passkeys) == 0 && codes != nil {
			user.Recovery, registered.Codes = recovery, codes
		}
		p.Name, p.MaxLevel = freeName(user, wanted), s.maxLevel(record, account)
		registered.Passkey, registered.CodesLeft = p, len(user.Recovery.Codes)
		next, err := user.Adding(p)
		if err != nil {
			return err
		}
		if record.Action == passkey.Invited {
			return s.config.Store.RegisterInvited(ctx, next, p, record.Target)
		}
		return s.config.Store.Register(ctx, next, p)
	}
	if record.Action != passkey.FirstUse {
		err := s.retry(ctx, record.User, &account, write)
		return registered, err
	}
	if err = write(account); errors.Is(err, passkey.Conflict) {
		now, unread := s.config.Store.Account(ctx, record.User)
		switch {
		case unread != nil || now.User.Version == 0: // there is still nobody: the store was merely busy with this user
		case written(now):
			err = nil
		default:
			err = passkey.RegistrationClosed // somebody else was first
		}
	}
	return registered, err
}

// userToBe returns the user that a passkey is added to: made now for their first one, and without the recovery code that is
// spent on it.
func (s *Service) userToBe(record passkey.Challenge, account passkey.Account) (passkey.User, error) {
	if record.Action == passkey.Recovered {
		return account.User.Spending(record.Target)
	}
	if account.User.Version > 0 {
		return account.User, nil
	}
	epoch, err := s.epoch()
	return passkey.User{Name: record.User, Handle: record.Handle, Epoch: epoch}, err
}

// verifyAttestation follows WebAuthn L3 §7.1 and returns the passkey to be registered.
func (s *Service) verifyAttestation(a attestation, record passkey.Challenge) (passkey.Passkey, error) {
	if err := a.check(expected{record: record, kind: protocol.CreateCeremony, verified: true}); err != nil {
		return passkey.Passkey{}, err
	}
	if err := a.extensions.check(); err != nil {
		return passkey.Passkey{}, err
	}
	id := a.data.AttData.CredentialID
	if len(id) < passkey.MinIDLength || len(id) > passkey.MaxIDLength || !bytes.Equal(id, a.credential) { // step 25
		return passkey.Passkey{}, passkey.CredentialIDInvalid
	}
	if err := checkKey(a.data.AttData.CredentialPublicKey); err != nil { // step 20, and before the key is used
		return passkey.Passkey{}, err
	}
	statement := &a.parsed.Response.AttestationObject
	counts := s.counts(a.object, *statement)
	switch err := a.object.check(); {
	case s.config.Attestation != nil && !counts:
		forget(statement)
	case err != nil:
		return passkey.Passkey{}, err
	case ended(*statement, s.config.Now()):
		counts = false
		forget(statement)
	}
	session := s.session(a.challenge, record, record.Handle)
	session.CredParams = offered()
	session.Extensions = protocol.AuthenticationExtensions{CredProps: true}.Session()
	created, err := s.library.CreateCredential(libraryUser{name: record.User, handle: record.Handle}, session, a.parsed)
	if err != nil {
		return passkey.Passkey{}, passkey.AttestationInvalid // steps 21 to 24; all others were made above
	}
	p := passkey.Passkey{
		Trusted:           counts && created.AttestationType == verifiedTypes[protocol.AttestationFormat(statement.Format)],
		ID:                id,
		PublicKey:         a.data.AttData.CredentialPublicKey,
		SignCount:         a.data.Counter,
		Transports:        knownTransports(a.transports),
		BackupEligible:    a.flags.HasBackupEligible(),
		BackedUp:          a.flags.HasBackupState(),
		AAGUID:            [16]byte(a.data.AttData.AAGUID),
		AttestationFormat: statement.Format, // not what was claimed: that can be anything
	}
	if a.object.format == string(protocol.AttestationFormatFIDOUniversalSecondFactor) {
		p.AAGUID = [16]byte{} // U2F has none. What stands there is the client's: it is not signed (WebAuthn L3 §8.6)
	}
	return p, nil
}

// knownTransports keeps what a browser may be told later, sorted and without repeats. The list comes unsigned from the
// client, which may have sent thousands of strings.
func knownTransports(claimed []string) []string {
	known := []string{"ble", "hybrid", "internal", "nfc", "smart-card", "usb"}
	return slices.DeleteFunc(known, func(t string) bool { return !slices.Contains(claimed, t) })
}
