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

// A Read that fails says that it read nothing: what is in the caller's memory
// by then was not all verified, and a copying caller would pass it on.
func TestFailedReadCountsNothing(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	data := content(1, 3_000_000)
	ext := r.put("b", "k", data).Blob.Fragments[0].Extents[0]
	r.devs[0].Corrupt(ext.Off + (1<<20 + 4096) + 5000) // in the second frame
	o, err := r.e.Get(context.Background(), "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for _, size := range []int{10_000, directRead, 4 << 20} {
		b, err := o.Range(context.Background(), 0, o.Info.Size)
		if err != nil {
			t.Fatal(err)
		}
		p := bytes.Repeat([]byte{0xA5}, size)
		for at := 0; ; {
			n, err := b.Read(p)
			if !bytes.Equal(p[:n], data[at:at+n]) {
				t.Fatalf("reads of %d: bytes that nobody wrote at %d, error %v", size, at, err)
			}
			if at += n; err != nil {
				wantKind(t, err, Corrupt)
				break
			}
		}
		b.Close()
	}
	o.Close()
	r.stop()
}

// Without parity, a drive that refuses writes costs one client an error, not every
// other one.
func TestFailingDriveIsPassedOver(t *testing.T) {
	r := newRig(t, rigOptions{drives: 3, cfg: Config{Parity: ParityNone}})
	r.bucket("b")
	r.devs[1].Inject(faultio.Rule{Code: ioring.OpWrite, Err: faultio.ErrIO})
	failed := 0
	for i := range 30 {
		_, err := r.e.Put(context.Background(), putRequest("b", fmt.Sprint(i), content(uint64(i), 200_000)))
		if err != nil {
			wantKind(t, err, Unavailable)
			failed++
		}
	}
	if failed != 1 {
		t.Fatalf("%d of 30 writes failed, want the one that met the error", failed)
	}
	// With all drives in doubt they are tried nevertheless.
	for _, i := range []int{0, 2} {
		r.devs[i].Inject(faultio.Rule{Code: ioring.OpWrite, Times: 1, Err: faultio.ErrIO})
	}
	for i := range 2 {
		_, err := r.e.Put(context.Background(), putRequest("b", "k", content(uint64(i), 200_000)))
		wantKind(t, err, Unavailable)
	}
	r.devs[1].Heal()
	for i := range 10 {
		r.put("b", fmt.Sprint("again", i), content(uint64(i), 200_000))
	}
	r.accounted()
	r.stop()
}

// outage is a store that answers as told.
type outage struct {
	meta.Store
	refuse atomic.Pointer[error] // of Mutate, with nothing applied
	dead   atomic.Pointer[error]
}

func (o *outage) Mutate(ctx context.Context, s meta.Slot, c meta.Command) error {
	if err := o.refuse.Load(); err != nil {
		return *err
	}
	return o.Store.Mutate(ctx, s, c)
}

func (o *outage) Err() error {
	if err := o.dead.Load(); err != nil {
		return *err
	}
	return o.Store.Err()
}

func outageRig(t *testing.T) (*rig, *outage) {
	out := &outage{}
	r := newRig(t, rigOptions{drives: 1, wrap: func(s meta.Store) meta.Store { out.Store = s; return out }})
	r.bucket("b")
	return r, out
}

// A command that the store never began leaves nothing behind.
func TestCommandNeverBegun(t *testing.T) {
	r, out := outageRig(t)
	for _, err := range []error{context.DeadlineExceeded, context.Canceled, meta.ErrClosed} {
		out.refuse.Store(&err)
		_, got := r.e.Put(context.Background(), putRequest("b", "k", content(1, 100_000)))
		wantKind(t, got, Unavailable)
		if n := r.used(); n != 0 {
			t.Fatalf("%d bytes leaked by %v", n, err)
		}
	}
	unsure := fmt.Errorf("%w: %w", meta.ErrUnknownOutcome, context.DeadlineExceeded)
	out.refuse.Store(&unsure)
	_, err := r.e.Put(context.Background(), putRequest("b", "k", content(1, 100_000)))
	wantKind(t, err, UnknownOutcome)
	if r.used() == 0 {
		t.Fatal("extents of an unknown outcome were freed")
	}
	out.refuse.Store(nil)
	r.stop()
}

// A dead store makes the engine unhealthy, and it refuses writes unread.
func TestDeadStore(t *testing.T) {
	r, out := outageRig(t)
	data := content(1, 100_000)
	r.put("b", "k", data)
	if err := r.e.Err(); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	out.dead.Store(&boom)
	if err := r.e.Err(); KindOf(err) != Unavailable || !errors.Is(err, boom) {
		t.Fatal(err)
	}
	req := putRequest("b", "k", data)
	body := bytes.NewReader(data)
	req.Body = body
	_, err := r.e.Put(context.Background(), req)
	wantKind(t, err, Unavailable)
	if body.Len() != len(data) {
		t.Fatal("the body was read for nothing")
	}
	if st := r.e.Status(); !errors.Is(st.MetaErr, boom) || len(st.Drives) != 1 {
		t.Fatalf("%+v", st)
	}
	r.check("b", "k", data)
	r.stop()
	wantKind(t, r.e.Err(), Unavailable)
}

// Err names a failed drive when it is the last one.
func TestDeadDrives(t *testing.T) {
	r := newRig(t, rigOptions{drives: 2})
	r.bucket("b")
	for i := range 2 {
		if err := r.e.Err(); err != nil {
			t.Fatal(i, err)
		}
		r.devs[i].Inject(faultio.Rule{Code: ioring.OpSync, Times: 1, Err: faultio.ErrIO})
		for r.e.drives.now().all[i].d.Err() == nil {
			_, _ = r.e.Put(context.Background(), putRequest("b", "k", content(1, 50_000)))
		}
	}
	if err := r.e.Err(); KindOf(err) != Unavailable || !errors.Is(err, drive.ErrFailed) {
		t.Fatal(err)
	}
	r.stop()
}

// hung is a store whose Purge does not come back until it is told.
type hung struct {
	meta.Store
	on    atomic.Bool
	begun chan struct{}
	leave chan struct{}
}

func (h *hung) Mutate(ctx context.Context, s meta.Slot, c meta.Command) error {
	if _, ok := c.(*meta.Purge); ok && h.on.Swap(false) {
		close(h.begun)
		<-h.leave
	}
	return h.Store.Mutate(ctx, s, c)
}

// Close gives up on a store that hangs, and can be repeated.
func TestCloseDuringHungPurge(t *testing.T) {
	h := &hung{begun: make(chan struct{}), leave: make(chan struct{})}
	r := newRig(t, rigOptions{drives: 1, wrap: func(s meta.Store) meta.Store { h.Store = s; return h }})
	r.bucket("b")
	h.on.Store(true)
	r.put("b", "k", content(1, 50_000))
	r.put("b", "k", content(2, 50_000))
	<-h.begun
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	wantKind(t, r.e.Close(ctx), Unavailable)
	close(h.leave)
	r.stop()
}

// An object near S3's limit: no test can write it, but its arithmetic is that
// of any other.
func TestHugeObject(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1})
	r.bucket("b")
	ctx := context.Background()
	up, err := r.e.CreateUpload(ctx, "b", "huge", "me", meta.Object{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.e.Bucket(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	const parts = MaxObjectSize / MaxPutSize // 1,024 of 5 GiB
	var refs []meta.PartRef
	var ids []layout.BlobID
	d := r.e.drives.now().all[0].d
	for n := int32(1); n <= parts; n++ {
		exts, err := d.Reserve(ctx, MaxPutSize)
		if err != nil {
			t.Fatal(n, err)
		}
		p := meta.Part{Number: n, Size: MaxPutSize, ETag: etagOf(nil), Blob: layout.Blob{
			ID: layout.NewBlobID(time.Now()), Size: MaxPutSize, Kind: layout.KindSingle,
			Fragments: []layout.Fragment{{Drive: d.ID(), Extents: exts}},
		}}
		if err := r.e.mutate(ctx, b.Slot, &meta.PutPart{Bucket: b, Key: "huge", UploadID: up.ID, Part: p}); err != nil {
			t.Fatal(err)
		}
		refs, ids = append(refs, meta.PartRef{Number: n, ETag: p.ETag}), append(ids, p.Blob.ID)
	}
	o, err := r.e.CompleteUpload(ctx, CompleteRequest{
		Bucket: "b", Key: "huge", UploadID: up.ID, Parts: refs, Size: MaxObjectSize,
		Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) {
			return "e-1024", meta.Checksum{}, nil
		},
	})
	if err != nil || o.Size != MaxObjectSize {
		t.Fatal(o.Size, err)
	}
	r.restart() // claims 5 TiB
	r.accounted()
	obj, err := r.e.Get(ctx, "b", "huge")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ off, n int64 }{
		{0, 1}, {MaxObjectSize - 1, 1}, {MaxPutSize - 1, 2}, {3<<40 + 12345, 7 << 30}, {0, MaxObjectSize},
		{MaxObjectSize - 6<<30, 6 << 30}, {1<<42 - 1, 1<<32 + 2},
	} {
		list, err := obj.pieces(c.off, c.n)
		if err != nil {
			t.Fatal(c, err)
		}
		at := c.off
		for _, p := range list {
			if p.blob.ID != ids[at/MaxPutSize] || p.off != at%MaxPutSize || p.n < 1 || p.off+p.n > MaxPutSize {
				t.Fatalf("%+v: piece %d+%d at %d", c, p.off, p.n, at)
			}
			at += p.n
		}
		if at != c.off+c.n {
			t.Fatalf("%+v ends at %d", c, at)
		}
	}
	// Nothing was written, so nothing may be handed out, at any offset.
	for _, off := range []int64{0, 1<<41 + 1, MaxObjectSize - 1} {
		_, err := obj.Range(ctx, off, 1)
		wantKind(t, err, Corrupt)
	}
	obj.Close()
	if _, err := r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: "huge", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	r.drained()
	if n := r.used(); n != 0 {
		t.Fatalf("%d bytes in use", n)
	}
	r.stop()
}
