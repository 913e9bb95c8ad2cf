package pebblemeta

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
)

// Format of a file of an encrypted store, version 1. Integers are big-endian.
//
//	offset  bytes  what
//	0       8      magic: SLUICEme
//	8       4      version: 1; greater: refused as newer
//	12      4      size of the header: 4096
//	16      16     key id: HKDF-SHA256(store key, no salt, info infoID)
//	32      32     salt, random
//	64      32     HMAC-SHA256 of bytes 0 … 63 under HKDF-SHA256(store key, no salt, info infoMAC)
//	96      4000   zero, not checked
//	4096    n      the n bytes of Pebble's file, encrypted
//
// The cipher is AES-256 in counter mode. Its key is HKDF-SHA256(store key, salt,
// info infoFile), the counter block of bytes 16 i … 16 i + 15 of Pebble's file
// is the number i in 16 bytes. No position of a file is written twice under one
// salt: Pebble's files only grow, and a log that is used again gets a new header.
//
// A file of no bytes has no header. One that begins with anything but the magic
// is a plain one, from before the store was encrypted, unless the key id is in its
// place, or the HMAC is that of a header with this salt: then it is damaged. One that begins with the
// magic and is shorter than a header was cut off when it was made: it is empty.
//
// Counter mode keeps every byte at its place, so that what Pebble makes of torn
// and missing blocks is the same as without encryption; it notices damage by its
// own checksums. Whoever can write to the drive can do damage, but learn nothing.
const (
	cryptMagic   = "SLUICEme"
	cryptVersion = 1
	cryptHeader  = 4096 // bytes: Pebble's blocks keep their alignment
	headerUsed   = 96
	headerMACed  = 64

	infoID   = "sluice/meta/1/id"
	infoMAC  = "sluice/meta/1/header"
	infoFile = "sluice/meta/1/file"
)

// Errors of encrypted stores; test with errors.Is.
var (
	// ErrEncrypted: the store is encrypted, and Options.Key is nil.
	ErrEncrypted = errors.New("metadata: the store is encrypted, and its key was not given")
	// ErrWrongKey: the store was encrypted with another key.
	ErrWrongKey = errors.New("metadata: the store was encrypted with another key")
	// ErrBadHeader: the header of an encrypted file is damaged.
	ErrBadHeader = errors.New("metadata: damaged header of an encrypted file")
)

// storeKey is what follows from the store's key.
type storeKey struct {
	raw [32]byte
	id  [16]byte
	mac []byte
}

func newStoreKey(raw *[32]byte) *storeKey {
	k := &storeKey{raw: *raw, mac: derive(raw[:], nil, infoMAC, 32)}
	copy(k.id[:], derive(raw[:], nil, infoID, len(k.id)))
	return k
}

func derive(secret, salt []byte, info string, n int) []byte {
	out, err := hkdf.Key(sha256.New, secret, salt, info, n)
	if err != nil {
		panic("metadata: " + err.Error()) // fails for impossible lengths only
	}
	return out
}

// file returns the cipher of the file with this salt.
func (k *storeKey) file(salt []byte) cipher.Block {
	block, err := aes.NewCipher(derive(k.raw[:], salt, infoFile, 32))
	if err != nil {
		panic("metadata: " + err.Error()) // fails for wrong key lengths only
	}
	return block
}

func (k *storeKey) sum(header []byte) []byte {
	m := hmac.New(sha256.New, k.mac)
	m.Write(header[:headerMACed])
	return m.Sum(nil)
}

// newHeader draws a salt and returns a file's header and cipher.
func (k *storeKey) newHeader() ([]byte, cipher.Block) {
	h := make([]byte, cryptHeader)
	copy(h, cryptMagic)
	binary.BigEndian.PutUint32(h[8:], cryptVersion)
	binary.BigEndian.PutUint32(h[12:], cryptHeader)
	copy(h[16:], k.id[:])
	rand.Read(h[32:headerMACed]) // never fails
	copy(h[headerMACed:], k.sum(h))
	return h, k.file(h[32:headerMACed])
}

// kind is what the beginning of a file tells.
type kind uint8

const (
	kindPlain     kind = iota // or empty
	kindEncrypted             // with a whole header
	kindCut                   // less than a header
)

// parseHeader examines the first headerUsed bytes of a file, or all it has. k may
// be nil. For kindEncrypted it returns the file's cipher. ErrEncrypted,
// ErrWrongKey, ErrBadHeader, meta.ErrNewer.
func (k *storeKey) parseHeader(h []byte) (kind, cipher.Block, error) {
	if len(h) < len(cryptMagic) || string(h[:len(cryptMagic)]) != cryptMagic {
		if k.marked(h) {
			return 0, nil, ErrBadHeader
		}
		return kindPlain, nil, nil
	}
	if len(h) < headerUsed {
		return kindCut, nil, nil
	}
	switch v := binary.BigEndian.Uint32(h[8:]); {
	case k == nil:
		return 0, nil, ErrEncrypted
	case v > cryptVersion:
		return 0, nil, fmt.Errorf("%w: encrypted file of version %d", meta.ErrNewer, v)
	case v == 0 || binary.BigEndian.Uint32(h[12:]) != cryptHeader:
		return 0, nil, ErrBadHeader
	case !bytes.Equal(h[16:32], k.id[:]):
		return 0, nil, ErrWrongKey
	case !hmac.Equal(h[headerMACed:headerUsed], k.sum(h)):
		return 0, nil, ErrBadHeader
	}
	return kindEncrypted, k.file(h[32:headerMACed]), nil
}

// marked tells whether a file without the magic was encrypted with k all the same: its
// header has the key's id, or a sum that only k makes. Such a file must not pass for a
// plain one, and be encrypted once more.
func (k *storeKey) marked(h []byte) bool {
	if k == nil || len(h) < headerUsed {
		return false
	}
	whole := make([]byte, headerUsed)
	copy(whole, cryptMagic)
	binary.BigEndian.PutUint32(whole[8:], cryptVersion)
	binary.BigEndian.PutUint32(whole[12:], cryptHeader)
	copy(whole[16:], k.id[:])
	copy(whole[32:], h[32:headerMACed])
	return bytes.Equal(h[16:32], k.id[:]) || hmac.Equal(h[headerMACed:headerUsed], k.sum(whole))
}

// inspect examines an open file.
func (k *storeKey) inspect(f vfs.File) (kind, cipher.Block, error) {
	h := make([]byte, headerUsed)
	n, err := f.ReadAt(h, 0)
	if err != nil && err != io.EOF {
		return 0, nil, err
	}
	return k.parseHeader(h[:n])
}

// streamAt returns the key stream from byte off of a file on.
func streamAt(block cipher.Block, off int64) cipher.Stream {
	var iv [aes.BlockSize]byte
	binary.BigEndian.PutUint64(iv[8:], uint64(off)/aes.BlockSize)
	s := cipher.NewCTR(block, iv[:])
	if skip := off % aes.BlockSize; skip > 0 {
		s.XORKeyStream(iv[:skip], iv[:skip])
	}
	return s
}
