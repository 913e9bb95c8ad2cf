package engine

import (
	"fmt"
	"io"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// A frame holds whole chunks, so that they are opened where they were read to.
var _ [0]struct{} = [drive.FramePayload % seal.ChunkStored]struct{}{}
var _ [0]struct{} = [layout.UnitStep % seal.ChunkStored]struct{}{}
var _ [0]struct{} = [seal.ChunkStored % drive.BlockSize]struct{}{}

// locker says how a payload is encrypted on its way in. The zero locker stores
// it as it is.
type locker struct {
	key    *seal.DataKey
	bucket meta.BucketID
	part   int32
}

// size returns the bytes that a payload of plain bytes will take.
func (l *locker) size(plain int64) int64 {
	if l.key == nil {
		return plain
	}
	return seal.CipherSize(plain)
}

// reader returns the stored form of the body of a blob.
func (l *locker) reader(b *bodyReader, id layout.BlobID) io.Reader {
	if l.key == nil {
		return b
	}
	return &sealer{src: b, payload: l.key.Payload(seal.Place{Bucket: uint64(l.bucket), Blob: id, Part: l.part}, b.left)}
}

// sealer yields a body's encrypted form. It reads plain bytes into the memory of
// its caller, as many as there is room for, spreads them to where their chunks are
// to be, and encrypts them there. (A read for each chunk would need no spreading,
// but its system calls cost more.) Only where there is no room for a chunk does it
// take memory of its own.
type sealer struct {
	src     *bodyReader
	payload *seal.Payload
	next    int64  // chunk
	read    int64  // plain bytes
	spill   []byte // memory of its own, of which
	rest    []byte // these bytes were not handed out yet
}

// Read implements io.Reader. An error of the body comes back as it is, but for
// io.EOF ahead of its time.
func (s *sealer) Read(p []byte) (n int, err error) {
	if len(s.rest) == 0 && len(p) > 0 {
		if n, err = s.fill(p); n > 0 || err != nil {
			return n, err
		}
		if s.next == s.payload.Chunks() {
			return 0, io.EOF
		}
		if s.spill == nil {
			s.spill = make([]byte, seal.ChunkStored)
		}
		if n, err = s.fill(s.spill[:s.payload.Stored(s.next)]); err != nil {
			return 0, err
		}
		s.rest = s.spill[:n]
	}
	n = copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// fill fills p with as many whole chunks as there is room for.
func (s *sealer) fill(p []byte) (n int, err error) {
	end, plain := s.next, 0
	for size := s.payload.Stored(end); size > 0 && n+size <= len(p); size = s.payload.Stored(end) {
		n, plain, end = n+size, plain+size-seal.TagSize, end+1
	}
	if n == 0 {
		return 0, nil
	}
	if _, err := io.ReadFull(s.src, p[:plain]); err != nil {
		s.src.StopLending() // p is the caller's again
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	s.read += int64(plain)
	s.src.Settle(s.read)                        // what follows changes p
	for i := int(end-s.next) - 1; i >= 0; i-- { // from the last: each moves towards the end
		index := s.next + int64(i)
		chunk := p[i*seal.ChunkStored:][:s.payload.Stored(index)]
		copy(chunk, p[i*seal.ChunkPlain:][:len(chunk)-seal.TagSize])
		s.payload.Seal(index, chunk)
	}
	s.next = end
	return n, nil
}

// payload returns the cipher of a piece's blob.
func (o *Object) payload(p *piece) *seal.Payload {
	place := seal.Place{Bucket: uint64(o.bucket.ID), Blob: p.blob.ID, Part: p.part}
	return o.key.Payload(place, p.size)
}

// unsealer yields the plain bytes of a run of an encrypted blob on a drive. They
// are decrypted in the buffers that the drive filled, each chunk verified whole
// before any of it is handed out.
type unsealer struct {
	r       *run
	payload *seal.Payload
	chunk   int64  // index of the next chunk
	skip    int64  // bytes of the next chunk ahead of what is wanted
	left    int64  // plain bytes wanted that were not decrypted yet
	plain   []byte // decrypted, not handed out yet
	err     error  // after plain
}

// unseal opens plain bytes [off, off+n) of a piece and decrypts the first frame of
// them.
func (b *Body) unseal(p *piece, off, n int64) (_ *unsealer, err error) {
	u := &unsealer{payload: b.o.payload(p), left: n}
	lo, hi, first := seal.CipherRange(p.size, off, n)
	u.chunk, u.skip = first, off-first*seal.ChunkPlain
	if u.r, err = b.stored(p, lo, hi-lo); err != nil {
		return nil, err
	}
	if u.err = u.openFrame(); u.err != nil {
		u.close()
		return nil, u.err
	}
	return u, nil
}

// more makes plain non-empty: it decrypts the next frame's chunks and closes the
// gaps that their tags leave, which costs less than a write for each of them. The
// error is an Error.
func (u *unsealer) more() error {
	if len(u.plain) > 0 {
		return nil
	}
	if u.err == nil {
		u.err = u.openFrame()
	}
	if len(u.plain) > 0 {
		return nil // what is good goes out before the error is told
	}
	return u.err
}

func (u *unsealer) openFrame() error {
	err := u.r.more()
	switch {
	case err == io.EOF:
		return fail(Corrupt, io.ErrUnexpectedEOF)
	case err != nil:
		return err
	}
	stored := u.r.rest
	u.r.rest = nil
	out := stored[:0]
	for len(stored) > 0 && err == nil {
		size := u.payload.Stored(u.chunk)
		if size == 0 || size > len(stored) {
			return fail(Corrupt, io.ErrUnexpectedEOF)
		}
		var plain []byte
		if plain, err = u.payload.Open(u.chunk, stored[:size]); err != nil {
			err = fail(Corrupt, fmt.Errorf("%w: chunk %d", err, u.chunk))
		} else if len(out) == 0 {
			out = plain // where it is
		} else {
			out = append(out, plain...)
		}
		u.chunk, stored = u.chunk+1, stored[size:]
	}
	out = out[min(u.skip, int64(len(out))):]
	u.plain, u.skip = out[:min(u.left, int64(len(out)))], 0
	u.left -= int64(len(u.plain))
	if err == nil && len(u.plain) == 0 {
		err = fail(Corrupt, io.ErrUnexpectedEOF)
	}
	return err
}

func (u *unsealer) close() { _ = u.r.Close() }

// unsealInto fills dst with plain bytes of the present piece, at most to the end
// of a frame, and holds no buffer of the arena afterwards.
func (b *Body) unsealInto(dst []byte) (err error) {
	u := b.u
	if b.u = nil; u == nil {
		at := &b.pieces[0]
		if u, err = b.unseal(at, at.off, int64(len(dst))); err != nil {
			return err
		}
	}
	defer u.close()
	for len(dst) > 0 {
		if err := u.more(); err != nil {
			return err
		}
		n := copy(dst, u.plain)
		u.plain, dst = u.plain[n:], dst[n:]
	}
	return nil
}

// writeSealed writes the rest of the present piece to the sink.
func (b *Body) writeSealed() (total int64, err error) {
	u := b.u
	u.r.Ahead()
	for b.pieces[0].n > 0 {
		if err := u.more(); err != nil {
			return total, err
		}
		n, err := b.sink.Write(u.plain)
		u.plain = u.plain[n:]
		b.took(int64(n))
		if total += int64(n); err != nil {
			return total, err
		}
	}
	return total, nil
}

// unsealInline decrypts the chunks of an inline payload that hold plain bytes
// [off, off+n) and returns those, in mem, which it overwrites.
func (o *Object) unsealInline(p *piece, mem []byte) ([]byte, error) {
	if p.n == 0 {
		return nil, nil
	}
	cipher := o.payload(p)
	lo, hi, chunk := seal.CipherRange(p.size, p.off, p.n)
	stored, out := mem[lo:hi], mem[lo:lo]
	for ; len(stored) > 0; chunk++ {
		size := cipher.Stored(chunk)
		plain, err := cipher.Open(chunk, stored[:size])
		if err != nil {
			return nil, fail(Corrupt, fmt.Errorf("%w: inline blob %s", err, p.blob.ID))
		}
		stored, out = stored[size:], append(out, plain...)
	}
	skip := p.off % seal.ChunkPlain
	return out[skip : skip+p.n : skip+p.n], nil
}
