package drive

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring/faultio"
)

const tib = 1 << 40

// TestHugePlans checks the arithmetic of frames at sizes that no test can write.
func TestHugePlans(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int64{1<<31 - 1, 1 << 32, 5<<30 + 1, 5 * tib, 5*tib - 1, MaxFragment - 1, MaxFragment} {
		frames := (size-1)/FramePayload + 1
		last := size - (frames-1)*FramePayload
		if got, want := DiskSize(size), (frames-1)*frameSize+HeaderSize+(last+4095)/4096*4096; got != want {
			t.Errorf("size %d takes %d, want %d", size, got, want)
		}
		// Three extents that begin and end on odd multiples of the unit.
		need := (DiskSize(size) + 4095) &^ 4095
		a, b := need/3&^4095, need/2&^4095
		exts := []layout.Extent{{Off: 7 << 45, Len: a}, {Off: dataStart, Len: b - a}, {Off: 1 << 52, Len: need - b}}
		at := func(off int64) int64 { // where byte off of the fragment lies
			switch {
			case off < a:
				return exts[0].Off + off
			case off < b:
				return exts[1].Off + off - a
			}
			return exts[2].Off + off - b
		}
		offs := []int64{0, 1, size - 1, size / 2, a / frameSize * FramePayload, b / frameSize * FramePayload}
		for range 100 {
			offs = append(offs, rng.Int64N(size))
		}
		for _, off := range offs {
			end := off + 1 + rng.Int64N(min(size-off, 3*FramePayload))
			p := planFrame(size, FramePayload, off, end)
			start := p.index * FramePayload
			if start+int64(p.lo) != off || p.hi <= p.lo || start+int64(p.hi) > end || p.frame != int(min(FramePayload, size-start)) {
				t.Fatalf("size %d, bytes %d…%d: %+v", size, off, end, p)
			}
			tr := &transfer{}
			p.fetch(tr, &extentCursor{exts: exts})
			done := 0
			for _, op := range tr.ops[:tr.n] {
				from := p.index * frameSize
				if op.Lo >= HeaderSize {
					from += int64(op.Lo) + int64(p.first)*BlockSize
				}
				if op.Lo != done || op.Off != at(from) || op.Off%4096 != 0 {
					t.Fatalf("size %d, bytes %d…%d: operation %+v", size, off, end, op)
				}
				done = op.Hi
			}
			if done != p.end || p.end > frameSize {
				t.Fatalf("size %d: %d of %d bytes fetched", size, done, p.end)
			}
		}
	}
}

// TestHugeDrive uses a drive of 16 TiB, less an odd rest, at its far end too,
// with every alignment that devices have.
func TestHugeDrive(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, align := range []int{512, 4096} {
		dev := faultio.New(faultio.Options{Capacity: 16*tib - 512, Align: align})
		d := openDrive(t, dev, Options{})
		var all [][]layout.Extent
		for {
			exts, err := d.Reserve(ctx, 5*tib)
			if errors.Is(err, ErrNoSpace) {
				break
			}
			if err != nil || len(exts) != 1 || exts[0].Len < DiskSize(5*tib) {
				t.Fatal(exts, err)
			}
			all = append(all, exts)
		}
		total, used, free := d.Usage()
		if len(all) != 3 || total > 16*tib || total < 16*tib-4*d.Unit()-dataStart || used+free != total {
			t.Fatalf("%d fragments, %d bytes of %d used, %d free", len(all), used, total, free)
		}
		// What is left is used up to the last unit.
		rest := free/frameSize*FramePayload - FramePayload
		exts, err := d.Reserve(ctx, rest)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, exts)
		tail, err := d.Reserve(ctx, 700_000)
		if err != nil || tail[0].Off < 15*tib {
			t.Fatal(tail, err)
		}
		data := randomBytes(1, 700_000)
		id := layout.NewBlobID(testTime)
		if err := d.WriteFragment(ctx, id, tail, 700_000, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		got, err := get(d, id, tail, 700_000, 0, 700_000)
		wantBytes(t, got, err, data)
		// Nothing was written to the large ones: reading them says so.
		for _, off := range []int64{0, 3 * tib, 5*tib - 1} {
			if _, err := get(d, id, all[0], 5*tib, off, 1); !errors.Is(err, ErrCorrupt) {
				t.Fatal(off, err)
			}
		}
		for _, exts := range append(all, tail) {
			d.Free(exts)
			if err := d.Claim(exts); err != nil {
				t.Fatal(err)
			}
			d.Free(exts)
		}
		if _, used, _ := d.Usage(); used != 0 || d.Counters().BadFrees != 0 {
			t.Fatalf("%d bytes in use", used)
		}
	}
	for _, align := range []int{8192, 16384} { // frames are aligned to 4,096
		if _, err := Open(ctx, faultio.New(faultio.Options{Align: align}), Options{Arena: newArena(t)}); err == nil {
			t.Errorf("alignment %d was accepted", align)
		}
	}
}
