package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/meta"
)

// fill puts objects until the drives are full and returns how many fitted.
func (r *rig) fill(size int64) (n int) {
	r.t.Helper()
	for ; ; n++ {
		_, err := r.e.Put(context.Background(), putRequest("b", fmt.Sprint(n), content(uint64(n), size)))
		if err != nil {
			wantKind(r.t, err, NoSpace)
			return n
		}
		if n > 10_000 {
			r.t.Fatal("the drives do not get full")
		}
	}
}

func TestFullDrives(t *testing.T) {
	r := newRig(t, rigOptions{capacity: 12 << 20})
	r.bucket("b")
	first := 0
	for round := range 4 {
		n := r.fill(300_000)
		if first == 0 {
			first = n
		}
		if n < 30 || n < first {
			t.Fatalf("round %d: %d objects fit, %d did at first", round, n, first)
		}
		for _, d := range r.e.Status().Drives {
			if d.Free > 400_000 {
				t.Fatalf("a drive has %d bytes free while writes are refused", d.Free)
			}
		}
		// Full drives serve reads, small objects, and deletes.
		for i := range n {
			_, got, err := fetch(r.e, "b", fmt.Sprint(i), i)
			if err != nil || etagOf(got) != etagOf(content(uint64(i), 300_000)) {
				t.Fatal(i, err)
			}
		}
		r.put("b", "small", []byte("inline"))
		r.accounted()
		if round == 1 {
			r.restart()
		}
		for i := range n {
			if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: fmt.Sprint(i), IfSize: -1}); err != nil {
				t.Fatal(err)
			}
		}
		if round != 2 { // in one round the writes have to wait for the purger
			r.drained()
			if used := r.used(); used != 0 {
				t.Fatalf("%d bytes in use", used)
			}
		}
	}
	r.stop()
}

// A write to full drives waits for garbage that makes room, and only for that.
func TestWriteWaitsForPurge(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1, capacity: 12 << 20, cfg: Config{Grace: 2 * time.Second}})
	r.bucket("b")
	n := r.fill(1_000_000)
	begun := time.Now()
	_, err := r.e.Put(context.Background(), putRequest("b", "more", content(1, 1_000_000)))
	wantKind(t, err, NoSpace)
	if took := time.Since(begun); took > 1500*time.Millisecond {
		t.Fatalf("a hopeless write took %s", took)
	}
	o, err := r.e.Get(context.Background(), "b", "1")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"0", "1"} {
		if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: key, IfSize: -1}); err != nil {
			t.Fatal(err)
		}
	}
	begun = time.Now()
	r.put("b", "more", content(1, 1_000_000))
	if took := time.Since(begun); took < time.Second {
		t.Fatalf("garbage went before its time: %s", took)
	}
	_, err = r.e.Put(context.Background(), putRequest("b", "pinned", content(2, 1_000_000)))
	wantKind(t, err, NoSpace) // the reader holds the only other garbage
	got, err := fetchRange(o, 0, 1_000_000, 0)
	if err != nil || etagOf(got) != etagOf(content(1, 1_000_000)) {
		t.Fatal("a reader lost its data:", err)
	}
	o.Close()
	r.put("b", "pinned", content(2, 1_000_000))
	_ = n
	r.stop()
}

func TestMetaReserve(t *testing.T) {
	var left atomic.Int64
	left.Store(100)
	var broken atomic.Bool
	r := newRig(t, rigOptions{cfg: Config{MetaReserve: 50, MetaFree: func() (int64, error) {
		if broken.Load() {
			return 0, io.ErrUnexpectedEOF
		}
		return left.Load(), nil
	}}})
	ctx := context.Background()
	r.bucket("b")
	r.put("b", "k", []byte("x"))
	r.put("b", "large", content(1, 100_000))
	up, err := r.e.CreateUpload(ctx, "b", "k", "", meta.Object{})
	if err != nil {
		t.Fatal(err)
	}
	left.Store(49)
	time.Sleep(metaFreeAge + 20*time.Millisecond)
	_, err = r.e.Put(ctx, putRequest("b", "k2", []byte("x")))
	wantKind(t, err, NoSpace)
	_, err = r.e.Put(ctx, putRequest("b", "k2", content(1, 100_000)))
	wantKind(t, err, NoSpace)
	_, err = r.e.PutPart(ctx, PutPartRequest{Bucket: "b", Key: "k", UploadID: up.ID, Number: 1})
	wantKind(t, err, NoSpace)
	_, err = r.e.CreateUpload(ctx, "b", "k", "", meta.Object{})
	wantKind(t, err, NoSpace)
	_, err = r.e.CreateBucket(ctx, "b2", "", "")
	wantKind(t, err, NoSpace)
	r.check("b", "large", content(1, 100_000))
	if _, err := r.e.Docs("").Put(ctx, "doc", []byte("x"), -1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: "large", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	time.Sleep(metaFreeAge + 20*time.Millisecond)
	_, err = r.e.Put(ctx, putRequest("b", "k2", []byte("x")))
	wantKind(t, err, Unavailable)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	broken.Store(false)
	left.Store(50)
	time.Sleep(metaFreeAge + 20*time.Millisecond)
	r.put("b", "k2", []byte("x"))
	r.stop()
}
