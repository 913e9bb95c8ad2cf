package drive

import (
	"cmp"
	"math/bits"
	"slices"
)

// A group is 32,768 units: 4 KiB of bitmap with a summary, so that a search
// looks at bits only where it will find what it wants.
const (
	groupUnits = 1 << 15
	groupWords = groupUnits / 64
)

// group is part of the bitmap. A set bit is a unit in use, or one past the end
// of the drive.
type group struct {
	words [groupWords]uint64
	free  int
	// longest is an upper bound of the longest free run. With fresh set it is
	// exact, as are prefix and suffix, the free runs at either end.
	longest, prefix, suffix int
	fresh                   bool
}

// run is a run of units.
type run struct{ start, n int64 }

// bitmap knows which units of a drive are in use. It is not safe for
// concurrent use.
type bitmap struct {
	groups []*group
	units  int64 // units that exist
	used   int64 // of them, in use
	limit  int64 // most units that take may let be in use
	cursor int64 // where the last search ended: the next begins here
}

// free returns the units that take could still hand out.
func (m *bitmap) free() int64 { return max(0, min(m.units, m.limit)-m.used) }

// extend makes the drive units long. It never shrinks.
func (m *bitmap) extend(units int64) {
	if units <= m.units {
		return
	}
	for int64(len(m.groups))*groupUnits < units {
		g := &group{}
		for i := range g.words {
			g.words[i] = ^uint64(0)
		}
		m.groups = append(m.groups, g)
	}
	old := m.units
	m.units = units
	m.clear(old, units-old)
	m.used += units - old // clear counted units that were never in use
}

// inside reports whether [start, start+n) is a run of existing units.
func (m *bitmap) inside(start, n int64) bool {
	return start >= 0 && n > 0 && start <= m.units && n <= m.units-start
}

// each calls fn for every word that [start, start+n) touches, with the mask of
// the bits in question, until fn returns false.
func (m *bitmap) each(start, n int64, fn func(g *group, w *uint64, mask uint64) bool) bool {
	for n > 0 {
		g, bit := m.groups[start/groupUnits], uint(start%64)
		k := min(n, int64(64-bit))
		mask := (^uint64(0) >> (64 - uint(k))) << bit
		if !fn(g, &g.words[start%groupUnits/64], mask) {
			return false
		}
		start, n = start+k, n-k
	}
	return true
}

// allUsed reports whether every unit of the run is in use.
func (m *bitmap) allUsed(start, n int64) bool {
	return m.each(start, n, func(_ *group, w *uint64, mask uint64) bool { return *w&mask == mask })
}

// allFree reports whether no unit of the run is in use.
func (m *bitmap) allFree(start, n int64) bool {
	return m.each(start, n, func(_ *group, w *uint64, mask uint64) bool { return *w&mask == 0 })
}

// set marks free units as in use.
func (m *bitmap) set(start, n int64) {
	m.used += n
	m.each(start, n, func(g *group, w *uint64, mask uint64) bool {
		*w |= mask
		g.free -= bits.OnesCount64(mask)
		g.fresh = false // longest remains an upper bound
		return true
	})
}

// clear marks units in use as free.
func (m *bitmap) clear(start, n int64) {
	m.used -= n
	m.each(start, n, func(g *group, w *uint64, mask uint64) bool {
		*w &^= mask
		g.free += bits.OnesCount64(mask)
		g.longest, g.fresh = groupUnits, false
		return true
	})
}

// refresh makes the summary exact.
func (g *group) refresh() {
	if g.fresh {
		return
	}
	g.fresh, g.longest, g.prefix, g.suffix = true, 0, 0, 0
	cur, seenUsed := 0, false
	for _, w := range g.words {
		if w == 0 {
			cur += 64
			continue
		}
		cur += bits.TrailingZeros64(w)
		if !seenUsed {
			g.prefix, seenUsed = cur, true
		}
		g.longest = max(g.longest, cur)
		for x := w >> bits.TrailingZeros64(w); ; {
			x >>= bits.TrailingZeros64(^x)
			if x == 0 {
				break
			}
			z := bits.TrailingZeros64(x)
			g.longest = max(g.longest, z)
			x >>= z
		}
		cur = bits.LeadingZeros64(w)
	}
	if !seenUsed {
		g.prefix = cur
	}
	g.suffix = cur
	g.longest = max(g.longest, cur)
}

// find returns the first free run of at least n units that begins at or after
// bit from, with its whole length, or -1.
func (g *group) find(from, n int) (start, length int) {
	for from+n <= groupUnits {
		start = g.next(from, 0)
		end := g.next(start, ^uint64(0))
		if end-start >= n && start < groupUnits {
			return start, end - start
		}
		from = end
	}
	return -1, 0
}

// next returns the first bit at or after from whose value differs from flip's:
// the first free one for 0, the first used one for all ones; groupUnits when
// there is none.
func (g *group) next(from int, flip uint64) int {
	if from >= groupUnits {
		return groupUnits
	}
	i := from / 64
	w := (^g.words[i] ^ flip) >> uint(from%64) << uint(from%64)
	for w == 0 {
		if i++; i == groupWords {
			return groupUnits
		}
		w = ^g.words[i] ^ flip
	}
	return i*64 + bits.TrailingZeros64(w)
}

// take marks n units as in use and returns them as at most maxRuns runs in
// ascending order: one run if there is one, else runs as long as possible.
// It returns nil, and changes nothing, when that cannot be had.
func (m *bitmap) take(n int64, maxRuns int) []run {
	if n < 1 || n > m.free() {
		return nil
	}
	best := m.findRun(n)
	if best.n >= n {
		best.n = n
		m.set(best.start, n)
		m.cursor = best.start + n
		return []run{best}
	}
	if maxRuns < 2 {
		return nil
	}
	return m.scatter(n, maxRuns, best)
}

// findRun returns a free run of at least n units, searching onward from the
// cursor, or the longest run there is.
func (m *bitmap) findRun(n int64) run {
	count := int64(len(m.groups))
	at := m.cursor / groupUnits
	if at >= count {
		at = 0
	} else if g := m.groups[at]; int64(g.longest) >= n {
		if start, length := g.find(int(m.cursor%groupUnits), int(n)); start >= 0 {
			return run{at*groupUnits + int64(start), int64(length)}
		}
	}
	var best run
	bestIn := int64(-1) // group whose longest run is best; its start is not known yet
	var open int64      // free units that end just before the group at hand
	whole := false      // the group before the one at hand is free as a whole
	// A run that begins before the cursor may go on behind it: the search ends where
	// it does, in the second round.
	for i := int64(0); i <= count || whole && i < 2*count; i++ {
		gi := (at + i) % count
		g, base := m.groups[gi], gi*groupUnits
		if gi == 0 {
			open = 0
		}
		g.refresh()
		if joined := open + int64(g.prefix); joined > best.n {
			best, bestIn = run{base - open, joined}, -1
		}
		if int64(g.longest) > best.n {
			best, bestIn = run{0, int64(g.longest)}, gi
		}
		if best.n >= n {
			break
		}
		if whole = g.free == groupUnits; whole {
			open += groupUnits
		} else {
			open = int64(g.suffix)
		}
	}
	if bestIn >= 0 {
		want := min(best.n, n)
		start, length := m.groups[bestIn].find(0, int(want))
		best = run{bestIn*groupUnits + int64(start), int64(length)}
	}
	return best
}

// scatter gathers n units from several runs, beginning with the longest, best,
// and then with ever shorter ones.
func (m *bitmap) scatter(n int64, maxRuns int, best run) []run {
	runs := make([]run, 0, 16)
	grab := func(r run) {
		r.n = min(r.n, n)
		m.set(r.start, r.n)
		n -= r.n
		runs = append(runs, r)
	}
	grab(best)
	for least := best.n; n > 0 && least >= 1 && len(runs) < maxRuns; least /= 2 {
		for gi := 0; gi < len(m.groups) && n > 0 && len(runs) < maxRuns; gi++ {
			g, from := m.groups[gi], 0
			if g.refresh(); int64(g.longest) < least {
				continue
			}
			for n > 0 && len(runs) < maxRuns {
				start, length := g.find(from, int(min(least, groupUnits)))
				if start < 0 {
					break
				}
				grab(run{int64(gi)*groupUnits + int64(start), int64(length)})
				from = start + length
			}
		}
	}
	if n > 0 {
		for _, r := range runs {
			m.clear(r.start, r.n)
		}
		return nil
	}
	last := runs[len(runs)-1]
	m.cursor = last.start + last.n
	return join(runs)
}

// join sorts runs and merges neighbours.
func join(runs []run) []run {
	slices.SortFunc(runs, func(a, b run) int { return cmp.Compare(a.start, b.start) })
	out := runs[:1]
	for _, r := range runs[1:] {
		if last := &out[len(out)-1]; last.start+last.n == r.start {
			last.n += r.n
		} else {
			out = append(out, r)
		}
	}
	return out
}
