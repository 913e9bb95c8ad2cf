package s3fast

import (
	"bytes"
	"io"
	"strconv"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/body"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// maxIgnoredBody bounds the body of an operation that takes none, in bytes.
const maxIgnoredBody = 64 << 10

// lengths are what the header says of the body's length.
type lengths struct {
	size    int64 // of the decoded payload; -1 not told
	wire    int64 // Content-Length; -1 not told
	chunked bool  // Transfer-Encoding: chunked
	framed  bool  // aws-chunked, by x-amz-content-sha256
}

// bodyLengths reads Content-Length and x-amz-decoded-content-length.
func (r *request) bodyLengths() (l lengths, err error) {
	l.wire, l.size = -1, -1
	if v, ok := r.headers.get("content-length"); ok {
		n, perr := strconv.ParseUint(v, 10, 63)
		if perr != nil {
			return l, s3err.InvalidArgument.Say("Content-Length is not a number.")
		}
		l.wire = int64(n) // #nosec G115: 63 bits
	}
	if _, ok := r.headers.get("transfer-encoding"); ok {
		l.chunked = true
	}
	switch r.auth.Payload {
	case sigv4.Streaming, sigv4.StreamingTrailer, sigv4.StreamingUnsignedTrailer:
		l.framed = true
		v, ok := r.headers.get("x-amz-decoded-content-length")
		if !ok {
			return l, s3err.MissingContentLength.New()
		}
		n, perr := strconv.ParseUint(v, 10, 63)
		if perr != nil {
			return l, s3err.InvalidArgument.Say("x-amz-decoded-content-length is not a number.")
		}
		l.size = int64(n) // #nosec G115: 63 bits
	default:
		l.size = l.wire
	}
	return l, nil
}

// checkBody refuses what the header alone tells to be wrong with the body, so
// that a client that waits for 100 Continue never sends it.
func (r *request) checkBody() error {
	l, err := r.bodyLengths()
	if err != nil {
		return err
	}
	switch r.op.body {
	case bodyNone:
		if l.wire > maxIgnoredBody {
			return s3err.UnexpectedContent.New()
		}
	case bodyXML:
		if l.size > maxDocument {
			return s3err.MaxMessageLengthExceeded.With("MaxMessageLengthBytes", decimal(maxDocument))
		}
	case bodyForm:
		if l.wire < 0 {
			return s3err.MissingContentLength.New()
		}
		if most := int64(engine.MaxPutSize + maxFormHead + formSpool); l.wire > most {
			return s3err.EntityTooLarge.With("ProposedSize", decimal(l.wire), "MaxSizeAllowed", decimal(most))
		}
	case bodyStream:
		switch {
		case l.size < 0 && l.chunked:
			// As S3: a body of unknown length must be aws-chunked.
			return s3err.NotImplemented.With("Header", "Transfer-Encoding")
		case l.size < 0 || l.wire < 0 && !l.chunked:
			return s3err.MissingContentLength.New()
		case l.size > engine.MaxPutSize:
			return s3err.EntityTooLarge.With("ProposedSize", decimal(l.size), "MaxSizeAllowed", decimal(engine.MaxPutSize))
		}
	}
	return nil
}

// openBody returns the decoded payload, verified against claim, and its length.
// claim.algorithm may name a checksum that the client did not claim: it is then
// only computed. Close the reader.
func (r *request) openBody(claim bodyClaim, want integrity) (*body.Reader, int64, error) {
	l, err := r.bodyLengths()
	if err != nil {
		return nil, 0, err
	}
	src := r.bodySource()
	if r.form != nil {
		src = &r.form.file
	}
	b, err := r.newBody(src, l, claim, want)
	return b, l.size, err
}

// bodySource is the body as framed by HTTP.
func (r *request) bodySource() io.Reader {
	if stream := r.ctx.RequestBodyStream(); stream != nil {
		return bodySource{stream}
	}
	return eofReader{}
}

func (r *request) newBody(src io.Reader, l lengths, claim bodyClaim, want integrity) (*body.Reader, error) {
	return body.NewReader(body.Options{
		Source: src, Auth: r.auth, Size: l.size, Wire: l.wire,
		MD5: claim.md5, Algorithm: claim.algorithm, Expected: claim.value, Trailer: claim.trailer,
		NoMD5: !want.md5, Unchecked: !want.verify,
	})
}

// maxDocument bounds every XML document a client may send, in bytes; operations
// bound their own further.
const maxDocument = s3xml.MaxDelete

// readXML reads a document of up to max bytes whole and verifies what the client
// claims of it. A request without a body yields none.
func (r *request) readXML(max int) ([]byte, error) {
	l, err := r.bodyLengths()
	if err != nil {
		return nil, err
	}
	claim, err := parseBodyClaim(r)
	if err != nil {
		return nil, err
	}
	tooBig := s3err.MaxMessageLengthExceeded.With("MaxMessageLengthBytes", strconv.Itoa(max))
	if l.size > int64(max) {
		return nil, tooBig
	}
	src := r.bodySource()
	if l.size < 0 { // Transfer-Encoding: chunked, or no body at all
		raw, err := io.ReadAll(io.LimitReader(src, int64(max)+1))
		if err != nil {
			return nil, err
		}
		if len(raw) > max {
			return nil, tooBig
		}
		src, l.size, l.wire = bytes.NewReader(raw), int64(len(raw)), int64(len(raw))
	}
	b, err := r.newBody(src, l, claim, integrity{verify: true})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	// One byte more than the payload, so that reading reaches io.EOF and with
	// it the verification.
	doc := make([]byte, l.size+1)
	n, err := io.ReadFull(b, doc)
	switch {
	case err == io.ErrUnexpectedEOF || err == io.EOF:
		return doc[:n], nil
	case err != nil:
		return nil, err
	}
	return nil, body.ErrTooLong
}

// bodySource turns the timeouts of a stalled client into body.ErrTimeout.
type bodySource struct{ io.Reader }

func (b bodySource) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil && err != io.EOF && isTimeout(err) {
		err = body.ErrTimeout
	}
	return n, err
}

type eofReader struct{}

func (eofReader) Read([]byte) (int, error) { return 0, io.EOF }
