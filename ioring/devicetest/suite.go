package devicetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring"
)

// Maker opens a blank device of size 0 whose queue holds depth operations. It
// registers no cleanup for the device: the suite closes it.
type Maker func(t *testing.T, arena *ioring.Arena, depth int) ioring.Device

// Run runs the suite over devices from open.
func Run(t *testing.T, open Maker) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *fixture)
	}{
		{"Geometry", testGeometry},
		{"ReadBack", testReadBack},
		{"Model", testModel},
		{"ManyGoroutines", testManyGoroutines},
		{"BackPressure", testBackPressure},
		{"SyncMerging", testSyncMerging},
		{"Grow", testGrow},
		{"Refusals", testRefusals},
		{"BeyondEnd", testBeyondEnd},
		{"OpReuse", testOpReuse},
		{"CloseDuringFlight", testCloseDuringFlight},
		{"AfterClose", testAfterClose},
		{"Abort", testAbort},
		{"Owner", testOwner},
		{"UnregisteredBuffers", testUnregisteredBuffers},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, &fixture{open: open, arena: NewArena(t)}) })
	}
}

// NewArena returns an arena for a test, which fails if a buffer of it leaks.
func NewArena(t testing.TB) *ioring.Arena {
	t.Helper()
	arena, err := ioring.NewArena(128 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := arena.Close(); err != nil {
			t.Error(err)
		}
	})
	return arena
}

type fixture struct {
	open  Maker
	arena *ioring.Arena
}

// device opens a device and grows it to size bytes.
func (f *fixture) device(t *testing.T, depth int, size int64) ioring.Device {
	t.Helper()
	dev := f.open(t, f.arena, depth)
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	if err := dev.Grow(t.Context(), size); err != nil {
		t.Fatalf("Grow(%d): %v", size, err)
	}
	return dev
}

func (f *fixture) buffer(t testing.TB, size int) *ioring.Buffer {
	t.Helper()
	b, err := f.arena.Get(context.Background(), size)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// do submits op and waits for it.
func do(dev ioring.Device, op *ioring.Op) error {
	dev.Submit(op)
	return op.Wait()
}

func fill(p []byte, rng *rand.Rand) {
	for i := 0; i+8 <= len(p); i += 8 {
		v := rng.Uint64()
		for j := range 8 {
			p[i+j] = byte(v >> (8 * j))
		}
	}
}

func testGeometry(t *testing.T, f *fixture) {
	dev := f.device(t, 4, 0)
	if a := dev.Align(); a < 512 || a > 64<<10 || a&(a-1) != 0 {
		t.Errorf("Align() = %d", a)
	}
	if n := dev.Size(); n != 0 {
		t.Errorf("Size() of a blank device = %d", n)
	}
	if n, err := dev.Limit(); err != nil || n < 64<<20 || n%int64(dev.Align()) != 0 {
		t.Errorf("Limit() = %d, %v", n, err)
	}
	if s := dev.Stats(); s.Backend == "" || s.Reads+s.Writes+s.Syncs+s.Errors != 0 {
		t.Errorf("Stats() of a blank device = %+v", s)
	}
}

// testReadBack transfers whole frames and parts of them, and checks the counters.
func testReadBack(t *testing.T, f *fixture) {
	dev := f.device(t, 8, 8<<20)
	rng := rand.New(rand.NewPCG(1, 1))
	w, r := f.buffer(t, ioring.LargeBuffer), f.buffer(t, ioring.LargeBuffer)
	defer w.Release()
	defer r.Release()
	fill(w.Bytes(), rng)
	if err := do(dev, &ioring.Op{Code: ioring.OpWrite, Buf: w, Hi: ioring.LargeBuffer, Off: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := do(dev, &ioring.Op{Code: ioring.OpSync}); err != nil {
		t.Fatal(err)
	}
	align := dev.Align()
	lo, hi := align, ioring.LargeBuffer&^(align-1)-align
	if err := do(dev, &ioring.Op{Code: ioring.OpRead, Buf: r, Lo: lo, Hi: hi, Off: 1<<20 + int64(lo)}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Bytes()[lo:hi], w.Bytes()[lo:hi]) {
		t.Error("read back something else")
	}
	if err := do(dev, &ioring.Op{Code: ioring.OpRead, Buf: r, Hi: 64 << 10, Off: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Bytes()[:64<<10], make([]byte, 64<<10)) {
		t.Error("space that Grow added does not read as zeros")
	}
	want := ioring.Stats{Reads: 2, Writes: 1, Syncs: 1, Flushes: 1, ReadBytes: uint64(hi-lo) + 64<<10, WriteBytes: ioring.LargeBuffer}
	got := dev.Stats()
	want.Backend, want.Direct, want.Registered, want.Enters = got.Backend, got.Direct, got.Registered, got.Enters
	if got != want {
		t.Errorf("Stats() = %+v, want %+v", got, want)
	}
}

// testModel keeps many non-overlapping operations in flight and compares every
// read with a byte slice.
func testModel(t *testing.T, f *fixture) {
	const depth, size, rounds = 32, 4 << 20, 60
	dev := f.device(t, depth, size)
	rng := rand.New(rand.NewPCG(2, 2))
	model := make([]byte, size)
	align := max(dev.Align(), 4096)
	bufs := make([]*ioring.Buffer, depth)
	for i := range bufs {
		bufs[i] = f.buffer(t, ioring.SmallBuffer)
		defer bufs[i].Release()
	}
	for range rounds {
		// Each operation has a stripe of its own, so that none overlap.
		const stripe = size / depth
		ops := make([]*ioring.Op, depth)
		for i := range ops {
			lo := rng.IntN(stripe/align/2) * align
			hi := lo + (1+rng.IntN((stripe-lo)/align))*align
			op := &ioring.Op{Buf: bufs[i], Lo: lo, Hi: hi, Off: int64(i*stripe + rng.IntN((stripe-(hi-lo))/align+1)*align)}
			op.Code = ioring.OpRead
			if rng.IntN(2) == 0 {
				op.Code = ioring.OpWrite
				fill(op.Buf.Bytes()[lo:hi], rng)
			}
			ops[i] = op
		}
		dev.Submit(ops...)
		for _, op := range ops {
			if err := op.Wait(); err != nil {
				t.Fatal(err)
			}
			mem, at := op.Buf.Bytes()[op.Lo:op.Hi], model[op.Off:][:op.Len()]
			if op.Code == ioring.OpWrite {
				copy(at, mem)
			} else if !bytes.Equal(mem, at) {
				t.Fatalf("read of %d bytes at %d differs from the model", op.Len(), op.Off)
			}
		}
	}
}

// testManyGoroutines has each goroutine work on a range of its own.
func testManyGoroutines(t *testing.T, f *fixture) {
	const workers, each, rounds = 32, 256 << 10, 20
	dev := f.device(t, 16, workers*each)
	var wg sync.WaitGroup
	for g := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(g)))
			w, r := f.buffer(t, ioring.SmallBuffer), f.buffer(t, ioring.SmallBuffer)
			defer w.Release()
			defer r.Release()
			for range rounds {
				n := (1 + rng.IntN(2)) * 64 << 10
				off := int64(g*each) + int64(rng.IntN(2))*64<<10
				fill(w.Bytes()[:n], rng)
				if err := do(dev, &ioring.Op{Code: ioring.OpWrite, Buf: w, Hi: n, Off: off}); err != nil {
					t.Error(err)
					return
				}
				sync := &ioring.Op{Code: ioring.OpSync}
				read := &ioring.Op{Code: ioring.OpRead, Buf: r, Hi: n, Off: off}
				dev.Submit(sync, read)
				if err := errors.Join(sync.Wait(), read.Wait()); err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(r.Bytes()[:n], w.Bytes()[:n]) {
					t.Errorf("worker %d read back something else", g)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := dev.Stats(); s.Syncs != workers*rounds || s.InFlight != 0 {
		t.Errorf("Stats() = %+v", s)
	}
}

// testBackPressure submits far more than the queue holds, in one call, until
// another goroutine has seen some of it in flight.
func testBackPressure(t *testing.T, f *fixture) {
	const depth, n = 4, 400
	dev := f.device(t, depth, 4<<20)
	b := f.buffer(t, ioring.SmallBuffer)
	defer b.Release()
	stop := make(chan struct{})
	var most atomic.Int64
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				most.Store(max(most.Load(), dev.Stats().InFlight))
				time.Sleep(20 * time.Microsecond)
			}
		}
	})
	rounds := uint64(0)
	for end := time.Now().Add(10 * time.Second); rounds == 0 || most.Load() == 0 && time.Now().Before(end); rounds++ {
		ops := make([]*ioring.Op, n)
		for i := range ops {
			ops[i] = &ioring.Op{Code: ioring.OpRead, Buf: b, Hi: 64 << 10, Off: int64(i%32) << 16}
		}
		dev.Submit(ops...)
		for _, op := range ops {
			if err := op.Wait(); err != nil {
				t.Error(err)
			}
		}
	}
	close(stop)
	watcher.Wait()
	if m := most.Load(); m > depth || m == 0 {
		t.Errorf("%d operations in flight at once; the queue holds %d", m, depth)
	}
	if s := dev.Stats(); s.Reads != n*rounds || s.InFlight != 0 {
		t.Errorf("Stats() = %+v", s)
	}
}

// testSyncMerging submits many syncs at once: they must share few flushes.
func testSyncMerging(t *testing.T, f *fixture) {
	const n = 64
	dev := f.device(t, 2*n, 1<<20)
	b := f.buffer(t, ioring.SmallBuffer)
	defer b.Release()
	if err := do(dev, &ioring.Op{Code: ioring.OpWrite, Buf: b, Hi: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	ops := make([]*ioring.Op, n)
	for i := range ops {
		ops[i] = &ioring.Op{Code: ioring.OpSync}
	}
	dev.Submit(ops...)
	for _, op := range ops {
		if err := op.Wait(); err != nil {
			t.Error(err)
		}
	}
	if s := dev.Stats(); s.Syncs != n || s.Flushes == 0 || s.Flushes > n/2 {
		t.Errorf("%d syncs made %d flushes", s.Syncs, s.Flushes)
	}
	// One that comes when none runs must run for itself.
	before := dev.Stats().Flushes
	if err := do(dev, &ioring.Op{Code: ioring.OpSync}); err != nil {
		t.Error(err)
	}
	if after := dev.Stats().Flushes; after != before+1 {
		t.Errorf("a lone sync made %d flushes", after-before)
	}
}

func testGrow(t *testing.T, f *fixture) {
	dev := f.device(t, 4, 1<<20)
	ctx := t.Context()
	if err := dev.Grow(ctx, 1); err != nil || dev.Size() != 1<<20 {
		t.Errorf("Grow to less: %v, Size() = %d", err, dev.Size())
	}
	if err := dev.Grow(ctx, 1<<20+1); err != nil || dev.Size() <= 1<<20 || dev.Size()%int64(dev.Align()) != 0 {
		t.Errorf("Grow by one byte: %v, Size() = %d", err, dev.Size())
	}
	size := dev.Size()
	limit, err := dev.Limit()
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Grow(ctx, limit+1<<40); !errors.Is(err, ioring.ErrNoSpace) {
		t.Errorf("Grow beyond the limit: %v", err)
	}
	if err := dev.Grow(ctx, -1); !errors.Is(err, ioring.ErrInvalid) {
		t.Errorf("Grow to less than nothing: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := dev.Grow(cancelled, 2<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("Grow with a cancelled context: %v", err)
	}
	if dev.Size() != size {
		t.Errorf("failed Grows left Size() = %d, not %d", dev.Size(), size)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := dev.Grow(ctx, int64(2+i)<<20); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if dev.Size() != 9<<20 {
		t.Errorf("after Grows at once Size() = %d", dev.Size())
	}
}

func testRefusals(t *testing.T, f *fixture) {
	dev := f.device(t, 4, 1<<20)
	b := f.buffer(t, ioring.SmallBuffer)
	defer b.Release()
	align := dev.Align()
	var ops []*ioring.Op
	for _, code := range []ioring.Code{ioring.OpRead, ioring.OpWrite} {
		ops = append(ops,
			&ioring.Op{Code: code, Buf: b, Hi: align, Off: 1},
			&ioring.Op{Code: code, Buf: b, Hi: align, Off: int64(align / 2)},
			&ioring.Op{Code: code, Buf: b, Lo: 1, Hi: 1 + align},
			&ioring.Op{Code: code, Buf: b, Hi: align - 1},
			&ioring.Op{Code: code, Buf: b, Lo: align, Hi: align},
			&ioring.Op{Code: code, Buf: b, Lo: 2 * align, Hi: align},
			&ioring.Op{Code: code, Buf: b, Lo: -align, Hi: align},
			&ioring.Op{Code: code, Buf: b, Hi: ioring.SmallBuffer + align},
			&ioring.Op{Code: code, Buf: b, Hi: align, Off: -int64(align)},
			&ioring.Op{Code: code, Hi: align})
	}
	ops = append(ops, &ioring.Op{Buf: b, Hi: align}, &ioring.Op{Code: 99, Buf: b, Hi: align},
		&ioring.Op{Code: ioring.OpSync, Buf: b})
	refused := len(ops)
	ops = append(ops, &ioring.Op{Code: ioring.OpRead, Buf: b, Hi: align}) // one that is fine
	dev.Submit(ops...)
	for i, op := range ops {
		err := op.Wait()
		if i < refused && !errors.Is(err, ioring.ErrInvalid) || i == refused && err != nil {
			t.Errorf("operation %d, code %d, [%d,%d) at %d: %v", i, op.Code, op.Lo, op.Hi, op.Off, err)
		}
	}
	if s := dev.Stats(); s.Errors != uint64(refused) {
		t.Errorf("Stats() = %+v", s)
	}
}

func testBeyondEnd(t *testing.T, f *fixture) {
	const size = 1 << 20
	dev := f.device(t, 4, size)
	b := f.buffer(t, ioring.SmallBuffer)
	defer b.Release()
	align := int64(dev.Align())
	for _, off := range []int64{size, size - align, size + 64<<20, math.MaxInt64 &^ (64<<10 - 1)} {
		err := do(dev, &ioring.Op{Code: ioring.OpRead, Buf: b, Hi: int(2 * align), Off: off})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("read across the end at %d: %v", off, err)
		}
		err = do(dev, &ioring.Op{Code: ioring.OpWrite, Buf: b, Hi: int(2 * align), Off: off})
		if !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("write across the end at %d: %v", off, err)
		}
	}
	if err := do(dev, &ioring.Op{Code: ioring.OpRead, Buf: b, Hi: int(align), Off: size - align}); err != nil {
		t.Errorf("read up to the end: %v", err)
	}
	if dev.Size() != size {
		t.Errorf("Size() = %d", dev.Size())
	}
}

func testOpReuse(t *testing.T, f *fixture) {
	dev := f.device(t, 1, 1<<20)
	b := f.buffer(t, ioring.SmallBuffer)
	defer b.Release()
	op := &ioring.Op{Code: ioring.OpWrite, Buf: b, Hi: 4 << 10}
	allocs := testing.AllocsPerRun(50, func() {
		if err := do(dev, op); err != nil {
			t.Error(err)
		}
	})
	if allocs > 4 {
		t.Errorf("%.0f allocations for an operation that is used again", allocs)
	}
}

// testUnregisteredBuffers takes so many buffers that some are in memory no ring
// knows, and uses them all.
func testUnregisteredBuffers(t *testing.T, f *fixture) {
	const n = 24
	dev := f.device(t, n, n<<20)
	rng := rand.New(rand.NewPCG(5, 5))
	bufs := make([]*ioring.Buffer, n)
	ops := make([]*ioring.Op, n)
	for i := range bufs {
		bufs[i] = f.buffer(t, 1<<20)
		defer bufs[i].Release()
		fill(bufs[i].Bytes(), rng)
		ops[i] = &ioring.Op{Code: ioring.OpWrite, Buf: bufs[i], Hi: 1 << 20, Off: int64(i) << 20}
	}
	run := func() {
		dev.Submit(ops...)
		for _, op := range ops {
			if err := op.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	run()
	want := make([][]byte, n)
	for i, op := range ops {
		want[i] = bytes.Clone(bufs[i].Bytes()[:1<<20])
		// Read each into another buffer than it was written from.
		op.Code, op.Buf = ioring.OpRead, bufs[n-1-i]
	}
	run()
	for i, op := range ops {
		if !bytes.Equal(op.Buf.Bytes()[:1<<20], want[i]) {
			t.Errorf("MiB %d read back differs", i)
		}
	}
}
