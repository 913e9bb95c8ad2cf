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

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
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
		b.Run(s.name, func(b *testing.B) { benchPut(b, s.size, 0, 16, false) })
	}
}

// BenchmarkInline compares the two homes of a small payload; see ARCHITECTURE.md.
func BenchmarkInline(b *testing.B) {
	for _, kib := range []int64{4, 16, 32, 64, 128} {
		for _, workers := range []int{1, 16, 64} {
			for name, inlineMax := range map[string]int64{"inline": kib << 10, "drive": 1} {
				b.Run(fmt.Sprintf("%dKiB/%d/%s", kib, workers, name), func(b *testing.B) { benchPut(b, kib<<10, inlineMax, workers, false) })
			}
		}
	}
}

// BenchmarkSealed compares objects as they are with encrypted ones.
func BenchmarkSealed(b *testing.B) {
	for _, s := range benchSizes {
		for name, sealed := range map[string]bool{"plain": false, "sealed": true} {
			b.Run("put/"+s.name+"/"+name, func(b *testing.B) { benchPut(b, s.size, 0, 16, sealed) })
			b.Run("get/"+s.name+"/"+name, func(b *testing.B) { benchGet(b, s.size, 0, sealed) })
		}
	}
}

func benchPut(b *testing.B, size, inlineMax int64, workers int, sealed bool) {
	e := openFiles(b, benchDir(b), 1, newArena(b, 128<<20), Config{InlineMax: inlineMax, WriteBuffers: 64 << 20, Grace: 200 * time.Millisecond})
	ctx := context.Background()
	if _, err := e.CreateBucket(ctx, "b", "me", ""); err != nil {
		b.Fatal(err)
	}
	data := content(1, size)
	if _, err := e.Put(ctx, putRequest("b", "warm", data)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.SetParallelism(max(1, workers/runtime.GOMAXPROCS(0)))
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	body := func(pb func() bool) {
		for pb() {
			// 20,000 keys: beyond that, objects replace each other.
			key := fmt.Sprint("key", next.Add(1)%20_000)
			req := PutRequest{Bucket: "b", Key: key, Size: size, Body: bytes.NewReader(data)}
			if sealed {
				req = locked(req)
			}
			if _, err := e.Put(ctx, req); err != nil {
				b.Error(err)
				return
			}
		}
	}
	if workers == 1 {
		n := 0
		body(func() bool { n++; return n <= b.N })
	} else {
		b.RunParallel(func(pb *testing.PB) { body(pb.Next) })
	}
	b.StopTimer()
	if err := e.Close(ctx); err != nil {
		b.Fatal(err)
	}
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

// BenchmarkRecover opens an engine whose metadata names many blobs.
func BenchmarkRecover(b *testing.B) {
	dir, arena := benchDir(b), newArena(b, 64<<20)
	e := openFiles(b, dir, 1, arena, Config{InlineMax: 1})
	ctx := context.Background()
	bucket, err := e.CreateBucket(ctx, "b", "me", "")
	if err != nil {
		b.Fatal(err)
	}
	const blobs = 100_000
	fillRecords(b, e, bucket, blobs)
	if err := e.Close(ctx); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		e := openFiles(b, dir, 1, arena, Config{})
		if e.recovered.Blobs != blobs {
			b.Fatalf("%+v", e.recovered)
		}
		if err := e.Close(ctx); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*blobs/b.Elapsed().Seconds(), "blobs/s")
}

// fillRecords names n blobs without writing them.
func fillRecords(b *testing.B, e *Engine, bucket meta.Bucket, n int) {
	done := make(chan error, 64)
	var next atomic.Int64
	for range cap(done) {
		go func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					done <- nil
					return
				}
				s := &staged{e: e}
				d, exts, err := e.drives.reserve(context.Background(), 4096)
				if err != nil {
					done <- err
					return
				}
				s.blob.ID[0], s.blob.Size, s.blob.Kind = 1, 4096, 1
				for k := range 8 {
					s.blob.ID[8+k] = byte(i >> (8 * k))
				}
				s.blob.Fragments = append(s.blob.Fragments, layout.Fragment{Drive: d.ID(), Extents: exts})
				o := meta.Object{Key: fmt.Sprint("key", i), Size: 4096, Version: meta.Version(s.blob.ID), Blob: s.blob}
				if err := e.mutate(context.Background(), bucket.Slot, &meta.PutObject{Bucket: bucket, Object: o}); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
