package engine

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"
)

// TestThreeDrivesFail takes one drive more than parity allows: what is affected
// cannot be read and says so, the rest can, nothing is deleted, and all of it comes
// back with one drive.
func TestThreeDrivesFail(t *testing.T) {
	f := newFarm(t, 7, 6, 0)
	ctx := context.Background()
	if _, err := f.e.CreateBucket(ctx, "b", "owner", ""); err != nil {
		t.Fatal(err)
	}
	data := map[string][]byte{}
	for i, size := range []int64{10, 1000, 5000, 60_000, 128 << 10, 300_000, 1 << 20, 3_000_000} {
		for n := range 6 {
			key := fmt.Sprintf("%d-%d", size, n)
			data[key] = content(uint64(10*i+n), size)
			if err := f.put(key, data[key]); err != nil {
				t.Fatal(err)
			}
		}
	}
	out := []int{1, 3, 5} // bays 0 and 2 keep copies of the metadata
	for _, n := range out {
		f.mu.Lock()
		f.bays[n].hurt([]string{faultEIO, faultGone, faultHang}[n/2])
		f.mu.Unlock()
	}
	readable, refused := f.readAll(data, time.Second)
	if readable == 0 || refused == 0 {
		t.Fatalf("%d readable, %d refused", readable, refused)
	}
	key := "new"
	data[key] = content(999, 200_000)
	if err := f.put(key, data[key]); err != nil {
		t.Error("a write with three drives left:", err)
	}
	f.comeBack(f.bays[3])
	if _, refused := f.readAll(data, 0); refused != 0 {
		t.Errorf("%d objects cannot be read with four drives", refused)
	}
	f.comeBack(f.bays[1])
	f.swap(f.bays[5])
	f.whole()
	if _, refused := f.readAll(data, 0); refused != 0 {
		t.Errorf("%d objects cannot be read in the end", refused)
	}
	f.checked()
	f.stop()
	f.arena.Close()
}

// readAll reads every object and counts those that come whole and those that are
// refused as they should be, after settle for drives to be noticed as broken.
func (f *farm) readAll(data map[string][]byte, settle time.Duration) (readable, refused int) {
	f.t.Helper()
	for end := time.Now().Add(settle); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for key := range data {
			_, _, _ = fetch(f.e, "b", key, 0) // so that health is noticed
			break
		}
	}
	for key, want := range data {
		for way := range 3 {
			begun := time.Now()
			_, got, err := fetch(f.e, "b", key, way)
			if took := time.Since(begun); took > readPatience {
				f.t.Errorf("reading %s took %s", key, took)
			}
			switch {
			case err == nil && bytes.Equal(got, want):
				readable++
			case KindOf(err) == Unavailable || KindOf(err) == Corrupt:
				refused++
				if !bytes.HasPrefix(want, got) {
					f.t.Errorf("%s: wrong bytes before the error", key)
				}
			default:
				f.t.Errorf("%s: %d bytes, %v", key, len(got), err)
			}
		}
	}
	return readable, refused
}

// TestFillAndEmpty fills all drives to the brim and empties them, several times over.
func TestFillAndEmpty(t *testing.T) {
	f := newFarm(t, 11, 6, 12<<20)
	ctx := context.Background()
	if _, err := f.e.CreateBucket(ctx, "b", "owner", ""); err != nil {
		t.Fatal(err)
	}
	for round := range 4 {
		data := map[string][]byte{}
		full := 0
		for n := 0; full < 5 && n < 2000; n++ {
			key := fmt.Sprint(n)
			want := content(uint64(round*10_000+n), 1+f.rng.Int64N(700_000))
			_, err := f.e.Put(ctx, putRequest("b", key, want))
			switch {
			case err == nil:
				data[key] = want
			case KindOf(err) == NoSpace:
				full++
			default:
				t.Fatal(err)
			}
		}
		if full == 0 {
			t.Fatal("the drives never got full")
		}
		if _, refused := f.readAll(data, 0); refused != 0 {
			t.Fatalf("%d reads refused on full drives", refused)
		}
		for key := range data {
			if _, err := f.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: key, IfSize: -1}); err != nil {
				t.Fatal("delete on full drives:", err)
			}
		}
		f.until("everything is purged", func() bool {
			f.e.purger.wake()
			var used int64
			for _, d := range f.e.Status().Drives {
				used += d.Used
			}
			return used == 0
		})
	}
	f.checked()
	f.stop()
	f.arena.Close()
}
