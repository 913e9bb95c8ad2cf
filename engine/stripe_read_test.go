package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// brief reports whether to do less, as with the race detector, with which everything
// takes ten times as long.
func brief() bool { return raceDetector || testing.Short() }

var geometries = []layout.Geometry{
	{Data: 1, Parity: 1, Unit: 64 << 10}, {Data: 1, Parity: 2, Unit: 128 << 10}, {Data: 2, Parity: 1, Unit: 64 << 10},
	{Data: 2, Parity: 2, Unit: 128 << 10}, {Data: 4, Parity: 2, Unit: 64 << 10}, {Data: 6, Parity: 3, Unit: 64 << 10},
	{Data: 3, Parity: 0, Unit: 64 << 10},
}

// same fails unless bytes [lo, hi) of an object are those of data, read in each of
// the given ways.
func (r *rig) same(key string, data []byte, lo, hi int64, ways ...int) {
	r.t.Helper()
	o, err := r.e.Get(context.Background(), "b", key)
	if err != nil {
		r.t.Fatal(err)
	}
	defer o.Close()
	for _, way := range ways {
		got, err := fetchRange(o, lo, hi-lo, way)
		if err != nil || !bytes.Equal(got, data[lo:hi]) {
			r.t.Fatalf("%s [%d,%d), way %d: %d bytes, %v", key, lo, hi, way, len(got), err)
		}
	}
}

// Every combination of fragments that may be lost is, in one of several ways, and
// everything can be read.
func TestStripedLosses(t *testing.T) {
	for _, g := range geometries {
		t.Run(fmt.Sprintf("%d+%d", g.Data, g.Parity), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{drives: g.Fragments(), cfg: Config{Timing: lasting}})
			r.bucket("b")
			objects := make(map[string][]byte)
			for i, size := range stripedSizes(g) {
				for _, sealed := range []bool{false, true} {
					key := fmt.Sprint(size, sealed)
					objects[key] = content(uint64(i), size)
					striper{r: r, data: g.Data, parity: g.Parity, unit: g.Unit, sealed: sealed}.put("b", key, objects[key])
					r.same(key, objects[key], 0, size, 0, 1, 2)
				}
			}
			for lost := range uint32(1) << g.Fragments() {
				if bits.OnesCount32(lost) > g.Parity {
					continue
				}
				for n := range g.Fragments() {
					if lost>>n&1 == 0 {
						continue
					}
					if (int(lost)+n)%2 == 0 {
						r.fail(true, n)
					} else {
						r.devs[n].Inject(faultio.Rule{Code: ioring.OpRead, Err: faultio.ErrIO})
					}
				}
				way := int(lost)
				for key, data := range objects { // in an order of its own each time
					if way++; brief() && way > int(lost)+2 {
						break
					}
					r.same(key, data, 0, int64(len(data)), way%3)
				}
				for n, dev := range r.devs {
					dev.Heal()
					r.fail(false, n)
				}
			}
			r.stop()
		})
	}
}

func TestStripedRanges(t *testing.T) {
	for _, g := range geometries {
		t.Run(fmt.Sprintf("%d+%d", g.Data, g.Parity), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{drives: g.Fragments(), cfg: Config{Timing: lasting}})
			r.bucket("b")
			size := 2*g.Row() + g.Unit + 12_345
			data := content(1, size)
			for i, sealed := range []bool{false, true} {
				key := fmt.Sprint(sealed)
				striper{r: r, data: g.Data, parity: g.Parity, unit: g.Unit, sealed: sealed}.put("b", key, data)
				for n, x := range spans(g, size, sealed) {
					ways := []int{0, 1, 2}
					if brief() {
						ways = ways[n%3:][:1]
					}
					r.same(key, data, x[0], x[1], ways...)
					if g.Parity == 0 {
						continue
					}
					out := rand.New(rand.NewPCG(uint64(i), uint64(n))).Perm(g.Fragments())[:g.Parity]
					r.fail(true, out...)
					r.same(key, data, x[0], x[1], ways...)
					r.fail(false, out...)
				}
			}
			r.stop()
		})
	}
}

// Only what covers a range is read.
func TestStripedRangeIsCheap(t *testing.T) {
	r := newRig(t, rigOptions{drives: 6, cfg: Config{Timing: lasting}})
	r.bucket("b")
	data := content(1, 8<<20)
	striper{r: r, data: 4, parity: 2, unit: 512 << 10}.put("b", "k", data)
	for _, m := range r.e.drives.now().all {
		m.tempo.after.Store(int64(time.Minute)) // others are not asked as well
	}
	read := func() (n uint64, drives int) {
		for _, m := range r.e.drives.now().all {
			if s := m.d.Stats(); s.ReadBytes > 0 {
				n, drives = n+s.ReadBytes, drives+1
			}
		}
		return n, drives
	}
	before, _ := read()
	r.same("k", data, 1_000_000, 1_000_100, 0)
	after, _ := read()
	if n := after - before; n > 40<<10 {
		t.Errorf("%d bytes read for 100", n)
	}
	r.fail(true, 1)
	r.same("k", data, 1_000_000, 1_000_100, 0)
	if end, _ := read(); end-after > 4*40<<10 {
		t.Errorf("%d bytes read to compute 100", end-after)
	}
	r.stop()
}

// With too few fragments, nothing of the row comes, and the error tells whether it is
// worth coming back.
func TestStripedTooFew(t *testing.T) {
	r := newRig(t, rigOptions{drives: 6, cfg: Config{Timing: lasting}})
	r.bucket("b")
	s := striper{r: r, data: 4, parity: 2, unit: 64 << 10}
	row := int64(4 * 64 << 10)
	data := content(1, 3*row)
	s.put("b", "absent", data)
	s.put("b", "flipped", data)
	s.put("b", "missing", data)
	s.put("b", "eio", data)
	open := func(key string) (*Body, error) {
		o, err := r.e.Get(context.Background(), "b", key)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		return o.Range(context.Background(), 0, o.Info.Size)
	}
	r.fail(true, 0, 2, 5)
	_, err := open("absent")
	wantKind(t, err, Unavailable)
	if !errors.Is(err, errTooFew) {
		t.Error(err)
	}
	r.fail(false, 0, 2, 5)
	r.same("absent", data, 0, 3*row, 0, 1, 2)

	for _, i := range []int{1, 3, 4} {
		r.forget("b", "missing", i)
	}
	_, err = open("missing")
	wantKind(t, err, Corrupt)

	// The second row of three fragments.
	blob := r.placed("b", "flipped")
	for _, i := range []int{0, 1, 4} {
		r.devs[i].Corrupt(blob.Fragments[i].Extents[0].Off + 4<<10 + 64<<10 + 4<<10 + 100)
	}
	b, err := open("flipped")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err = b.WriteTo(&out)
	wantKind(t, err, Corrupt)
	if !bytes.Equal(out.Bytes(), data[:row]) {
		t.Errorf("%d bytes before the error, want %d", out.Len(), row)
	}
	b.Close()

	for _, i := range []int{0, 3, 4} {
		r.devs[i].Inject(faultio.Rule{Code: ioring.OpRead, Err: faultio.ErrIO})
	}
	_, err = open("eio")
	wantKind(t, err, Unavailable)
	if !errors.Is(err, faultio.ErrIO) {
		t.Error(err)
	}
	for _, dev := range r.devs {
		dev.Heal()
	}
	r.same("eio", data, 0, 3*row, 0, 1, 2)
	r.stop()
}

// Fragments that do not verify are computed, and queued for repair: they, and no
// others.
func TestStripedFlips(t *testing.T) {
	for _, g := range []layout.Geometry{{Data: 1, Parity: 2, Unit: 64 << 10}, {Data: 4, Parity: 2, Unit: 64 << 10}} {
		for _, sealed := range []bool{false, true} {
			var queue repairs
			r := newRig(t, rigOptions{drives: g.Fragments(), cfg: Config{Timing: lasting}, wrap: queue.watch})
			r.bucket("b")
			data := content(1, 2*g.Row()+100)
			striper{r: r, data: g.Data, parity: g.Parity, unit: g.Unit, sealed: sealed}.put("b", "k", data)
			blob := r.placed("b", "k")
			bad := []int{0, g.Data}
			for _, i := range bad {
				r.flip(&blob, i)
			}
			want := uint32(1)<<bad[0] | 1<<bad[1]
			for round := 0; ; round++ { // a mirror shows its bad copies when their turn has come
				r.same("k", data, 0, int64(len(data)), round%3)
				got, _ := queue.of(blob.ID)
				if got&^want != 0 || round > 2000 {
					t.Fatalf("queued for repair: %b, want %b", got, want)
				}
				if got == want || g.Data > 1 && got == 1 { // nobody read the other
					break
				}
				time.Sleep(time.Millisecond)
			}
			if n := r.e.ReadStats().Suspects; n == 0 {
				t.Error("no suspects")
			}
			r.stop()
		}
	}
}

// A silent flip on the way, of reads, never gets out.
func TestStripedFlippingDrives(t *testing.T) {
	r := newRig(t, rigOptions{drives: 6, cfg: Config{Timing: lasting}})
	r.bucket("b")
	data := content(1, 1_000_000)
	for i, sealed := range []bool{false, true} {
		striper{r: r, data: 4, parity: 2, unit: 128 << 10, sealed: sealed}.put("b", fmt.Sprint(sealed), data)
		r.devs[1+2*i].Inject(faultio.Rule{Code: ioring.OpRead, Flip: true, Chance: 0.5})
	}
	for round := range 15 {
		r.same("false", data, 0, int64(len(data)), round%3)
		r.same("true", data, 0, int64(len(data)), round%3)
	}
	r.stop()
}

// Fragments move while readers are at it, and what they left is overwritten.
func TestStripedMoves(t *testing.T) {
	for _, g := range []layout.Geometry{{Data: 1, Unit: 1 << 20}, {Data: 1, Parity: 1, Unit: 64 << 10}, {Data: 3, Parity: 1, Unit: 64 << 10}} {
		t.Run(fmt.Sprintf("%d+%d", g.Data, g.Parity), func(t *testing.T) {
			var queue repairs
			r := newRig(t, rigOptions{drives: g.Fragments() + 2, cfg: Config{Timing: lasting, Parity: ParityNone}, wrap: queue.watch})
			r.bucket("b")
			data := content(1, g.Row()+200_777)
			if g.Fragments() == 1 {
				r.put("b", "k", data)
			} else {
				striper{r: r, data: g.Data, parity: g.Parity, unit: g.Unit}.put("b", "k", data)
			}
			stop := make(chan struct{})
			var readers sync.WaitGroup
			for way := range 3 {
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if _, got, err := fetch(r.e, "b", "k", way); err != nil || !bytes.Equal(got, data) {
							t.Errorf("way %d: %d bytes, %v", way, len(got), err)
							return
						}
					}
				})
			}
			rng := rand.New(rand.NewPCG(1, 2))
			moves := 15
			if brief() {
				moves = 6
			}
			for n := range moves {
				blob := r.placed("b", "k")
				i := rng.IntN(g.Fragments())
				from := blob.Fragments[i]
				to := rng.IntN(len(r.devs))
				if slicesContainsDrive(&blob, r.e.drives.now().all[to].id) {
					continue
				}
				r.move("b", "k", i, to)
				d := r.e.drives.now().drive(from.Drive)
				d.Free(from.Extents)
				other := r.lay(&layout.Blob{ID: layout.NewBlobID(time.Now()), Kind: layout.KindSingle, Size: 1}, 0, indexOf(r, from.Drive), content(uint64(n), 3*64<<10))
				time.Sleep(time.Millisecond)
				d.Free(other.Extents)
			}
			close(stop)
			readers.Wait()
			if _, n := queue.of(layout.BlobID{}); n != 0 {
				t.Errorf("%d blobs were queued for repair", n)
			}
			r.stop()
		})
	}
}

func slicesContainsDrive(b *layout.Blob, id layout.DriveID) bool {
	for i := range b.Fragments {
		if b.Fragments[i].Drive == id {
			return true
		}
	}
	return false
}

func indexOf(r *rig, id layout.DriveID) int {
	for n, m := range r.e.drives.now().all {
		if m.id == id {
			return n
		}
	}
	r.t.Fatal("no drive ", id)
	return -1
}

// A reader that found a fragment gone takes the place it moved to, even when what it
// knows is that its drive is not there any more.
func TestStripedMovesMeanwhile(t *testing.T) {
	r := newRig(t, rigOptions{drives: 6, cfg: Config{Timing: lasting}})
	r.bucket("b")
	g := layout.Geometry{Data: 2, Parity: 1, Unit: 64 << 10}
	data := content(1, 3*g.Row())
	striper{r: r, data: 2, parity: 1, unit: g.Unit}.put("b", "k", data)
	o, err := r.e.Get(context.Background(), "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	b, err := o.Range(context.Background(), 0, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		r.move("b", "k", i, 3+i)
	}
	r.fail(true, 0, 1, 2)
	var out bytes.Buffer
	if _, err := b.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), data) {
		t.Fatal(out.Len(), err)
	}
	b.Close()
	o.Close()
	r.stop()
}

// A record and a back-reference that do not fit end in an error.
func TestLocate(t *testing.T) {
	r := newRig(t, rigOptions{drives: 3, cfg: Config{Timing: lasting}})
	r.bucket("b")
	o := striper{r: r, data: 2, parity: 1, unit: 64 << 10}.put("b", "k", content(1, 200_000))
	b, err := r.e.Bucket(context.Background(), "b")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*layout.Blob){
		"size": func(b *layout.Blob) { b.Size-- },
		"id":   func(b *layout.Blob) { b.ID[15]++ },
	} {
		blob := o.Blob
		change(&blob)
		if _, err := r.e.locate(b.Slot, &blob); KindOf(err) != Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The geometry is the back-reference's, whatever the record tells.
	born := o.Blob
	born.Kind, born.Data, born.Parity, born.Unit = layout.KindSingle, 0, 0, 0
	at, err := r.e.locate(b.Slot, &born)
	if err != nil || at.geo != o.Blob.Geometry() {
		t.Fatal(at.geo, err)
	}
	for _, x := range [][2]int64{{-1, 5}, {0, 0}, {0, 200_001}, {200_000, 1}, {1, 1 << 62}} {
		if _, err := at.open(context.Background(), x[0], x[1]); KindOf(err) != Corrupt {
			t.Errorf("%v: %v", x, err)
		}
	}
	r.stop()
}

// Reports of one blob are merged, and none waits.
func TestSuspects(t *testing.T) {
	var queue repairs
	r := newRig(t, rigOptions{drives: 3, cfg: Config{Timing: lasting}, wrap: queue.watch})
	r.bucket("b")
	o := striper{r: r, data: 1, parity: 2, unit: 64 << 10}.put("b", "k", content(1, 1000))
	b, err := r.e.Bucket(context.Background(), "b")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 3 {
		for range 20 {
			all.Go(func() { r.e.suspectFragment(b.Slot, o.Blob.ID, i) })
		}
	}
	all.Go(func() { r.e.suspectFragment(b.Slot, layout.NewBlobID(time.Now()), 0) }) // gone meanwhile
	all.Wait()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		bad, blobs := queue.of(o.Blob.ID)
		if bad == 7 && blobs == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%b of %d blobs", bad, blobs)
		}
	}
	r.stop()
	r.e.suspectFragment(b.Slot, o.Blob.ID, 0) // closed: nothing happens
}
