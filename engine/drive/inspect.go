package drive

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// FrameInfo is what Inspect found where a frame should be.
type FrameInfo struct {
	Offset   int64 // drive offset of the header, bytes
	Index    int64 // of the frame, as its place in the extents tells
	Blob     layout.BlobID
	Drive    layout.DriveID
	Birth    time.Time
	Fragment int64 // payload bytes of the fragment, as the header tells
	Payload  int   // payload bytes of the frame
	Err      error // nil when header and payload verify; else wraps ErrCorrupt, or is the device's
}

// Inspect reads the frames that lie in exts, verifies them and calls fn for
// each, until the fragment or the extents end or fn returns an error, which it
// returns. It needs no metadata besides exts, so it tells a damaged fragment
// from a misplaced one. Behind a damaged header it looks for the next frame
// where it would be if the frame were whole.
func (d *Drive) Inspect(ctx context.Context, exts []layout.Extent, fn func(FrameInfo) error) error {
	if err := d.checkExtents(exts, 0); err != nil {
		return err
	}
	var have int64
	for _, e := range exts {
		have += e.Len
	}
	t, err := d.buffer(ctx, ioring.LargeBuffer)
	if err != nil {
		return err
	}
	defer d.release(t)
	c := extentCursor{exts: exts}
	for at := int64(0); have-at >= 2*HeaderSize; at += frameSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		info := d.inspectFrame(t, &c, at, have)
		if err := fn(info); err != nil {
			return err
		}
		if info.Err == nil && (info.Index+1)*FramePayload >= info.Fragment {
			return nil
		}
	}
	return nil
}

// inspectFrame reads and judges the frame at byte at of the extents, which hold
// have bytes.
func (d *Drive) inspectFrame(t *transfer, c *extentCursor, at, have int64) FrameInfo {
	info := FrameInfo{Index: at / frameSize}
	corrupt := func(err error) FrameInfo {
		info.Err = fmt.Errorf("%w: drive %s, offset %d: %w", ErrCorrupt, d.id, info.Offset, err)
		return info
	}
	t.reset()
	t.addRange(c, ioring.OpRead, 0, at, HeaderSize)
	info.Offset = t.offset()
	if info.Err = t.run(d.dev); info.Err != nil {
		return info
	}
	h, err := decodeFrameHeader(t.buf.Bytes())
	if err != nil {
		return corrupt(err)
	}
	info.Blob, info.Drive, info.Birth = h.blob, h.drive, h.birthTime()
	info.Fragment, info.Payload = h.fragment, h.payload
	switch {
	case h.drive != d.id:
		return corrupt(fmt.Errorf("frame of drive %s", h.drive))
	case int64(h.index) != info.Index:
		return corrupt(fmt.Errorf("frame %d instead of %d", h.index, info.Index))
	case int64(HeaderSize+padded(h.payload)) > have-at:
		return corrupt(fmt.Errorf("frame of %d bytes in an extent with %d left", h.payload, have-at))
	}
	t.reset()
	t.addRange(c, ioring.OpRead, HeaderSize, at+HeaderSize, int64(padded(h.payload)))
	if info.Err = t.run(d.dev); info.Err != nil {
		return info
	}
	blocks := (h.payload + BlockSize - 1) / BlockSize
	if err := h.verifyBlocks(t.buf.Bytes()[HeaderSize:], 0, blocks); err != nil {
		return corrupt(err)
	}
	return info
}
