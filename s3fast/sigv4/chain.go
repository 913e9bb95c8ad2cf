package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
)

// emptyHash is the SHA-256 of nothing, a fixed line in every chunk's string to
// sign.
const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// Chain computes the signatures of a streaming payload's chunks, each of which
// covers the one before it (AWS, "Signature Calculations for the Authorization
// Header: Transferring Payload in Multiple Chunks"). It serves to sign and to
// verify. It is not safe for concurrent use.
type Chain struct {
	key      [32]byte
	previous [32]byte
	stamp    [len(stampForm)]byte
	scope    string
	text     []byte
}

// Start begins the chain of a verified request; c's buffer is reused.
func (c *Chain) Start(res *Result) {
	c.key, c.previous, c.scope = res.Key, res.Seed, res.Scope
	copy(c.stamp[:], appendStamp(c.text[:0], res.Time.UTC()))
}

// Chunk returns the signature of the next chunk, given the SHA-256 of its data.
func (c *Chain) Chunk(hash *[sha256.Size]byte) [32]byte {
	return c.next(algorithm+"-PAYLOAD\n", emptyHash+"\n", hash)
}

// Trailer returns the signature of the trailer, given the SHA-256 of its lines:
// each "name:value\n".
func (c *Chain) Trailer(hash *[sha256.Size]byte) [32]byte {
	return c.next(algorithm+"-TRAILER\n", "", hash)
}

func (c *Chain) next(first, extra string, hash *[sha256.Size]byte) [32]byte {
	m := getMAC()
	defer putMAC(m)
	b := append(c.text[:0], first...)
	b = append(append(b, c.stamp[:]...), '\n')
	b = append(append(b, c.scope...), '\n')
	b = append(appendHex(b, &c.previous), '\n')
	b = append(b, extra...)
	c.text = appendHex(b, hash)
	c.previous = m.hmac(c.key[:], c.text)
	return c.previous
}

// VerifyChunk compares the signature (64 lower-case hex digits) that the next
// chunk came with, given the SHA-256 of its data: nil or ErrChunkSignature.
func (c *Chain) VerifyChunk(hash *[sha256.Size]byte, signature []byte) error {
	return verifyNext(c.Chunk(hash), signature)
}

// VerifyTrailer does the same for the trailer.
func (c *Chain) VerifyTrailer(hash *[sha256.Size]byte, signature []byte) error {
	return verifyNext(c.Trailer(hash), signature)
}

func verifyNext(want [32]byte, signature []byte) error {
	given, ok := parseHex(signature, false)
	if !ok || subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return ErrChunkSignature
	}
	return nil
}

// Reset wipes the chain; Start begins another.
func (c *Chain) Reset() { *c = Chain{text: c.text[:0]} }
