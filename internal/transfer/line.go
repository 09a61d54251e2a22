package transfer

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// formatVersion is the "stepgate_export" of a file. Files of another version are refused, never guessed at.
const formatVersion = 1

// headerStart is how every export begins.
const headerStart = `{"stepgate_export":`

type headerLine struct {
	Format     int     `json:"stepgate_export"`
	RPID       string  `json:"rp_id"`
	ExportedAt instant `json:"exported_at"`
}

type userLine struct {
	User     string        `json:"user"`
	Version  uint64        `json:"version"`
	Handle   base64url     `json:"handle"`
	Passkeys []passkeyLine `json:"passkeys"`

	RecoveryCodes  []base64url `json:"recovery_codes,omitempty"` // digests
	RecoveryMadeAt instant     `json:"recovery_made_at,omitzero"`
}

type passkeyLine struct {
	ID                base64url `json:"id"`
	PublicKey         base64url `json:"public_key"`
	SignCount         uint32    `json:"sign_count"`
	Transports        []string  `json:"transports"`
	BackupEligible    bool      `json:"backup_eligible"`
	BackedUp          bool      `json:"backed_up"`
	AAGUID            uuid      `json:"aaguid"`
	AttestationFormat string    `json:"attestation_format"`
	Name              string    `json:"name"`
	CreatedAt         instant   `json:"created_at"`
	LastUsedAt        instant   `json:"last_used_at,omitzero"`
	LastUsedOn        string    `json:"last_used_on,omitempty"`
	LastCeremony      string    `json:"last_ceremony"`
	BackupUnknown     bool      `json:"backup_unknown,omitempty"`
	Trusted           bool      `json:"trusted,omitempty"`
	MaxLevel          string    `json:"max_level,omitempty"`
}

type closingLine struct {
	Users    int `json:"users"`
	Passkeys int `json:"passkeys"`
}

// The members of each kind of object, in the order in which they are missed.
var (
	headerMembers  = []string{"stepgate_export", "rp_id", "exported_at"}
	userMembers    = []string{"user", "version", "handle", "passkeys"}
	passkeyMembers = []string{
		"id", "public_key", "sign_count", "transports", "backup_eligible", "backed_up", "aaguid", "attestation_format",
		"name", "created_at", "last_ceremony",
	}
	closingMembers = []string{"users", "passkeys"}
)

// encode returns a line with its end.
func encode(line any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line); err != nil {
		return nil, errors.New("encoding a line: a time or a number is out of range") // the error would quote the record
	}
	return text.Bytes(), nil
}

// encodeUser returns the one line of an account. It refuses what decodeUser would refuse.
func encodeUser(account passkey.Account) ([]byte, error) {
	if err := checkAccount(account); err != nil {
		return nil, err
	}
	line := userLine{
		User: account.User.Name, Version: account.User.Version, Handle: account.User.Handle,
		Passkeys: make([]passkeyLine, 0, len(account.Passkeys)),
	}
	for _, p := range account.Passkeys {
		line.Passkeys = append(line.Passkeys, passkeyLine{
			ID: p.ID, PublicKey: p.PublicKey, SignCount: p.SignCount, Transports: append([]string{}, p.Transports...),
			BackupEligible: p.BackupEligible, BackedUp: p.BackedUp, AAGUID: p.AAGUID, AttestationFormat: p.AttestationFormat,
			Name: p.Name, CreatedAt: instant{p.CreatedAt.UTC()}, LastUsedAt: instant{p.LastUsedAt.UTC()}, LastCeremony: p.LastCeremony,
			LastUsedOn: p.LastUsedOn, BackupUnknown: p.BackupUnknown, Trusted: p.Trusted, MaxLevel: p.MaxLevel.String(),
		})
	}
	for _, code := range account.User.Recovery.Codes {
		line.RecoveryCodes = append(line.RecoveryCodes, code[:])
	}
	line.RecoveryMadeAt = instant{account.User.Recovery.MadeAt.UTC()}
	return encode(line)
}

// decodeUser is the inverse of encodeUser. The account has no epoch; its list follows from the passkeys.
func decodeUser(text []byte, o strictjson.Object) (passkey.Account, error) {
	if err := checkMembers(o, userMembers, "recovery_codes", "recovery_made_at"); err != nil {
		return passkey.Account{}, err
	}
	var passkeys []strictjson.Object
	if json.Unmarshal(o["passkeys"], &passkeys) != nil {
		return passkey.Account{}, errors.New("passkeys is no array of objects")
	}
	for i, p := range passkeys {
		if err := checkMembers(p, passkeyMembers, "last_used_at", "last_used_on", "backup_unknown", "trusted", "max_level"); err != nil {
			return passkey.Account{}, fmt.Errorf("passkey %d: %w", i+1, err)
		}
	}
	var line userLine
	if err := json.Unmarshal(text, &line); err != nil {
		return passkey.Account{}, mistyped(err)
	}
	account := passkey.Account{User: passkey.User{Name: line.User, Version: line.Version, Handle: line.Handle}}
	account.User.Recovery.MadeAt = line.RecoveryMadeAt.Time
	for _, code := range line.RecoveryCodes {
		if len(code) != len(passkey.Digest{}) {
			return passkey.Account{}, errors.New("a recovery code is no SHA-256")
		}
		account.User.Recovery.Codes = append(account.User.Recovery.Codes, passkey.Digest(code))
	}
	for i, p := range line.Passkeys {
		if len(p.Transports) == 0 {
			p.Transports = nil
		}
		maxLevel, err := optionalLevel(p.MaxLevel)
		if err != nil {
			return passkey.Account{}, fmt.Errorf("passkey %d: %w", i+1, err)
		}
		account.User.Passkeys = append(account.User.Passkeys, passkey.Ref{ID: p.ID, Folded: passkey.FoldName(p.Name)})
		account.Passkeys = append(account.Passkeys, passkey.Passkey{
			ID: p.ID, PublicKey: p.PublicKey, SignCount: p.SignCount, Transports: p.Transports,
			BackupEligible: p.BackupEligible, BackedUp: p.BackedUp, AAGUID: p.AAGUID, AttestationFormat: p.AttestationFormat,
			Name: p.Name, CreatedAt: p.CreatedAt.Time, LastUsedAt: p.LastUsedAt.Time, LastCeremony: p.LastCeremony,
			LastUsedOn: p.LastUsedOn, BackupUnknown: p.BackupUnknown, Trusted: p.Trusted, MaxLevel: maxLevel,
		})
	}
	again, err := encodeUser(account)
	if err != nil {
		return passkey.Account{}, err
	}
	return account, checkCanonical(text, again)
}

// decodeFlat reads a header or a closing line.
func decodeFlat[T headerLine | closingLine](text []byte, o strictjson.Object, members []string) (line T, err error) {
	if err := checkMembers(o, members); err != nil {
		return line, err
	}
	if err := json.Unmarshal(text, &line); err != nil {
		return line, mistyped(err)
	}
	again, err := encode(line)
	if err != nil {
		return line, err
	}
	return line, checkCanonical(text, again)
}

// parse reads a line as an object that names nothing twice.
func parse(text []byte) (strictjson.Object, error) {
	o, err := strictjson.Parse(text)
	if err != nil { // what follows the colon is the code that a client would get
		return nil, errors.New(strings.TrimSuffix(err.Error(), ": "+string(passkey.BodyMalformed)))
	}
	return o, nil
}

func checkMembers(o strictjson.Object, required []string, optional ...string) error {
	for _, name := range required {
		if _, ok := o[name]; !ok {
			return fmt.Errorf("%s is missing", name)
		}
	}
	for name := range o {
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			return fmt.Errorf("it has a member that this Stepgate does not know: %.40q", name)
		}
	}
	return nil
}

// checkCanonical refuses what only means the same as the line that would have been written: other spacing, another
// order, a null, 1.0 for 1, a time in another zone.
func checkCanonical(text, again []byte) error {
	if !bytes.Equal(text, bytes.TrimSuffix(again, []byte("\n"))) {
		return errors.New("not in the form in which export writes it (spacing, order, or the spelling of a value)")
	}
	return nil
}

// mistyped names the member, where that is known, and never its value.
func mistyped(err error) error {
	var wrong *json.UnmarshalTypeError
	var form formError
	switch {
	case errors.As(err, &wrong) && wrong.Field != "":
		return fmt.Errorf("%s has the wrong type or is out of range", wrong.Field)
	case errors.As(err, &form):
		return form
	}
	return errors.New("a member has the wrong type or is out of range")
}

// formError is what is wrong with a text.
type formError string

func (e formError) Error() string { return string(e) }

type base64url []byte

func (b base64url) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

func (b *base64url) UnmarshalText(text []byte) error {
	value, err := base64.RawURLEncoding.AppendDecode(nil, text)
	if err != nil {
		return formError("a handle, id or public key is not in base64url")
	}
	*b = value
	return nil
}

type uuid [16]byte

func (u uuid) MarshalText() ([]byte, error) {
	text := hex.EncodeToString(u[:])
	return []byte(text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]), nil
}

func (u *uuid) UnmarshalText(text []byte) error {
	value, err := hex.DecodeString(strings.ReplaceAll(string(text), "-", ""))
	if err != nil || len(value) != len(u) {
		return formError("aaguid is no UUID")
	}
	*u = uuid(value)
	return nil
}

// instant is a time in UTC, to the nanosecond.
type instant struct{ time.Time }

func (i instant) MarshalJSON() ([]byte, error) { return i.UTC().MarshalJSON() }

func (i *instant) UnmarshalJSON(text []byte) error {
	if i.Time.UnmarshalJSON(text) != nil {
		return formError("a time is not in RFC 3339")
	}
	return nil
}
