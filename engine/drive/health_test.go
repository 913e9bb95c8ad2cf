package drive

import (
	"errors"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

func TestBuckets(t *testing.T) {
	last := 0
	for ns := int64(0); ns < int64(2*time.Hour); ns += ns/7 + 150 {
		i := bucketOf(ns)
		if i < last || i >= buckets {
			t.Fatalf("bucket %d of %v after %d", i, time.Duration(ns), last)
		}
		last = i
		if up := upper(i); i < buckets-1 && (int64(up) <= ns || int64(up) > ns+ns/4+1000) {
			t.Fatalf("%v lies in a bucket that ends at %v", time.Duration(ns), up)
		}
	}
	if bucketOf(-1) != 0 || bucketOf(1<<62) != buckets-1 {
		t.Error("times out of range")
	}
}

func TestLatencyWindow(t *testing.T) {
	var w window
	rng := rand.New(rand.NewPCG(1, 2))
	const second = int64(time.Second)
	for start := int64(0); start < 300*second; start += 70 * second {
		if l := w.latency(start, ioring.OpRead); l != (Latency{}) {
			t.Fatalf("at %v: %+v", time.Duration(start), l)
		}
		var all []int64
		for range 1000 {
			ns := int64(time.Microsecond) * (10 + rng.Int64N(100)) << rng.IntN(8)
			w.at(start + rng.Int64N(10*second)).read.add(ns)
			all = append(all, ns)
		}
		slices.Sort(all)
		for _, after := range []int64{10 * second, 45 * second} {
			l := w.latency(start+after, ioring.OpRead)
			near := func(got time.Duration, want int64) bool { return int64(got) >= want && int64(got) <= want+want/4+1000 }
			if l.Count != 1000 || !near(l.P50, all[499]) || !near(l.P99, all[989]) || int64(l.Max) != all[999] {
				t.Fatalf("%+v, want about %v, %v, %v", l, all[499], all[989], all[999])
			}
			if w.latency(start+after, ioring.OpWrite).Count != 0 {
				t.Fatal("reads counted as writes")
			}
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { w.at(1).read.add(5) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestThresholds counts events into a minute and asks for the verdict.
func TestThresholds(t *testing.T) {
	for name, c := range map[string]struct {
		thresholds Thresholds
		ops, reads uint64
		errors     uint64
		timeouts   uint64
		stalls     uint64
		corrupt    uint64
		failing    bool
	}{
		"healthy":          {ops: 1000, reads: 1000},
		"few errors":       {ops: 9, errors: 9},
		"errors":           {ops: 10, errors: 10, failing: true},
		"enough, but rare": {ops: 1000, errors: 199},
		"a fifth":          {ops: 1000, errors: 200, failing: true},
		"a timeout":        {ops: 1000, timeouts: 1, failing: true},
		"few stalls":       {ops: 1000, stalls: 4},
		"stalls":           {ops: 1000, stalls: 5, failing: true},
		"few corrupt":      {ops: 19, reads: 19, corrupt: 19},
		"corrupt, rare":    {ops: 101, reads: 101, corrupt: 20},
		"corrupt":          {ops: 1000, reads: 100, corrupt: 20, failing: true},
		"patient":          {thresholds: Thresholds{Errors: 100, Timeouts: 100, Stalls: 100, Corrupt: 100}, ops: 99, reads: 99, errors: 99, timeouts: 99, stalls: 99, corrupt: 99},
		"strict":           {thresholds: Thresholds{Errors: 1, ErrorShare: 0.001}, ops: 1000, errors: 1, failing: true},
		"strict, corrupt":  {thresholds: Thresholds{Corrupt: 1, CorruptShare: 0.001}, ops: 1000, reads: 1000, corrupt: 1, failing: true},
	} {
		d := newDrive(newMem(mib), Options{Thresholds: c.thresholds})
		s := d.window.at(0)
		for _, n := range []struct {
			to interface{ Add(uint64) uint64 }
			n  uint64
		}{{&s.ops, c.ops}, {&s.reads, c.reads}, {&s.errors, c.errors}, {&s.timeouts, c.timeouts}, {&s.stalls, c.stalls}, {&s.corrupt, c.corrupt}} {
			n.to.Add(n.n)
		}
		for at, failing := range map[time.Duration]bool{0: c.failing, 49 * time.Second: c.failing, 61 * time.Second: false} {
			if err := d.failing(int64(at), &Health{}); (err != nil) != failing {
				t.Errorf("%s after %v: %v", name, at, err)
			}
		}
	}
}

func TestHealthOfFaults(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	id, exts := put(t, r.d, randomBytes(1, 4000))
	read := func() error { _, err := get(r.d, id, exts, 4000, 0, 4000); return err }
	for range 30 {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	h := r.d.Health()
	if h.Failing != nil || h.Errors != 0 || h.Reads.Count < 30 || h.Reads.P99 == 0 || h.Reads.Max < h.Reads.P99 || h.Writes.Count == 0 || h.Gone {
		t.Errorf("%+v", h)
	}

	// The want of space is no fault, nor a body that ends early.
	r.dev.Break(faultio.Full)
	for range 20 {
		e, err := r.d.Reserve(t.Context(), 4000)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.d.WriteFragment(t.Context(), layout.NewBlobID(testTime), e, 4000, zeroReader{}); !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
		r.d.Free(e)
	}
	if h := r.d.Health(); h.Errors != 0 || h.Failing != nil {
		t.Errorf("a full drive: %+v", h)
	}
	r.dev.Heal()

	r.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 9, Err: faultio.ErrIO})
	for range 9 {
		if err := read(); !errors.Is(err, faultio.ErrIO) {
			t.Fatal(err)
		}
	}
	if h := r.d.Health(); h.Errors != 9 || h.Failing != nil || h.Gone {
		t.Errorf("nine errors: %+v", h)
	}
	r.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 41, Err: faultio.ErrIO})
	for range 41 {
		read()
	}
	if h := r.d.Health(); h.Errors != 50 || h.Failing == nil || h.Gone {
		t.Errorf("fifty errors: %+v", h)
	}
	// The superblock can be read: a bad place is not the end of the device.
	eventually(t, "the probe", func() bool { return r.d.totals.streak.Load() == 0 })
	if h := r.d.Health(); h.Gone || h.Failing == nil {
		t.Errorf("it reads elsewhere: %+v", h)
	}
	if r.d.Err() != nil {
		t.Error("read errors keep it from being written")
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHealthOfStalls(t *testing.T) {
	t.Parallel()
	dev := faultio.New(faultio.Options{Capacity: 64 * mib})
	const stall = 50 * time.Millisecond
	d := openDrive(t, dev, Options{Stall: stall})
	id, exts := put(t, d, randomBytes(1, 4000))
	dev.Inject(faultio.Rule{Code: ioring.OpRead, Delay: 2 * stall})
	// Of the delay, time in which the test gets no processor does not count.
	eventually(t, "the verdict", func() bool {
		h := d.Health()
		if (h.Failing != nil) != (h.Stalls >= 5) || h.Timeouts != 0 || h.Stalls > 0 && h.Reads.Max < stall {
			t.Fatalf("%+v", h)
		}
		if h.Failing != nil {
			return true
		}
		if _, err := get(d, id, exts, 4000, 0, 1); err != nil {
			t.Fatal(err)
		}
		return false
	})
}

// TestQueueingIsNoStall: what a full queue takes longer is no fault of the drive.
func TestQueueingIsNoStall(t *testing.T) {
	d := newDrive(newMem(mib), Options{Stall: 100 * time.Millisecond})
	tr := &transfer{ahead: 10}
	d.observeAge(tr, int64(299*time.Millisecond), 0)
	if d.Health().Stalls != 0 {
		t.Error("counted in spite of the queue")
	}
	d.observeAge(tr, int64(301*time.Millisecond), 0)
	d.observeAge(tr, int64(400*time.Millisecond), 0)
	if d.Health().Stalls != 1 {
		t.Error("not counted once")
	}
}

func TestGoneDevice(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	id, exts := put(t, r.d, randomBytes(1, 4000))
	r.dev.Break(faultio.Gone)
	if _, err := get(r.d, id, exts, 4000, 0, 1); !errors.Is(err, syscall.ENXIO) {
		t.Fatal(err)
	}
	if h := r.d.Health(); !h.Gone || h.Failing == nil {
		t.Errorf("%+v", h)
	}
	other := newHangRig(t, faultio.Options{})
	id, exts = put(t, other.d, randomBytes(1, 4000))
	other.dev.Inject(faultio.Rule{Err: faultio.ErrIO})
	for range 10 {
		if _, err := get(other.d, id, exts, 4000, 0, 1); !errors.Is(err, faultio.ErrIO) {
			t.Fatal(err)
		}
	}
	eventually(t, "the verdict", func() bool { h := other.d.Health(); return h.Gone && h.Failing != nil })
	other.d.Usage()
	other.dev.Heal()
	if _, err := get(other.d, id, exts, 4000, 0, 1); err != nil {
		t.Error(err)
	}
	if h := other.d.Health(); h.Gone {
		t.Errorf("it is back: %+v", h)
	}
}

func TestRecentP99Read(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	id, exts := put(t, r.d, randomBytes(1, 4000))
	r.dev.Inject(faultio.Rule{Code: ioring.OpRead, Delay: 5 * time.Millisecond})
	eventually(t, "a new percentile", func() bool {
		if _, err := get(r.d, id, exts, 4000, 0, 1); err != nil {
			t.Fatal(err)
		}
		return r.d.RecentP99Read() >= 5*time.Millisecond
	})
}

func BenchmarkHealth(b *testing.B) {
	d := newDrive(newMem(mib), Options{})
	for i := range int64(1000) {
		d.window.at(d.now()).read.add(i * 10_000)
	}
	b.ReportAllocs()
	for b.Loop() {
		d.Health()
	}
}

func BenchmarkObserve(b *testing.B) {
	d := newDrive(newMem(mib), Options{})
	t := &transfer{d: d, code: ioring.OpRead}
	b.ReportAllocs()
	for b.Loop() {
		d.observe(t, 1000, d.now())
	}
}
