package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrOpen: the box is damaged, or was sealed by another key or for another use.
var ErrOpen = errors.New("seal: box does not open with this key")

// Format of a box, version 1:
//
//	offset  bytes  what
//	0       1      version: 1
//	1       12     nonce, random
//	13      n      ciphertext of the n bytes sealed
//	13+n    16     authentication tag
//
// The cipher is AES-256-GCM. Its additional data are the version byte and the
// context. Its key is HKDF-SHA256(cluster key, no salt, info infoBox): the
// cluster key itself encrypts nothing, so that further uses can have keys of
// their own. Random nonces of 96 bits are safe for 2³² boxes of one key (NIST SP
// 800-38D, 8.3), far beyond the number of secrets a cluster ever stores.
const (
	version         = 1
	overhead        = 1 + 12 + 16 // bytes a box is longer than what it holds
	infoBox         = "sluice/seal/1/aes-256-gcm"
	infoFingerprint = "sluice/seal/1/fingerprint"
)

// Key is a cluster key. It is immutable and safe for concurrent use.
type Key struct {
	aead        cipher.AEAD
	fingerprint string
}

// NewKey makes a key from 32 bytes.
func NewKey(raw [32]byte) *Key {
	aead, err := newAEAD(derive(raw, infoBox, 32))
	if err != nil {
		panic("seal: " + err.Error()) // fails for wrong key lengths only
	}
	return &Key{aead: aead, fingerprint: hex.EncodeToString(derive(raw, infoFingerprint, 8))}
}

func derive(raw [32]byte, info string, n int) []byte {
	key, err := hkdf.Key(sha256.New, raw[:], nil, info, n)
	if err != nil {
		panic("seal: " + err.Error()) // fails for impossible lengths only
	}
	return key
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Fingerprint is a public name of the key: 8 bytes in hex. It is recorded in
// the cluster's configuration so that a wrong key file is told at start. It
// tells nothing else of the key.
func (k *Key) Fingerprint() string { return k.fingerprint }

// Seal encrypts plain, bound to context ("user/alice/secret"): the box opens
// only for the same context, so that a box moved to another place is noticed.
// Two boxes of the same plain text differ. A box is 29 bytes longer.
func (k *Key) Seal(context string, plain []byte) []byte {
	box := make([]byte, 1, overhead+len(plain))
	box[0] = version
	return k.aead.Seal(box, nil, plain, additional(context))
}

// Open reverses Seal. ErrOpen.
func (k *Key) Open(context string, box []byte) ([]byte, error) {
	if len(box) < overhead || box[0] != version {
		return nil, ErrOpen
	}
	plain, err := k.aead.Open(nil, nil, box[1:], additional(context))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

func additional(context string) []byte {
	return append([]byte{version}, context...)
}
