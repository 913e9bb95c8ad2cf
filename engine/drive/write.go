package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// writeDepth is the most frames of one fragment in memory: one being read from
// the body while the others are written.
const writeDepth = 3

// fillStep is the most that is read of a body at a time: bytes that are hashed while
// the cache has them. Larger pieces cost fewer calls.
const fillStep = 256 << 10

// fragmentWriter is the state of one Write.
type fragmentWriter struct {
	d      *Drive
	frag   Fragment
	cursor extentCursor
	header frameHeader
	slots  [writeDepth]writeSlot
	held   int // slots in use
	pos    int // slot whose turn it is
	body   io.Reader
	lent   lent
	sync   *transfer // chained to the last frame
}

// writeSlot is the memory of one frame.
type writeSlot struct {
	t   *transfer
	end int64 // of the frame's payload, in bytes from the body's first
}

// WriteFragment is Write for the only fragment of a blob of one.
func (d *Drive) WriteFragment(ctx context.Context, blob layout.BlobID, exts []layout.Extent, size int64, body io.Reader) error {
	f := Fragment{Blob: blob, Size: size, Unit: FramePayload, Extents: exts}
	return d.Write(ctx, &f, body)
}

// Write reads the bytes of f from body straight into aligned buffers, writes them
// as frames into its extents, and returns once they are durable. While one frame
// is written the next is read. An error of body is returned as it is; a body that
// ends early gives ErrShort. Device errors are wrapped; ErrFailed: the drive takes
// no writes any more; ErrTimeout: it did not answer in time. After any return the
// caller may Free the extents: see there. A body that is a Lender is settled before
// the memory of a frame is used again or released.
func (d *Drive) Write(ctx context.Context, f *Fragment, body io.Reader) error {
	if err := d.Err(); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	if err := d.checkExtents(f.Extents, f.DiskSize()); err != nil {
		return err
	}
	if err := d.checkReserved(f.Extents); err != nil {
		return err
	}
	w := fragmentWriter{d: d, frag: *f, cursor: extentCursor{exts: f.Extents}, body: body, lent: lentBy(body)}
	w.header.drive = d.id
	w.header.of(f)
	w.sync = d.newTransfer(nil)
	w.sync.add(ioring.OpSync, 0, 0, 0)
	defer d.release(w.sync)
	bodyErr, devErr := w.run(ctx)
	if bodyErr != nil || devErr != nil {
		w.lent.stop()
	}
	w.lent.settle(f.Size) // the device is at work meanwhile
	syncErr := w.sync.wait()
	if err := w.drain(); devErr == nil {
		devErr = err
	}
	switch {
	case devErr != nil:
		return d.writeFailed(f.Blob, devErr)
	case bodyErr != nil:
		return bodyErr
	case syncErr != nil:
		return d.syncFailed(syncErr)
	}
	return nil
}

// run reads and submits every frame. It keeps the body's and the caller's
// errors apart from the device's, which count against the drive.
func (w *fragmentWriter) run(ctx context.Context) (bodyErr, devErr error) {
	size, unit := w.frag.Size, w.frag.Unit
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return err, nil
		}
		s, bodyErr, devErr := w.acquire(ctx)
		if bodyErr != nil || devErr != nil {
			return bodyErr, devErr
		}
		t := s.t
		w.header.index = uint32(at / unit)
		w.header.payload = framePayload(size, unit, at/unit)
		mem := t.buf.Bytes()
		n, err := w.fill(mem)
		if at += int64(n); err != nil {
			return shortBody(err, at, size), nil
		}
		s.end = at
		finishFrame(mem, &w.header)
		t.reset()
		t.addRange(&w.cursor, ioring.OpWrite, 0, int64(w.header.index)*(HeaderSize+unit), int64(HeaderSize+padded(w.header.payload)))
		if at == size {
			if devErr := w.wait(s); devErr != nil {
				return nil, devErr
			}
			t.chain(w.sync)
		}
		t.submit()
	}
	return nil, nil
}

// wait waits for the writes of all slots but last.
func (w *fragmentWriter) wait(last *writeSlot) error {
	for i := range w.slots[:w.held] {
		if s := &w.slots[i]; s != last {
			if err := s.t.wait(); err != nil {
				return err
			}
		}
	}
	return nil
}

// acquire returns a slot with nothing in flight: a new one while memory and
// writeDepth allow, else the one that has been writing for longest. The first
// error is about memory, the second about the write that was in flight.
func (w *fragmentWriter) acquire(ctx context.Context) (*writeSlot, error, error) {
	if w.pos == w.held {
		need := min(ioring.LargeBuffer, HeaderSize+padded(int(min(w.frag.Size, w.frag.Unit))))
		var buf *ioring.Buffer
		var err error
		switch {
		case w.held == 0:
			if buf, err = w.d.arena.Get(ctx, need); err != nil {
				return nil, err, nil
			}
		case w.held < writeDepth:
			buf, _ = w.d.arena.TryGet(need) // do without it when there is none
		}
		if buf != nil {
			w.slots[w.held] = writeSlot{t: w.d.newTransfer(buf)}
			w.held++
		} else {
			w.pos = 0
		}
	}
	s := &w.slots[w.pos]
	w.pos++
	err := s.t.wait()
	w.lent.settle(s.end)
	return s, nil, err
}

// fill reads the payload of a frame into mem, and hashes its blocks while they are in
// the cache.
func (w *fragmentWriter) fill(mem []byte) (n int, err error) {
	h := &w.header
	h.sums = [blocksPerFrame]uint64{}
	p, hashed := mem[HeaderSize:HeaderSize+h.payload], 0
	for n < len(p) && err == nil {
		var k int
		k, err = w.body.Read(p[n:min(n+fillStep, len(p))])
		n += k
		for ; hashed < n && (n-hashed >= BlockSize || n == len(p)); hashed += BlockSize {
			h.sums[hashed/BlockSize] = xxh3.Hash(p[hashed:min(hashed+BlockSize, n)])
		}
	}
	switch {
	case n == len(p):
		err = nil
	case err == io.EOF && n > 0:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// drain waits for all writes, returns the first error and gives up the slots.
func (w *fragmentWriter) drain() (err error) {
	for i := range w.slots[:w.held] {
		s := &w.slots[i]
		if e := s.t.wait(); err == nil {
			err = e
		}
		w.d.release(s.t)
	}
	w.held = 0
	return err
}

// writeFailed classifies an error of the device on a write.
func (d *Drive) writeFailed(blob layout.BlobID, err error) error {
	d.writeErrors.Add(1)
	switch {
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrFailed):
		return err
	case errors.Is(err, ioring.ErrFailed):
		return d.fail(err)
	case errors.Is(err, ioring.ErrNoSpace):
		return fmt.Errorf("%w: drive %s: write of blob %s: %w", ErrNoSpace, d.id, blob, err)
	}
	d.lastWriteError.Store(time.Now().UnixNano())
	d.log.Error("write failed", "drive", d.id, "blob", blob, "err", err)
	return fmt.Errorf("drive %s: write of blob %s: %w", d.id, blob, err)
}

// syncFailed classifies an error of a sync.
func (d *Drive) syncFailed(err error) error {
	d.writeErrors.Add(1)
	switch {
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrFailed):
		return err
	case errors.Is(err, ioring.ErrClosed):
		return fmt.Errorf("drive %s: sync: %w", d.id, err)
	}
	return d.fail(fmt.Errorf("sync: %w", err))
}
