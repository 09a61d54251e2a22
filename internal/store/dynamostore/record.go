package dynamostore

import (
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// recordVersion is the "v" of every record; importing that of a user record whose user is not whole yet.
const (
	recordVersion = 1
	importing     = 0
)

// Every record names whom it belongs to, beside its key, so that one that got under another key is refused. Attributes
// that would be empty are left out.

// record begins a record under a key.
func (s *Store) record(key attributes) attributes {
	item := attributes{"v": number(recordVersion), "rp_id": text(s.rpID)}
	for name, value := range key {
		item[name] = value
	}
	return item
}

// open begins to read a record, which must lie under its key and be this relying party's.
func (s *Store) open(item, key attributes) (*reading, error) {
	r := readingOf(item)
	if err := r.version(); err != nil {
		return nil, err
	}
	for name, want := range key {
		value, found := take[*types.AttributeValueMemberS](r, name)
		if !found || value.Value != want.(*types.AttributeValueMemberS).Value {
			return nil, errMisplaced
		}
	}
	if r.text("rp_id") != s.rpID {
		return nil, errMisplaced
	}
	return r, nil
}

func (s *Store) encodeUser(u passkey.User) attributes {
	item := s.record(s.userKey(u.Name))
	item["user"] = text(u.Name)
	item["version"] = number(u.Version)
	item["epoch"] = binary(u.Epoch[:])
	putBinary(item, "handle", u.Handle)
	refs := make([]types.AttributeValue, 0, len(u.Passkeys))
	for _, ref := range u.Passkeys {
		refs = append(refs, &types.AttributeValueMemberM{Value: attributes{"id": binary(ref.ID), "folded_name": text(ref.Folded)}})
	}
	item["passkeys"] = &types.AttributeValueMemberL{Value: refs}
	if len(u.Recovery.Codes) > 0 {
		codes := make([]types.AttributeValue, 0, len(u.Recovery.Codes))
		for _, code := range u.Recovery.Codes {
			codes = append(codes, binary(code[:]))
		}
		item["recovery_codes"] = &types.AttributeValueMemberL{Value: codes}
	}
	putInstant(item, "recovery_made_at", u.Recovery.MadeAt)
	return item
}

func (s *Store) decodeUser(item attributes, name string) (passkey.User, error) {
	r, err := s.open(item, s.userKey(name))
	if err != nil {
		return passkey.User{}, err
	}
	u := passkey.User{Name: r.text("user"), Version: r.number("version", 64), Handle: r.optionalBinary("handle")}
	r.fixed("epoch", u.Epoch[:])
	for _, element := range r.list("passkeys") {
		ref, ok := element.(*types.AttributeValueMemberM)
		if !ok {
			return passkey.User{}, errMalformed
		}
		of := readingOf(ref.Value)
		u.Passkeys = append(u.Passkeys, passkey.Ref{ID: of.binary("id"), Folded: of.text("folded_name")})
		if err := of.done(); err != nil {
			return passkey.User{}, err
		}
	}
	u.Recovery.MadeAt = r.optionalInstant("recovery_made_at")
	for _, element := range r.optionalList("recovery_codes") {
		code, ok := element.(*types.AttributeValueMemberB)
		if !ok || len(code.Value) != len(passkey.Digest{}) {
			return passkey.User{}, errMalformed
		}
		u.Recovery.Codes = append(u.Recovery.Codes, passkey.Digest(code.Value))
	}
	if err := r.done(); err != nil {
		return passkey.User{}, err
	}
	if u.Recovery.Valid() != nil {
		return passkey.User{}, errMalformed
	}
	if u.Name != name {
		return passkey.User{}, errMisplaced
	}
	if u.Version == 0 || repeats(u.Passkeys) {
		return passkey.User{}, errMalformed
	}
	return u, nil
}

func repeats(refs []passkey.Ref) bool {
	seen := make(map[string]bool, len(refs))
	for _, ref := range refs {
		seen[string(ref.ID)] = true
	}
	return len(seen) < len(refs)
}

func (s *Store) encodePasskey(user string, p passkey.Passkey) attributes {
	item := s.record(s.passkeyKey(user, p.ID))
	item["user"] = text(user)
	item["id"] = binary(p.ID)
	item["public_key"] = binary(p.PublicKey)
	item["sign_count"] = number(p.SignCount)
	transports := make([]types.AttributeValue, 0, len(p.Transports))
	for _, transport := range p.Transports {
		transports = append(transports, text(transport))
	}
	item["transports"] = &types.AttributeValueMemberL{Value: transports}
	item["backup_eligible"] = flag(p.BackupEligible)
	item["backed_up"] = flag(p.BackedUp)
	item["aaguid"] = binary(p.AAGUID[:])
	putText(item, "attestation_format", p.AttestationFormat)
	item["name"] = text(p.Name)
	item["created_at"] = instant(p.CreatedAt)
	putInstant(item, "last_used_at", p.LastUsedAt)
	putText(item, "last_used_on", p.LastUsedOn)
	putText(item, "last_ceremony", p.LastCeremony)
	putFlag(item, "backup_unknown", p.BackupUnknown)
	putFlag(item, "trusted", p.Trusted)
	putText(item, "max_level", p.MaxLevel.String())
	return item
}

// decodePasskey reads the passkey under a credential id, or, where id is nil, under the id that the record itself names.
func (s *Store) decodePasskey(item attributes, user string, id []byte) (passkey.Passkey, error) {
	if id == nil {
		if own, ok := item["id"].(*types.AttributeValueMemberB); ok {
			id = own.Value
		}
	}
	r, err := s.open(item, s.passkeyKey(user, id))
	if err != nil {
		return passkey.Passkey{}, err
	}
	owner := r.text("user")
	p := passkey.Passkey{
		ID: r.binary("id"), PublicKey: r.binary("public_key"), SignCount: uint32(r.number("sign_count", 32)), // #nosec G115 -- number refuses more than 32 bits
		BackupEligible: r.flag("backup_eligible"), BackedUp: r.flag("backed_up"), AttestationFormat: r.optionalText("attestation_format"),
		Name: r.text("name"), CreatedAt: r.instant("created_at"), LastUsedAt: r.optionalInstant("last_used_at"),
		LastCeremony: r.optionalText("last_ceremony"), LastUsedOn: r.optionalText("last_used_on"),
		BackupUnknown: r.optionalFlag("backup_unknown"), Trusted: r.optionalFlag("trusted"), MaxLevel: r.optionalLevel("max_level"),
	}
	r.fixed("aaguid", p.AAGUID[:])
	for _, element := range r.list("transports") {
		transport, ok := element.(*types.AttributeValueMemberS)
		if !ok || transport.Value == "" {
			return passkey.Passkey{}, errMalformed
		}
		p.Transports = append(p.Transports, transport.Value)
	}
	if err := r.done(); err != nil {
		return passkey.Passkey{}, err
	}
	if owner != user || string(p.ID) != string(id) {
		return passkey.Passkey{}, errMisplaced
	}
	return p, nil
}

func (s *Store) encodeOwner(user string, credentialID []byte) attributes {
	item := s.record(s.ownerKey(credentialID))
	item["user"] = text(user)
	item["id"] = binary(credentialID)
	return item
}

// decodeOwner tells who holds the credential id.
func (s *Store) decodeOwner(item attributes, credentialID []byte) (user string, err error) {
	r, err := s.open(item, s.ownerKey(credentialID))
	if err != nil {
		return "", err
	}
	user = r.text("user")
	id := r.binary("id")
	if err := r.done(); err != nil {
		return "", err
	}
	if string(id) != string(credentialID) {
		return "", errMisplaced
	}
	return user, nil
}

func (s *Store) encodeChallenge(c passkey.Challenge) attributes {
	item := s.record(s.challengeKey(c.User, c.ID))
	putText(item, "user", c.User)
	item["kind"] = text(c.Action.Kind().String()) // said by the action too, but a condition can't ask that
	item["action"] = text(string(c.Action))
	putText(item, "target", c.Target)
	putText(item, "level", c.Level.String())
	putText(item, "origin", c.Origin)
	item["browser"] = binary(c.Browser[:])
	item["session"] = binary(c.Session[:])
	putBinary(item, "handle", c.Handle)
	putText(item, "name", c.Name)
	item[expiresAttribute] = number(c.Expires.Unix()) // rounded down: never later than it was asked to be
	return item
}

func (s *Store) decodeChallenge(item attributes, user, id string) (passkey.Challenge, error) {
	r, err := s.open(item, s.challengeKey(user, id))
	if err != nil {
		return passkey.Challenge{}, err
	}
	c := passkey.Challenge{
		ID: id, RPID: s.rpID, User: r.optionalText("user"), Action: passkey.Action(r.text("action")), Target: r.optionalText("target"),
		Origin: r.optionalText("origin"), Handle: r.optionalBinary("handle"), Name: r.optionalText("name"),
		Expires: time.Unix(int64(r.number(expiresAttribute, 63)), 0).UTC(), // #nosec G115 -- number refuses more than 63 bits
	}
	kind, level := r.text("kind"), r.optionalText("level")
	r.fixed("browser", c.Browser[:])
	r.fixed("session", c.Session[:])
	if err := r.done(); err != nil {
		return passkey.Challenge{}, err
	}
	if level != "" { // a bare registration demands none
		if c.Level, err = passkey.ParseLevel(level); err != nil {
			return passkey.Challenge{}, errMalformed
		}
	}
	if c.Action.Kind() == 0 || kind != c.Action.Kind().String() {
		return passkey.Challenge{}, errMalformed
	}
	if c.User != user {
		return passkey.Challenge{}, errMisplaced
	}
	return c, nil
}

// encodeImporting is a user record that nobody can read: it holds the place while the user's passkeys are imported.
func (s *Store) encodeImporting(u passkey.User, token string) attributes {
	item := s.record(s.userKey(u.Name))
	item["v"] = number(importing)
	item["user"] = text(u.Name)
	item["handle"] = binary(u.Handle)
	item["import"] = text(token)
	return item
}

func putText(item attributes, name, value string) {
	if value != "" {
		item[name] = text(value)
	}
}

func putInstant(item attributes, name string, at time.Time) {
	if !at.IsZero() {
		item[name] = instant(at)
	}
}

// putFlag leaves out what is false: the attribute came later than the record.
func putFlag(item attributes, name string, value bool) {
	if value {
		item[name] = flag(true)
	}
}

func putBinary(item attributes, name string, value []byte) {
	if len(value) > 0 {
		item[name] = binary(value)
	}
}

// storable is an item that can be read back: what could not be would lock its user out. A mistake here is the caller's.
func storable[T any](item attributes, decode func(attributes) (T, error)) (attributes, error) {
	if _, err := decode(item); err != nil {
		return nil, fmt.Errorf("%w: refusing to write what could not be read back: %w", passkey.Internal, err)
	}
	return item, nil
}
