package engine

import (
	"errors"
	"io"

	"github.com/sluicehq/sluice/engine/drive"
)

var errBadReader = errors.New("body returned an impossible count")

// aheadBytes is how much of a body is read before anything is waited for.
const aheadBytes = 4 << 10

// bodyReader reads a request body of a known size. It keeps the body's errors
// apart from those of the drives, and never reads past the size by accident.
type bodyReader struct {
	r    io.Reader
	left int64  // bytes not handed out yet
	head []byte // bytes read ahead
	eof  bool   // r has ended
	err  error  // what r returned, other than io.EOF
	lent lender // r, from lend to stopLending; else nil
}

// lender is a request body that reads memory which its Read has filled again later,
// from Lend on: see drive.Lender. It verifies what it has to by the Read that returns
// io.EOF. s3fast/body.Reader is one.
type lender interface {
	drive.Lender
	Lend()
}

// lend allows the body to read memory again that it fills from now on. Whoever hands
// it some has to settle before using the memory otherwise; stopLending is a must.
func (b *bodyReader) lend() {
	if b.lent, _ = b.r.(lender); b.lent != nil {
		b.lent.Lend()
	}
}

// Settle implements drive.Lender.
func (b *bodyReader) Settle(off int64) {
	if b.lent != nil {
		b.lent.Settle(off)
	}
}

// StopLending implements drive.Lender.
func (b *bodyReader) StopLending() {
	if b.lent != nil {
		b.lent.StopLending()
		b.lent = nil
	}
}

// Read implements io.Reader: it ends in io.EOF after the size told, or earlier
// when the body does.
func (b *bodyReader) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	switch {
	case len(b.head) > 0:
		n := copy(p, b.head)
		b.head, b.left = b.head[n:], b.left-int64(n)
		return n, nil
	case b.err != nil:
		return 0, b.err
	case b.left == 0 || b.eof:
		return 0, io.EOF
	}
	n, err := b.r.Read(p)
	if n < 0 || n > len(p) {
		n, err = 0, errBadReader
	}
	b.left -= int64(n)
	if err == io.EOF {
		b.eof = true
	} else {
		b.err = err
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// readAhead reads the body's first bytes into buf, which it keeps. A body that
// is another object's (a copy) gives up its buffers upon the first read.
func (b *bodyReader) readAhead(buf []byte) error {
	buf = buf[:min(int64(len(buf)), b.left)]
	n, err := io.ReadFull(b, buf)
	if err != nil {
		return b.failure()
	}
	b.head, b.left = buf, b.left+int64(n)
	return nil
}

// failure returns the error that the body's own behaviour makes, or nil.
func (b *bodyReader) failure() error {
	switch {
	case b.err != nil:
		return fail(BadBody, b.err)
	case b.left > 0 && b.eof:
		return fail(ShortBody, errShortBody)
	}
	return nil
}

// finish requires that the body ends where it was said to. Reading up to io.EOF
// matters: a frontend verifies trailers and signatures there.
func (b *bodyReader) finish() error {
	if err := b.failure(); err != nil {
		return err
	}
	var one [1]byte
	for tries := 0; !b.eof; tries++ {
		n, err := b.r.Read(one[:])
		switch {
		case n != 0:
			return fail(BadBody, errLongBody)
		case err == io.EOF:
			b.eof = true
		case err != nil:
			return fail(BadBody, err)
		case tries == 100:
			return fail(BadBody, io.ErrNoProgress)
		}
	}
	return nil
}
