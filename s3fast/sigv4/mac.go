package sigv4

import (
	"crypto/sha256"
	"hash"
	"sync"
)

// mac computes HMAC-SHA-256 (RFC 2104) with a reusable state: crypto/hmac
// allocates two digests for every key, and each request brings a new key.
type mac struct {
	hash hash.Hash
	// What is given to hash escapes to the heap: it lies here instead.
	pad   [sha256.BlockSize]byte
	inner [sha256.Size]byte
	sum   [sha256.Size]byte
	key   [sha256.Size]byte
	text  []byte // keys and messages
}

var macs = sync.Pool{New: func() any { return &mac{hash: sha256.New()} }}

func getMAC() *mac { return macs.Get().(*mac) }

// putMAC wipes key material before m goes back.
func putMAC(m *mac) {
	clear(m.pad[:])
	clear(m.inner[:])
	clear(m.sum[:])
	clear(m.key[:])
	clear(m.text[:cap(m.text)])
	m.text = m.text[:0]
	macs.Put(m)
}

// setPad fills the pad with the key xor b.
func (m *mac) setPad(key []byte, b byte) {
	n := copy(m.pad[:], key)
	clear(m.pad[n:])
	for i := range m.pad {
		m.pad[i] ^= b
	}
}

// hmac returns the MAC of msg.
func (m *mac) hmac(key, msg []byte) [sha256.Size]byte {
	if len(key) > sha256.BlockSize {
		m.digest(key)
		key = m.sum[:]
	}
	m.setPad(key, 0x36)
	m.hash.Reset()
	m.hash.Write(m.pad[:])
	m.hash.Write(msg)
	m.hash.Sum(m.inner[:0])
	m.setPad(key, 0x5c)
	m.hash.Reset()
	m.hash.Write(m.pad[:])
	m.hash.Write(m.inner[:])
	m.hash.Sum(m.sum[:0])
	return m.sum
}

// digest returns the SHA-256 of b.
func (m *mac) digest(b []byte) [sha256.Size]byte {
	m.hash.Reset()
	m.hash.Write(b)
	m.hash.Sum(m.sum[:0])
	return m.sum
}

// digestString returns the SHA-256 of s.
func (m *mac) digestString(s string) [sha256.Size]byte {
	m.text = append(m.text[:0], s...)
	return m.digest(m.text)
}

func (m *mac) signingKey(secret, date, region, service string) [sha256.Size]byte {
	m.text = append(append(m.text[:0], "AWS4"...), secret...)
	n := len(m.text)
	m.text = append(m.text, date...)
	m.key = m.hmac(m.text[:n], m.text[n:])
	for _, s := range [...]string{region, service, terminator} {
		m.text = append(m.text[:0], s...)
		m.key = m.hmac(m.key[:], m.text)
	}
	return m.key
}
