package engine

import (
	"context"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring"
)

// Small bodies do not wait for large ones, and who waits is counted.
func TestWriters(t *testing.T) {
	for _, size := range []int64{ioring.LargeBuffer, 4 << 20, 128 << 20} {
		w := newWriters(size)
		if w.most <= ioring.SmallBuffer {
			t.Fatalf("of %d bytes a large body may take %d", size, w.most)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		held := 0
		for ; w.large.TryAcquire(w.most); held++ {
			if held > 0 {
				t.Fatal("more than all of it")
			}
		}
		waited := make(chan error)
		go func() { waited <- w.acquire(ctx, w.most) }()
		for w.waiting.Load() == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if err := w.acquire(t.Context(), ioring.SmallBuffer); err != nil {
			t.Error(err)
		}
		w.release(ioring.SmallBuffer)
		if err := <-waited; err == nil {
			t.Error("a large body was admitted beyond the bound")
		}
		cancel()
		if n := w.waiting.Load(); n != 0 {
			t.Errorf("%d wait", n)
		}
		w.release(w.most)
		if err := w.acquire(t.Context(), w.most); err != nil {
			t.Error(err)
		}
	}
}
