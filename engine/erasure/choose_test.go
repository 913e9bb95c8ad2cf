package erasure

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
)

func TestChoose(t *testing.T) {
	const KiB, MiB = 1 << 10, 1 << 20
	for _, c := range []struct {
		size         int64
		data, parity int
		unit         int64
		k, m         int
		rows         int64
	}{
		{1, 4, 2, 64 * KiB, 1, 2, 1},
		{64 * KiB, 4, 2, 64 * KiB, 1, 2, 1},
		{64*KiB + 1, 4, 2, 128 * KiB, 1, 2, 1},
		{MirrorMax, 4, 2, 128 * KiB, 1, 2, 1},
		{MirrorMax + 1, 4, 2, 64 * KiB, 3, 2, 1},
		{200 * KiB, 4, 2, 64 * KiB, 4, 2, 1},
		{256 * KiB, 4, 2, 64 * KiB, 4, 2, 1},
		{256*KiB + 1, 4, 2, 128 * KiB, 3, 2, 1},
		{MiB, 4, 2, 256 * KiB, 4, 2, 1},
		{MiB, 10, 4, 128 * KiB, 8, 4, 1},
		{MiB, 16, 4, 64 * KiB, 16, 4, 1},
		{MiB, 1, 1, MiB, 1, 1, 1},
		{MiB + 1, 1, 1, 576 * KiB, 1, 1, 2},
		{3 * MiB, 1, 2, MiB, 1, 2, 3},
		{2 * MiB, 4, 2, 512 * KiB, 4, 2, 1},
		{2*MiB + 1, 4, 2, 320 * KiB, 4, 2, 2},
		{16 * MiB, 4, 2, 512 * KiB, 4, 2, 8},
		{MiB, 4, 0, 256 * KiB, 4, 0, 1},
		{MiB, 99, 99, 64 * KiB, 16, 4, 1},
		{MiB, 0, -1, MiB, 1, 0, 1},
		{0, 4, 2, 64 * KiB, 1, 2, 0},
	} {
		g := Choose(c.size, c.data, c.parity)
		if g.Unit != c.unit || g.Data != c.k || g.Parity != c.m || g.Rows() != c.rows || g.Size != c.size {
			t.Errorf("%d bytes over %d+%d: %+v with %d rows, want %+v", c.size, c.data, c.parity, g, g.Rows(), c)
		}
	}
	if g := ChooseWithin(16*MiB, 4, 2, 128*KiB); g.Unit != 128*KiB || g.Data != 4 || g.Rows() != 32 {
		t.Errorf("%+v", g)
	}
}

// Every choice is within the limits, wastes little, and no fragment is empty.
func TestChooseProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.Int64Range(1, 4<<20), rapid.Int64Range(1, 5<<40)).Draw(t, "size")
		data := rapid.IntRange(1, layout.MaxData).Draw(t, "data")
		parity := rapid.IntRange(0, layout.MaxParity).Draw(t, "parity")
		most := rapid.Int64Range(1, layout.MaxUnit/layout.UnitStep).Draw(t, "unit") * layout.UnitStep
		g := ChooseWithin(size, data, parity, most)
		if g.Unit < layout.UnitStep || g.Unit > most || g.Unit%layout.UnitStep != 0 || g.Data < 1 || g.Data > data || g.Parity != parity {
			t.Fatalf("%+v", g)
		}
		var sum int64
		for i := range g.Fragments() {
			n := g.FragmentSize(i)
			if n < 1 {
				t.Fatalf("%+v: fragment %d is empty", g, i)
			}
			if i < g.Data {
				sum += n
			}
		}
		if sum != size {
			t.Fatalf("%+v: the data fragments hold %d", g, sum)
		}
	})
}
