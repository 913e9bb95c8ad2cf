package engine

import (
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/erasure"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// lasting is a Timing with which nothing happens in the background within a test.
var lasting = Timing{HealthTick: time.Hour, Retry: time.Hour, ProtectAfter: time.Hour}

// striper makes striped objects without Put: of any geometry, on chosen drives.
type striper struct {
	r      *rig
	data   int
	parity int
	unit   int64
	on     []int // drive of each fragment; nil: in order
	sealed bool
}

// put stores an object.
func (s striper) put(bucket, key string, plain []byte) meta.Object {
	t := s.r.t
	t.Helper()
	ctx := context.Background()
	b, err := s.r.e.Bucket(ctx, bucket)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	o := meta.Object{Key: key, Size: int64(len(plain)), ModTime: now.UnixNano(), ETag: etagOf(plain), Version: meta.Version(layout.NewBlobID(now))}
	lock := locker{bucket: b.ID}
	if s.sealed {
		o.Seal, lock.key = newSeal()
	}
	blob := &o.Blob
	*blob = layout.Blob{ID: layout.NewBlobID(now), Size: lock.size(o.Size), Kind: layout.KindStriped, Data: uint8(s.data), Parity: uint8(s.parity), Unit: s.unit}
	stored, err := io.ReadAll(lock.reader(&bodyReader{r: bytes.NewReader(plain), left: o.Size}, blob.ID))
	if err != nil {
		t.Fatal(err)
	}
	for i, payload := range fragments(t, blob.Geometry(), stored) {
		n := i
		if s.on != nil {
			n = s.on[i]
		}
		blob.Fragments = append(blob.Fragments, s.r.lay(blob, i, n, payload))
	}
	if err := s.r.e.mutate(ctx, b.Slot, &meta.PutObject{Bucket: b, Object: o}); err != nil {
		t.Fatal(err)
	}
	return o
}

// lay writes fragment i of a blob to drive n.
func (r *rig) lay(blob *layout.Blob, i, n int, payload []byte) layout.Fragment {
	r.t.Helper()
	d := r.e.drives.now().all[n].d
	f := drive.Fragment{Blob: blob.ID, Number: i, Unit: blob.Geometry().Unit, Size: int64(len(payload))}
	if len(payload) > 0 {
		var err error
		if f.Extents, err = d.ReserveFragment(context.Background(), &f); err != nil {
			r.t.Fatal(err)
		}
		if err := d.Write(context.Background(), &f, bytes.NewReader(payload)); err != nil {
			r.t.Fatal(err)
		}
	}
	return layout.Fragment{Drive: d.ID(), Extents: f.Extents}
}

// fragments returns what each fragment of a payload holds.
func fragments(t testing.TB, g layout.Geometry, payload []byte) [][]byte {
	t.Helper()
	c, err := erasure.New(g.Data, g.Parity)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]byte, g.Fragments())
	for row := range g.Rows() {
		units := make([][]byte, g.Fragments())
		rest := payload[row*g.Row():]
		for i := range units {
			n := g.UnitLen(row, i)
			if i < g.Data {
				units[i], rest = rest[:n:n], rest[n:]
			} else {
				units[i] = make([]byte, n)
			}
		}
		if err := c.Encode(units); err != nil {
			t.Fatal(err)
		}
		for i := range units {
			out[i] = append(out[i], units[i]...)
		}
	}
	return out
}

// move gives fragment i of an object another place, on drive n, and reports where it
// was.
func (r *rig) move(bucket, key string, i, n int) layout.Fragment {
	r.t.Helper()
	blob := r.placed(bucket, key)
	from := blob.Fragments[i]
	to := r.lay(&blob, i, n, r.fragment(&blob, i))
	r.replace(bucket, &blob, meta.Move{Number: i, From: from, To: to})
	return from
}

// replace commits moves.
func (r *rig) replace(bucket string, blob *layout.Blob, moves ...meta.Move) {
	r.t.Helper()
	b, err := r.e.Bucket(context.Background(), bucket)
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := &meta.MoveFragments{Slot: b.Slot, Blob: blob.ID, Moves: moves}
	if err := r.e.mutate(context.Background(), b.Slot, cmd); err != nil || !cmd.Moved {
		r.t.Fatal(cmd.Moved, err)
	}
}

// forget has the metadata say that fragment i of an object is missing.
func (r *rig) forget(bucket, key string, i int) {
	r.t.Helper()
	blob := r.placed(bucket, key)
	f := blob.Fragments[i]
	r.replace(bucket, &blob, meta.Move{Number: i, From: f, To: layout.Fragment{Drive: f.Drive}})
}

// fail takes drives in and out of service behind the engine's back.
func (r *rig) fail(out bool, drives ...int) {
	state := DriveActive
	if out {
		state = DriveAbsent
	}
	for _, n := range drives {
		r.e.drives.now().all[n].state.Store(int32(state))
	}
}

// flip changes a bit in the middle of every extent that a fragment has.
func (r *rig) flip(blob *layout.Blob, i int) {
	f := &blob.Fragments[i]
	for n, m := range r.e.drives.now().all {
		if m.id == f.Drive {
			for _, x := range f.Extents {
				r.devs[n].Corrupt(x.Off + min(x.Len, drive.HeaderSize+blob.Unit)/2)
			}
		}
	}
}

// settled reports whether nobody has buffers of the arena: but for a moment, those in
// which drives were late to answer.
func (r *rig) settled() bool {
	for end := time.Now().Add(5 * time.Second); r.arena.InUse() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// repairs notes which fragments were put on the repair queue, by blob: they may have
// been repaired since.
type repairs struct {
	meta.Store
	mu  sync.Mutex
	bad map[layout.BlobID]uint32
}

// watch is for rigOptions.wrap.
func (q *repairs) watch(s meta.Store) meta.Store {
	q.Store, q.bad = s, make(map[layout.BlobID]uint32)
	return q
}

func (q *repairs) Mutate(ctx context.Context, slot meta.Slot, cmd meta.Command) error {
	err := q.Store.Mutate(ctx, slot, cmd)
	if c, ok := cmd.(*meta.QueueRepair); ok && err == nil && c.Queued {
		q.mu.Lock()
		q.bad[c.Blob] |= c.Bad
		q.mu.Unlock()
	}
	return err
}

// of returns the fragments of a blob that were queued, and how many blobs were.
func (q *repairs) of(id layout.BlobID) (bad uint32, blobs int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bad[id], len(q.bad)
}

// spans are ranges of an object around the places where something changes.
func spans(g layout.Geometry, size int64, sealed bool) [][2]int64 {
	unit, row := g.Unit, g.Row()
	if sealed {
		unit = unit / seal.ChunkStored * seal.ChunkPlain
		row = row / seal.ChunkStored * seal.ChunkPlain
	}
	list := [][2]int64{{0, size}, {size - 1, size}, {0, 1}, {size / 3, size/3 + 1}, {size / 3, size - size/4}}
	for _, at := range []int64{unit, row, row + unit, size - size%unit} {
		for _, x := range [][2]int64{{at - 1, at + 1}, {at, at + unit}, {at - unit + 5, at + 20_000}, {at + 17_000, at + 17_001}, {at - 100, size}} {
			if lo, hi := max(0, x[0]), min(size, x[1]); lo < hi {
				list = append(list, [2]int64{lo, hi})
			}
		}
	}
	return list
}
