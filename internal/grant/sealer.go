package grant

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
)

// Purpose separates the domains of sealed values: what one purpose sealed, another can't open.
type Purpose string

// The purposes. Their texts are part of the format: changing one invalidates everything sealed under it.
const (
	ForGrant   Purpose = "stepgate grant v1"
	ForDemand  Purpose = "stepgate demand v1"
	ForBrowser Purpose = "stepgate browser v1"
)

// ErrUnreadable is returned for whatever was not sealed by one of the keys for this purpose and relying party, or is
// not in the one canonical encoding. It does not say which: the difference would help nobody but a forger.
var ErrUnreadable = errors.New("sealed value is unreadable")

const (
	version   = 1
	idLength  = 4
	nonceSize = 12
	tagSize   = 16
	overhead  = 1 + idLength + nonceSize + tagSize
)

var encoding = base64.RawURLEncoding.Strict()

// Sealer seals and opens the values of one purpose for one relying party. Safe for concurrent use.
//
// A sealed value is base64url without padding of: version (1 byte), key id (4), nonce (12), AES-256-GCM ciphertext and
// tag (16). Version, key id, purpose and RP ID are authenticated. Nonces are random: NIST SP 800-38D allows 2^32 values
// under one key.
type Sealer struct {
	keys    []sealingKey
	buffers sync.Pool
}

type sealingKey struct {
	id   [idLength]byte
	aead cipher.AEAD
	ad   []byte // additional data, precomputed
}

// Sealer derives the keys for one purpose and relying party.
func (k *Keys) Sealer(purpose Purpose, rpID string) (*Sealer, error) {
	s := &Sealer{buffers: sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}}
	for _, secret := range k.secrets {
		key, err := derive(secret, string(purpose), 32)
		if err != nil {
			return nil, err
		}
		id, err := derive(secret, string(purpose)+" key id", idLength)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("making cipher: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("making cipher mode: %w", err)
		}
		sk := sealingKey{aead: aead}
		copy(sk.id[:], id)
		for _, other := range s.keys {
			if other.id == sk.id {
				return nil, ErrKeyClash
			}
		}
		sk.ad = append([]byte{version}, id...)
		sk.ad = append(sk.ad, purpose...)
		sk.ad = append(sk.ad, 0)
		sk.ad = append(sk.ad, rpID...)
		s.keys = append(s.keys, sk)
	}
	return s, nil
}

// Seal returns the sealed text of a value.
func (s *Sealer) Seal(value []byte) string {
	key := s.keys[0]
	sealed := make([]byte, 1+idLength+nonceSize, overhead+len(value))
	sealed[0] = version
	copy(sealed[1:], key.id[:])
	nonce := sealed[1+idLength:]
	_, _ = rand.Read(nonce) // never fails: it aborts the process instead
	sealed = key.aead.Seal(sealed, nonce, value, key.ad)
	return encoding.EncodeToString(sealed)
}

// Open hands the value that text seals to use, which must not keep it. It fails with [ErrUnreadable], or with what use
// returns.
func (s *Sealer) Open(text string, use func(value []byte) error) error {
	buffer := s.buffers.Get().(*[]byte)
	defer s.buffers.Put(buffer)
	value, err := s.open(buffer, text)
	if err != nil {
		return err
	}
	return use(value)
}

// open decodes and decrypts in place inside buffer, which the returned value aliases.
func (s *Sealer) open(buffer *[]byte, text string) ([]byte, error) {
	if len(text) < encoding.EncodedLen(overhead) {
		return nil, ErrUnreadable
	}
	*buffer = append((*buffer)[:0], text...)
	n, err := encoding.Decode(*buffer, *buffer) // decoding in place is sound: output never overtakes input
	if err != nil {
		return nil, ErrUnreadable
	}
	sealed := (*buffer)[:n]
	// Go's decoder skips CR and LF wherever they stand; only the canonical text may open.
	if encoding.EncodedLen(n) != len(text) || n < overhead || sealed[0] != version {
		return nil, ErrUnreadable
	}
	nonce, ciphertext := sealed[1+idLength:1+idLength+nonceSize], sealed[1+idLength+nonceSize:]
	for i := range s.keys {
		key := &s.keys[i]
		if [idLength]byte(sealed[1:1+idLength]) != key.id {
			continue
		}
		if value, err := key.aead.Open(ciphertext[:0], nonce, ciphertext, key.ad); err == nil {
			return value, nil
		}
		return nil, ErrUnreadable
	}
	return nil, ErrUnreadable
}
