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
	base   int64 // fragment byte at which its header begins
	frame  int   // payload bytes of the frame
	lo, hi int   // payload bytes of the frame that are wanted
	b0, b1 int   // blocks that cover them
	first  int   // block that lies in the buffer at HeaderSize: 0, or b0
	end    int   // buffer bytes filled
}

// planFrame plans the frame that holds payload byte off of a fragment of size
// bytes in units of unit, as far as end, the first payload byte that is not wanted.
func planFrame(size, unit, off, end int64) framePlan {
	p := framePlan{index: off / unit}
	start := p.index * unit
	p.base = p.index * (HeaderSize + unit)
	p.frame = framePayload(size, unit, p.index)
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
	if p.first == 0 {
		t.addRange(c, ioring.OpRead, 0, p.base, int64(p.end))
		return
	}
	t.addRange(c, ioring.OpRead, 0, p.base, HeaderSize)
	t.addRange(c, ioring.OpRead, HeaderSize, p.base+HeaderSize+int64(p.first)*BlockSize, int64(p.end-HeaderSize))
}

// verify checks that b holds the planned frame of the fragment and returns the
// wanted payload.
func (p *framePlan) verify(b []byte, drive layout.DriveID, f *Fragment) ([]byte, error) {
	h, err := decodeFrameHeader(b)
	switch {
	case err != nil:
		return nil, err
	case h.blob != f.Blob:
		return nil, fmt.Errorf("frame of blob %s", h.blob)
	case h.drive != drive:
		return nil, fmt.Errorf("frame of drive %s", h.drive)
	case h.number != f.Number || int64(h.index) != p.index:
		return nil, fmt.Errorf("frame %d of fragment %d instead of %d of %d", h.index, h.number, p.index, f.Number)
	case h.data != 0 && f.Data != 0 && (h.data != f.Data || h.parity != f.Parity):
		return nil, fmt.Errorf("frame of a blob in %d+%d fragments instead of %d+%d", h.data, h.parity, f.Data, f.Parity)
	case h.fragment != f.Size || h.unit != f.Unit || h.payload != p.frame:
		return nil, fmt.Errorf("frame of %d bytes in a fragment of %d in units of %d instead of %d in %d, %d", h.payload, h.fragment, h.unit, p.frame, f.Size, f.Unit)
	}
	blocks := b[HeaderSize+(p.b0-p.first)*BlockSize : p.end]
	if err := h.verifyBlocks(blocks, p.b0, p.b1); err != nil {
		return nil, err
	}
	return blocks[p.lo-p.b0*BlockSize : p.hi-p.b0*BlockSize : p.hi-p.b0*BlockSize], nil
}
