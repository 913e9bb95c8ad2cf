package pebblemeta

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkAddCopy makes a copy of a store of 500 MB while 16 callers write, and tells
// how long the slowest write took while that went on, and without it.
func BenchmarkAddCopy(b *testing.B) {
	const size = 500 << 20
	for range b.N {
		dir := b.TempDir()
		s, err := Open(filepath.Join(dir, "a"), Options{})
		if err != nil {
			b.Fatal(err)
		}
		bucket := createBucket(b, s)
		var next, slowest atomic.Int64
		next.Store(1000)
		value := make([]byte, 64<<10)
		rand.NewChaCha8([32]byte{}).Read(value)
		put := func(big bool) error {
			n := uint64(next.Add(1)) | 1
			c := object(bucket, fmt.Sprintf("k%08d", n), n)
			if big {
				c.Inline, c.Object.Size, c.Object.Blob.Size = value, int64(len(value)), int64(len(value))
			}
			return s.Mutate(context.Background(), 1, c)
		}
		var fill sync.WaitGroup
		for range 16 {
			fill.Go(func() {
				for range size / len(value) / 16 {
					if err := put(true); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		fill.Wait()
		var stop atomic.Bool
		var writers sync.WaitGroup
		for range 16 {
			writers.Go(func() {
				for !stop.Load() {
					begun := time.Now()
					if err := put(false); err != nil {
						b.Error(err)
						return
					}
					took := int64(time.Since(begun))
					for old := slowest.Load(); took > old && !slowest.CompareAndSwap(old, took); old = slowest.Load() {
					}
				}
			})
		}
		time.Sleep(2 * time.Second)
		without, n := slowest.Swap(0), s.Applied()
		begun := time.Now()
		if err := s.AddCopy(context.Background(), Copy{Dir: filepath.Join(dir, "b")}, nil); err != nil {
			b.Fatal(err)
		}
		took := time.Since(begun)
		b.ReportMetric(float64(s.Applied()-n)/took.Seconds(), "batches/s")
		b.ReportMetric(took.Seconds(), "s/copy")
		b.ReportMetric(float64(without)/1e6, "ms-slowest-before")
		b.ReportMetric(float64(slowest.Load())/1e6, "ms-slowest-while")
		b.ReportMetric(float64(s.DiskUsage())/1e6, "MB")
		stop.Store(true)
		writers.Wait()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
