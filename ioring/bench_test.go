package ioring_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/devicetest"
)

// cpuTime returns the process's user and system time.
func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchDevice opens a device filled with data, so that reads go to the drive.
func benchDevice(b *testing.B, mode ioring.Mode, size int64) (ioring.Device, *ioring.Arena) {
	b.Helper()
	arena := devicetest.NewArena(b)
	dev, err := ioring.Open(filepath.Join(b.TempDir(), "drive"), arena, ioring.Options{Mode: mode, CPU: -1})
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { _ = dev.Close() })
	if err := dev.Grow(b.Context(), size); err != nil {
		b.Fatal(err)
	}
	buf, err := arena.Get(b.Context(), 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	defer buf.Release()
	for i := range buf.Bytes() {
		buf.Bytes()[i] = byte(i * 7)
	}
	ops := make([]*ioring.Op, 0, size>>20)
	for off := int64(0); off < size; off += 1 << 20 {
		ops = append(ops, &ioring.Op{Code: ioring.OpWrite, Buf: buf, Hi: 1 << 20, Off: off})
	}
	dev.Submit(ops...)
	for _, op := range ops {
		if err := op.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	op := &ioring.Op{Code: ioring.OpSync}
	dev.Submit(op)
	if err := op.Wait(); err != nil {
		b.Fatal(err)
	}
	return dev, arena
}

// BenchmarkIO measures random transfers by as many goroutines as the depth
// says, each with one operation in flight.
func BenchmarkIO(b *testing.B) {
	const size = 256 << 20
	for _, mode := range []ioring.Mode{ioring.ModeRing, ioring.ModePread} {
		b.Run(string(mode), func(b *testing.B) {
			dev, arena := benchDevice(b, mode, size)
			for _, c := range []struct {
				name  string
				code  ioring.Code
				bytes int
			}{
				{"read4K", ioring.OpRead, 4 << 10},
				{"read1M", ioring.OpRead, 1 << 20},
				{"write1M", ioring.OpWrite, 1 << 20},
			} {
				for _, depth := range []int{1, 16, 64} {
					if c.bytes > 4<<10 && depth > 16 {
						continue
					}
					b.Run(fmt.Sprintf("%s/depth%d", c.name, depth), func(b *testing.B) {
						transfer(b, dev, arena, c.code, c.bytes, depth, size)
					})
				}
			}
		})
	}
}

func transfer(b *testing.B, dev ioring.Device, arena *ioring.Arena, code ioring.Code, n, depth int, size int64) {
	bufs := make([]*ioring.Buffer, depth)
	for i := range bufs {
		var err error
		if bufs[i], err = arena.Get(b.Context(), n); err != nil {
			b.Fatal(err)
		}
		defer bufs[i].Release()
	}
	var next atomic.Int64
	runtime.GC()
	before, cpu := dev.Stats(), cpuTime()
	b.SetBytes(int64(n))
	b.ResetTimer()
	done := make(chan error, depth)
	for g := range depth {
		go func() {
			rng := rand.New(rand.NewPCG(9, uint64(g)))
			op := &ioring.Op{Code: code, Buf: bufs[g], Hi: n}
			for next.Add(1) <= int64(b.N) {
				op.Off = rng.Int64N(size/int64(n)) * int64(n)
				dev.Submit(op)
				if err := op.Wait(); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range depth {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.StopTimer()
	cpu = cpuTime() - cpu
	after := dev.Stats()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "cpu-µs/op")
	if code == ioring.OpRead && after.Backend == "io_uring" {
		b.ReportMetric(float64(after.Enters-before.Enters)/float64(b.N), "enters/op")
	}
}
