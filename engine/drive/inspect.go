package drive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// FrameInfo is what Inspect found where a frame should be.
type FrameInfo struct {
	Offset   int64 // drive offset of the header, bytes
	Index    int64 // of the frame, as its place in the extents tells
	Number   int   // of the fragment in its blob
	Unit     int64 // payload bytes of a whole frame; 0: no header that could tell
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
// where it would be if the frame were whole. ErrTimeout ends it.
func (d *Drive) Inspect(ctx context.Context, exts []layout.Extent, fn func(FrameInfo) error) error {
	if err := d.checkExtents(exts, 0); err != nil {
		return err
	}
	t, err := d.buffer(ctx, ioring.LargeBuffer)
	if err != nil {
		return err
	}
	defer d.release(t)
	in := inspection{d: d, t: t, c: extentCursor{exts: exts}}
	for _, e := range exts {
		in.have += e.Len
	}
	for at, index := int64(0), int64(0); in.have-at >= 2*HeaderSize; index++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		info := in.frame(at, index)
		if err := fn(info); err != nil {
			return err
		}
		if errors.Is(info.Err, ErrTimeout) {
			return info.Err
		}
		if info.Err == nil && (index+1)*info.Unit >= info.Fragment {
			return nil
		}
		if info.Err == nil || in.unit == 0 {
			if in.unit = info.Unit; info.Err != nil {
				in.unit = in.guess(at, index)
			}
		}
		at += HeaderSize + in.unit
	}
	return nil
}

// inspection is the state of one Inspect.
type inspection struct {
	d    *Drive
	t    *transfer
	c    extentCursor
	have int64 // bytes of the extents
	unit int64 // of the last frame that was whole; 0: none yet
}

// header reads the header at byte at of the extents.
func (in *inspection) header(at int64) (frameHeader, error) {
	if in.t.lost() {
		return frameHeader{}, ErrTimeout
	}
	in.t.reset()
	in.t.addRange(&in.c, ioring.OpRead, 0, at, HeaderSize)
	if err := in.t.run(); err != nil {
		return frameHeader{}, err
	}
	h, err := decodeFrameHeader(in.t.buf.Bytes())
	if err != nil {
		err = fmt.Errorf("%w: drive %s, offset %d: %w", ErrCorrupt, in.d.id, in.t.offset(), err)
	}
	return h, err
}

// guess returns the unit of the frame at byte at, whose header does not tell, by
// looking for the next one; FramePayload where there is none.
func (in *inspection) guess(at, index int64) int64 {
	for unit := int64(layout.UnitStep); unit <= FramePayload && at+HeaderSize+unit+HeaderSize <= in.have; unit += layout.UnitStep {
		h, err := in.header(at + HeaderSize + unit)
		if err == nil && h.unit == unit && int64(h.index) == index+1 && h.drive == in.d.id {
			return unit
		}
		if errors.Is(err, ErrTimeout) {
			break
		}
	}
	return FramePayload
}

// frame reads and judges the frame at byte at of the extents.
func (in *inspection) frame(at, index int64) FrameInfo {
	info := FrameInfo{Index: index}
	corrupt := func(err error) FrameInfo {
		info.Err = fmt.Errorf("%w: drive %s, offset %d: %w", ErrCorrupt, in.d.id, info.Offset, err)
		return info
	}
	h, err := in.header(at)
	info.Offset = in.t.offset()
	if info.Err = err; err != nil {
		return info
	}
	info.Blob, info.Drive, info.Birth = h.blob, h.drive, h.birthTime()
	info.Fragment, info.Payload, info.Number, info.Unit = h.fragment, h.payload, h.number, h.unit
	switch {
	case h.drive != in.d.id:
		return corrupt(fmt.Errorf("frame of drive %s", h.drive))
	case int64(h.index) != index:
		return corrupt(fmt.Errorf("frame %d instead of %d", h.index, index))
	case int64(HeaderSize+padded(h.payload)) > in.have-at:
		return corrupt(fmt.Errorf("frame of %d bytes in an extent with %d left", h.payload, in.have-at))
	}
	in.t.reset()
	in.t.addRange(&in.c, ioring.OpRead, HeaderSize, at+HeaderSize, int64(padded(h.payload)))
	if info.Err = in.t.run(); info.Err != nil {
		return info
	}
	blocks := (h.payload + BlockSize - 1) / BlockSize
	if err := h.verifyBlocks(in.t.buf.Bytes()[HeaderSize:], 0, blocks); err != nil {
		return corrupt(err)
	}
	return info
}
