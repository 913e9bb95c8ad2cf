package drive

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

func TestFullDriveAndReuse(t *testing.T) {
	t.Parallel()
	dev := newMem(40 * mib)
	d := openDrive(t, dev, Options{})
	ctx := context.Background()
	total, used, free := d.Usage()
	if total != 38*mib || used != 0 || free != total {
		t.Fatalf("usage %d %d %d", total, used, free)
	}
	var all [][]layout.Extent
	for {
		exts, err := d.Reserve(ctx, mib)
		if errors.Is(err, ErrNoSpace) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, exts)
	}
	if want := int(38 * mib / frameSize); len(all) != want {
		t.Errorf("%d fragments fit, want %d", len(all), want)
	}
	if _, used, free := d.Usage(); used+free != total || free >= frameSize {
		t.Errorf("usage when full: %d used, %d free", used, free)
	}
	d.Free(all[7])
	d.Free(all[20])
	exts, err := d.Reserve(ctx, 2*mib-HeaderSize)
	if err != nil || len(exts) != 2 {
		t.Fatalf("space not reusable: %v %v", exts, err)
	}
	data := randomBytes(1, 2*mib-HeaderSize)
	id := layout.NewBlobID(testTime)
	if err := d.WriteFragment(ctx, id, exts, int64(len(data)), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	got, err := get(d, id, exts, int64(len(data)), 0, int64(len(data)))
	wantBytes(t, got, err, data)
	if dev.Size() > 40*mib {
		t.Errorf("grew to %d", dev.Size())
	}
}

func TestLimitAndReserve(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ limit, reserve, want int64 }{
		{0, 0, 98 * mib}, {50 * mib, 0, 48 * mib}, {0, 30 * mib, 68 * mib}, {90 * mib, 30 * mib, 68 * mib}, {0, 200 * mib, 0},
	} {
		d := openDrive(t, faultio.New(faultio.Options{Capacity: 100 * mib}), Options{Limit: test.limit, Reserve: test.reserve})
		n := int64(0)
		for {
			if _, err := d.Reserve(context.Background(), 60<<10); errors.Is(err, ErrNoSpace) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			n += 64 << 10
		}
		if n != test.want {
			t.Errorf("limit %d reserve %d: %d bytes reserved, want %d", test.limit, test.reserve, n, test.want)
		}
	}
	// A limit on a device that is larger already.
	dev := faultio.New(faultio.Options{Capacity: 100 * mib, Size: 100 * mib})
	d := openDrive(t, dev, Options{Limit: 20 * mib})
	if total, _, _ := d.Usage(); total != 18*mib {
		t.Errorf("total %d", total)
	}
	if _, err := d.Reserve(context.Background(), 19*mib); !errors.Is(err, ErrNoSpace) {
		t.Error(err)
	}
	if _, err := Open(context.Background(), newMem(100*mib), Options{Arena: newArena(t), Limit: mib}); err == nil {
		t.Error("a limit without room for data was accepted")
	}
}

func TestClaimAndFree(t *testing.T) {
	t.Parallel()
	dev := newMem(8 * mib)
	a := newArena(t)
	d := openDrive(t, dev, Options{Arena: a})
	_, x := put(t, d, randomBytes(1, 100<<10))
	_, y := put(t, d, randomBytes(2, 100<<10))
	d.Close()

	d = openDrive(t, reopen(dev), Options{Arena: a})
	if err := d.Claim(x); err != nil {
		t.Fatal(err)
	}
	e := x[0]
	_, used, _ := d.Usage()
	for name, c := range map[string]struct {
		exts []layout.Extent
		want error
	}{
		"again":      {x, ErrOverlap},
		"partly":     {[]layout.Extent{y[0], {Off: e.Off, Len: 4096}}, ErrOverlap},
		"itself":     {[]layout.Extent{y[0], y[0]}, ErrOverlap},
		"superblock": {[]layout.Extent{{Off: 0, Len: 4096}}, ErrCorrupt},
		"negative":   {[]layout.Extent{{Off: -4096, Len: 4096}}, ErrCorrupt},
		"odd":        {[]layout.Extent{{Off: e.Off + 512, Len: 4096}}, ErrCorrupt},
		"beyond":     {[]layout.Extent{{Off: dev.Size(), Len: 4096}}, ErrCorrupt},
		"across end": {[]layout.Extent{{Off: dev.Size() - 4096, Len: 8192}}, ErrCorrupt},
		"overflow":   {[]layout.Extent{{Off: 1<<63 - 4096, Len: 1<<63 - 4096}}, ErrCorrupt},
		"empty":      {[]layout.Extent{{Off: e.Off, Len: 0}}, ErrCorrupt},
	} {
		if err := d.Claim(c.exts); !errors.Is(err, c.want) {
			t.Errorf("claim %s: %v", name, err)
		}
		if _, now, _ := d.Usage(); now != used {
			t.Fatalf("claim %s changed the usage from %d to %d", name, used, now)
		}
	}
	if err := d.Claim(y); err != nil {
		t.Fatal(err)
	}
	if err := d.Claim(nil); err != nil {
		t.Fatal(err)
	}
	checkNotLent(t, d, x, y)
	d.Free(x)
	_, used, _ = d.Usage()

	d.Free(x)
	d.Free([]layout.Extent{y[0], x[0]})
	d.Free([]layout.Extent{y[0], y[0]})
	d.Free([]layout.Extent{{Off: 0, Len: 4096}})
	d.Free([]layout.Extent{{Off: 1 << 50, Len: 4096}})
	if _, now, _ := d.Usage(); now != used {
		t.Errorf("refused frees changed the usage from %d to %d", used, now)
	}
	if n := d.Counters().BadFrees; n != 5 {
		t.Errorf("%d bad frees counted", n)
	}
	d.Free(y)
	if _, now, _ := d.Usage(); now != used-y[0].Len {
		t.Error("a refused free lost part of its extents")
	}
}

func TestGrowthSteps(t *testing.T) {
	t.Parallel()
	t.Run("steps", func(t *testing.T) {
		dev := &countGrow{Device: faultio.New(faultio.Options{Capacity: 512 * mib})}
		d := openDrive(t, dev, Options{})
		for range 200 {
			if _, err := d.Reserve(context.Background(), mib); err != nil {
				t.Fatal(err)
			}
		}
		if n := dev.n.Load(); n < 10 || n > 30 {
			t.Errorf("grew %d times for 200 MiB", n)
		}
	})
	t.Run("large steps", func(t *testing.T) {
		dev := &countGrow{Device: faultio.New(faultio.Options{Capacity: 1 << 40})}
		d := openDrive(t, dev, Options{})
		if _, err := d.Reserve(context.Background(), mib); err != nil {
			t.Fatal(err)
		}
		if got := dev.Size(); got != dataStart+1<<30 {
			t.Errorf("size %d after the first step", got)
		}
		exts, err := d.Reserve(context.Background(), 100<<30)
		if err != nil || len(exts) != 1 {
			t.Errorf("%d extents, %v", len(exts), err)
		}
		if _, err := d.Reserve(context.Background(), 1<<40); !errors.Is(err, ErrNoSpace) {
			t.Error(err)
		}
	})
	t.Run("ahead", func(t *testing.T) {
		dev := faultio.New(faultio.Options{Capacity: 512 * mib})
		d := openDrive(t, dev, Options{})
		if _, err := d.Reserve(context.Background(), 12*mib); err != nil {
			t.Fatal(err)
		}
		for range 5000 {
			if dev.Size() > 20*mib {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("did not grow ahead: %d", dev.Size())
	})
}

func TestGrowthFailures(t *testing.T) {
	t.Run("out of space early", func(t *testing.T) {
		dev := newMem(64 * mib)
		dev.growErr = func(size int64) error { // somebody else fills the file system
			if size > 5*mib {
				return ioring.ErrNoSpace
			}
			return nil
		}
		d := openDrive(t, dev, Options{})
		if _, err := d.Reserve(context.Background(), 2*mib); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Reserve(context.Background(), 2*mib); !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
	})
	t.Run("error", func(t *testing.T) {
		dev := newMem(64 * mib)
		d := openDrive(t, dev, Options{})
		dev.growErr = func(int64) error { return errBadSector }
		if _, err := d.Reserve(context.Background(), 1); !errors.Is(err, errBadSector) {
			t.Fatal(err)
		}
		dev.growErr = nil
		if _, err := d.Reserve(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
	})
}

func TestGrowthIsConcurrent(t *testing.T) {
	t.Run("does not block others", func(t *testing.T) {
		dev := newMem(64 * mib)
		d := openDrive(t, dev, Options{})
		data := randomBytes(1, 1000)
		id, exts := put(t, d, data)
		slow := &slowGrow{memDevice: dev, entered: make(chan struct{}), leave: make(chan struct{})}
		d.dev = slow
		done := make(chan error, 1)
		go func() {
			_, err := d.Reserve(context.Background(), 30*mib)
			done <- err
		}()
		<-slow.entered
		got, err := get(d, id, exts, 1000, 0, 1000)
		wantBytes(t, got, err, data)
		if _, err := d.Reserve(context.Background(), 1000); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := d.Reserve(ctx, 30*mib); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		close(slow.leave)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
	t.Run("close cancels", func(t *testing.T) {
		dev := newMem(64 * mib)
		d := openDrive(t, dev, Options{})
		slow := &slowGrow{memDevice: dev, entered: make(chan struct{}), leave: make(chan struct{})}
		d.dev = slow
		done := make(chan error, 1)
		go func() {
			_, err := d.Reserve(context.Background(), mib)
			done <- err
		}()
		<-slow.entered
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if _, err := d.Reserve(context.Background(), mib); !errors.Is(err, ioring.ErrClosed) {
			t.Fatal(err)
		}
	})
}

// checkNotLent fills the drive and sees that nothing claimed is lent.
func checkNotLent(t *testing.T, d *Drive, claimed ...[]layout.Extent) {
	t.Helper()
	for range 1000 {
		exts, err := d.Reserve(context.Background(), 20<<10)
		if err != nil {
			break
		}
		for _, got := range exts {
			for _, held := range claimed {
				if got.Off < held[0].Off+held[0].Len && held[0].Off < got.Off+got.Len {
					t.Fatalf("claimed extent %v lent as %v", held, got)
				}
			}
		}
	}
}

// countGrow counts calls of Grow.
type countGrow struct {
	*faultio.Device
	n atomic.Int64
}

func (c *countGrow) Grow(ctx context.Context, size int64) error {
	c.n.Add(1)
	return c.Device.Grow(ctx, size)
}

// slowGrow grows only when told.
type slowGrow struct {
	*memDevice
	once           sync.Once
	entered, leave chan struct{}
}

func (s *slowGrow) Grow(ctx context.Context, size int64) error {
	s.once.Do(func() { close(s.entered) })
	select {
	case <-s.leave:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.memDevice.Grow(ctx, size)
}

// TestConcurrent mixes everything from several goroutines.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	d := openDrive(t, newMem(48*mib), Options{})
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 1))
			for i := range 8 {
				size := 1 + rng.Int64N(1+rng.Int64N(3*mib))
				data := randomBytes(uint64(worker*1000+i), int(size))
				exts, err := d.Reserve(context.Background(), size)
				if err != nil {
					t.Error(err)
					return
				}
				id := layout.NewBlobID(testTime)
				if err := d.WriteFragment(context.Background(), id, exts, size, bytes.NewReader(data)); err != nil {
					t.Error(err)
				}
				off := rng.Int64N(size)
				got, err := get(d, id, exts, size, off, size-off)
				if err != nil || !bytes.Equal(got, data[off:]) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				d.Free(exts)
			}
		})
	}
	group.Wait()
	if _, used, _ := d.Usage(); used != 0 {
		t.Errorf("%d bytes still used", used)
	}
	if c := d.Counters(); c != (Counters{}) {
		t.Errorf("counters %+v", c)
	}
}
