package meta

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/sluicehq/sluice/engine/layout"
)

const (
	// blobNone marks the absence of a blob; other values are the kind plus one.
	blobNone = 0

	// maxFragment is the size up to which a drive takes a fragment.
	maxFragment = 1 << 51
)

// appendBlob appends what a record of an object or a part says of its blob. Where
// it lies is left out: the back-reference tells, since fragments move.
func appendBlob(b []byte, v *layout.Blob) []byte { return appendPlaced(b, v, nil) }

// appendPlaced appends a blob with the places of its fragments.
func appendPlaced(b []byte, v *layout.Blob, fragments []layout.Fragment) []byte {
	if v.ID.IsZero() {
		return append(b, blobNone)
	}
	b = append(append(b, byte(v.Kind)+1), v.ID[:]...)
	b = appendInt(b, v.Size)
	if v.Kind == layout.KindStriped {
		b = appendInt(append(b, v.Data, v.Parity), v.Unit)
	}
	b = binary.AppendUvarint(b, uint64(len(fragments)))
	for i := range fragments {
		f := &fragments[i]
		b = append(b, f.Drive[:]...)
		b = binary.AppendUvarint(b, uint64(len(f.Extents)))
		for _, e := range f.Extents {
			b = appendInt(appendInt(b, e.Off), e.Len)
		}
	}
	return b
}

// blob reads what appendBlob wrote. The first releases placed a blob in the records
// of objects and parts, too; what those say of it may be out of date, and is
// passed over.
func (d *decoder) blob() layout.Blob { return d.blobWith(false) }

// placed reads what appendPlaced wrote.
func (d *decoder) placed() layout.Blob { return d.blobWith(true) }

func (d *decoder) blobWith(places bool) (v layout.Blob) {
	tag := d.u8()
	if tag == blobNone {
		return v
	}
	v.Kind = layout.Kind(tag - 1)
	v.ID = d.id()
	v.Size = d.int()
	if v.ID.IsZero() || v.Kind > layout.KindStriped {
		d.bad = true
		return v
	}
	if v.Kind == layout.KindStriped {
		v.Data, v.Parity = d.u8(), d.u8()
		v.Unit = d.int()
		if !soundGeometry(&v) {
			d.bad = true
			return v
		}
	}
	n := d.count(17)
	switch {
	case v.Kind == layout.KindStriped && places:
		d.bad = d.bad || n != int(v.Data)+int(v.Parity)
	case v.Kind == layout.KindStriped:
		d.bad = d.bad || n != 0
	}
	if d.bad {
		return v
	}
	if !places {
		d.skipFragments(n)
		return v
	}
	if v.Fragments = d.fragments(n); v.Kind == layout.KindStriped && soundPlaces(&v) != nil {
		d.bad = true
	}
	return v
}

func (d *decoder) fragments(n int) []layout.Fragment {
	if n == 0 {
		return nil
	}
	list := make([]layout.Fragment, n)
	for i := range list {
		f := &list[i]
		f.Drive = d.id()
		if n := d.count(2); n > 0 {
			f.Extents = make([]layout.Extent, n)
		}
		for j := range f.Extents {
			f.Extents[j] = layout.Extent{Off: d.int(), Len: d.int()}
		}
	}
	return list
}

func (d *decoder) skipFragments(n int) {
	for range n {
		d.id()
		for range 2 * d.count(2) {
			d.int()
		}
	}
}

// soundGeometry reports whether a striped blob's numbers are within their ranges.
func soundGeometry(b *layout.Blob) bool {
	return b.Data >= 1 && b.Data <= layout.MaxData && b.Parity <= layout.MaxParity &&
		b.Unit >= layout.UnitStep && b.Unit <= layout.MaxUnit && b.Unit%layout.UnitStep == 0 &&
		b.Size >= 1 && b.Size <= maxFragment*int64(b.Data) && b.Geometry().FragmentSize(0) <= maxFragment
}

// soundPlaces checks the extents of a blob's fragments, which are as many as its
// geometry asks for: each is a range, and an empty fragment has none.
func soundPlaces(b *layout.Blob) error {
	g := b.Geometry()
	for i := range b.Fragments {
		exts := b.Fragments[i].Extents
		if len(exts) > 0 && g.FragmentSize(i) == 0 {
			return fmt.Errorf("%w: fragment %d is empty and has a place", ErrInvalid, i)
		}
		if err := soundExtents(exts); err != nil {
			return err
		}
	}
	return nil
}

func soundExtents(exts []layout.Extent) error {
	for _, e := range exts {
		if e.Off < 0 || e.Len <= 0 || e.Off > math.MaxInt64-e.Len {
			return fmt.Errorf("%w: extent %d+%d", ErrInvalid, e.Off, e.Len)
		}
	}
	return nil
}
