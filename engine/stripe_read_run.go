package engine

import (
	"context"
	"io"
)

// run is a feed and what it yielded last.
//
// A blob may be spread otherwise while it is read. Its stored bytes remain what they
// were, so the run goes on where it is, with the new places.
type run struct {
	feed            // nil: to be opened at off
	rest     []byte // not handed out yet
	at       *located
	ctx      context.Context
	off, end int64 // stored bytes: the first behind rest; behind the last wanted
	turns    int   // how often the blob was found to be spread otherwise
	eager    bool  // Ahead was called
}

// more makes rest non-empty.
func (r *run) more() error {
	for len(r.rest) == 0 {
		err := r.advance()
		if err == nil || err == io.EOF {
			return err
		}
		if r.turns == movesMost || r.ctx.Err() != nil || !r.at.reshaped() {
			return err
		}
		r.turns++
		r.at.e.reads.turned.Add(1)
		_ = r.Close()
		r.feed = nil
		if err := r.at.look(); err != nil {
			return err
		}
	}
	return nil
}

// advance gets what follows, as the blob is known to be spread.
func (r *run) advance() (err error) {
	if r.feed == nil {
		if r.off == r.end {
			return io.EOF
		}
		if r.feed, err = r.at.feed(r.ctx, r.off, r.end-r.off); err != nil {
			r.feed = nil
			return err
		}
		if r.eager {
			r.feed.Ahead()
		}
	}
	if r.rest, err = r.Next(); err == nil {
		r.off += int64(len(r.rest))
	}
	return err
}

// Ahead implements feed.
func (r *run) Ahead() {
	if r.eager = true; r.feed != nil {
		r.feed.Ahead()
	}
}

// Close implements feed.
func (r *run) Close() error {
	if r.feed == nil {
		return nil
	}
	return r.feed.Close()
}

// WriteTo writes all bytes to w from the buffers they were read to.
func (r *run) WriteTo(w io.Writer) (total int64, err error) {
	r.Ahead()
	for {
		if err := r.more(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(r.rest)
		r.rest = r.rest[n:]
		if total += int64(n); err != nil {
			return total, err
		}
	}
}

// fill fills p, which is not longer than the run. The error is an Error.
func (r *run) fill(p []byte) error {
	for len(p) > 0 {
		if err := r.more(); err == io.EOF {
			return fail(Corrupt, io.ErrUnexpectedEOF)
		} else if err != nil {
			return err
		}
		n := copy(p, r.rest)
		p, r.rest = p[n:], r.rest[n:]
	}
	return nil
}
