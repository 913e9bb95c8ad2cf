package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
)

// DataKey encrypts the data of one object, or of all parts of one upload. It is
// safe for concurrent use. Printing one shows nothing of it.
type DataKey struct{ raw [32]byte }

// NewDataKey draws a key.
func NewDataKey() (k DataKey) {
	_, _ = rand.Read(k.raw[:]) // never fails (package crypto/rand)
	return k
}

// Format keeps the key out of logs and messages, whatever the verb.
func (k DataKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[data key]") }

// Format of a wrapped data key, version 1, WrappedSize bytes:
//
//	offset  bytes  what
//	0       1      version: 1
//	1       24     nonce, random
//	25      32     ciphertext of the data key
//	57      16     authentication tag
//
// The cipher is XAES-256-GCM (C2SP, XAES-256-GCM); its additional data are the
// version byte and aad. A wrapping key serves an object each time one is stored,
// which may be more often than the 2³² times that AES-GCM stands with random
// nonces of 96 bits (NIST SP 800-38D, 8.3); with 192 bits it is 2⁸⁰.
const (
	// WrappedSize is the length of a wrapped data key in bytes.
	WrappedSize = 1 + xaesNonce + 32 + 16

	xaesNonce = 24
	infoETag  = "sluice/etag/1"
)

// Wrap encrypts the key by another one. aad tells what the key is for: the box
// opens for the same aad only, so that a box moved to another object is noticed.
// It is authenticated and not secret. Two boxes of the same key differ.
func (k *DataKey) Wrap(by *[32]byte, aad []byte) []byte {
	box := make([]byte, 1+xaesNonce, WrappedSize)
	box[0] = version
	nonce := box[1 : 1+xaesNonce]
	_, _ = rand.Read(nonce) // never fails
	return xaes(by, nonce).Seal(box, nonce[12:], k.raw[:], additional(string(aad)))
}

// UnwrapDataKey reverses Wrap. ErrOpen: the box is damaged, or was wrapped by
// another key or for another use.
func UnwrapDataKey(by *[32]byte, box, aad []byte) (k DataKey, err error) {
	if len(box) != WrappedSize || box[0] != version {
		return DataKey{}, ErrOpen
	}
	nonce := box[1 : 1+xaesNonce]
	// Into the key's own bytes: no copy of it stays behind.
	if _, err := xaes(by, nonce).Open(k.raw[:0], nonce[12:], box[1+xaesNonce:], additional(string(aad))); err != nil {
		return DataKey{}, ErrOpen
	}
	return k, nil
}

// xaes returns the AES-256-GCM of a nonce of 24 bytes, of which the last 12 are
// its own nonce: its key is derived from the others by CMAC in counter mode.
func xaes(key *[32]byte, nonce []byte) cipher.AEAD {
	block := newAES(key[:])
	var sub [aes.BlockSize]byte // CMAC's K1: the encrypted zero block, doubled
	block.Encrypt(sub[:], sub[:])
	var carry byte
	for i := len(sub) - 1; i >= 0; i-- {
		next := sub[i] >> 7
		sub[i] = sub[i]<<1 | carry
		carry = next
	}
	sub[len(sub)-1] ^= carry * 0x87
	var derived [32]byte
	defer clear(derived[:])
	for i := range 2 {
		half := derived[i*aes.BlockSize : (i+1)*aes.BlockSize]
		copy(half, []byte{0, byte(i + 1), 'X', 0})
		copy(half[4:], nonce[:12])
		for j := range half {
			half[j] ^= sub[j]
		}
		block.Encrypt(half, half)
	}
	return newGCM(derived[:])
}

// ETag returns an entity tag of 16 bytes for data whose MD5 is sum: who does not
// have the key cannot tell from it what the data is. The same key and data give
// the same tag. It is HMAC-SHA256 of sum, cut, under HKDF-Expand(data key, infoETag).
func (k *DataKey) ETag(sum [16]byte) (tag [16]byte) {
	key := k.expand([]byte(infoETag))
	mac := hmac.New(sha256.New, key[:])
	mac.Write(sum[:])
	copy(tag[:], mac.Sum(nil))
	return tag
}

// maxInfo is the longest info of expand in bytes.
const maxInfo = 64

// expand derives a key of 32 bytes for one use: HKDF-Expand (RFC 5869) with
// SHA-256, whose one block here is HMAC-SHA256 of info and a byte 01. The data key
// is random, so it needs no Extract before. It is written out because every read
// and write of an encrypted object does it, and this takes no memory of the heap.
func (k *DataKey) expand(info []byte) (out [32]byte) {
	if len(info) > maxInfo {
		panic("seal: info too long")
	}
	var inner [sha256.BlockSize + maxInfo + 1]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	copy(inner[:], k.raw[:])
	copy(outer[:], k.raw[:])
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	n := sha256.BlockSize + copy(inner[sha256.BlockSize:], info)
	inner[n] = 1
	sum := sha256.Sum256(inner[:n+1])
	copy(outer[sha256.BlockSize:], sum[:])
	return sha256.Sum256(outer[:])
}

func newAES(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("seal: " + err.Error()) // fails for wrong key lengths only
	}
	return block
}

// newGCM returns AES-256-GCM with nonces of the caller's.
func newGCM(key []byte) cipher.AEAD {
	aead, err := cipher.NewGCM(newAES(key))
	if err != nil {
		panic("seal: " + err.Error()) // fails for other block sizes only
	}
	return aead
}
