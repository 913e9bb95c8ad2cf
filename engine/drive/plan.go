package drive

import (
	"fmt"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// maxGap is the payload in bytes that is read unneeded, to fetch a header and a
// block behind it in one operation instead of two.
const maxGap = 64 << 10

// framePlan says what of one frame is to be read, and where to.
type framePlan struct {
	index  int64
	frame  int // payload bytes of the frame
	lo, hi int // payload bytes of the frame that are wanted
	b0, b1 int // blocks that cover them
	first  int // block that lies in the buffer at HeaderSize: 0, or b0
	end    int // buffer bytes filled
}

// planFrame plans the frame that holds payload byte off of a fragment of size
// bytes, as far as end, the first payload byte that is not wanted.
func planFrame(size, off, end int64) framePlan {
	p := framePlan{index: off / FramePayload}
	start := p.index * FramePayload
	p.frame = framePayload(size, p.index)
	p.lo, p.hi = int(off-start), int(min(end-start, int64(p.frame)))
	p.b0, p.b1 = p.lo/BlockSize, (p.hi+BlockSize-1)/BlockSize
	if p.b0*BlockSize > maxGap {
		p.first = p.b0
	}
	p.end = HeaderSize + min(p.b1*BlockSize, padded(p.frame)) - p.first*BlockSize
	return p
}

// fetch adds the operations that read the planned frame into t.
func (p *framePlan) fetch(t *transfer, c *extentCursor) {
	t.reset()
	base := p.index * frameSize
	if p.first == 0 {
		t.addRange(c, ioring.OpRead, 0, base, int64(p.end))
		return
	}
	t.addRange(c, ioring.OpRead, 0, base, HeaderSize)
	t.addRange(c, ioring.OpRead, HeaderSize, base+HeaderSize+int64(p.first)*BlockSize, int64(p.end-HeaderSize))
}

// verify checks that b holds the planned frame of the blob and returns the
// wanted payload.
func (p *framePlan) verify(b []byte, drive layout.DriveID, blob layout.BlobID, size int64) ([]byte, error) {
	h, err := decodeFrameHeader(b)
	switch {
	case err != nil:
		return nil, err
	case h.blob != blob:
		return nil, fmt.Errorf("frame of blob %s", h.blob)
	case h.drive != drive:
		return nil, fmt.Errorf("frame of drive %s", h.drive)
	case int64(h.index) != p.index:
		return nil, fmt.Errorf("frame %d instead of %d", h.index, p.index)
	case h.fragment != size || h.payload != p.frame:
		return nil, fmt.Errorf("frame of %d bytes in a fragment of %d instead of %d in %d", h.payload, h.fragment, p.frame, size)
	}
	blocks := b[HeaderSize+(p.b0-p.first)*BlockSize : p.end]
	if err := h.verifyBlocks(blocks, p.b0, p.b1); err != nil {
		return nil, err
	}
	return blocks[p.lo-p.b0*BlockSize : p.hi-p.b0*BlockSize : p.hi-p.b0*BlockSize], nil
}
