package boltstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// recordVersion is the "v" of every record. Records of another version are refused, never guessed at or overwritten.
const recordVersion = 1

// Text that a person or a first factor chooses is kept as bytes (base64 in JSON): JSON strings would quietly replace
// what is not UTF-8, and two users would become one. Every record names whom it belongs to, so that one that got under
// another key is refused.

type userRecord struct {
	V        int         `json:"v"`
	RPID     string      `json:"rp_id"`
	User     []byte      `json:"user"`
	Version  uint64      `json:"version"`
	Handle   []byte      `json:"handle"`
	Epoch    []byte      `json:"epoch"`
	Passkeys []refRecord `json:"passkeys"`

	RecoveryCodes  [][]byte  `json:"recovery_codes,omitempty"`
	RecoveryMadeAt time.Time `json:"recovery_made_at,omitzero"`
}

type refRecord struct {
	ID     []byte `json:"id"`
	Folded []byte `json:"folded_name"`
}

type passkeyRecord struct {
	V                 int       `json:"v"`
	RPID              string    `json:"rp_id"`
	User              []byte    `json:"user"`
	ID                []byte    `json:"id"`
	PublicKey         []byte    `json:"public_key"`
	SignCount         uint32    `json:"sign_count"`
	Transports        []string  `json:"transports"`
	BackupEligible    bool      `json:"backup_eligible"`
	BackedUp          bool      `json:"backed_up"`
	AAGUID            []byte    `json:"aaguid"`
	AttestationFormat string    `json:"attestation_format"`
	Name              []byte    `json:"name"`
	CreatedAt         time.Time `json:"created_at"`
	LastUsedAt        time.Time `json:"last_used_at,omitzero"`
	LastCeremony      string    `json:"last_ceremony"`

	BackupUnknown bool   `json:"backup_unknown,omitempty"`
	Trusted       bool   `json:"trusted,omitempty"`
	MaxLevel      string `json:"max_level,omitempty"`
	LastUsedOn    string `json:"last_used_on,omitempty"`
}

type ownerRecord struct {
	V    int    `json:"v"`
	RPID string `json:"rp_id"`
	User []byte `json:"user"`
	ID   []byte `json:"id"`
}

type invitationRecord struct {
	V       int       `json:"v"`
	RPID    string    `json:"rp_id"`
	User    []byte    `json:"user"`
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
}

type challengeRecord struct {
	V       int       `json:"v"`
	RPID    string    `json:"rp_id"`
	User    []byte    `json:"user"`
	ID      string    `json:"id"`
	Action  string    `json:"action"`
	Target  string    `json:"target"`
	Level   string    `json:"level"`
	Origin  string    `json:"origin"`
	Browser []byte    `json:"browser"`
	Session []byte    `json:"session"`
	Handle  []byte    `json:"handle"`
	Name    []byte    `json:"name"`
	Expires time.Time `json:"expires"`
}

// encode returns the record's one encoding. Whoever writes it decodes it first: what could not be read back must not be
// written, it would lock its user out.
func encode[T any](record T) ([]byte, error) {
	data, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encoding a record: %w", err)
	}
	return data, nil
}

// decode accepts exactly the encoding that encode makes. A missing, unknown, repeated or misspelt member, a null where
// a value belongs, or anything behind the record makes the two differ.
func decode[T interface{ version() int }](data []byte) (T, error) {
	var record T
	if json.Unmarshal(data, &record) == nil && record.version() == recordVersion && isEncoding(data, &record) {
		return record, nil
	}
	return unreadable[T](data)
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// isEncoding reports whether encode makes just this of a record.
func isEncoding(data []byte, record any) bool {
	buffer := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buffer)
	buffer.Reset()
	err := json.NewEncoder(buffer).Encode(record) // what Marshal makes, and a line feed
	return err == nil && bytes.Equal(bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), data)
}

// unreadable tells why a record can't be read. Another version may mean anything, so that comes first.
func unreadable[T any](data []byte) (T, error) {
	var record, zero T
	var version struct {
		V int `json:"v"`
	}
	if json.Unmarshal(data, &version) != nil { // the error would quote the record
		return zero, errors.New("unreadable record: not JSON")
	}
	if version.V != recordVersion {
		return zero, fmt.Errorf("unreadable record: its version is %d and this Stepgate knows %d only", version.V, recordVersion)
	}
	if json.Unmarshal(data, &record) != nil {
		return zero, errors.New("unreadable record: a member has the wrong type")
	}
	return zero, errors.New("unreadable record: a member is missing, unknown or not in canonical form")
}

func (r userRecord) version() int       { return r.V }
func (r passkeyRecord) version() int    { return r.V }
func (r ownerRecord) version() int      { return r.V }
func (r invitationRecord) version() int { return r.V }
func (r challengeRecord) version() int  { return r.V }

// fixed copies src into an array's slice, which it must fill.
func fixed(dst, src []byte) bool { return copy(dst, src) == len(src) && len(dst) == len(src) }
