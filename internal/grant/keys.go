package grant

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// keyPrefix marks a Stepgate key, so that a secret scanner can find a leaked one and a reader can tell what it is.
const keyPrefix = "sgk_"

const keyLength = 32

// Errors about keys. They never quote the key.
var (
	ErrNoKey     = errors.New("no grant key given: make one with `stepgate keygen`")
	ErrKeyFormat = errors.New("not a grant key: a key is sgk_ and 43 base64url characters (32 random bytes); make one with `stepgate keygen`")
	ErrKeyRepeat = errors.New("a grant key is given twice: each must be there once")
	ErrKeyClash  = errors.New("two grant keys can't be told apart (a chance of one in four thousand million): make another with `stepgate keygen`")
	ErrKeyWeak   = errors.New("a grant key is not random: make one with `stepgate keygen`")
)

// Keys are the secrets that seal. The first seals; all of them open, so that a key can be replaced without ending the
// grants made with the old one: add the new key behind the old everywhere, then put it first, then drop the old one.
type Keys struct {
	secrets [][keyLength]byte
}

// NewKey returns a new random key in its text form.
func NewKey() string {
	var secret [keyLength]byte
	_, _ = rand.Read(secret[:]) // crypto/rand.Read never fails: it aborts the process instead
	return keyPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
}

// ParseKeys reads keys from texts that each hold one or more of them, separated by white space or commas.
func ParseKeys(texts ...string) (*Keys, error) {
	var keys Keys
	for _, text := range texts {
		fields := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
		if len(fields) == 0 {
			return nil, ErrNoKey
		}
		for _, field := range fields {
			secret, err := parseKey(field)
			if err != nil {
				return nil, err
			}
			for _, other := range keys.secrets {
				if other == secret {
					return nil, ErrKeyRepeat
				}
			}
			keys.secrets = append(keys.secrets, secret)
		}
	}
	if len(keys.secrets) == 0 {
		return nil, ErrNoKey
	}
	return &keys, nil
}

func parseKey(text string) (secret [keyLength]byte, err error) {
	encoded, ok := strings.CutPrefix(text, keyPrefix)
	if !ok {
		return secret, ErrKeyFormat
	}
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(decoded) != keyLength {
		return secret, ErrKeyFormat
	}
	copy(secret[:], decoded)
	seen := map[byte]bool{}
	for _, b := range secret {
		seen[b] = true
	}
	if len(seen) < 8 { // 32 random bytes hold fewer than 8 different ones about never
		return secret, ErrKeyWeak
	}
	return secret, nil
}

// derive makes a key of length n for one purpose out of a secret (HKDF-SHA-256, RFC 5869).
func derive(secret [keyLength]byte, info string, n int) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret[:], nil, info, n)
	if err != nil {
		return nil, fmt.Errorf("deriving key: %w", err)
	}
	return key, nil
}
