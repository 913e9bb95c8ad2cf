package engine

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// What is absent or missing is counted, and no reason not to start.
func TestRecoverCounts(t *testing.T) {
	const there, absent, missing = 'T', 'A', '-'
	for _, c := range []struct {
		size   int64
		data   uint8
		places string // by fragment
		want   recovery
	}{
		{1 << 20, 2, "TTTT", recovery{Blobs: 1, Fragments: 4}},
		{1 << 20, 2, "TTTA", recovery{Blobs: 1, Fragments: 3, Absent: 1, Degraded: 1}},
		{1 << 20, 2, "-TTT", recovery{Blobs: 1, Fragments: 3, Degraded: 1}},
		{1 << 20, 2, "-TTA", recovery{Blobs: 1, Fragments: 2, Absent: 1, Degraded: 1}},
		{1 << 20, 2, "ATAA", recovery{Blobs: 1, Fragments: 1, Absent: 1, Degraded: 1, Lost: 1}},
		{1 << 20, 2, "AAAA", recovery{Absent: 1, Degraded: 1, Lost: 1}},
		{5000, 1, "T--", recovery{Blobs: 1, Fragments: 1, Degraded: 1}},
		{5000, 1, "A-T", recovery{Blobs: 1, Fragments: 1, Absent: 1, Degraded: 1}},
		{5000, 1, "A--", recovery{Absent: 1, Degraded: 1, Lost: 1}},
		// A fragment that a small payload does not reach is there without extents.
		{5000, 3, "T--T", recovery{Blobs: 1, Fragments: 2}},
		{5000, 3, "T--A", recovery{Blobs: 1, Fragments: 1, Absent: 1, Degraded: 1}},
	} {
		r := newRig(t, rigOptions{drives: 4})
		b := layout.Blob{ID: layout.NewBlobID(time.Now()), Size: c.size, Kind: layout.KindStriped, Data: c.data, Parity: uint8(len(c.places)) - c.data, Unit: 512 << 10}
		b.Fragments = make([]layout.Fragment, len(c.places))
		for i, m := range r.e.drives.now().all[:len(c.places)] {
			f := drive.FragmentOf(&b, i)
			switch c.places[i] {
			case there:
				exts, err := m.d.ReserveFragment(context.Background(), &f)
				if err != nil {
					t.Fatal(err)
				}
				m.d.Free(exts) // to be claimed
				b.Fragments[i] = layout.Fragment{Drive: m.id, Extents: exts}
			case absent:
				b.Fragments[i] = layout.Fragment{Drive: layout.DriveID{byte(i)}, Extents: []layout.Extent{{Off: 1 << 30, Len: 1 << 30}}}
			case missing:
			}
		}
		var got recovery
		if err := r.e.claim(&meta.BackRef{Blob: b}, &got); err != nil {
			t.Fatal(err)
		}
		if c.want.Blobs > 0 {
			c.want.Bytes = c.size
		}
		if got != c.want {
			t.Errorf("%s of %d: %+v, want %+v", c.places, c.data, got, c.want)
		}
		var used int64
		for i := range b.Fragments {
			if c.places[i] == there {
				used += extentBytes(b.Fragments[i].Extents)
			}
		}
		if r.used() != used {
			t.Errorf("%s: %d bytes in use, not %d", c.places, r.used(), used)
		}
		if got.Fragments > 0 {
			if err := r.e.claim(&meta.BackRef{Blob: b}, &got); !errors.Is(err, drive.ErrOverlap) {
				t.Errorf("%s: claimed twice: %v", c.places, err)
			}
		}
		r.stop()
	}
	r := newRig(t, rigOptions{drives: 1})
	for _, b := range []layout.Blob{
		{Kind: layout.KindInline, Size: 1}, {Kind: layout.KindSingle, Size: 1}, {Kind: layout.KindStriped, Size: 1, Data: 1, Parity: 1, Unit: 64 << 10, Fragments: make([]layout.Fragment, 1)},
	} {
		if err := r.e.claim(&meta.BackRef{Blob: b}, new(recovery)); !errors.Is(err, errPlacement) {
			t.Errorf("%+v: %v", b, err)
		}
	}
	r.stop()
}

// Claims that cannot be right fail Open: extents that are too short for a fragment of
// a stripe, or that two fragments share.
func TestRecoverRefuses(t *testing.T) {
	for name, forge := range map[string]struct {
		edit func(b *layout.Blob)
		err  error
	}{
		"short":  {func(b *layout.Blob) { b.Unit = layout.MaxUnit; b.Size = 64 << 20 }, drive.ErrCorrupt},
		"shared": {func(b *layout.Blob) {}, drive.ErrOverlap},
		"outside": {func(b *layout.Blob) { // of more drives than the cluster can do without
			for i := range b.Fragments {
				b.Fragments[i].Extents[0].Off = 1 << 45
			}
		}, drive.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{drives: 3, cfg: Config{InlineMax: 1, Timing: Timing{HealthTick: time.Hour}}})
			r.bucket("b")
			r.put("b", "first", content(1, 1<<20))
			bucket, err := r.e.Bucket(context.Background(), "b")
			if err != nil {
				t.Fatal(err)
			}
			o, err := r.e.Head(context.Background(), "b", "first")
			if err != nil {
				t.Fatal(err)
			}
			dup := o
			dup.Key, dup.Blob = "second", r.placed("b", "first")
			dup.Blob.ID = layout.NewBlobID(time.Now())
			dup.Version = meta.Version(dup.Blob.ID)
			forge.edit(&dup.Blob)
			if err := r.e.mutate(context.Background(), bucket.Slot, &meta.PutObject{Bucket: bucket, Object: dup}); err != nil {
				t.Fatal(err)
			}
			r.stop()
			for i := range r.devs {
				r.devs[i] = r.devs[i].Reopen()
			}
			err = r.tryStart()
			if !errors.Is(err, forge.err) || !bytes.Contains([]byte(err.Error()), []byte(`"second"`)) {
				t.Fatal(err)
			}
		})
	}
}

// A context that ends stops a start.
func TestRecoverIsCanceled(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1, cfg: Config{InlineMax: 1}})
	r.bucket("b")
	r.put("b", "k", content(1, 5000))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.e.claimAll(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.stop()
}
