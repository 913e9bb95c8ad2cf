package body

import (
	"crypto/md5"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// Errors; each maps to one S3 error code. Signature errors are sigv4's.
var (
	ErrIncomplete  = errors.New("body: ended before its declared length") // IncompleteBody 400
	ErrTooLong     = errors.New("body: longer than declared")             // IncompleteBody/InvalidRequest 400
	ErrFraming     = errors.New("body: malformed chunk framing")          // InvalidRequest / IncompleteBody 400
	ErrChunkTooBig = errors.New("body: chunk too big")                    // InvalidChunkSizeError 400
	ErrContentMD5  = errors.New("body: Content-MD5 does not match")       // BadDigest 400
	ErrChecksum    = errors.New("body: x-amz-checksum does not match")    // BadDigest 400
	ErrBadTrailer  = errors.New("body: malformed or unexpected trailer")  // MalformedTrailerError 400
	ErrTimeout     = errors.New("body: client stalled")                   // RequestTimeout 400
)

// Options of NewReader.
type Options struct {
	Source    io.Reader          // the HTTP body, as framed by HTTP
	Auth      sigv4.Result       // how the payload is protected
	Size      int64              // decoded length: Content-Length or x-amz-decoded-content-length
	Wire      int64              // Content-Length of an aws-chunked body; -1 (or 0) unknown
	MD5       []byte             // Content-MD5, 16 bytes, or nil
	Algorithm checksum.Algorithm // additional checksum to compute; None: none
	Expected  []byte             // its value from a header; nil: from the trailer, or not claimed
	Trailer   string             // x-amz-trailer: name of the trailing checksum header, or ""
	NoMD5     bool               // MD5 is computed only where Content-MD5 has to be verified
	// Unchecked has neither Algorithm computed nor MD5, Expected and the trailer's
	// value compared: the client's claims are held to their form only. Length,
	// framing and signatures are verified as ever.
	Unchecked bool
}

// ErrOptions is returned by NewReader for options that no request leads to.
var ErrOptions = errors.New("body: invalid options")

// Reader yields the decoded, verified payload. It is an io.Reader whose large
// reads go straight from Source into the caller's buffer. It is not safe for
// concurrent use.
//
// The read that would hand out the payload's last byte first verifies all that
// the client claimed, and yields an error in place of that byte if a claim is
// wrong: even a caller who never reads up to io.EOF is not given a whole payload
// that was not verified. While memory is lent (see Lend) that byte is handed out
// before MD5 is known, which is verified by the read that returns io.EOF.
type Reader struct {
	o       Options
	set     *checksum.Set
	chunked *chunked // aws-chunked framing; nil: plain
	left    int64    // decoded bytes not yet handed out
	lent    bool     // see Lend
	tail    bool     // all is handed out, MD5 is still to be verified
	err     error    // sticky; io.EOF once verified

	md5    [md5.Size]byte
	sum    [32]byte // additional checksum, sumLen bytes
	sumLen int
}

// NewReader returns a reader; Close it to return pooled digests. It fails with
// ErrBadTrailer if the announced trailer is none that this payload form and
// algorithm allow, with ErrIncomplete if Wire cannot hold Size bytes, and with
// ErrOptions.
func NewReader(o Options) (*Reader, error) {
	if o.Source == nil || o.Size < 0 || o.MD5 != nil && len(o.MD5) != md5.Size ||
		o.Expected != nil && (o.Algorithm == checksum.None || len(o.Expected) != o.Algorithm.Size()) {
		return nil, ErrOptions
	}
	trailers := o.Auth.Payload == sigv4.StreamingTrailer || o.Auth.Payload == sigv4.StreamingUnsignedTrailer
	if o.Trailer != "" && (!trailers || o.Algorithm == checksum.None || !strings.EqualFold(o.Trailer, o.Algorithm.Header())) {
		return nil, ErrBadTrailer
	}
	r := &Reader{o: o, left: o.Size}
	switch o.Auth.Payload {
	case sigv4.Unsigned, sigv4.SHA256:
	case sigv4.Streaming, sigv4.StreamingTrailer, sigv4.StreamingUnsignedTrailer:
		if o.Wire > 0 && o.Wire < o.Size {
			return nil, ErrIncomplete
		}
		r.chunked = newChunked(&r.o)
	default:
		return nil, ErrOptions
	}
	r.set = checksum.NewSet(o.wanted())
	return r, nil
}

// shortSize is up to how many bytes MD5 is not worth computing beside others.
const shortSize = 16 << 10

// wanted returns the digests to compute.
func (o *Options) wanted() checksum.Wanted {
	w := checksum.Wanted{
		MD5:           !o.NoMD5 || o.MD5 != nil && !o.Unchecked,
		Short:         o.Size <= shortSize,
		PayloadSHA256: o.Auth.Payload == sigv4.SHA256,
		Extra:         o.Algorithm,
	}
	if o.Unchecked {
		w.Extra = checksum.None
	}
	return w
}

// Read implements io.Reader. It returns io.EOF only after everything the client
// claimed was verified.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 && r.left > 0 {
		return 0, nil
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n := 0
	if len(p) > 0 {
		n, r.err = r.fill(p)
		r.set.Write(p[:n])
		r.left -= int64(n)
	}
	if r.left > 0 {
		if n > 0 {
			return n, nil // a failure is told by the next call
		}
		return 0, r.err
	}
	if !r.tail {
		if r.err = r.finish(); r.err != nil {
			return 0, r.err
		}
		if r.tail = r.lent && n > 0; r.tail {
			return n, nil
		}
	}
	if r.err = r.finishMD5(); r.err != nil {
		return 0, r.err
	}
	r.err = io.EOF
	if n > 0 {
		return n, nil
	}
	return 0, io.EOF
}

// fill reads at least one byte of payload into p, or fails.
func (r *Reader) fill(p []byte) (int, error) {
	if r.chunked != nil {
		return r.chunked.read(p, r.left)
	}
	return readSome(r.o.Source, p)
}

// Lend begins lending: from now on, memory that Read has filled is read again later,
// to compute MD5 beside that of other payloads. It must stay unchanged until
// Settle(off), with off at or past the payload's end of those bytes, or StopLending,
// or the Read that returns io.EOF, has returned. Other goroutines may read it
// meanwhile.
func (r *Reader) Lend() {
	if r.set != nil && r.err == nil && !r.tail {
		r.lent = true
		r.set.Lend()
	}
}

// Settle returns once the memory of the payload's first off bytes is not read any
// more, which may take as long as hashing them.
func (r *Reader) Settle(off int64) {
	if r.lent {
		r.set.Settle(off)
	}
}

// StopLending ends what Lend began: it returns at once, and no memory is read any
// more. When bytes were not settled, reads fail from then on.
func (r *Reader) StopLending() {
	if !r.lent {
		return
	}
	r.lent = false
	if !r.set.StopLending() && r.err == nil {
		r.err = errStopped
	}
}

// finish verifies what can only be known at the end, all but MD5.
func (r *Reader) finish() error {
	if r.chunked != nil {
		if err := r.chunked.finish(); err != nil {
			return err
		}
	} else if err := expectEOF(r.o.Source); err != nil {
		return err
	}
	r.sumLen = copy(r.sum[:], r.set.Extra())
	if r.o.Auth.Payload == sigv4.SHA256 {
		if hash := r.set.PayloadSHA256(); !equal(hash[:], r.o.Auth.Hash[:]) {
			return sigv4.ErrPayloadMismatch
		}
	}
	if r.o.Unchecked {
		return nil
	}
	if r.o.Expected != nil && !equal(r.o.Expected, r.sum[:r.sumLen]) {
		return ErrChecksum
	}
	if r.chunked != nil && r.o.Trailer != "" && !equal(r.chunked.claimed(), r.sum[:r.sumLen]) {
		return ErrChecksum
	}
	return nil
}

// finishMD5 computes MD5 and verifies Content-MD5.
func (r *Reader) finishMD5() error {
	r.md5 = r.set.MD5()
	if r.o.MD5 != nil && !r.o.Unchecked && !equal(r.o.MD5, r.md5[:]) {
		return ErrContentMD5
	}
	return nil
}

// MD5 returns the payload's digest, valid after io.EOF and after Close; zero where
// it was not computed (Options.NoMD5).
func (r *Reader) MD5() [16]byte { return r.md5 }

// Checksum returns the additional checksum, raw, or nil if none was computed. It is
// valid after io.EOF and after Close.
func (r *Reader) Checksum() []byte {
	if r.sumLen == 0 {
		return nil
	}
	return r.sum[:r.sumLen]
}

// Close releases the digests. It does not read or close Source. Reads fail
// afterwards; a second Close does nothing.
func (r *Reader) Close() error {
	if r.set == nil {
		return nil
	}
	r.StopLending()
	r.set.Release()
	r.set = nil
	if r.chunked != nil {
		r.chunked.release()
		r.chunked = nil
	}
	r.o.Source = nil
	r.err = errClosed
	return nil
}

// errClosed is what a closed reader's reads return, errStopped what those of one do
// whose digest lacks bytes.
var (
	errClosed  = errors.New("body: read after close")
	errStopped = errors.New("body: read after memory was taken back")
)

// emptyReadsMax bounds reads in a row that yield neither bytes nor an error.
const emptyReadsMax = 100

// readSome reads at least one byte into p, which is not empty, or fails. The end
// of the source is ErrIncomplete here: the caller wants more. An error that came
// with bytes is dropped, since sources repeat it.
func readSome(src io.Reader, p []byte) (int, error) {
	for range emptyReadsMax {
		n, err := src.Read(p)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, sourceError(err)
		}
	}
	return 0, io.ErrNoProgress
}

// sourceError translates an error of the source.
func sourceError(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrIncomplete
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return fmt.Errorf("body: read: %w", err)
}

// expectEOF returns nil if src is at its end, ErrTooLong if it has more.
func expectEOF(src io.Reader) error {
	probe := probes.Get().(*[1]byte)
	defer probes.Put(probe)
	_, err := readSome(src, probe[:])
	switch err {
	case nil:
		return ErrTooLong
	case ErrIncomplete:
		return nil
	}
	return err
}

// probes spares expectEOF an allocation: what an io.Reader is given escapes.
var probes = sync.Pool{New: func() any { return new([1]byte) }}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
