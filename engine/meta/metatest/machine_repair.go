package metatest

import (
	"slices"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// fragment makes a fragment with a place.
func (m *machine) fragment() layout.Fragment {
	f := layout.Fragment{Drive: layout.DriveID(m.id())}
	for range m.int("extents", 1, 3) {
		f.Extents = append(f.Extents, layout.Extent{Off: m.int("off", 0, 1<<50), Len: m.int("len", 1, 1<<40)})
	}
	return f
}

// striped makes a striped blob of b, as many of whose fragments may be missing as
// the parity allows.
func (m *machine) striped(b layout.Blob) layout.Blob {
	b.Kind = layout.KindStriped
	b.Data, b.Parity = uint8(m.int("data", 1, 4)), uint8(m.int("parity", 0, 2))
	b.Unit = layout.UnitStep * m.int("unit", 1, layout.MaxUnit/layout.UnitStep)
	b.Size = m.int("size", 1, 1<<23)
	g := b.Geometry()
	spare := int(b.Parity)
	for i := range g.Fragments() {
		f := layout.Fragment{}
		switch {
		case g.FragmentSize(i) == 0:
		case spare > 0 && m.int("missing", 0, 3) == 0:
			spare--
		default:
			f = m.fragment()
		}
		b.Fragments = append(b.Fragments, f)
	}
	return b
}

// blobOnDrives picks a blob that has a back-reference, or skips the step.
func (m *machine) blobOnDrives() layout.BlobID {
	if len(m.model.places) == 0 {
		m.t.Skip("no blob on drives")
	}
	ids := make([]layout.BlobID, 0, len(m.model.places))
	for id := range m.model.places {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b layout.BlobID) int { return slices.Compare(a[:], b[:]) })
	return ids[m.int("which", 0, int64(len(ids)-1))]
}

func (m *machine) move() { m.moveBlob(m.blobOnDrives()) }

// moveBlob moves fragments of a blob, or names a place that is not theirs.
func (m *machine) moveBlob(id layout.BlobID) {
	ref := m.model.places[id]
	g := ref.Blob.Geometry()
	c := &meta.MoveFragments{Slot: ref.Slot, Blob: id, Now: m.int("now", 0, 9)}
	wrong := false
	moved := slices.Clone(ref.Blob.Fragments)
	for i, f := range moved {
		if g.FragmentSize(i) == 0 || m.int("move it", 0, 1) == 0 {
			continue
		}
		mv := meta.Move{Number: i, From: f}
		if m.int("lose it", 0, 4) > 0 {
			mv.To = m.fragment()
		} else if len(f.Extents) == 0 {
			continue
		}
		if m.int("mistake", 0, 9) == 0 {
			mv.From, wrong = m.fragment(), true
		}
		moved[i] = mv.To
		c.Moves = append(c.Moves, mv)
	}
	before := m.s.Applied()
	m.expect(c, nil)
	if want := !wrong && len(c.Moves) > 0; c.Moved != want || !want && m.s.Applied() != before {
		m.t.Fatalf("moved %t: %+v", c.Moved, c)
	}
	if !c.Moved {
		return
	}
	rec, queued := m.model.repairs[id]
	for _, mv := range c.Moves {
		rec.bad &^= 1 << mv.Number
	}
	ref.Blob.Fragments = moved
	m.model.places[id] = ref
	if rec.bad == 0 && missing(&ref.Blob) == 0 {
		delete(m.model.repairs, id)
	} else {
		if !queued {
			rec.since = c.Now
		}
		m.model.repairs[id] = rec
	}
	if m.int("again", 0, 3) == 0 {
		before := m.s.Applied()
		if m.expect(c, nil); !c.Moved || m.s.Applied() != before {
			m.t.Fatalf("a move was applied twice: moved %t", c.Moved)
		}
	}
}

// restripe gives a blob another geometry, or names a placement that is not its own.
func (m *machine) restripe() {
	id := m.blobOnDrives()
	ref := m.model.places[id]
	if ref.Blob.Size == 0 {
		m.t.Skip("nothing to spread")
	}
	c := &meta.Restripe{Slot: ref.Slot, From: ref.Blob, To: layout.Blob{ID: id, Size: ref.Blob.Size, Kind: layout.KindStriped}}
	c.To.Data, c.To.Parity = uint8(m.int("data", 1, 4)), uint8(m.int("parity", 0, 2))
	c.To.Unit = layout.UnitStep * m.int("unit", 1, layout.MaxUnit/layout.UnitStep)
	if m.int("single", 0, 9) == 0 {
		c.To.Kind, c.To.Data, c.To.Parity, c.To.Unit = layout.KindSingle, 0, 0, 0
	}
	g := c.To.Geometry()
	for i := range g.Fragments() {
		f := layout.Fragment{}
		if g.FragmentSize(i) > 0 {
			f = layout.Fragment{Drive: layout.DriveID(m.id()), Extents: []layout.Extent{{Off: m.int("off", 0, 1<<50), Len: m.int("len", 1, 1<<40)}}}
		}
		c.To.Fragments = append(c.To.Fragments, f)
	}
	wrong := m.int("mistake", 0, 4) == 0
	if wrong {
		c.From.Fragments = slices.Clone(c.From.Fragments)
		c.From.Fragments[0] = m.fragment()
	}
	before := m.s.Applied()
	m.expect(c, nil)
	if c.Moved == wrong || wrong && m.s.Applied() != before {
		m.t.Fatalf("moved %t: %+v", c.Moved, c)
	}
	if wrong {
		return
	}
	ref.Blob = c.To
	m.model.places[id] = ref
	delete(m.model.repairs, id)
	if m.int("again", 0, 3) == 0 {
		before := m.s.Applied()
		if m.expect(c, nil); !c.Moved || m.s.Applied() != before {
			m.t.Fatalf("applied twice: moved %t", c.Moved)
		}
	}
}

// queueRepair queues a blob, or one that is gone.
func (m *machine) queueRepair() {
	if m.int("gone", 0, 9) == 0 {
		c := &meta.QueueRepair{Slot: 1, Blob: m.id(), Bad: 1, Now: 1}
		if m.expect(c, nil); c.Queued {
			m.t.Fatalf("a blob that does not exist was queued")
		}
		return
	}
	id := m.blobOnDrives()
	ref := m.model.places[id]
	c := &meta.QueueRepair{Slot: ref.Slot, Blob: id, Bad: uint32(m.int("bad", 0, 1<<7)), Now: m.int("now", 0, 9)}
	m.expect(c, nil)
	rec, queued := m.model.repairs[id]
	for i, f := range ref.Blob.Fragments {
		if len(f.Extents) > 0 {
			rec.bad |= c.Bad & (1 << i)
		}
	}
	if want := rec.bad != 0 || missing(&ref.Blob) > 0; c.Queued != want {
		m.t.Fatalf("queued %t, want %t", c.Queued, want)
	} else if !want {
		return
	}
	if !queued {
		rec.since = c.Now
	}
	m.model.repairs[id] = rec
}
