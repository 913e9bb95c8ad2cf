package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

const (
	mapBudget  = 64 << 20 // bytes of maps of drives at a time
	absentUnit = 4 << 10  // of a drive that cannot be asked: the smallest there is
	rivalsMost = 16       // searches for the other of two fragments that overlap
	driveReach = 1 << 50  // bytes; no drive is larger
)

// places goes through the back-references of one moment: where fragments are said to
// lie, and whether the drives think so, too.
func (c *check) places(ctx context.Context) (err error) {
	snap := c.e.store.Snapshot()
	defer func() {
		if cerr := snap.Close(); err == nil {
			err = cerr
		}
	}()
	c.suspected = make(map[layout.DriveID][]layout.Extent)
	p := &placesPass{c: c, snap: snap, view: c.e.drives.now()}
	for i, group := range p.groups(p.view.all) {
		p.first, p.maps = i == 0, group
		if err := p.run(ctx); err != nil {
			return err
		}
		p.unnamed()
	}
	return nil
}

// placesPass is one walk over the back-references.
type placesPass struct {
	c     *check
	snap  meta.Snapshot
	view  *driveView
	first bool
	maps  map[layout.DriveID]*spaceMap // of the drives that this pass looks at
}

// groups splits the drives so that the maps of those in a group fit in memory.
func (p *placesPass) groups(all []*member) (list []map[layout.DriveID]*spaceMap) {
	var group map[layout.DriveID]*spaceMap
	var size int64
	for _, m := range all {
		unit, need := int64(absentUnit), int64(spacePages*spacePageUnits/8)
		if m.d != nil {
			_, used, _ := m.d.Usage()
			unit = m.d.Unit()
			// Pages are not all full; new ones come while the check goes on.
			need = min(need, 4*used/unit/8+1<<20)
		}
		if group == nil || size+need > p.c.budget {
			group, size = make(map[layout.DriveID]*spaceMap), 0
			list = append(list, group)
		}
		group[m.id] = newSpaceMap(unit)
		size += need
	}
	return list
}

func (p *placesPass) run(ctx context.Context) error {
	n := 0
	return meta.BackRefs(p.snap, meta.BlobCursor{}, func(ref meta.BackRef, bad error) error {
		if n++; n&0x3FF == 0 {
			if err := p.c.pause(ctx); err != nil {
				return err
			}
		}
		if bad != nil {
			return nil // the audit reports it
		}
		p.blob(&ref)
		return nil
	})
}

// blob looks at one blob.
func (p *placesPass) blob(ref *meta.BackRef) {
	b := &ref.Blob
	if b.Kind == layout.KindInline {
		return
	}
	g := b.Geometry()
	there := 0
	for i := range b.Fragments {
		f := &b.Fragments[i]
		if len(f.Extents) == 0 {
			if i < g.Fragments() && g.FragmentSize(i) == 0 {
				there++
			}
			continue
		}
		if p.view.drive(f.Drive) != nil {
			there++
		}
		if p.first {
			p.alone(ref, i)
		}
		if m := p.maps[f.Drive]; m != nil {
			p.fragment(ref, i, m)
		} else if p.first && p.view.byID[f.Drive] == nil {
			p.stranger(ref, i)
		}
	}
	if !p.first {
		return
	}
	if there < g.Fragments() {
		p.c.res.Degraded++
	}
	if there < g.Data {
		p.c.res.Unreadable++
	}
}

// alone reports a fragment on a drive that has another of the same blob.
func (p *placesPass) alone(ref *meta.BackRef, i int) {
	f := &ref.Blob.Fragments[i]
	for j := range ref.Blob.Fragments[:i] {
		if o := &ref.Blob.Fragments[j]; o.Drive == f.Drive && len(o.Extents) > 0 {
			p.c.reportBlob(ProblemSameDrive, ref, f.Drive, "fragments %d and %d are on one drive", j, i)
			return
		}
	}
}

// stranger reports a fragment on a drive that does not belong to the cluster.
func (p *placesPass) stranger(ref *meta.BackRef, i int) {
	f := &ref.Blob.Fragments[i]
	if p.c.e.drives.now().byID[f.Drive] != nil || !p.c.still(ref, i) {
		return
	}
	p.c.reportBlob(ProblemPlacement, ref, f.Drive, "fragment %d is on a drive that is none of the cluster's", i)
}

// fragment looks at where a fragment lies.
func (p *placesPass) fragment(ref *meta.BackRef, i int, m *spaceMap) {
	f := &ref.Blob.Fragments[i]
	share := drive.FragmentOf(&ref.Blob, i)
	need := share.DiskSize()
	if err := p.holds(f, need); err != nil {
		// It may have moved, or the drive may have been opened anew, since.
		if p.c.still(ref, i) {
			err = p.holds(f, need)
		} else {
			err = nil
		}
		if err != nil {
			kind := ProblemPlacement
			if errors.Is(err, drive.ErrRange) {
				kind = ProblemSpace
			}
			p.c.reportBlob(kind, ref, f.Drive, "fragment %d: %v", i, err)
			if kind == ProblemPlacement {
				return
			}
		}
	}
	for _, x := range f.Extents {
		if !m.add(x) {
			p.c.reportBlob(ProblemOverlap, ref, f.Drive, "fragment %d, bytes %d+%d, and %s", i, x.Off, x.Len, p.rival(ref, i, x))
			return
		}
	}
}

// holds asks the drive about extents; one that is not there is not asked, but what
// no drive could hold is noticed.
func (p *placesPass) holds(f *layout.Fragment, need int64) error {
	if d := p.c.e.drives.now().drive(f.Drive); d != nil {
		return d.Holds(f.Extents, need)
	}
	var have int64
	for _, x := range f.Extents {
		if x.Off%absentUnit != 0 || x.Len%absentUnit != 0 || x.Len <= 0 || x.Off < 0 || x.Off > driveReach-x.Len {
			return fmt.Errorf("%w: extent %d+%d", drive.ErrCorrupt, x.Off, x.Len)
		}
		have += x.Len
	}
	if have < need {
		return fmt.Errorf("%w: extents hold %d bytes of the %d that the fragment takes", drive.ErrCorrupt, have, need)
	}
	return nil
}

// rival tells what else lies at x, of fragment i.
func (p *placesPass) rival(ref *meta.BackRef, i int, x layout.Extent) string {
	if p.c.rivals++; p.c.rivals > rivalsMost {
		return "another fragment"
	}
	found := "a fragment that cannot be found"
	stop := errors.New("found")
	err := meta.BackRefs(p.snap, meta.BlobCursor{}, func(other meta.BackRef, bad error) error {
		for j := range other.Blob.Fragments {
			o := &other.Blob.Fragments[j]
			if other.Blob.ID == ref.Blob.ID && i == j || o.Drive != ref.Blob.Fragments[i].Drive || !overlap(o.Extents, []layout.Extent{x}) {
				continue
			}
			found = fmt.Sprintf("fragment %d of %s", j, name(&other))
			return stop
		}
		return nil
	})
	if err != nil && !errors.Is(err, stop) {
		return fmt.Sprintf("%s (%v)", found, err)
	}
	return found
}

// still reports whether a fragment lies where ref says.
func (c *check) still(ref *meta.BackRef, i int) bool {
	return c.e.still(ref, i) == nil
}
