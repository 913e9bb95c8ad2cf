package erasure

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
)

// fill returns units of a row with the given lengths of the data units.
func fill(seed uint64, parity int, lengths ...int) [][]byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	var units [][]byte
	for _, n := range lengths {
		u := make([]byte, n)
		for i := range u {
			u[i] = byte(rng.Uint32())
		}
		units = append(units, u)
	}
	for range parity {
		units = append(units, bytes.Repeat([]byte{0xA5}, lengths[0]))
	}
	return units
}

func mustNew(t testing.TB, data, parity int) *Code {
	t.Helper()
	c, err := New(data, parity)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The code is part of the disk format: these digests of parity units must never
// change.
func TestGolden(t *testing.T) {
	for _, g := range []struct {
		data, parity int
		sum          uint64
	}{
		{1, 2, 0xfcecb7c9049615c9},
		{2, 1, 0x868b726cd3bdc302},
		{2, 2, 0x7ec7c75cb997beb8},
		{4, 2, 0xf16fc24468374cd8},
		{6, 2, 0xe22df1b90f4ca909},
		{10, 4, 0x50f0819740f793f6},
		{16, 4, 0xad03fa57d2b65eab},
	} {
		lengths := make([]int, g.data)
		for i := range lengths {
			lengths[i] = 3000
		}
		if g.data > 2 {
			lengths[g.data-1], lengths[g.data-2] = 0, 1234
		}
		units := fill(uint64(g.data), g.parity, lengths...)
		if err := mustNew(t, g.data, g.parity).Encode(units); err != nil {
			t.Fatal(err)
		}
		if sum := xxh3.Hash(bytes.Join(units[g.data:], nil)); sum != g.sum {
			t.Errorf("%d+%d: %#x, was %#x", g.data, g.parity, sum, g.sum)
		}
	}
}

// mul multiplies in GF(2^8) with the polynomial 0x11D, bit by bit.
func mul(a, b byte) (p byte) {
	for ; b > 0; b >>= 1 {
		if b&1 != 0 {
			p ^= a
		}
		high := a & 0x80
		if a <<= 1; high != 0 {
			a ^= 0x1D
		}
	}
	return p
}

func inverse(a byte) byte {
	for b := range 256 {
		if mul(a, byte(b)) == 1 {
			return byte(b)
		}
	}
	panic("0 has no inverse")
}

// definition computes M as the documentation of Code defines it.
func definition(data, parity int) [][]byte {
	rows := make([][]byte, data+parity)
	for r := range rows {
		rows[r] = make([]byte, data)
		for c, p := 0, byte(1); c < data; c, p = c+1, mul(p, byte(r)) {
			rows[r][c] = p
		}
	}
	// Column operations that make the upper square the identity multiply by its
	// inverse from the right.
	for c := range data {
		for s := c; rows[c][c] == 0; s++ {
			if rows[c][s] != 0 {
				for r := range rows {
					rows[r][c], rows[r][s] = rows[r][s], rows[r][c]
				}
			}
		}
		inv := inverse(rows[c][c])
		for r := range rows {
			rows[r][c] = mul(rows[r][c], inv)
		}
		for o := range data {
			if f := rows[c][o]; o != c && f != 0 {
				for r := range rows {
					rows[r][o] ^= mul(f, rows[r][c])
				}
			}
		}
	}
	return rows[data:]
}

func TestDefinition(t *testing.T) {
	for data := 1; data <= layout.MaxData; data++ {
		for parity := 0; parity <= layout.MaxParity; parity++ {
			lengths := make([]int, data)
			for i := range lengths {
				lengths[i] = 200
			}
			lengths[data-1] = 77
			units := fill(7, parity, lengths...)
			if err := mustNew(t, data, parity).Encode(units); err != nil {
				t.Fatal(err)
			}
			for p, m := range definition(data, parity) {
				want := make([]byte, lengths[0])
				for d, u := range units[:data] {
					for i := range u {
						want[i] ^= mul(m[d], u[i])
					}
				}
				if !bytes.Equal(units[data+p], want) {
					t.Fatalf("%d+%d: parity unit %d is not what the definition says", data, parity, p)
				}
			}
		}
	}
}

// drawLengths draws the lengths of a row's data units.
func drawLengths(t *rapid.T, data int) []int {
	unit := rapid.IntRange(1, 5000).Draw(t, "unit")
	left := rapid.IntRange(1, data*unit).Draw(t, "bytes")
	lengths := make([]int, data)
	for i := range lengths {
		lengths[i] = min(left, unit)
		left -= lengths[i]
	}
	return lengths
}

// Any data of the units give everything back, whole or a range of it.
func TestReconstruct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.IntRange(1, layout.MaxData).Draw(t, "data")
		parity := rapid.IntRange(0, layout.MaxParity).Draw(t, "parity")
		c, err := New(data, parity)
		if err != nil {
			t.Fatal(err)
		}
		units := fill(rapid.Uint64().Draw(t, "seed"), parity, drawLengths(t, data)...)
		before := bytes.Join(units[:data], nil)
		if err := c.Encode(units); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, bytes.Join(units[:data], nil)) {
			t.Fatal("data units were changed")
		}
		lo := rapid.IntRange(0, len(units[0])-1).Draw(t, "lo")
		hi := rapid.IntRange(lo+1, len(units[0])).Draw(t, "hi")
		n := data + parity
		have, want := make([]bool, n), make([]bool, n)
		lost := rapid.IntRange(0, parity).Draw(t, "lost")
		order := rapid.Permutation(seq(n)).Draw(t, "order")
		ranges := make([][]byte, n)
		for i := range ranges {
			ranges[i] = units[i][min(lo, len(units[i])):min(hi, len(units[i]))]
		}
		got := make([][]byte, n)
		for k, i := range order {
			switch {
			case k >= lost:
				have[i], got[i] = true, bytes.Clone(ranges[i])
			case k%3 < 2:
				want[i], got[i] = true, bytes.Repeat([]byte{0x5A}, len(ranges[i]))
			}
		}
		if err := c.Reconstruct(got, have, want); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if (have[i] || want[i]) && !bytes.Equal(got[i], ranges[i]) {
				t.Fatalf("%d+%d: unit %d is wrong (had: %v)", data, parity, i, have[i])
			}
		}
		have[order[n-1]] = false // one less, and one less again
		for k := lost; k < n; k++ {
			have[order[k]] = k < lost+data-1
		}
		if err := c.Reconstruct(got, have, want); !errors.Is(err, ErrTooFew) {
			t.Fatalf("with %d of %d units: %v", data-1, data, err)
		}
	})
}

func seq(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// Every set of lost units, of one code.
func TestReconstructAll(t *testing.T) {
	const data, parity = 4, 3
	c := mustNew(t, data, parity)
	units := fill(3, parity, 300, 300, 120, 0)
	if err := c.Encode(units); err != nil {
		t.Fatal(err)
	}
	for lost := range 1 << (data + parity) {
		have, want := make([]bool, len(units)), make([]bool, len(units))
		got := make([][]byte, len(units))
		n := 0
		for i := range units {
			if want[i] = lost>>i&1 != 0; want[i] {
				n++
				got[i] = make([]byte, len(units[i]))
				continue
			}
			have[i], got[i] = true, units[i]
		}
		err := c.Reconstruct(got, have, want)
		if n > parity {
			if !errors.Is(err, ErrTooFew) {
				t.Fatalf("lost %b: %v", lost, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("lost %b: %v", lost, err)
		}
		for i := range units {
			if !bytes.Equal(got[i], units[i]) {
				t.Fatalf("lost %b: unit %d is wrong", lost, i)
			}
		}
	}
}

func TestShapes(t *testing.T) {
	for _, g := range [][2]int{{0, 1}, {-1, 2}, {layout.MaxData + 1, 1}, {3, -1}, {3, layout.MaxParity + 1}} {
		if _, err := New(g[0], g[1]); !errors.Is(err, ErrShape) {
			t.Errorf("New(%d, %d): %v", g[0], g[1], err)
		}
	}
	c := mustNew(t, 3, 2)
	for name, units := range map[string][][]byte{
		"none":              nil,
		"too few":           fill(1, 1, 10, 10, 10),
		"too many":          fill(1, 3, 10, 10, 10),
		"rising":            fill(1, 2, 10, 9, 10),
		"longer than first": fill(1, 2, 10, 11, 10),
		"short parity":      append(fill(1, 1, 10, 10, 10), make([]byte, 9)),
		"long parity":       append(fill(1, 1, 10, 10, 10), make([]byte, 11)),
	} {
		if err := c.Encode(units); !errors.Is(err, ErrShape) {
			t.Errorf("Encode, %s: %v", name, err)
		}
	}
	if err := c.Encode(make([][]byte, 5)); err != nil {
		t.Error("an empty row:", err)
	}
	all, none := []bool{true, true, true, true, true}, make([]bool, 5)
	for name, c2 := range map[string]struct {
		units      [][]byte
		have, want []bool
		err        error
	}{
		"units":        {fill(1, 1, 10, 10, 10), all, none, ErrShape},
		"have":         {fill(1, 2, 10, 10, 10), all[1:], none, ErrShape},
		"want":         {fill(1, 2, 10, 10, 10), all, none[1:], ErrShape},
		"nothing":      {fill(1, 2, 10, 10, 10), none, all, ErrTooFew},
		"short parity": {append(fill(1, 1, 10, 10, 10), make([]byte, 9)), all, none, ErrShape},
		"too long":     {fill(1, 2, layout.MaxUnit+1, 0, 0), all, none, ErrShape},
	} {
		if err := c.Reconstruct(c2.units, c2.have, c2.want); !errors.Is(err, c2.err) {
			t.Errorf("Reconstruct, %s: %v", name, err)
		}
	}
	m := mustNew(t, 1, 1)
	if err := m.Reconstruct([][]byte{make([]byte, 10), make([]byte, 11)}, []bool{true, false}, []bool{false, true}); !errors.Is(err, ErrShape) {
		t.Error("a copy that is too short:", err)
	}
}

func FuzzReconstruct(f *testing.F) {
	f.Add(uint8(4), uint8(2), uint16(0b110011), uint16(0b001100), uint16(1000), []byte("some payload"))
	f.Add(uint8(1), uint8(1), uint16(1), uint16(2), uint16(3), []byte("x"))
	f.Add(uint8(16), uint8(4), uint16(0xFFFF), uint16(0), uint16(70), bytes.Repeat([]byte("ab"), 500))
	f.Fuzz(func(t *testing.T, data, parity uint8, haveBits, wantBits, unit uint16, payload []byte) {
		c, err := New(int(data), int(parity))
		if err != nil || len(payload) == 0 {
			return
		}
		g := layout.Geometry{Size: int64(len(payload)), Unit: int64(max(1, unit)), Data: int(data), Parity: int(parity)}
		g.Size = min(g.Size, g.Row())
		n := g.Fragments()
		units := make([][]byte, n)
		for i := range units {
			units[i] = make([]byte, g.UnitLen(0, i))
			if i < g.Data {
				payload = payload[copy(units[i], payload):]
			}
			if i >= g.Data {
				units[i] = make([]byte, len(units[0]))
			}
		}
		if err := c.Encode(units); err != nil {
			t.Fatal(err)
		}
		have, want, got := make([]bool, n), make([]bool, n), make([][]byte, n)
		had := 0
		for i := range units {
			have[i], want[i] = haveBits>>(i%16)&1 != 0, wantBits>>(i%16)&1 != 0
			got[i] = bytes.Clone(units[i])
			if have[i] {
				had++
			} else {
				clear(got[i])
			}
		}
		err = c.Reconstruct(got, have, want)
		if (err == nil) != (had >= g.Data) {
			t.Fatalf("%d of %d units: %v", had, g.Data, err)
		}
		for i := range units {
			if err == nil && (have[i] || want[i]) && !bytes.Equal(got[i], units[i]) {
				t.Fatalf("unit %d is wrong", i)
			}
		}
	})
}

// Nothing is allocated per row, but for what the library takes for its tables, below
// 1 KiB, at every call.
func TestEncodeAllocates(t *testing.T) {
	for calls, lengths := range [][]int{1: {65536, 65536, 65536, 65536}, 2: {65536, 65536, 100, 0}} {
		if calls == 0 {
			continue
		}
		units := fill(1, 2, lengths...)
		c := mustNew(t, 4, 2)
		if n := testing.AllocsPerRun(50, func() {
			if err := c.Encode(units); err != nil {
				t.Fatal(err)
			}
		}); n > float64(calls) && !raceDetector {
			t.Errorf("%v: %v allocations", lengths, n)
		}
	}
}

func benchCodes(b *testing.B, run func(b *testing.B, c *Code, units [][]byte)) {
	for _, g := range [][2]int{{1, 1}, {1, 2}, {2, 1}, {2, 2}, {4, 2}, {6, 2}, {8, 3}, {10, 4}, {14, 2}} {
		b.Run(fmt.Sprintf("%d+%d", g[0], g[1]), func(b *testing.B) {
			lengths := make([]int, g[0])
			for i := range lengths {
				lengths[i] = StripeUnit
			}
			b.SetBytes(int64(g[0]) * StripeUnit)
			units := fill(1, g[1], lengths...)
			c := mustNew(b, g[0], g[1])
			if err := c.Encode(units); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			run(b, c, units)
		})
	}
}

// BenchmarkEncode counts the bytes of payload.
func BenchmarkEncode(b *testing.B) {
	benchCodes(b, func(b *testing.B, c *Code, units [][]byte) {
		for b.Loop() {
			if err := c.Encode(units); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReconstruct computes the first units of rows, as many as there is parity.
func BenchmarkReconstruct(b *testing.B) {
	benchCodes(b, func(b *testing.B, c *Code, units [][]byte) {
		have, want := make([]bool, len(units)), make([]bool, len(units))
		for i := range units {
			have[i], want[i] = i >= c.parity, i < c.parity && i < c.data
		}
		for b.Loop() {
			if err := c.Reconstruct(units, have, want); err != nil {
				b.Fatal(err)
			}
		}
	})
}
