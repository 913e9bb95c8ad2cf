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
