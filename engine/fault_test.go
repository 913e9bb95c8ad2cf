package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// Failed writes leave nothing behind, and the drive goes on.
func TestWriteErrors(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	old := content(1, 2_000_000)
	r.put("b", "k", old)
	used := r.used()
	for skip := range 3 {
		r.devs[0].Inject(faultio.Rule{Code: ioring.OpWrite, Skip: skip, Times: 1, Err: faultio.ErrIO})
		_, err := r.e.Put(context.Background(), putRequest("b", "k", content(2, 3_000_000)))
		wantKind(t, err, Unavailable)
		if !errors.Is(err, faultio.ErrIO) {
			t.Fatal(err)
		}
		if r.used() != used || r.arena.InUse() != 0 {
			t.Fatalf("%d bytes in use, were %d; %d on loan", r.used(), used, r.arena.InUse())
		}
		r.devs[0].Heal()
		r.check("b", "k", old)
	}
	r.put("b", "k", content(3, 3_000_000))
	r.check("b", "k", content(3, 3_000_000))
	r.stop()
}

// A failed sync takes the drive out of service; the others take over, also without
// parity.
func TestSyncError(t *testing.T) {
	r := newRig(t, rigOptions{drives: 2, cfg: Config{Parity: ParityNone}})
	r.bucket("b")
	want := map[string][]byte{}
	for i := range 6 {
		key := fmt.Sprint("old", i)
		want[key] = content(uint64(i), 50_000)
		r.put("b", key, want[key])
	}
	used := r.used()
	r.devs[0].Inject(faultio.Rule{Code: ioring.OpSync, Times: 1, Err: faultio.ErrIO})
	failed := 0
	for i := range 10 {
		key := fmt.Sprint("new", i)
		data := content(uint64(100+i), 50_000)
		if _, err := r.e.Put(context.Background(), putRequest("b", key, data)); err != nil {
			wantKind(t, err, Unavailable)
			failed++
			continue
		}
		want[key] = data
	}
	if failed != 1 {
		t.Fatalf("%d writes failed, want the one that met the error", failed)
	}
	st := r.e.Status()
	if st.Drives[0].Err == nil || st.Drives[1].Err != nil {
		t.Fatalf("%+v", st.Drives)
	}
	for key, data := range want {
		r.check("b", key, data)
	}
	if r.used() <= used {
		t.Fatal("nothing was written")
	}
	r.accounted()
	r.devs[1].Inject(faultio.Rule{Code: ioring.OpSync, Err: faultio.ErrIO})
	for range 2 {
		_, err := r.e.Put(context.Background(), putRequest("b", "none", content(1, 50_000)))
		wantKind(t, err, Unavailable)
	}
	r.put("b", "inline", []byte("still works"))
	for key, data := range want {
		r.check("b", key, data)
	}
	r.stop()
}

func TestReadErrors(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	data := content(1, 3_000_000)
	r.put("b", "k", data)
	r.devs[0].Inject(faultio.Rule{Code: ioring.OpRead, Err: faultio.ErrIO})
	_, _, err := fetch(r.e, "b", "k", 0)
	wantKind(t, err, Unavailable)
	r.devs[0].Heal()
	// Behind the first frame: the error comes in the middle of the body.
	for way := range 3 {
		r.devs[0].Inject(faultio.Rule{Code: ioring.OpRead, Skip: 2, Err: faultio.ErrIO})
		_, got, err := fetch(r.e, "b", "k", way)
		wantKind(t, err, Unavailable)
		if !bytes.HasPrefix(data, got) || len(got) == len(data) {
			t.Fatalf("%d bytes", len(got))
		}
		r.devs[0].Heal()
	}
	r.check("b", "k", data)
	r.stop()
}

func TestCorruption(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	data := content(1, 3_000_000)
	o := r.put("b", "k", data)
	ext := o.Blob.Fragments[0].Extents[0]
	r.devs[0].Corrupt(ext.Off + (2<<20 + 3*4096 + 77))
	for way := range 3 {
		_, got, err := fetch(r.e, "b", "k", way)
		wantKind(t, err, Corrupt)
		if !bytes.HasPrefix(data, got) {
			t.Fatal("corrupt bytes were handed out")
		}
	}
	r.devs[0].Corrupt(ext.Off + 5000)
	obj, err := r.e.Get(context.Background(), "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	_, err = obj.Range(context.Background(), 0, 10)
	wantKind(t, err, Corrupt)
	obj.Close()
	// A copy of it must fail with the reason within.
	_, err = copyObject(r.e, "k", "copy")
	wantKind(t, err, Corrupt)
	r.stop()
}

// forged builds a store whose metadata names the same extents twice.
func TestOverlapRefused(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	o := r.put("b", "first", content(1, 50_000))
	b, err := r.e.Bucket(context.Background(), "b")
	if err != nil {
		t.Fatal(err)
	}
	forge := func(key string, edit func(*layout.Blob)) {
		dup := o
		dup.Key = key
		dup.Blob.ID = layout.NewBlobID(time.Now())
		dup.Version = meta.Version(dup.Blob.ID)
		dup.Blob.Fragments = []layout.Fragment{{Drive: o.Blob.Fragments[0].Drive, Extents: append([]layout.Extent(nil), o.Blob.Fragments[0].Extents...)}}
		edit(&dup.Blob)
		if err := r.e.mutate(context.Background(), b.Slot, &meta.PutObject{Bucket: b, Object: dup}); err != nil {
			t.Fatal(err)
		}
	}
	// A blob on a drive that is not there does no harm.
	forge("absent", func(b *layout.Blob) { b.Fragments[0].Drive = layout.DriveID{1} })
	r.restart()
	_, _, err = fetch(r.e, "b", "absent", 0)
	wantKind(t, err, Unavailable)
	r.check("b", "first", content(1, 50_000))
	forge("second", func(*layout.Blob) {})
	r.stop()
	r.devs[0] = r.devs[0].Reopen()
	err = r.tryStart()
	if !errors.Is(err, drive.ErrOverlap) || !bytes.Contains([]byte(err.Error()), []byte(`"first"`)) || !bytes.Contains([]byte(err.Error()), []byte(`"second"`)) {
		t.Fatalf("overlap: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	d, s := r.e.drives.now().all[0].d, r.e.store
	for name, cfg := range map[string]Config{
		"no drives":     {Store: s},
		"no store":      {Drives: []*drive.Drive{d}},
		"a drive twice": {Drives: []*drive.Drive{d, d}, Store: s},
		"inline":        {Drives: []*drive.Drive{d}, Store: s, InlineMax: 1<<20 + 1},
		"negative":      {Drives: []*drive.Drive{d}, Store: s, InlineMax: -1},
		"grace":         {Drives: []*drive.Drive{d}, Store: s, Grace: -1},
	} {
		if _, err := Open(context.Background(), cfg); err == nil {
			t.Error(name, "was accepted")
		}
	}
	r.stop()
}

// unsure is a store that says that it does not know what became of a command.
type unsure struct {
	meta.Store
	active *atomic.Bool
	apply  bool // whether it was applied nevertheless
}

func (u *unsure) Mutate(ctx context.Context, s meta.Slot, c meta.Command) error {
	if !u.active.Load() {
		return u.Store.Mutate(ctx, s, c)
	}
	if u.apply {
		if err := u.Store.Mutate(ctx, s, c); err != nil {
			return err
		}
	}
	return fmt.Errorf("lost: %w", meta.ErrUnknownOutcome)
}

// With the outcome unknown the data stays, in case it was named.
func TestUnknownOutcome(t *testing.T) {
	for _, apply := range []bool{true, false} {
		var active atomic.Bool
		r := newRig(t, rigOptions{drives: 1, cfg: Config{Grace: time.Hour}, wrap: func(s meta.Store) meta.Store {
			return &unsure{s, &active, apply}
		}})
		r.bucket("b")
		active.Store(true)
		_, err := r.e.Put(context.Background(), putRequest("b", "k", content(1, 100_000)))
		wantKind(t, err, UnknownOutcome)
		active.Store(false)
		// Whatever is written next must not take its place.
		for i := range 20 {
			r.put("b", fmt.Sprint(i), content(uint64(i), 100_000))
		}
		if apply {
			r.check("b", "k", content(1, 100_000))
		} else if r.used() <= r.named() {
			t.Fatal("extents of an unknown outcome were freed")
		}
		r.restart()
		r.accounted()
		r.stop()
	}
}

// A purge of unknown outcome frees nothing: its extents may still be named.
func TestUnknownPurge(t *testing.T) {
	var active atomic.Bool
	r := newRig(t, rigOptions{drives: 1, cfg: Config{Grace: 200 * time.Millisecond}, wrap: func(s meta.Store) meta.Store {
		return &unsure{s, &active, false}
	}})
	r.bucket("b")
	r.put("b", "k", content(1, 100_000))
	if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: "k", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	active.Store(true)
	time.Sleep(400 * time.Millisecond)
	r.accounted()
	if r.used() == 0 {
		t.Fatal("extents were freed while the purge is in doubt")
	}
	active.Store(false)
	r.drained()
	r.accounted()
	if n := r.used(); n != 0 {
		t.Fatalf("%d bytes in use", n)
	}
	r.stop()
}
