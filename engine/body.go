package engine

import (
	"context"
	"fmt"
	"io"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// Body streams verified bytes of an object. Closing it does not close the
// Object. It is for one goroutine at a time.
//
// WriteTo is the fast way: bytes go out of the buffers that the drives filled,
// and it holds some as long as the writer takes: one or two of a blob in one
// fragment, those of one or two rows of a striped one, one for a slow writer. It
// must not feed a Put. Read is the way of copies: from the first Read on, the Body
// holds no buffer of the arena between calls (devices that are late to answer may),
// so that a Put that reads from it may wait for one.
type Body struct {
	o      *Object
	ctx    context.Context
	pieces []piece // the first is the present one
	left   int64   // bytes not delivered yet
	whole  bool    // there was one piece, and none of it was consumed

	mem    []byte    // rest of the present piece, when it is in memory
	hot    []byte    // all of the present piece's blob, to be given back to the cache; mem is within
	r      *run      // reads the rest of the present piece; nil once detached
	u      *unsealer // the same for an encrypted piece
	frame  loan      // of Read: verified bytes, of which
	ready  []byte    // these were not handed out yet
	sink   sink
	closed bool
}

// sink tells an error of the writer from one of the drive.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	s.err = err
	return n, err
}

// stored opens stored bytes [off, off+n) of a piece. Where its blob lies is looked up
// once, and again by whoever does not find it there.
func (b *Body) stored(p *piece, off, n int64) (*run, error) {
	if p.at == nil {
		at, err := b.o.e.locate(b.o.bucket.Slot, &p.blob)
		if err != nil {
			return nil, err
		}
		p.at = at
	}
	return p.at.open(b.ctx, off, n)
}

// open prepares the present piece: in memory, or with a reader that has
// verified its first frame.
func (b *Body) open() (err error) {
	p := &b.pieces[0]
	if p.blob.Kind == layout.KindInline {
		return b.load(p)
	}
	if b.sealed() {
		b.u, err = b.unseal(p, p.off, p.n)
		return err
	}
	return b.openPlain(p)
}

// openPlain opens a piece that is stored as it is: from the cache of what is read often,
// where the blob is in there, which may also come to take it.
func (b *Body) openPlain(p *piece) (err error) {
	hot := b.o.e.hot
	fits := hot.fits(p.blob.Size)
	if fits {
		if mem := hot.get(p.blob.ID); mem != nil {
			b.hot = mem
			if p.blob.Size != int64(len(mem)) || p.off+p.n > p.blob.Size {
				return fail(Corrupt, fmt.Errorf("%w: blob %s, %d bytes and %d", errGeometry, p.blob.ID, p.blob.Size, len(mem)))
			}
			b.mem = mem[p.off : p.off+p.n]
			return nil
		}
	}
	if b.r, err = b.stored(p, p.off, p.n); err == nil && fits && int64(len(b.r.rest)) == p.blob.Size {
		hot.offer(p.blob.ID, b.r.rest)
	}
	return err
}

// sealed reports whether what is stored is encrypted.
func (b *Body) sealed() bool { return b.o.Info.Seal != nil }

// load reads an inline payload.
func (b *Body) load(p *piece) error {
	mem, err := meta.Inline(b.o.e.store, b.o.bucket.Slot, p.blob.ID)
	if err != nil {
		return err
	}
	if need := max(p.blob.Size, p.off+p.n); need > int64(len(mem)) {
		return fail(Corrupt, fmt.Errorf("inline blob %s holds %d bytes of %d", p.blob.ID, len(mem), need))
	}
	if b.sealed() {
		b.mem, err = b.o.unsealInline(p, mem) // mem is a copy
		return err
	}
	b.mem = mem[p.off : p.off+p.n]
	return nil
}

// took notes that n bytes of the present piece were consumed.
func (b *Body) took(n int64) {
	p := &b.pieces[0]
	p.off, p.n, b.left = p.off+n, p.n-n, b.left-n
	b.whole = false
}

// step goes on to the next piece when the present one is at its end.
func (b *Body) step() {
	if b.pieces[0].n > 0 {
		return
	}
	b.closeReader()
	b.mem = nil
	b.pieces = b.pieces[1:]
}

func (b *Body) closeReader() {
	if b.hot != nil {
		b.o.e.hot.giveBack(b.pieces[0].blob.ID, len(b.hot))
		b.hot = nil
	}
	if b.r != nil {
		_ = b.r.Close()
		b.r = nil
	}
	if b.u != nil {
		b.u.close()
		b.u = nil
	}
}

// Bytes returns the whole content when it is already in memory (small inline
// objects), else nil. It is valid until Close.
func (b *Body) Bytes() []byte {
	if !b.whole || b.hot != nil { // what of the cache is in use is counted until Close
		return nil
	}
	return b.mem
}

// WriteTo writes the bytes to w from aligned buffers without copying. An error
// of w comes back as it is.
func (b *Body) WriteTo(w io.Writer) (total int64, err error) {
	if b.closed {
		return 0, wrap("get", fail(KindInternal, errBodyClosed))
	}
	b.sink.w, b.sink.err = w, nil
	defer func() { b.sink.w = nil }()
	for b.left > 0 {
		n, err := b.writePiece()
		total += n
		if err != nil {
			if b.sink.err != nil {
				return total, b.sink.err
			}
			return total, wrap("get", err)
		}
		b.step()
	}
	return total, nil
}

// writePiece writes the rest of the present piece to the sink.
func (b *Body) writePiece() (total int64, err error) {
	if len(b.ready) > 0 { // left over from Read
		n, err := b.sink.Write(b.ready)
		b.ready = b.ready[n:]
		b.took(int64(n))
		if total = int64(n); err != nil {
			return total, err
		}
	}
	b.frame.release()
	if b.pieces[0].n == 0 {
		return total, nil
	}
	if b.mem == nil && b.r == nil && b.u == nil {
		if err := b.open(); err != nil {
			return total, err
		}
	}
	if b.mem != nil {
		n, err := b.sink.Write(b.mem)
		b.mem = b.mem[n:]
		b.took(int64(n))
		return total + int64(n), err
	}
	if b.u != nil {
		n, err := b.writeSealed()
		return total + n, err
	}
	n, err := b.r.WriteTo(&b.sink)
	b.took(n)
	if err == nil && b.pieces[0].n != 0 {
		err = fail(Corrupt, io.ErrUnexpectedEOF)
	}
	return total + n, err
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, wrap("get", fail(KindInternal, errBodyClosed))
	case b.left == 0:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	n, err := b.read(p)
	if err != nil {
		return n, wrap("get", err)
	}
	b.took(int64(n))
	b.step()
	return n, nil
}

// directRead is the length from which Read fills the caller's memory from the
// drive without keeping a frame of its own.
const directRead = 256 << 10

// read copies bytes of the present piece into p.
func (b *Body) read(p []byte) (int, error) {
	at := &b.pieces[0]
	if b.mem == nil && at.blob.Kind == layout.KindInline {
		if err := b.load(at); err != nil {
			return 0, err
		}
	}
	if b.mem != nil {
		n := copy(p, b.mem)
		b.mem = b.mem[n:]
		return n, nil
	}
	if len(b.ready) == 0 {
		b.frame.release()
		// Whole frames, so that none is read twice.
		frame := window(&at.blob)
		if b.sealed() {
			frame = frame / seal.ChunkStored * seal.ChunkPlain
		}
		want := min(at.n, frame-at.off%frame)
		direct := int64(len(p)) >= min(want, directRead)
		if !direct {
			var ok bool
			b.frame, ok = b.o.e.frames.tryGet(want) // waiting here could be for ever
			direct = !ok
		}
		if direct {
			p = p[:min(int64(len(p)), want)]
			if end := at.off + int64(len(p)); b.sealed() && end%seal.ChunkPlain < int64(len(p)) && int64(len(p)) < want {
				p = p[:int64(len(p))-end%seal.ChunkPlain] // so that no chunk is decrypted twice
			}
			if err := b.fill(p); err != nil {
				return 0, err // what p holds now is not all verified
			}
			return len(p), nil
		}
		if err := b.fill(b.frame.mem); err != nil {
			b.frame.release()
			return 0, err
		}
		b.ready = b.frame.mem
	}
	n := copy(p, b.ready)
	b.ready = b.ready[n:]
	return n, nil
}

// fill reads len(p) bytes of the present piece, at most to the end of a frame,
// and holds no buffer of the arena afterwards.
func (b *Body) fill(p []byte) error {
	if b.sealed() {
		return b.unsealInto(p)
	}
	r := b.r
	if b.r = nil; r == nil {
		var err error
		at := &b.pieces[0]
		if r, err = b.stored(at, at.off, int64(len(p))); err != nil {
			return err
		}
	}
	defer r.Close()
	return r.fill(p)
}

// Close releases buffers.
func (b *Body) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	b.closeReader()
	b.frame.release()
	b.mem, b.ready, b.pieces, b.left = nil, nil, nil, 0
	b.o.release()
	return nil
}
