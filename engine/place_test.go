package engine

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// placeOnce places a blob and gives its space back.
func (r *rig) tryPlace(size int64, parity int) (layout.Blob, error) {
	s := &staged{e: r.e}
	s.blob = layout.Blob{ID: layout.NewBlobID(time.Now()), Size: size}
	err := s.placeOnce(context.Background(), parity)
	b := s.blob
	if err == nil {
		s.drop()
	}
	return b, err
}

// The geometry is one for the drives that can take it at the moment.
func TestPlaceWidth(t *testing.T) {
	const large = 64 << 20
	for _, c := range []struct {
		drives, parity             int
		suspect, doubted, out, cut int // drives so, from the first on; cut: full
		k, m, missing              int
		kind                       Kind // of the error; 0: none
	}{
		{drives: 2, parity: 1, k: 1, m: 1},
		{drives: 3, parity: 1, k: 2, m: 1},
		{drives: 6, parity: 2, k: 4, m: 2},
		{drives: 6, parity: 4, k: 2, m: 4},
		{drives: 20, parity: 2, k: 14, m: 2},
		{drives: 20, parity: 4, k: 12, m: 4},
		// Drives out of service make it narrower.
		{drives: 6, parity: 2, out: 1, k: 3, m: 2},
		{drives: 6, parity: 2, out: 2, k: 2, m: 2},
		{drives: 6, parity: 2, out: 3, k: 1, m: 2},
		{drives: 6, parity: 2, out: 4, k: 1, m: 2, missing: 1},
		{drives: 6, parity: 2, out: 5, kind: Unavailable}, // one drive is no quorum
		{drives: 6, parity: 2, out: 6, kind: Unavailable},
		// Doubtful ones are used where the others do not suffice for the parity.
		{drives: 6, parity: 2, suspect: 1, k: 3, m: 2},
		{drives: 6, parity: 2, doubted: 2, k: 2, m: 2},
		{drives: 6, parity: 2, suspect: 3, k: 1, m: 2},
		{drives: 6, parity: 2, suspect: 4, k: 1, m: 2},
		{drives: 6, parity: 2, doubted: 6, k: 1, m: 2},
		{drives: 6, parity: 2, suspect: 2, out: 2, k: 1, m: 2},
		// Full ones are left out, down to a mirror.
		{drives: 6, parity: 2, cut: 1, k: 3, m: 2},
		{drives: 6, parity: 2, cut: 3, k: 1, m: 2},
		{drives: 6, parity: 2, cut: 4, kind: NoSpace},
		{drives: 6, parity: 2, cut: 6, kind: NoSpace},
		{drives: 2, parity: 1, cut: 1, kind: NoSpace},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			r := newRig(t, rigOptions{drives: c.drives, cfg: Config{Timing: Timing{HealthTick: time.Hour}}})
			for i, m := range r.e.drives.now().all {
				at := i
				if at < c.cut {
					r.devs[i].Break(faultio.Full)
				}
				if at < c.out {
					r.e.FailDrive(m.id, faultio.ErrIO)
				} else if at < c.out+c.suspect {
					m.state.Store(int32(DriveSuspect))
				} else if at < c.out+c.suspect+c.doubted {
					m.doubt()
				}
			}
			for range 3 {
				b, err := r.tryPlace(large, c.parity)
				if c.kind != KindInternal {
					wantKind(t, err, c.kind)
					continue
				}
				if err != nil || int(b.Data) != c.k || int(b.Parity) != c.m || b.Missing() != c.missing || len(b.Fragments) != c.k+c.m {
					t.Fatalf("%v: %+v", err, b)
				}
				for _, f := range b.Fragments {
					m := r.e.drives.now().byID[f.Drive]
					if f.Extents != nil && (m == nil || !m.writable()) {
						t.Fatalf("a fragment on drive %s, which is not in service", f.Drive)
					}
				}
			}
			if used := r.used(); used != 0 {
				t.Fatalf("%d bytes are still set aside", used)
			}
			r.stop()
		})
	}
}

// Parity asked for, and what there is of it.
func TestParityFor(t *testing.T) {
	for _, c := range []struct{ drives, engine, request, want int }{
		{1, ParityDefault, ParityDefault, 0}, {1, 2, ParityDefault, 0}, {1, ParityDefault, 3, 0},
		{2, ParityDefault, ParityDefault, 1}, {2, 2, ParityDefault, 1}, {2, ParityNone, ParityDefault, 0},
		{3, ParityDefault, ParityDefault, 1}, {4, ParityDefault, ParityDefault, 2}, {8, ParityDefault, ParityDefault, 2},
		{8, 3, ParityDefault, 3}, {8, 3, ParityNone, 0}, {8, 3, 1, 1}, {8, 1, 4, 4}, {3, 1, 4, 2},
	} {
		r := newRig(t, rigOptions{drives: c.drives, cfg: Config{Parity: c.engine}})
		if got := r.e.parityFor(c.request); got != c.want {
			t.Errorf("%+v: parity %d", c, got)
		}
		r.stop()
	}
	r := newRig(t, rigOptions{drives: 2})
	r.bucket("b")
	for _, parity := range []int{-2, layout.MaxParity + 1} {
		req := putRequest("b", "k", content(1, 5000))
		req.Parity = parity
		_, err := r.e.Put(context.Background(), req)
		wantKind(t, err, KindInternal)
	}
	r.stop()
}

// Fragments go round in proportion to the free space, and each drive has its share of
// data and parity.
func TestTurns(t *testing.T) {
	sizes := []int64{1 << 30, 1 << 30, 2 << 30, 4 << 30, 4 << 30}
	members := make([]*member, len(sizes))
	for i := range members {
		members[i] = &member{id: layout.DriveID{byte(i)}}
	}
	s := &driveSet{}
	for _, n := range []int{1, 2, 3} {
		count := make([]int, len(sizes))
		const rounds = 6000
		for range rounds {
			list := make([]candidate, len(sizes))
			for i, m := range members {
				list[i] = candidate{member: m, free: sizes[i]}
			}
			s.turn(list, n)
			for _, c := range list[:n] {
				count[c.id[0]]++
			}
		}
		for i, got := range count {
			want := float64(n) * rounds * float64(sizes[i]) / (12 << 30)
			if want = min(want, rounds); n < 3 && (float64(got) < want*0.98-2 || float64(got) > want*1.02+2) {
				t.Errorf("%d of %d: drive %d had %d turns of %d, not %.0f", n, len(sizes), i, got, rounds, want)
			}
		}
		if n == 3 && (count[0] < rounds/5 || count[0]-count[1] > 2 || count[1]-count[0] > 2 || count[4] < rounds*99/100) {
			t.Errorf("3 of 5: %v of %d", count, rounds)
		}
	}
	r := newRig(t, rigOptions{drives: 4})
	data := map[layout.DriveID]int{}
	for range 1000 {
		b, err := r.tryPlace(1<<20, 2)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(b.Data) {
			data[b.Fragments[i].Drive]++
		}
	}
	for id, n := range data {
		if n < 400 || n > 600 {
			t.Errorf("drive %s has data %d times of 1000", id, n)
		}
	}
	r.stop()
}

// What waits for a drive gets there when one is attached: until then the blob is on
// the repair queue, and whole.
func TestUnderProtected(t *testing.T) {
	r := newRig(t, rigOptions{drives: 3, cfg: Config{InlineMax: 1, Parity: 2, Timing: Timing{HealthTick: time.Hour}}})
	r.bucket("b")
	for out := range 3 {
		if out > 0 {
			r.e.FailDrive(r.e.drives.now().all[out].id, faultio.ErrIO)
		}
		key, data := fmt.Sprint(out), content(uint64(out), 3<<20)
		if out == 2 { // one drive is no quorum of a cluster that is to survive two
			_, err := r.e.Put(context.Background(), putRequest("b", key, data))
			wantKind(t, err, Unavailable)
			break
		}
		r.put("b", key, data)
		b := r.placed("b", key)
		if b.Data != 1 || b.Parity != 2 || b.Missing() != out || r.queued() != out {
			t.Fatalf("with %d drives out: %+v, %d on the queue", out, b, r.queued())
		}
		if got := r.assemble(b); !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back", len(got))
		}
	}
	r.stop()
}

// Drives of very different sizes fill up together, with narrower and narrower blobs,
// until not even a mirror has room.
func TestUnevenDrivesFill(t *testing.T) {
	r := newRig(t, rigOptions{drives: 5, capacity: 16 << 20, cfg: Config{InlineMax: 1, Parity: 1, Timing: Timing{HealthTick: time.Hour}}})
	for i, d := range r.devs {
		if i < 2 {
			d.Break(faultio.Full)
		}
	}
	r.bucket("b")
	n := r.fill(1_000_000)
	b := r.placed("b", "0")
	if n < 10 || b.Data != 2 {
		t.Fatalf("%d objects, the first as %+v", n, b)
	}
	for _, d := range r.devs {
		d.Heal()
	}
	for _, m := range r.e.drives.now().all {
		m.room.doubted.Store(0)
	}
	more := 0
	widths := map[uint8]int{}
	for ; ; more++ {
		key := fmt.Sprint("more", more)
		if _, err := r.e.Put(context.Background(), putRequest("b", key, content(uint64(more), 300_000))); err != nil {
			wantKind(t, err, NoSpace)
			break
		}
		widths[r.placed("b", key).Data]++
	}
	if more < 10 || len(widths) < 1 {
		t.Fatalf("%d objects more, widths %v", more, widths)
	}
	r.accounted()
	for i := 0; i < more; i += 5 {
		r.check("b", fmt.Sprint("more", i), content(uint64(i), 300_000))
	}
	r.stop()
}

// A write to full drives waits for garbage, also when it is striped.
func TestStripedWaitsForPurge(t *testing.T) {
	r := newRig(t, rigOptions{drives: 4, capacity: 16 << 20, cfg: Config{InlineMax: 1, Grace: 200 * time.Millisecond}})
	r.bucket("b")
	n := r.fill(1_000_000)
	for i := range min(n, 4) {
		if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: fmt.Sprint(i), IfSize: -1}); err != nil {
			t.Fatal(err)
		}
	}
	r.put("b", "more", content(1, 1_000_000))
	r.check("b", "more", content(1, 1_000_000))
	r.stop()
}

// A row always fits into what a writer may hold.
func TestGeometryFitsMemory(t *testing.T) {
	for _, buffers := range []int64{ioring.LargeBuffer, 2 * ioring.LargeBuffer, 4 << 20, 8 << 20, 32 << 20} {
		w := newWriters(buffers)
		for drives := 1; drives <= 24; drives++ {
			for parity := 0; parity <= min(layout.MaxParity, drives-1); parity++ {
				for _, size := range []int64{1, 128 << 10, 129 << 10, 1 << 20, 5 << 30} {
					g := w.geometry(size, drives, parity)
					s := &stripeWriter{g: g}
					if row := int64(g.Fragments()) * ioring.LoanSize(s.bufferBytes()); row > w.most && g.Rows() > 1 || row > max(w.most, smallWeight) {
						t.Fatalf("%d buffers: %+v takes %d of %d", buffers, g, row, w.most)
					}
					if g.Parity != parity || g.Fragments() > max(maxWidth, drives) || g.Fragments() > drives {
						t.Fatalf("%d drives, parity %d: %+v", drives, parity, g)
					}
				}
			}
		}
	}
}
