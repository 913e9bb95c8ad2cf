package engine

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

// cpuSeconds returns what the process has used.
func cpuSeconds(b *testing.B) float64 {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return float64(ru.Utime.Sec+ru.Stime.Sec) + float64(ru.Utime.Usec+ru.Stime.Usec)/1e6
}

// BenchmarkGetDrives reads objects that lie on 1 drive, and on 6, all of which are
// there, or all but 2.
func BenchmarkGetDrives(b *testing.B) {
	for _, size := range []int64{64 << 10, 1 << 20, 16 << 20} {
		for _, drives := range []int{1, 6} {
			for _, out := range []int{0, 2} {
				if out >= drives {
					continue
				}
				b.Run(fmt.Sprintf("%dKiB/%d-%d", size>>10, drives, out), func(b *testing.B) { benchGetDrives(b, size, drives, out) })
			}
		}
	}
}

func benchGetDrives(b *testing.B, size int64, drives, out int) {
	e := openFiles(b, benchDir(b), drives, newArena(b, 256<<20), Config{WriteBuffers: 128 << 20, Timing: lasting})
	ctx := context.Background()
	if _, err := e.CreateBucket(ctx, "b", "me", ""); err != nil {
		b.Fatal(err)
	}
	const keys = 16
	for i := range keys {
		if _, err := e.Put(ctx, putRequest("b", fmt.Sprint(i), content(uint64(i), size))); err != nil {
			b.Fatal(err)
		}
	}
	for _, m := range e.drives.now().all[:out] {
		m.state.Store(int32(DriveAbsent))
	}
	b.SetBytes(size)
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	begun := cpuSeconds(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := getOnce(ctx, e, fmt.Sprint(rand.IntN(keys)), size); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric((cpuSeconds(b)-begun)/(float64(b.N)*float64(size)/(1<<30)), "cpu-s/GiB")
	for _, m := range e.drives.now().all[:out] {
		m.state.Store(int32(DriveActive))
	}
	if err := e.Close(ctx); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMend computes what two of four units hold, from memory to memory.
func BenchmarkMend(b *testing.B) {
	r := newRig(b, rigOptions{drives: 6, arena: 64 << 20, cfg: Config{Timing: lasting}})
	r.bucket("b")
	data := content(1, 16<<20)
	striper{r: r, data: 4, parity: 2, unit: 512 << 10}.put("b", "k", data)
	for _, out := range []int{0, 1, 2} {
		b.Run(fmt.Sprint(out), func(b *testing.B) {
			for n := range out {
				r.fail(true, n)
			}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				o, err := r.e.Get(context.Background(), "b", "k")
				if err != nil {
					b.Fatal(err)
				}
				body, err := o.Range(context.Background(), 0, o.Info.Size)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := body.WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
				body.Close()
				o.Close()
			}
			for n := range out {
				r.fail(false, n)
			}
		})
	}
	r.stop()
}
