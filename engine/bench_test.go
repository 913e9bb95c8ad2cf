package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// benchDir is where benchmarks put their files: SLUICE_BENCH_DIR, or a
// temporary directory.
func benchDir(b *testing.B) string {
	if dir := os.Getenv("SLUICE_BENCH_DIR"); dir != "" {
		dir, err := os.MkdirTemp(dir, "bench")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return b.TempDir()
}

var benchSizes = []struct {
	name string
	size int64
}{{"4KiB", 4 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}, {"16MiB", 16 << 20}}

func BenchmarkPut(b *testing.B) {
	for _, s := range benchSizes {
		b.Run(s.name, func(b *testing.B) { benchPut(b, benchWrite{size: s.size, workers: 16}) })
	}
}

// BenchmarkStripedPut writes to several drives, which share what the machine has.
func BenchmarkStripedPut(b *testing.B) {
	for _, g := range []struct{ drives, parity int }{{1, 0}, {2, 1}, {4, 2}, {6, 2}} {
		for _, s := range benchSizes[1:] {
			b.Run(fmt.Sprintf("%d+%d/%s", g.drives-g.parity, g.parity, s.name), func(b *testing.B) {
				benchPut(b, benchWrite{size: s.size, workers: 16, drives: g.drives, parity: g.parity})
			})
		}
	}
}

// benchWrite describes the objects that a benchmark writes, and where to.
type benchWrite struct {
	size, inlineMax int64
	workers         int
	sealed          bool
	drives, parity  int // 0: one drive
}

// BenchmarkInline compares the two homes of a small payload; see ARCHITECTURE.md.
func BenchmarkInline(b *testing.B) {
	for _, kib := range []int64{4, 16, 32, 64, 128} {
		for _, workers := range []int{1, 16, 64} {
			for name, inlineMax := range map[string]int64{"inline": kib << 10, "drive": 1} {
				b.Run(fmt.Sprintf("%dKiB/%d/%s", kib, workers, name), func(b *testing.B) { benchPut(b, benchWrite{size: kib << 10, inlineMax: inlineMax, workers: workers}) })
			}
		}
	}
}

// BenchmarkSealed compares objects as they are with encrypted ones.
func BenchmarkSealed(b *testing.B) {
	for _, s := range benchSizes {
		for name, sealed := range map[string]bool{"plain": false, "sealed": true} {
			b.Run("put/"+s.name+"/"+name, func(b *testing.B) { benchPut(b, benchWrite{size: s.size, workers: 16, sealed: sealed}) })
			b.Run("get/"+s.name+"/"+name, func(b *testing.B) { benchGet(b, s.size, 0, sealed) })
		}
	}
}

func benchPut(b *testing.B, w benchWrite) {
	size := w.size
	e := openFiles(b, benchDir(b), max(1, w.drives), newArena(b, 128<<20), Config{
		InlineMax: w.inlineMax, WriteBuffers: 64 << 20, Grace: 200 * time.Millisecond, Parity: w.parity,
	})
	ctx := context.Background()
	if _, err := e.CreateBucket(ctx, "b", "me", ""); err != nil {
		b.Fatal(err)
	}
	data := content(1, size)
	if _, err := e.Put(ctx, putRequest("b", "warm", data)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.SetParallelism(max(1, w.workers/runtime.GOMAXPROCS(0)))
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	body := func(pb func() bool) {
		for pb() {
			// 20,000 keys: beyond that, objects replace each other.
			key := fmt.Sprint("key", next.Add(1)%20_000)
			req := PutRequest{Bucket: "b", Key: key, Size: size, Body: bytes.NewReader(data)}
			if w.sealed {
				req = locked(req)
			}
			if _, err := e.Put(ctx, req); err != nil {
				b.Error(err)
				return
			}
		}
	}
	if w.workers == 1 {
		n := 0
		body(func() bool { n++; return n <= b.N })
	} else {
		b.RunParallel(func(pb *testing.PB) { body(pb.Next) })
	}
	b.StopTimer()
	b.ReportMetric((cpuTime(b)-before).Seconds()*(1<<30)/float64(size)/float64(b.N), "cpu-s/GiB")
	if err := e.Close(ctx); err != nil {
		b.Fatal(err)
	}
}

// cpuTime returns the CPU time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkGet(b *testing.B) {
	for _, s := range benchSizes {
		b.Run(s.name, func(b *testing.B) { benchGet(b, s.size, 0, false) })
	}
	b.Run("32KiB/inline", func(b *testing.B) { benchGet(b, 32<<10, 32<<10, false) })
	b.Run("32KiB/drive", func(b *testing.B) { benchGet(b, 32<<10, 1, false) })
}

func benchGet(b *testing.B, size, inlineMax int64, sealed bool) {
	e := openFiles(b, benchDir(b), 1, newArena(b, 128<<20), Config{InlineMax: inlineMax, WriteBuffers: 64 << 20})
	ctx := context.Background()
	if _, err := e.CreateBucket(ctx, "b", "me", ""); err != nil {
		b.Fatal(err)
	}
	const keys = 16
	for i := range keys {
		req := putRequest("b", fmt.Sprint(i), content(uint64(i), size))
		if sealed {
			req = locked(req)
		}
		if _, err := e.Put(ctx, req); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(size)
	b.SetParallelism(8)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := getOnce(ctx, e, fmt.Sprint(rand.IntN(keys)), size); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	if err := e.Close(ctx); err != nil {
		b.Fatal(err)
	}
}

func getOnce(ctx context.Context, e *Engine, key string, size int64) error {
	o, err := e.Get(ctx, "b", key)
	if err != nil {
		return err
	}
	defer o.Close()
	unlock(o)
	body, err := o.Range(ctx, 0, size)
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = body.WriteTo(io.Discard)
	return err
}

// BenchmarkRecover opens an engine whose metadata names a million blobs, all of them of
// one fragment on one drive, or of six on six.
func BenchmarkRecover(b *testing.B) {
	b.Run("single", func(b *testing.B) { benchRecover(b, 1, 0) })
	b.Run("4+2", func(b *testing.B) { benchRecover(b, 6, 2) })
}

func benchRecover(b *testing.B, drives, parity int) {
	r := &rig{t: b, metaDir: benchDir(b), arena: newArena(b, 64<<20), cfg: Config{InlineMax: 1, Parity: parity, WriteBuffers: 32 << 20, Grace: time.Second}}
	for range drives {
		r.devs = append(r.devs, faultio.New(faultio.Options{}))
	}
	r.start()
	r.bucket("b")
	bucket, err := r.e.Bucket(context.Background(), "b")
	if err != nil {
		b.Fatal(err)
	}
	const blobs = 1_000_000
	fillRecords(b, r.e, bucket, blobs, parity)
	var claiming time.Duration
	for b.Loop() {
		r.restart()
		if got := r.e.recovered; got.Blobs != blobs || got.Fragments != int64(drives*blobs) {
			b.Fatalf("%+v", got)
		}
		claiming += r.e.recovered.took
	}
	b.ReportMetric(float64(b.N)*blobs/claiming.Seconds(), "blobs/s")
	r.stop()
}

// fillRecords names n blobs without writing them.
func fillRecords(b *testing.B, e *Engine, bucket meta.Bucket, n, parity int) {
	const size = 256 << 10 // striped four wide
	done := make(chan error, 256)
	var next atomic.Int64
	fill := func() error {
		for {
			i := next.Add(1)
			if i > int64(n) {
				return nil
			}
			s := &staged{e: e}
			s.blob.ID[0], s.blob.Size = 1, size
			for k := range 8 {
				s.blob.ID[8+k] = byte(i >> (8 * k))
			}
			if err := s.placeOnce(context.Background(), parity); err != nil {
				return err
			}
			o := meta.Object{Key: fmt.Sprint("key", i), Size: size, Version: meta.Version(s.blob.ID), Blob: s.blob}
			if err := e.mutate(context.Background(), bucket.Slot, &meta.PutObject{Bucket: bucket, Object: o}); err != nil {
				return err
			}
		}
	}
	for range cap(done) {
		go func() { done <- fill() }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
