package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// BenchmarkRebuild reports how fast a replaced drive of six is rebuilt, in MB/s of its
// payload, with nobody else there and with clients reading, and what the latter notice:
// the 99th percentile of their latency in microseconds, quiet and meanwhile. Its drives
// share what the machine has. Run it with -benchtime=1x.
func BenchmarkRebuild(b *testing.B) {
	const drives, large, small = 6, 256, 1024
	dir := benchDir(b)
	arena := newArena(b, 256<<20)
	e := openFiles(b, dir, drives, arena, Config{WriteBuffers: 128 << 20, Timing: Timing{HealthTick: time.Hour}})
	ctx := context.Background()
	if _, err := e.CreateBucket(ctx, "b", "me", ""); err != nil {
		b.Fatal(err)
	}
	var keys []string
	for i := range large + small {
		size := int64(64 << 10)
		if i < large {
			size = 4 << 20
		}
		keys = append(keys, fmt.Sprint(i))
		if _, err := e.Put(ctx, putRequest("b", keys[i], content(uint64(i), size))); err != nil {
			b.Fatal(err)
		}
	}
	n := drives
	replace := func() (bytes int64, took time.Duration) {
		old := e.drives.now().all[0].id
		e.FailDrive(old, errors.New("benchmark"))
		to := addFile(b, e, dir, n, arena)
		n++
		before, begun := e.HealStatus().Bytes, time.Now()
		if err := e.ReplaceDrive(old, to); err != nil {
			b.Fatal(err)
		}
		for e.ForgetDrive(ctx, old) != nil {
			time.Sleep(20 * time.Millisecond)
		}
		return int64(e.HealStatus().Bytes - before), time.Since(begun)
	}
	rate := func(bytes int64, took time.Duration) float64 { return float64(bytes) / 1e6 / took.Seconds() }
	for b.Loop() {
		stop := benchReaders(e, keys, 4)
		time.Sleep(3 * time.Second)
		quiet := stop()
		alone := rate(replace())
		stop = benchReaders(e, keys, 4)
		beside := rate(replace())
		b.ReportMetric(alone, "alone-MB/s")
		b.ReportMetric(beside, "beside-MB/s")
		b.ReportMetric(float64(quiet.Microseconds()), "quiet-p99-µs")
		b.ReportMetric(float64(stop().Microseconds()), "rebuild-p99-µs")
	}
	if err := e.Close(ctx); err != nil {
		b.Fatal(err)
	}
}

// addFile attaches one more drive.
func addFile(t testing.TB, e *Engine, dir string, n int, arena *ioring.Arena) layout.DriveID {
	t.Helper()
	dev, err := ioring.Open(filepath.Join(dir, fmt.Sprint("drive", n)), arena, ioring.Options{CPU: -1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := drive.Open(context.Background(), dev, drive.Options{Arena: arena, Cluster: e.drives.now().cluster()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.AttachDrive(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	return d.ID()
}

// benchReaders reads objects until stop is called, which returns the 99th percentile of
// the latency.
func benchReaders(e *Engine, keys []string, clients int) (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []time.Duration
	for range clients {
		wg.Go(func() {
			var mine []time.Duration
			for ctx.Err() == nil {
				begun := time.Now()
				o, err := e.Get(ctx, "b", keys[rand.IntN(len(keys))])
				if err != nil {
					continue
				}
				n := min(o.Info.Size, 256<<10)
				if body, err := o.Range(ctx, rand.Int64N(o.Info.Size-n+1), n); err == nil {
					if _, err := body.WriteTo(io.Discard); err == nil {
						mine = append(mine, time.Since(begun))
					}
					body.Close()
				}
				o.Close()
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	return func() time.Duration {
		cancel()
		wg.Wait()
		slices.Sort(all)
		if len(all) == 0 {
			return 0
		}
		return all[len(all)*99/100]
	}
}
