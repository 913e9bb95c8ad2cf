package drive

import (
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/engine/layout"
)

// Bounds of one fragment's extents.
const (
	// MaxExtents is the most extents that Reserve scatters a fragment over.
	MaxExtents = 4096
	// fewExtents is what Reserve puts up with while the device can still grow.
	fewExtents = 16
)

// extentCursor maps byte offsets within a fragment to the drive. It is fast
// when offsets rise.
type extentCursor struct {
	exts []layout.Extent
	i    int   // current extent
	base int64 // fragment offset at which it begins
}

// each calls fn for the pieces that bytes [off, off+n) of the fragment lie in:
// their drive offset and length. The range must lie within the extents.
func (c *extentCursor) each(off, n int64, fn func(devOff, n int64)) {
	if off < c.base {
		c.i, c.base = 0, 0
	}
	for n > 0 {
		e := c.exts[c.i]
		if off >= c.base+e.Len {
			c.base += e.Len
			c.i++
			continue
		}
		k := min(n, c.base+e.Len-off)
		fn(e.Off+off-c.base, k)
		off, n = off+k, n-k
	}
}

// checkExtents verifies that exts lie in the data area and hold need bytes.
func (d *Drive) checkExtents(exts []layout.Extent, need int64) error {
	end := d.end.Load()
	var have int64
	for _, e := range exts {
		if !d.aligned(e) || e.Off < dataStart || e.Off > end || e.Len > end-e.Off {
			return fmt.Errorf("%w: drive %s: extent %d+%d lies outside the data area %d…%d", ErrCorrupt, d.id, e.Off, e.Len, dataStart, end)
		}
		have += min(e.Len, MaxFragment*2-have) // no overflow, however many there are
	}
	if have < need {
		return fmt.Errorf("%w: drive %s: extents hold %d bytes of the %d that the fragment takes", ErrCorrupt, d.id, have, need)
	}
	return nil
}

// checkReserved verifies that exts, which checkExtents accepted, are in use: to
// write to free space would be to overwrite whoever reserves it next.
func (d *Drive) checkReserved(exts []layout.Extent) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range exts {
		if r := d.unitsOf(e); !d.space.allUsed(r.start, r.n) {
			return fmt.Errorf("%w: drive %s: extent %d+%d was not reserved", ErrRange, d.id, e.Off, e.Len)
		}
	}
	return nil
}

// aligned reports whether e has the form of an extent.
func (d *Drive) aligned(e layout.Extent) bool {
	return e.Len > 0 && e.Off >= 0 && e.Off%d.unit == 0 && e.Len%d.unit == 0
}

// unitsOf converts an aligned extent to units.
func (d *Drive) unitsOf(e layout.Extent) run {
	return run{(e.Off - dataStart) / d.unit, e.Len / d.unit}
}

// Claim marks extents that a metadata record names as in use. It is called for
// every record at start, before the first Reserve. All of them are claimed or
// none. ErrOverlap: some unit of them is in use already; ErrCorrupt: they lie
// outside the drive.
func (d *Drive) Claim(exts []layout.Extent) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, e := range exts {
		r := d.unitsOf(e)
		var err error
		switch {
		case !d.aligned(e) || e.Off < dataStart || !d.space.inside(r.start, r.n):
			err = ErrCorrupt
		case !d.space.allFree(r.start, r.n):
			err = ErrOverlap
		default:
			d.space.set(r.start, r.n)
			continue
		}
		for _, done := range exts[:i] {
			u := d.unitsOf(done)
			d.space.clear(u.start, u.n)
		}
		return fmt.Errorf("%w: drive %s: claim of extent %d+%d", err, d.id, e.Off, e.Len)
	}
	return nil
}

// Free returns extents to the free space. The caller guarantees that no durable
// metadata names them and that nobody reads or writes them any more. Where the
// device has not answered a write to them yet, which was given up or released,
// they are freed once it has, for the write may still come to pass. Extents that
// are not all in use (freed twice, say) are refused as a whole, logged and counted:
// leaking them until the next start is harmless, lending them twice is not.
func (d *Drive) Free(exts []layout.Extent) {
	f := &d.flight
	f.mu.Lock()
	busy := f.writes.overlaps(exts) || f.pending.overlaps(exts)
	if busy {
		f.deferred = append(f.deferred, slices.Clone(exts))
	}
	f.mu.Unlock()
	if !busy {
		d.free(exts)
	}
}

// free is Free of extents to which no write is in flight.
func (d *Drive) free(exts []layout.Extent) {
	d.mu.Lock()
	bad := -1
	for i, e := range exts {
		r := d.unitsOf(e)
		if !d.aligned(e) || e.Off < dataStart || !d.space.inside(r.start, r.n) || !d.space.allUsed(r.start, r.n) {
			bad = i
			break
		}
		d.space.clear(r.start, r.n)
	}
	for i := 0; i < bad; i++ {
		r := d.unitsOf(exts[i])
		d.space.set(r.start, r.n)
	}
	d.mu.Unlock()
	if bad >= 0 {
		d.badFrees.Add(1)
		d.log.Error("refused to free extents that are not in use", "drive", d.id, "offset", exts[bad].Off, "bytes", exts[bad].Len, "extents", len(exts))
	}
}
