package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// writeDepth is the most frames of one fragment in memory: one being read from
// the body while the others are written.
const writeDepth = 3

// fragmentWriter is the state of one WriteFragment.
type fragmentWriter struct {
	d      *Drive
	blob   layout.BlobID
	size   int64
	cursor extentCursor
	header frameHeader
	slots  [writeDepth]*transfer
	held   int // slots in use
	pos    int // slot whose turn it is
}

// WriteFragment reads exactly size bytes from body straight into aligned
// buffers, writes them as frames of blob into exts, and returns once they are
// durable. While one frame is written the next is read. An error of body is
// returned as it is; a body that ends early gives ErrShort. Device errors are
// wrapped; ErrFailed: the drive takes no writes any more. After any return no
// operation on exts is in flight, so the caller may Free them.
func (d *Drive) WriteFragment(ctx context.Context, blob layout.BlobID, exts []layout.Extent, size int64, body io.Reader) error {
	if err := d.Err(); err != nil {
		return err
	}
	if size < 1 || size > MaxFragment || blob.IsZero() {
		return fmt.Errorf("%w: blob %s of %d bytes", ErrRange, blob, size)
	}
	if err := d.checkExtents(exts, DiskSize(size)); err != nil {
		return err
	}
	if err := d.checkReserved(exts); err != nil {
		return err
	}
	w := fragmentWriter{d: d, blob: blob, size: size, cursor: extentCursor{exts: exts}}
	w.header = frameHeader{blob: blob, drive: d.id, fragment: size, birth: blob.Birth().UnixNano()}
	bodyErr, devErr := w.run(ctx, body)
	if err := w.drain(); devErr == nil {
		devErr = err
	}
	switch {
	case devErr != nil:
		return d.writeFailed(blob, devErr)
	case bodyErr != nil:
		return bodyErr
	}
	return d.sync()
}

// run reads and submits every frame. It keeps the body's and the caller's
// errors apart from the device's, which count against the drive.
func (w *fragmentWriter) run(ctx context.Context, body io.Reader) (bodyErr, devErr error) {
	for at := int64(0); at < w.size; {
		if err := ctx.Err(); err != nil {
			return err, nil
		}
		t, bodyErr, devErr := w.acquire(ctx)
		if bodyErr != nil || devErr != nil {
			return bodyErr, devErr
		}
		w.header.index = uint32(at / FramePayload)
		w.header.payload = framePayload(w.size, at/FramePayload)
		mem := t.buf.Bytes()
		n, err := io.ReadFull(body, mem[HeaderSize:HeaderSize+w.header.payload])
		if at += int64(n); err != nil {
			return shortBody(err, at, w.size), nil
		}
		sealFrame(mem, &w.header)
		t.reset()
		t.addRange(&w.cursor, ioring.OpWrite, 0, int64(w.header.index)*frameSize, int64(HeaderSize+padded(w.header.payload)))
		t.submit(w.d.dev)
	}
	return nil, nil
}

// acquire returns a slot with nothing in flight: a new one while memory and
// writeDepth allow, else the one that has been writing for longest. The first
// error is about memory, the second about the write that was in flight.
func (w *fragmentWriter) acquire(ctx context.Context) (*transfer, error, error) {
	if w.pos == w.held {
		need := min(ioring.LargeBuffer, HeaderSize+padded(int(min(w.size, FramePayload))))
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
			w.slots[w.held] = w.d.newTransfer(buf)
			w.held++
		} else {
			w.pos = 0
		}
	}
	t := w.slots[w.pos]
	w.pos++
	return t, nil, t.wait()
}

// drain waits for all writes, returns the first error and gives up the slots.
func (w *fragmentWriter) drain() (err error) {
	for _, t := range w.slots[:w.held] {
		if e := t.wait(); err == nil {
			err = e
		}
		w.d.release(t)
	}
	w.held = 0
	return err
}

// writeFailed classifies an error of the device on a write.
func (d *Drive) writeFailed(blob layout.BlobID, err error) error {
	d.writeErrors.Add(1)
	switch {
	case errors.Is(err, ioring.ErrFailed):
		return d.fail(err)
	case errors.Is(err, ioring.ErrNoSpace):
		return fmt.Errorf("%w: drive %s: write of blob %s: %w", ErrNoSpace, d.id, blob, err)
	}
	d.lastWriteError.Store(time.Now().UnixNano())
	d.log.Error("write failed", "drive", d.id, "blob", blob, "err", err)
	return fmt.Errorf("drive %s: write of blob %s: %w", d.id, blob, err)
}

// sync makes the writes that are complete durable. A failure is final: what
// the drive holds of earlier writes is unknown from then on.
func (d *Drive) sync() error {
	t := d.newTransfer(nil)
	defer d.release(t)
	t.add(ioring.OpSync, 0, 0, 0)
	if err := t.run(d.dev); err != nil {
		d.writeErrors.Add(1)
		if errors.Is(err, ioring.ErrClosed) {
			return fmt.Errorf("drive %s: sync: %w", d.id, err)
		}
		return d.fail(fmt.Errorf("sync: %w", err))
	}
	return nil
}
