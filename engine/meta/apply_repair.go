package meta

import (
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/engine/layout"
)

// repairOf reads a blob's entry in the repair queue.
func repairOf(r Reader, s Slot, id layout.BlobID) (rec repairRecord, ok bool, err error) {
	v, ok, err := r.Get(idKey(s, typeRepair, id))
	if err != nil || !ok {
		return rec, false, err
	}
	rec, err = decodeRepair(v)
	return rec, err == nil, err
}

// worth keeps those bits of bad that stand for fragments which have a place.
func worth(b *layout.Blob, bad uint32) (out uint32) {
	for i := range b.Fragments {
		if len(b.Fragments[i].Extents) > 0 {
			out |= bad & (1 << i)
		}
	}
	return out
}

func sameFragment(a, b *layout.Fragment) bool {
	return a.Drive == b.Drive && slices.Equal(a.Extents, b.Extents)
}

// check checks what the blob does not need to be known for.
func (c *MoveFragments) check() error {
	var seen uint32
	for i := range c.Moves {
		m := &c.Moves[i]
		if m.Number < 0 || m.Number >= layout.MaxData+layout.MaxParity || seen&(1<<m.Number) != 0 {
			return fmt.Errorf("%w: fragment %d", ErrInvalid, m.Number)
		}
		seen |= 1 << m.Number
		if err := soundExtents(m.To.Extents); err != nil {
			return err
		}
		if m.From.Drive != m.To.Drive {
			continue
		}
		for _, e := range m.To.Extents {
			if slices.ContainsFunc(m.From.Extents, func(f layout.Extent) bool {
				return e.Off < f.Off+f.Len && f.Off < e.Off+e.Len
			}) {
				return fmt.Errorf("%w: fragment %d moved into itself", ErrInvalid, m.Number)
			}
		}
	}
	return nil
}

// at reports whether every fragment is where place tells.
func (c *MoveFragments) at(b *layout.Blob, place func(*Move) *layout.Fragment) bool {
	for i := range c.Moves {
		if m := &c.Moves[i]; !sameFragment(&b.Fragments[m.Number], place(m)) {
			return false
		}
	}
	return true
}

// Apply implements Command.
func (c *MoveFragments) Apply(tx Tx) error {
	c.Moved = false
	if err := c.check(); err != nil || len(c.Moves) == 0 {
		return err
	}
	ref, ok, err := LocateRef(tx, c.Slot, c.Blob)
	if err != nil || !ok {
		return err
	}
	b := &ref.Blob
	g := b.Geometry()
	for i := range c.Moves {
		m := &c.Moves[i]
		if m.Number >= len(b.Fragments) || len(m.To.Extents) > 0 && g.FragmentSize(m.Number) == 0 {
			return fmt.Errorf("%w: fragment %d of blob %s", ErrInvalid, m.Number, c.Blob)
		}
	}
	if !c.at(b, func(m *Move) *layout.Fragment { return &m.From }) {
		c.Moved = c.at(b, func(m *Move) *layout.Fragment { return &m.To })
		return nil
	}
	rec, queued, err := repairOf(tx, c.Slot, c.Blob)
	if err != nil {
		return err
	}
	for i := range c.Moves {
		m := &c.Moves[i]
		b.Fragments[m.Number] = m.To
		rec.Bad &^= 1 << m.Number
	}
	tx.Put(idKey(c.Slot, typeBackRef, c.Blob), encodeBackRef(&ref))
	key := idKey(c.Slot, typeRepair, c.Blob)
	switch needed := rec.Bad != 0 || b.Missing() > 0; {
	case needed:
		if !queued {
			rec.Since = c.Now
		}
		tx.Put(key, encodeRepair(&rec))
	case queued:
		tx.Delete(key)
	}
	c.Moved = true
	return nil
}

// check checks what the blob does not need to be known for.
func (c *Restripe) check() error {
	from, to := &c.From, &c.To
	if from.ID != to.ID || from.Size != to.Size || to.ID.IsZero() || to.Size < 1 || to.Kind == layout.KindInline {
		return fmt.Errorf("%w: blob %s of %d bytes, kind %d, in place of %s of %d", ErrInvalid, to.ID, to.Size, to.Kind, from.ID, from.Size)
	}
	if err := checkBlob(to, nil); err != nil {
		return err
	}
	if n := to.Missing(); n > 0 {
		return fmt.Errorf("%w: %d fragments without a place", ErrInvalid, n)
	}
	for i := range to.Fragments {
		for j := range from.Fragments {
			if meet(&to.Fragments[i], &from.Fragments[j]) {
				return fmt.Errorf("%w: fragment %d lies where fragment %d did", ErrInvalid, i, j)
			}
		}
		for j := range i {
			if meet(&to.Fragments[i], &to.Fragments[j]) {
				return fmt.Errorf("%w: fragments %d and %d overlap", ErrInvalid, j, i)
			}
		}
	}
	return nil
}

// meet reports whether two fragments share bytes of a drive.
func meet(a, b *layout.Fragment) bool {
	if a.Drive != b.Drive {
		return false
	}
	for _, x := range a.Extents {
		if slices.ContainsFunc(b.Extents, func(y layout.Extent) bool { return x.Off < y.Off+y.Len && y.Off < x.Off+x.Len }) {
			return true
		}
	}
	return false
}

// sameBlob reports whether a and b are one blob that lies in the same places.
func sameBlob(a, b *layout.Blob) bool {
	return a.ID == b.ID && a.Size == b.Size && a.Kind == b.Kind && a.Geometry() == b.Geometry() &&
		slices.EqualFunc(a.Fragments, b.Fragments, func(x, y layout.Fragment) bool { return sameFragment(&x, &y) })
}

// Apply implements Command.
func (c *Restripe) Apply(tx Tx) error {
	c.Moved = false
	if err := c.check(); err != nil {
		return err
	}
	ref, ok, err := LocateRef(tx, c.Slot, c.From.ID)
	if err != nil || !ok {
		return err
	}
	if !sameBlob(&ref.Blob, &c.From) {
		c.Moved = sameBlob(&ref.Blob, &c.To)
		return nil
	}
	_, queued, err := tx.Get(idKey(c.Slot, typeRepair, c.From.ID))
	if err != nil {
		return err
	}
	ref.Blob = c.To
	tx.Put(idKey(c.Slot, typeBackRef, c.From.ID), encodeBackRef(&ref))
	if queued {
		tx.Delete(idKey(c.Slot, typeRepair, c.From.ID))
	}
	c.Moved = true
	return nil
}

// Apply implements Command.
func (c *QueueRepair) Apply(tx Tx) error {
	c.Queued = false
	b, ok, err := Locate(tx, c.Slot, c.Blob)
	if err != nil || !ok {
		return err
	}
	rec, queued, err := repairOf(tx, c.Slot, c.Blob)
	if err != nil {
		return err
	}
	bad := rec.Bad | worth(&b, c.Bad)
	if bad == 0 && b.Missing() == 0 && !queued {
		return nil
	}
	c.Queued = true
	if queued && bad == rec.Bad {
		return nil
	}
	if !queued {
		rec.Since = c.Now
	}
	rec.Bad = bad
	tx.Put(idKey(c.Slot, typeRepair, c.Blob), encodeRepair(&rec))
	return nil
}
