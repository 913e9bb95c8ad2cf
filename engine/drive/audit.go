package drive

import (
	"github.com/sluicehq/sluice/engine/layout"
)

// Holds reports what is wrong with extents that a metadata record names for a fragment
// that takes need bytes, or nil. ErrCorrupt: they lie outside the data area, are not
// aligned, or too short; ErrRange: not all of them are in use, so that they may be
// given to somebody else.
func (d *Drive) Holds(exts []layout.Extent, need int64) error {
	if err := d.checkExtents(exts, need); err != nil {
		return err
	}
	return d.checkReserved(exts)
}

// NextUsed returns the first run of units in use at or behind byte off of the drive,
// or no more than 128 MiB of it; false: there is none.
func (d *Drive) NextUsed(off int64) (layout.Extent, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := max(0, (off-dataStart+d.unit-1)/d.unit)
	for at < d.space.units {
		g, base := d.space.groups[at/groupUnits], at/groupUnits*groupUnits
		start := base + int64(g.next(int(at-base), ^uint64(0)))
		end := min(base+groupUnits, d.space.units)
		if start >= end {
			at = base + groupUnits
			continue
		}
		end = min(end, base+int64(g.next(int(start-base), 0)))
		return layout.Extent{Off: dataStart + start*d.unit, Len: (end - start) * d.unit}, true
	}
	return layout.Extent{}, false
}
