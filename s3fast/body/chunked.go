package body

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"sync"

	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// The framing, all line ends CRLF:
//
//	size[;chunk-signature=sig] CRLF data CRLF      size > 0, any number of times
//	0[;chunk-signature=sig] CRLF
//	[name:value CRLF]                              the announced trailer
//	[x-amz-trailer-signature:sig CRLF]
//	CRLF
//
// size is in hex, sig is 64 lower-case hex digits; the signatures are there in
// the signed forms, the trailer's in StreamingTrailer. Tolerated, as clients
// send it: a trailer line that ends in LF only, empty lines between and after
// the trailer's lines, and the last CRLF missing where Wire proves that nothing
// was cut off.
const (
	lineMax     = 4 << 10 // bytes of a chunk's first line, its end included
	trailerMax  = 4 << 10 // bytes of all that follows the last chunk's first line
	chunkMax    = 5 << 30 // bytes of data, as AWS limits a PUT
	sizeDigits  = 16      // hex digits
	lookahead   = 512     // bytes read at a time when looking for a line
	trailerSign = "x-amz-trailer-signature"
	chunkSign   = "chunk-signature="
)

// chunked takes the framing apart. Its states: between chunks (chunk == 0 and
// !inData), within the data of one (inData, chunk bytes to come), and done.
type chunked struct {
	o      *Options
	signed bool
	chain  sigv4.Chain
	hash   hash.Hash // of the current chunk's data

	inData    bool
	chunk     int64 // bytes of the current chunk still to come
	signature [2 * sha256.Size]byte
	sum       [sha256.Size]byte

	wire int64 // bytes read from Source
	buf  []byte
	r, w int // buf[r:w] is read and not used

	value  [sha256.Size + 4]byte // the trailer's decoded value, valueN bytes
	valueN int
}

var pool = sync.Pool{New: func() any {
	return &chunked{hash: sha256.New(), buf: make([]byte, lineMax)}
}}

func newChunked(o *Options) *chunked {
	c := pool.Get().(*chunked)
	c.o = o
	c.signed = o.Auth.Payload != sigv4.StreamingUnsignedTrailer
	c.inData, c.chunk, c.wire, c.r, c.w, c.valueN = false, 0, 0, 0, 0, 0
	if c.signed {
		c.chain.Start(&o.Auth)
	}
	return c
}

// release returns c to the pool without what belongs to the request.
func (c *chunked) release() {
	c.o = nil
	c.chain.Reset()
	pool.Put(c)
}

// claimed returns the checksum that the trailer carried.
func (c *chunked) claimed() []byte { return c.value[:c.valueN] }

// read reads at least one byte of payload into p, which is not empty and not
// longer than left, the payload's rest; or fails.
func (c *chunked) read(p []byte, left int64) (int, error) {
	if !c.inData {
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
		switch {
		case c.chunk == 0:
			return 0, ErrIncomplete // the last chunk came too early
		case c.chunk > left:
			return 0, ErrTooLong
		}
	}
	if int64(len(p)) > c.chunk {
		p = p[:c.chunk]
	}
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	if n == 0 {
		var err error
		if n, err = readSome(c.o.Source, p); err != nil {
			return 0, err
		}
		c.wire += int64(n)
	}
	if c.signed {
		c.hash.Write(p[:n])
	}
	if c.chunk -= int64(n); c.chunk == 0 {
		if err := c.endChunk(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// nextChunk reads a chunk's first line into c.chunk and c.signature.
func (c *chunked) nextChunk() error {
	line, err := c.line(lineMax)
	if err != nil {
		return err
	}
	line, ok := bytes.CutSuffix(line, []byte("\r"))
	if !ok {
		return ErrFraming
	}
	size, signature, hasSignature := bytes.Cut(line, []byte(";"))
	if hasSignature != c.signed {
		return ErrFraming
	}
	if c.signed {
		signature, ok = bytes.CutPrefix(signature, []byte(chunkSign))
		if !ok || len(signature) != len(c.signature) {
			return ErrFraming
		}
		copy(c.signature[:], signature)
		c.hash.Reset()
	}
	if c.chunk, err = parseSize(size); err != nil {
		return err
	}
	c.inData = true
	return nil
}

// parseSize parses a chunk's size.
func parseSize(s []byte) (int64, error) {
	if len(s) == 0 || len(s) > sizeDigits {
		return 0, ErrFraming
	}
	var n uint64
	for _, c := range s {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, ErrFraming
		}
		n = n<<4 | uint64(c)
	}
	if n > chunkMax {
		return 0, ErrChunkTooBig
	}
	return int64(n), nil
}

// endChunk verifies the signature of a chunk whose data is complete, and reads
// the CRLF behind the data.
func (c *chunked) endChunk() error {
	c.inData = false
	if err := c.verifyChunk(); err != nil {
		return err
	}
	for c.w-c.r < 2 {
		if err := c.more(lookahead); err != nil { // the next line follows
			return err
		}
	}
	if c.buf[c.r] != '\r' || c.buf[c.r+1] != '\n' {
		return ErrFraming
	}
	c.r += 2
	return nil
}

func (c *chunked) verifyChunk() error {
	if !c.signed {
		return nil
	}
	c.hash.Sum(c.sum[:0])
	return c.chain.VerifyChunk(&c.sum, c.signature[:])
}

// finish reads and verifies everything behind the payload: the last chunk, the
// trailer, and the end of the source.
func (c *chunked) finish() error {
	if err := c.nextChunk(); err != nil {
		return err
	}
	if c.chunk != 0 {
		return ErrTooLong
	}
	c.inData = false
	if err := c.verifyChunk(); err != nil {
		return err
	}
	return c.trailer()
}

// line returns the next line without its LF, at most max bytes with it. The
// slice is valid until the next call.
func (c *chunked) line(max int) ([]byte, error) {
	searched := 0
	for {
		window := c.buf[c.r:c.w]
		if i := bytes.IndexByte(window[searched:], '\n'); i >= 0 {
			end := searched + i
			if end >= max {
				return nil, ErrFraming
			}
			c.r += end + 1
			return window[:end], nil
		}
		if searched = len(window); searched >= max {
			return nil, ErrFraming
		}
		if err := c.more(lookahead); err != nil {
			return nil, err
		}
	}
}

// more reads at most n further bytes into the buffer: few, so that the data
// that follows goes straight to the caller.
func (c *chunked) more(n int) error {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	n, err := readSome(c.o.Source, c.buf[c.w:min(c.w+n, len(c.buf))])
	c.w += n
	c.wire += int64(n)
	return err
}

// trailer reads everything up to the end of the source and verifies it.
func (c *chunked) trailer() error {
	var seen, seenSignature, ended bool
	for budget := trailerMax; ; {
		line, err := c.line(min(budget, lineMax))
		if err == ErrIncomplete && c.r == c.w {
			break // the end of the source, at the beginning of a line
		}
		if err != nil {
			return err
		}
		budget -= len(line) + 1
		line = bytes.TrimSuffix(line, []byte("\r"))
		ended = len(line) == 0
		if ended {
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		switch {
		case !ok || seenSignature:
			return ErrBadTrailer
		case bytes.EqualFold(name, []byte(trailerSign)) && c.o.Auth.Payload == sigv4.StreamingTrailer:
			seenSignature = true
			if err := c.verifyTrailer(bytes.Trim(value, " \t"), seen); err != nil {
				return err
			}
		case c.o.Trailer != "" && !seen && bytes.EqualFold(name, []byte(c.o.Trailer)):
			seen = true
			if err := c.setValue(name, bytes.Trim(value, " \t")); err != nil {
				return err
			}
		default:
			return ErrBadTrailer
		}
	}
	switch {
	case c.o.Wire > 0 && c.wire < c.o.Wire, c.o.Wire <= 0 && !ended:
		return ErrIncomplete
	case c.o.Trailer != "" && !seen, c.o.Auth.Payload == sigv4.StreamingTrailer && !seenSignature:
		return ErrBadTrailer
	}
	return nil
}

// setValue decodes the trailer's value and hashes its line, "name:value\n", for
// its signature.
func (c *chunked) setValue(name, value []byte) error {
	if base64.StdEncoding.DecodedLen(len(value)) > len(c.value) {
		return ErrBadTrailer
	}
	n, err := base64.StdEncoding.Strict().Decode(c.value[:], value)
	if err != nil || n != c.o.Algorithm.Size() {
		return ErrBadTrailer
	}
	c.valueN = n
	c.sum[0], c.sum[1] = ':', '\n'
	c.hash.Reset()
	c.hash.Write(lowerASCII(name))
	c.hash.Write(c.sum[:1])
	c.hash.Write(value)
	c.hash.Write(c.sum[1:2])
	return nil
}

// lowerASCII lowers b in place.
func lowerASCII(b []byte) []byte {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

// verifyTrailer verifies the trailer's signature; without a line before it, it
// covers nothing.
func (c *chunked) verifyTrailer(signature []byte, seen bool) error {
	if !seen {
		c.hash.Reset()
	}
	c.hash.Sum(c.sum[:0])
	return c.chain.VerifyTrailer(&c.sum, signature)
}
