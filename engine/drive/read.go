package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/sluicehq/sluice/engine/layout"
)

// Reader streams verified payload bytes of one fragment. It is for one
// goroutine at a time.
type Reader struct {
	d      *Drive
	frag   Fragment
	cursor extentCursor
	next   int64 // payload offset of the first byte not planned yet
	end    int64 // payload offset of the first byte not wanted

	cur, ahead *transfer
	plan       framePlan // of ahead, while it is flying
	ready      []byte    // verified bytes in cur that were not handed out yet
	err        error     // sticky
}

var errReaderClosed = errors.New("drive: reader is closed")

// OpenFragment is Open for the only fragment of a blob of one.
func (d *Drive) OpenFragment(ctx context.Context, blob layout.BlobID, exts []layout.Extent, size, off, n int64) (*Reader, error) {
	f := Fragment{Blob: blob, Size: size, Unit: FramePayload, Extents: exts}
	return d.Open(ctx, &f, off, n)
}

// Open prepares to read payload bytes [off, off+n) of a fragment. It reads and
// verifies the first frame before it returns, so that most errors surface before
// a response has begun. The Reader uses the extents until it is closed; they must
// not be freed before. ErrRange: the range is not within the fragment; ErrCorrupt:
// what the drive holds is not what was written; ErrTimeout: the device did not
// answer in time. With n 0 the Reader is empty and nothing is read.
func (d *Drive) Open(ctx context.Context, f *Fragment, off, n int64) (*Reader, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if off < 0 || n < 0 || off > f.Size || n > f.Size-off {
		return nil, fmt.Errorf("%w: bytes %d+%d of %d", ErrRange, off, n, f.Size)
	}
	if err := d.checkExtents(f.Extents, f.DiskSize()); err != nil {
		return nil, err
	}
	r := &Reader{d: d, frag: *f, cursor: extentCursor{exts: f.Extents}, next: off, end: off + n}
	if n == 0 {
		return r, nil
	}
	t, err := d.buffer(ctx, r.bufferSize())
	if err != nil {
		return nil, err
	}
	r.ahead = t
	r.fetch()
	if err := r.advance(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// bufferSize returns the bytes of buffer that the largest frame still to be
// planned needs.
func (r *Reader) bufferSize() int {
	most := 0
	for off, frames := r.next, 0; off < r.end && frames < 3; frames++ { // the third on are like the second
		p := planFrame(r.frag.Size, r.frag.Unit, off, r.end)
		most = max(most, p.end)
		off += int64(p.hi - p.lo)
	}
	return most
}

// fetch starts reading the next frame into r.ahead.
func (r *Reader) fetch() {
	r.plan = planFrame(r.frag.Size, r.frag.Unit, r.next, r.end)
	r.next += int64(r.plan.hi - r.plan.lo)
	r.plan.fetch(r.ahead, &r.cursor)
	r.ahead.submit()
}

// advance makes the next frame ready and starts the one after it when there is
// a second buffer to be had. io.EOF: there is none.
func (r *Reader) advance() error {
	if r.err != nil {
		return r.err
	}
	if r.ahead == nil || !r.ahead.flying {
		if r.next >= r.end {
			r.err = io.EOF
			return r.err
		}
		if r.ahead == nil {
			r.ahead, r.cur = r.cur, nil
		}
		r.fetch()
	}
	if r.ready, r.err = r.d.finish(r.ahead, &r.plan, &r.frag); r.err != nil {
		return r.err
	}
	r.cur, r.ahead = r.ahead, r.cur
	if r.next < r.end {
		if r.ahead == nil {
			if buf, err := r.d.arena.TryGet(r.bufferSize()); err == nil {
				r.ahead = r.d.newTransfer(buf)
			}
		}
		if r.ahead != nil {
			r.fetch()
		}
	} else if r.ahead != nil {
		r.d.release(r.ahead) // do not hold it while a slow client takes the last frame
		r.ahead = nil
	}
	return nil
}

// finish waits for a planned frame and returns its wanted payload, verified.
func (d *Drive) finish(t *transfer, p *framePlan, f *Fragment) ([]byte, error) {
	for before := false; ; before = true {
		payload, again, err := d.judge(t, p, f, before, t.wait())
		if !again {
			return payload, err
		}
		t.submit()
	}
}

// judge verifies what t has read, if err is nil, and returns the wanted payload.
// A frame that does not verify is to be read again, unless it was before, for the
// fault may have been on the way and not on the drive.
func (d *Drive) judge(t *transfer, p *framePlan, f *Fragment, before bool, err error) (payload []byte, again bool, _ error) {
	if err != nil {
		return nil, false, fmt.Errorf("drive %s: read of blob %s at %d: %w", d.id, f.Blob, t.offset(), err)
	}
	payload, err = p.verify(t.buf.Bytes(), d.id, f)
	switch {
	case err == nil && before:
		d.log.Warn("frame verified when read again", "drive", d.id, "blob", f.Blob, "frame", p.index, "offset", t.offset())
		return payload, false, nil
	case err == nil:
		return payload, false, nil
	case !before:
		d.rereads.Add(1)
		return nil, true, nil
	}
	d.corrupt.Add(1)
	d.window.at(d.now()).corrupt.Add(1)
	d.log.Error("corrupt frame", "drive", d.id, "blob", f.Blob, "fragment", f.Number, "frame", p.index, "offset", t.offset(), "err", err)
	return nil, false, fmt.Errorf("%w: drive %s, offset %d, blob %s, fragment %d, frame %d: %w", ErrCorrupt, d.id, t.offset(), f.Blob, f.Number, p.index, err)
}

// WriteTo writes the bytes to w, straight from the aligned buffers, reading
// ahead one frame. Nothing unverified is ever written.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(r.ready) == 0 {
			switch err := r.advance(); err {
			case nil:
			case io.EOF:
				return total, nil
			default:
				return total, err
			}
		}
		n, err := w.Write(r.ready)
		n = max(0, min(n, len(r.ready)))
		r.ready = r.ready[n:]
		total += int64(n)
		if err == nil && len(r.ready) > 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}

// Next returns the next verified bytes, at most to the end of a frame, in the
// aligned buffer itself. They are the caller's to overwrite until the next call
// of any method. io.EOF: there are no more.
func (r *Reader) Next() ([]byte, error) {
	if len(r.ready) == 0 {
		if err := r.advance(); err != nil {
			return nil, err
		}
	}
	p := r.ready
	r.ready = nil
	return p, nil
}

// Read implements io.Reader (it copies; WriteTo does not).
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.ready) == 0 {
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// Close releases the buffers, where reads are in flight once they are answered.
// It may be called at any time; calls after the first do nothing.
func (r *Reader) Close() error {
	if r.err == errReaderClosed {
		return nil
	}
	for _, t := range []*transfer{r.cur, r.ahead} {
		if t != nil {
			r.d.release(t)
		}
	}
	r.cur, r.ahead, r.ready, r.err = nil, nil, nil, errReaderClosed
	r.next = math.MaxInt64
	return nil
}
