package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
)

// Format of an encrypted payload, version 1 (FORMAT.md, part 3). The plain
// payload is cut into chunks of ChunkPlain bytes, the last of which holds the
// rest, 1…ChunkPlain. Each becomes its AES-256-GCM ciphertext and, behind it, the
// 16 bytes of the tag. The chunks lie one after the other.
//
// A chunk's nonce, 12 bytes:
//
//	offset  bytes  what
//	0       3      zero
//	3       8      index of the chunk, from 0, big-endian
//	11      1      1 for the last chunk, else 0
//
// There are no additional data. The key is of this payload alone: HKDF-Expand
// (RFC 5869) with SHA-256 of the data key, which is random and needs no Extract,
// and info, in which all numbers are big-endian:
//
//	offset  bytes  what
//	0       28     infoPayload
//	28      8      bucket id
//	36      16     blob id
//	52      4      number of the part, 0 for an object that is not multipart
//	56      8      plain size
//
// So a chunk opens only in its bucket, blob, part and place, within a payload of
// its length. This is the STREAM construction (Hoang, Reyhanitabar, Rogaway,
// Vizár: Online authenticated encryption and its nonce-reuse misuse-resistance).
const (
	// ChunkStored is the bytes that a full chunk takes where it is stored. It
	// divides the payload of a frame and is a multiple of the blocks that carry a
	// checksum (package drive), so that a chunk lies within one frame, is opened
	// in the buffer it was read into, and costs no block that it does not fill.
	ChunkStored = 64 << 10
	// TagSize is the bytes that each chunk is longer than what it holds.
	TagSize = 16
	// ChunkPlain is the plain bytes of every chunk but the last.
	ChunkPlain = ChunkStored - TagSize

	infoPayload = "sluice/payload/1/aes-256-gcm"
)

// ErrPayload: a chunk does not open: it was changed, belongs elsewhere, or the
// key is another's.
var ErrPayload = errors.New("seal: data does not open with its key")

// chunks returns the number of chunks of a payload of plain bytes.
func chunks(plain int64) int64 {
	if plain <= 0 {
		return 0
	}
	return (plain-1)/ChunkPlain + 1
}

// CipherSize returns the bytes that a payload of plain bytes takes when it is
// encrypted: 0 for 0, else 16 more for each chunk.
func CipherSize(plain int64) int64 { return max(plain, 0) + chunks(plain)*TagSize }

// CipherRange returns the stored bytes [lo, hi) that plain bytes [off, off+n) of
// a payload of size plain bytes are in, always whole chunks, and the index of the
// first of them. 0 ≤ off, 1 ≤ n, off+n ≤ size.
func CipherRange(size, off, n int64) (lo, hi, first int64) {
	first = off / ChunkPlain
	end := (off+n-1)/ChunkPlain + 1
	return first * ChunkStored, min(end*ChunkStored, CipherSize(size)), first
}

// Place is where a payload belongs.
type Place struct {
	Bucket uint64
	Blob   [16]byte
	Part   int32 // 0: not a part
}

// Payload seals and opens the chunks of one payload. It is for one goroutine at
// a time, and allocates nothing per chunk.
type Payload struct {
	aead   cipher.AEAD
	size   int64 // plain
	chunks int64
	nonce  [12]byte
}

// Payload returns the cipher of the payload of size plain bytes at place.
func (k *DataKey) Payload(place Place, size int64) *Payload {
	var buf [len(infoPayload) + 8 + 16 + 4 + 8]byte
	info := append(buf[:0], infoPayload...)
	info = binary.BigEndian.AppendUint64(info, place.Bucket)
	info = append(info, place.Blob[:]...)
	info = binary.BigEndian.AppendUint32(info, uint32(place.Part)) // #nosec G115: 0…10,000
	info = binary.BigEndian.AppendUint64(info, uint64(max(size, 0)))
	key := k.expand(info)
	return &Payload{aead: newGCM(key[:]), size: size, chunks: chunks(size)}
}

// Chunks returns the number of chunks.
func (p *Payload) Chunks() int64 { return p.chunks }

// Stored returns the bytes that chunk i takes, tag included; 0 when there is no
// such chunk.
func (p *Payload) Stored(i int64) int {
	switch {
	case i < 0 || i >= p.chunks:
		return 0
	case i == p.chunks-1:
		return int(p.size-i*ChunkPlain) + TagSize
	}
	return ChunkStored
}

// setNonce makes the nonce of chunk i.
func (p *Payload) setNonce(i int64) {
	binary.BigEndian.PutUint64(p.nonce[3:], uint64(i)) // #nosec G115: i ≥ 0
	p.nonce[11] = 0
	if i == p.chunks-1 {
		p.nonce[11] = 1
	}
}

// Seal encrypts chunk i in place: chunk has Stored(i) bytes, of which all but the
// last TagSize are the plain ones. It panics on any other length.
func (p *Payload) Seal(i int64, chunk []byte) {
	if len(chunk) != p.Stored(i) || len(chunk) == 0 {
		panic("seal: chunk of a wrong length")
	}
	p.setNonce(i)
	n := len(chunk) - TagSize
	p.aead.Seal(chunk[:0], p.nonce[:], chunk[:n], nil)
}

// Open verifies and decrypts chunk i in place and returns the plain bytes, which
// are the beginning of chunk. ErrPayload: nothing of what chunk holds then is to
// be used.
func (p *Payload) Open(i int64, chunk []byte) ([]byte, error) {
	if len(chunk) != p.Stored(i) || len(chunk) == 0 {
		return nil, ErrPayload
	}
	p.setNonce(i)
	plain, err := p.aead.Open(chunk[:0], p.nonce[:], chunk, nil)
	if err != nil {
		return nil, ErrPayload
	}
	return plain, nil
}
