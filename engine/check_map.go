package engine

import (
	"math/bits"

	"github.com/sluicehq/sluice/engine/layout"
)

const (
	spacePageUnits = 1 << 15 // units of a page: 4 KiB of bits
	// spacePages bounds the pages of a map of a drive: 32 MiB, which is enough for the
	// most units that a drive has (FORMAT.md, part 1, §1.2).
	spacePages = 1 << 13
)

// spaceMap is a set of units of a drive. Its memory follows what is in it.
type spaceMap struct {
	unit  int64
	pages map[int64]*[spacePageUnits / 64]uint64
	full  bool // what needed another page was left out
}

func newSpaceMap(unit int64) *spaceMap {
	return &spaceMap{unit: unit, pages: make(map[int64]*[spacePageUnits / 64]uint64)}
}

// each calls fn for the words that the extent touches, with the bits in question; w
// is nil where nothing of a page was added and add is false.
func (m *spaceMap) each(x layout.Extent, add bool, fn func(w *uint64, first int64, mask uint64) bool) {
	at, end := x.Off/m.unit, (x.Off+x.Len+m.unit-1)/m.unit
	for at < end {
		page := m.pages[at/spacePageUnits]
		if page == nil && add {
			if len(m.pages) >= spacePages {
				m.full = true
				return
			}
			page = new([spacePageUnits / 64]uint64)
			m.pages[at/spacePageUnits] = page
		}
		bit := at % 64
		n := min(end-at, 64-bit)
		mask := ^uint64(0) >> (64 - n) << bit
		var w *uint64
		if page != nil {
			w = &page[at%spacePageUnits/64]
		}
		if !fn(w, at-bit, mask) {
			return
		}
		at += n
	}
}

// add puts an extent in and reports whether none of it was in before.
func (m *spaceMap) add(x layout.Extent) (alone bool) {
	alone = true
	m.each(x, true, func(w *uint64, _ int64, mask uint64) bool {
		alone = alone && *w&mask == 0
		*w |= mask
		return true
	})
	return alone
}

// rest returns the runs of an extent that are not in the set.
func (m *spaceMap) rest(x layout.Extent, out []layout.Extent) []layout.Extent {
	m.each(x, false, func(w *uint64, first int64, mask uint64) bool {
		if w != nil {
			mask &^= *w
		}
		for mask != 0 {
			lo := int64(bits.TrailingZeros64(mask))
			n := int64(bits.TrailingZeros64(^(mask >> lo)))
			run := layout.Extent{Off: (first + lo) * m.unit, Len: n * m.unit}
			if k := len(out); k > 0 && out[k-1].Off+out[k-1].Len == run.Off {
				out[k-1].Len += run.Len
			} else {
				out = append(out, run)
			}
			if lo+n == 64 {
				break
			}
			mask = mask >> (lo + n) << (lo + n)
		}
		return true
	})
	return out
}

// without returns what is left of runs when taken is taken out of them.
func without(runs []layout.Extent, taken layout.Extent) []layout.Extent {
	end := taken.Off + taken.Len
	for i := 0; i < len(runs); i++ {
		x := runs[i]
		if x.Off >= end || taken.Off >= x.Off+x.Len {
			continue
		}
		out := append([]layout.Extent(nil), runs[:i]...)
		for _, r := range runs[i:] {
			if r.Off >= end || taken.Off >= r.Off+r.Len {
				out = append(out, r)
				continue
			}
			if r.Off < taken.Off {
				out = append(out, layout.Extent{Off: r.Off, Len: taken.Off - r.Off})
			}
			if r.Off+r.Len > end {
				out = append(out, layout.Extent{Off: end, Len: r.Off + r.Len - end})
			}
		}
		return out
	}
	return runs
}
