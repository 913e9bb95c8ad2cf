package layout

// Geometry tells how a payload is spread over fragments. The payload is cut into
// rows of Data units, Unit bytes each. Unit i of a row belongs to fragment i, as
// one frame of it. The last row's units may be short, or empty, from the end.
// Parity fragments hold, for each row, a unit as long as the row's first, which
// Reed-Solomon coding computes from the row's units, each extended with zeros to
// that length. With Data 1 every parity fragment is a copy.
type Geometry struct {
	Size         int64 // payload bytes
	Unit         int64
	Data, Parity int
}

// Fragments returns the number of fragments.
func (g Geometry) Fragments() int { return g.Data + g.Parity }

// Row returns the payload bytes of a whole row.
func (g Geometry) Row() int64 { return g.Unit * int64(g.Data) }

// Rows returns the number of rows, which is also that of the frames of fragment 0
// and of each parity fragment.
func (g Geometry) Rows() int64 { return (g.Size + g.Row() - 1) / g.Row() }

// UnitLen returns the bytes of the unit that fragment i has of a row; 0 where it
// has none.
func (g Geometry) UnitLen(row int64, i int) int {
	left := g.Size - row*g.Row()
	if i < g.Data {
		left -= int64(i) * g.Unit
	}
	return int(max(0, min(left, g.Unit)))
}

// FragmentSize returns the payload bytes of fragment i; 0 for a data fragment that
// a small payload does not reach.
func (g Geometry) FragmentSize(i int) int64 {
	if g.Size == 0 {
		return 0
	}
	last := g.Rows() - 1
	return last*g.Unit + int64(g.UnitLen(last, i))
}

// Locate returns where payload byte off lies: the row, the data fragment, and the
// byte within the unit.
func (g Geometry) Locate(off int64) (row int64, i, at int) {
	row = off / g.Row()
	rest := off % g.Row()
	return row, int(rest / g.Unit), int(rest % g.Unit)
}
