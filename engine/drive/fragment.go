package drive

import (
	"context"
	"errors"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// Fragment says which share of a blob lies on a drive, and where.
type Fragment struct {
	Blob    layout.BlobID
	Number  int   // of the fragment in its blob, 0…255
	Size    int64 // payload bytes, 1…2^31 units
	Unit    int64 // payload bytes of a whole frame: a multiple of layout.UnitStep, at most FramePayload
	Extents []layout.Extent
	// Data and Parity are the numbers of fragments of the blob, which its frames tell
	// where Data is above 1: the same blob may have been spread otherwise before. 0: not
	// known.
	Data, Parity int
}

// FragmentOf returns fragment i of b. That of an inline blob has no unit, and that
// of a blob whose record leaves the placement out no extents.
func FragmentOf(b *layout.Blob, i int) Fragment {
	g := b.Geometry()
	f := Fragment{Blob: b.ID, Number: i, Unit: g.Unit, Data: g.Data, Parity: g.Parity}
	if g.Unit > 0 {
		f.Size = g.FragmentSize(i)
	}
	if i < len(b.Fragments) {
		f.Extents = b.Fragments[i].Extents
	}
	return f
}

// DiskSize returns the bytes that the fragment's frames take up, before rounding
// to the drive's allocation unit.
func (f *Fragment) DiskSize() int64 {
	if f.Unit < 1 {
		return 0
	}
	return diskSize(f.Size, f.Unit)
}

// Frames returns the number of frames, which is also that of the rows of the blob
// in which the fragment has a unit.
func (f *Fragment) Frames() int64 {
	if f.Unit < 1 {
		return 0
	}
	return (f.Size + f.Unit - 1) / f.Unit
}

// Verify reads the whole fragment and checks every frame and block. before, if not
// nil, is called with the bytes about to be read, to pace the reading; its error
// ends Verify. bad counts frames that do not verify, or cannot be read; where the
// extents cannot hold the fragment, all of them. Errors besides: the context's,
// ErrRange, and ErrTimeout or ErrFailed where the drive as a whole cannot tell.
func (d *Drive) Verify(ctx context.Context, f *Fragment, before func(n int) error) (bad int, err error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	if err := d.checkExtents(f.Extents, f.DiskSize()); err != nil {
		d.log.Error("a fragment's extents cannot hold it", "drive", d.id, "blob", f.Blob, "fragment", f.Number, "err", err)
		return int(f.Frames()), nil
	}
	buf, err := d.arena.Get(ctx, HeaderSize+padded(int(min(f.Size, f.Unit))))
	if err != nil {
		return 0, err
	}
	for row := range f.Frames() {
		n := framePayload(f.Size, f.Unit, row)
		if err = ctx.Err(); err == nil && before != nil {
			err = before(HeaderSize + padded(n))
		}
		if err != nil {
			break
		}
		var whole bool
		if whole, buf, err = d.verifyFrame(f, row, n, buf); err != nil {
			break
		}
		if !whole {
			bad++
		}
	}
	if buf != nil {
		buf.Release()
	}
	return bad, err
}

// verifyFrame reads a frame of n payload bytes by way of buf, which it returns
// unless the device has kept it.
func (d *Drive) verifyFrame(f *Fragment, row int64, n int, buf *ioring.Buffer) (whole bool, _ *ioring.Buffer, err error) {
	p := d.StartRead(f, row, 0, n, buf)
	defer p.Release()
	switch _, err = p.Wait(); {
	case err == nil:
		return true, p.Take(), nil
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrFailed), errors.Is(err, ioring.ErrClosed):
		return false, p.Take(), err
	}
	return false, p.Take(), nil
}
