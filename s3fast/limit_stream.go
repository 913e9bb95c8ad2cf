package s3fast

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine"
)

// How answers treat slow readers. A body is written straight from the engine's
// large buffers, up to two of them, which the drives need for everybody. A
// reader that does not keep up while they are short is sent the rest in small
// pieces instead: each is read, copied into memory of the frontend's own, and
// only then written, so that a stalled reader holds none of the engine's.
const (
	slowAfter = 250 * time.Millisecond // a write that takes longer is slow
	slowWhole = 0.75                   // share of the buffers on loan from which they are short
	// slowTLS is the share from which bodies over TLS begin in small pieces: a
	// write to a TLS connection cannot be given up once begun.
	slowTLS = 0.5

	oneBuffer   = 1 << 20 // a body that needs one of the engine's buffers only
	pieceLarge  = 128 << 10
	pieceSmall  = 16 << 10
	piecesLarge = 512 // bodies in large pieces at a time; further ones use small pieces
	quickPieces = 8   // so many in a row without waiting end the small pieces
)

// errSlow is what a writer returns to get a body out of the engine's buffers.
var errSlow = errors.New("s3fast: slow reader")

// pieces lends the memory of bodies sent in pieces.
type pieces struct {
	large, small sync.Pool
	lent         atomic.Int64 // large ones
}

func (p *pieces) get() []byte {
	pool, size := &p.large, pieceLarge
	if p.lent.Add(1) > piecesLarge {
		p.lent.Add(-1)
		pool, size = &p.small, pieceSmall
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, size)
}

func (p *pieces) put(b []byte) {
	if len(b) == pieceLarge {
		p.lent.Add(-1)
		p.large.Put(&b)
		return
	}
	p.small.Put(&b)
}

// share is the part of the engine's buffers that is on loan.
func (s *Server) share() float64 {
	if s.cfg.Memory == nil {
		return 0
	}
	return s.cfg.Memory()
}

// short tells that requests wait for memory that slow clients may hold.
func (s *Server) short() bool {
	return s.cfg.Engine.Waiting() > 0 || s.share() >= slowWhole
}

// objectStream makes the selected bytes of obj, opened as body, a response body.
func (r *request) objectStream(obj *engine.Object, body *engine.Body, sel selection) *objectStream {
	s := &objectStream{obj: obj, body: body, ctx: r.context(), conn: r.conn, off: sel.off, left: sel.n}
	c := r.conn
	switch {
	case c == nil || sel.n <= pieceLarge:
	case c.paced:
		s.inPieces = true
	case c.secure:
		from := slowTLS
		if sel.n <= oneBuffer {
			from = slowWhole
		}
		s.inPieces = r.s.share() >= from
	}
	return s
}

// WriteTo writes the body to w, fasthttp's buffered writer of the connection.
func (s *objectStream) WriteTo(w io.Writer) (int64, error) {
	head, ok := w.(io.ReaderFrom)
	if s.conn == nil || !ok {
		if s.mem != nil {
			n, err := w.Write(s.mem)
			return int64(n), err
		}
		return s.body.WriteTo(w)
	}
	out := &s.out
	*out = bodyWriter{c: s.conn, head: head, left: s.left, patient: s.left <= pieceLarge}
	begun := s.left
	if s.mem != nil {
		n, err := out.Write(s.mem)
		return int64(n), err
	}
	for s.left > 0 {
		if s.inPieces {
			if err := s.creep(out); err != nil {
				return begun - s.left, err
			}
			continue
		}
		if s.body == nil {
			var err error
			if s.body, err = s.obj.Range(s.ctx, s.off, s.left); err != nil {
				return begun - s.left, err
			}
		}
		n, err := s.body.WriteTo(out)
		s.off, s.left = s.off+n, s.left-n
		switch {
		case err == errSlow && out.head == nil:
			s.inPieces = true
			s.closeBody()
		case err != nil:
			return begun - s.left, err
		}
	}
	return begun, nil
}

// bodyWriter writes to the connection past fasthttp's buffer, once that has been
// filled: it goes out, with the response's header in it, together with what comes
// first. A patient writer is for a short body, which goes out with the header in it.
// Others give up, with errSlow, where the peer does not keep up and memory is short.
type bodyWriter struct {
	c       *conn
	head    io.ReaderFrom // the buffer; nil once full
	fill    filler
	left    int64 // bytes to come
	patient bool
}

// Write implements io.Writer.
func (b *bodyWriter) Write(p []byte) (int, error) {
	done, err := b.flush(p)
	if err != nil || done == len(p) && len(b.c.held) == 0 {
		return done, err
	}
	if len(b.c.held) > 0 && !b.patient {
		// In a call of its own, though the kernel joins it to what follows: with bbr a
		// response that begins with one long write was measured to take half as much
		// CPU again, in pacing timers.
		if _, err := b.push(nil, false); err != nil {
			return done, err
		}
	}
	n, err := b.push(p[done:], !b.patient)
	return done + n, err
}

// push writes p to the connection. As long as more of the body follows, the kernel
// need not send the short segment at its end.
func (b *bodyWriter) push(p []byte, yield bool) (int, error) {
	n, err := b.c.push(p, yield, b.left > int64(len(p)))
	b.left -= int64(n)
	return n, err
}

// flush fills fasthttp's buffer up with bytes of p. When it is full the connection
// holds it.
func (b *bodyWriter) flush(p []byte) (done int, err error) {
	for b.head != nil && done < len(p) {
		b.fill = filler{c: b.c, src: p[done:]}
		n, err := b.head.ReadFrom(&b.fill)
		b.c.hold = false
		done, b.left = done+int(n), b.left-n
		if err != nil {
			return done, err
		}
		if b.fill.full {
			b.head = nil
		}
	}
	return done, nil
}

// filler is read once, and ends then. The buffer that reads it is written when it is
// full, to the connection, which holds it.
type filler struct {
	c    *conn
	src  []byte
	read bool
	full bool // the reader's buffer took no more than there was
}

// Read implements io.Reader.
func (f *filler) Read(p []byte) (int, error) {
	if f.read {
		return 0, io.EOF
	}
	n := copy(p, f.src)
	f.read, f.full = true, n == len(p)
	f.c.hold = true // from here on: the buffer may have been written before, to make room
	return n, nil
}

// creep sends pieces until the body has ended, or until the reader keeps up and
// memory is not short any more.
func (s *objectStream) creep(out *bodyWriter) error {
	s.closeBody()
	srv := s.conn.s
	buf := srv.pieces.get()
	defer srv.pieces.put(buf)
	for quick := 0; s.left > 0; {
		b, err := s.obj.Range(s.ctx, s.off, min(s.left, int64(len(buf))))
		if err != nil {
			return err
		}
		n, err := io.ReadFull(b, buf[:min(s.left, int64(len(buf)))])
		b.Close()
		if err != nil {
			return err
		}
		begun := time.Now()
		done, err := out.flush(buf[:n])
		if err == nil {
			_, err = out.push(buf[done:n], false)
		}
		if err != nil {
			return err
		}
		s.off, s.left = s.off+int64(n), s.left-int64(n)
		if quick++; time.Since(begun) > slowAfter {
			quick = 0
		}
		if quick >= quickPieces && !s.conn.paced && srv.share() < slowTLS {
			s.inPieces = false
			return nil
		}
	}
	return nil
}

func (s *objectStream) closeBody() {
	if s.body != nil {
		s.body.Close()
		s.body = nil
	}
}

// pace sleeps as long as the transfer is ahead of its user's byte rate. It does
// not while memory is short: what it holds is then better given back soon, and
// what the user owes is asked of the next requests.
func (c *conn) pace(wait time.Duration) {
	const step = 100 * time.Millisecond
	for wait > 0 && !c.s.draining.Load() && !c.s.short() {
		time.Sleep(min(wait, step))
		wait -= step
	}
}
