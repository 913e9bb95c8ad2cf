package erasure

import "github.com/sluicehq/sluice/engine/layout"

// Bounds of Choose, in bytes.
const (
	// MirrorMax is the largest payload that is mirrored although it could be striped:
	// see engine/ARCHITECTURE.md.
	MirrorMax = 128 << 10
	// StripeUnit is the longest unit of a payload that is striped. A frame of it and
	// its header fit into one ioring.MediumBuffer.
	StripeUnit = 512 << 10
)

// Choose returns the geometry for a payload of size bytes over data and parity
// drives: mirrored where that is cheaper, else striped with units that leave its
// rows nearly equally long. It uses fewer data drives than it is given where more
// would hold nothing. data and parity are brought into their ranges.
func Choose(size int64, data, parity int) layout.Geometry {
	return ChooseWithin(size, data, parity, layout.MaxUnit)
}

// ChooseWithin is Choose with units of at most unit bytes, a multiple of
// layout.UnitStep, for who has little memory.
func ChooseWithin(size int64, data, parity int, unit int64) layout.Geometry {
	data = max(1, min(data, layout.MaxData))
	parity = max(0, min(parity, layout.MaxParity))
	size = max(0, size)
	if size <= MirrorMax {
		data = 1
	}
	longest := int64(layout.MaxUnit)
	if data > 1 {
		longest = StripeUnit
	}
	longest = min(longest, max(unit, layout.UnitStep))
	k := int64(data)
	rows := max(1, ceil(size, k*longest))
	g := layout.Geometry{Size: size, Data: data, Parity: parity}
	g.Unit = max(1, ceil(ceil(size, k*rows), layout.UnitStep)) * layout.UnitStep
	if rows == 1 {
		g.Data = int(max(1, ceil(size, g.Unit)))
	}
	return g
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }
