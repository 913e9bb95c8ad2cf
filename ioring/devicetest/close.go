package devicetest

import (
	"errors"
	"sync"
	"testing"

	"github.com/sluicehq/sluice/ioring"
)

// testCloseDuringFlight closes the device under load: each operation must have
// been done or refused, and Close must come back.
func testCloseDuringFlight(t *testing.T, f *fixture) {
	dev := f.device(t, 8, 4<<20)
	var wg sync.WaitGroup
	started := make(chan struct{}, 16)
	for g := range 16 {
		wg.Go(func() {
			b := f.buffer(t, ioring.SmallBuffer)
			defer b.Release()
			op := &ioring.Op{Code: ioring.OpWrite, Buf: b, Hi: 64 << 10, Off: int64(g) << 16}
			if g%4 == 0 {
				op = &ioring.Op{Code: ioring.OpSync}
			}
			for i := 0; ; i++ {
				if err := do(dev, op); errors.Is(err, ioring.ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				if i == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
	if s := dev.Stats(); s.InFlight != 0 {
		t.Errorf("%d operations in flight after Close", s.InFlight)
	}
	wg.Wait()
}

func testAfterClose(t *testing.T, f *fixture) {
	dev := f.device(t, 4, 1<<20)
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	b := f.buffer(t, ioring.SmallBuffer)
	defer b.Release()
	for _, op := range []*ioring.Op{
		{Code: ioring.OpRead, Buf: b, Hi: 4 << 10},
		{Code: ioring.OpWrite, Buf: b, Hi: 4 << 10},
		{Code: ioring.OpSync},
	} {
		if err := do(dev, op); !errors.Is(err, ioring.ErrClosed) {
			t.Errorf("operation %d after Close: %v", op.Code, err)
		}
	}
	if err := dev.Grow(t.Context(), 2<<20); !errors.Is(err, ioring.ErrClosed) {
		t.Errorf("Grow after Close: %v", err)
	}
	if err := dev.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// testAbort gives the device up: later operations and Grow fail at once with the
// cause, those in flight are done, and Close comes back.
func testAbort(t *testing.T, f *fixture) {
	dev := f.device(t, 2, 4<<20)
	cause, other := errors.New("given up"), errors.New("another cause")
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	for g := range 8 {
		wg.Go(func() {
			b := f.buffer(t, ioring.SmallBuffer)
			defer b.Release()
			op := &ioring.Op{Code: ioring.OpWrite, Buf: b, Hi: 64 << 10, Off: int64(g) << 16}
			for i := 0; ; i++ {
				if err := do(dev, op); errors.Is(err, cause) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				if i == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	dev.Abort(cause)
	dev.Abort(other)
	wg.Wait()
	b := f.buffer(t, ioring.SmallBuffer)
	defer b.Release()
	ops := []*ioring.Op{
		{Code: ioring.OpRead, Buf: b, Hi: 4 << 10},
		{Code: ioring.OpWrite, Buf: b, Hi: 4 << 10},
		{Code: ioring.OpSync},
	}
	dev.Submit(ops...)
	for _, op := range ops {
		if err := op.Wait(); !errors.Is(err, cause) {
			t.Errorf("operation %d after Abort: %v", op.Code, err)
		}
	}
	if err := dev.Grow(t.Context(), 8<<20); !errors.Is(err, cause) {
		t.Errorf("Grow after Abort: %v", err)
	}
	if err := dev.Close(); err != nil {
		t.Errorf("Close after Abort: %v", err)
	}
	if err := do(dev, ops[0]); !errors.Is(err, cause) && !errors.Is(err, ioring.ErrClosed) {
		t.Errorf("a read after Close: %v", err)
	}
}

// owner counts the outcomes of its operations.
type owner struct {
	left sync.WaitGroup
	mu   sync.Mutex
	errs map[*ioring.Op]error
}

func (o *owner) OpDone(op *ioring.Op, err error) {
	o.mu.Lock()
	o.errs[op] = err
	o.mu.Unlock()
	o.left.Done()
}

// testOwner: an owner gets each outcome once, refusals included.
func testOwner(t *testing.T, f *fixture) {
	dev := f.device(t, 2, 1<<20)
	if dev.Depth() != 2 {
		t.Errorf("Depth() = %d", dev.Depth())
	}
	b := f.buffer(t, ioring.SmallBuffer)
	defer b.Release()
	o := &owner{errs: map[*ioring.Op]error{}}
	var ops []*ioring.Op
	for i := range 9 {
		op := &ioring.Op{Code: ioring.OpWrite, Buf: b, Lo: i << 13, Hi: (i + 1) << 13, Off: int64(i) << 13, Owner: o}
		if i == 4 {
			op.Off = 1
		}
		if i == 8 {
			op = &ioring.Op{Code: ioring.OpSync, Owner: o}
		}
		ops = append(ops, op)
	}
	for range 2 {
		o.left.Add(len(ops))
		dev.Submit(ops...)
		o.left.Wait()
		for i, op := range ops {
			if err := o.errs[op]; (i == 4) != errors.Is(err, ioring.ErrInvalid) || i != 4 && err != nil {
				t.Errorf("operation %d: %v", i, err)
			}
		}
	}
}
