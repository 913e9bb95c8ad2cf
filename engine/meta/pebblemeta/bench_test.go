package pebblemeta

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
)

func openBench(b *testing.B, key *[32]byte) (*Store, meta.Bucket) {
	b.Helper()
	s, err := Open(b.TempDir(), Options{Key: key})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s, createBucket(b, s)
}

// BenchmarkPutInline stores new objects of 4 KiB with the metadata, durably.
func BenchmarkPutInline(b *testing.B) {
	payload := []byte(strings.Repeat("0123456789abcdef", 256))
	for _, workers := range []int{1, 16, 64, 256} {
		benchWays(b, fmt.Sprint(workers), func(b *testing.B, key *[32]byte) {
			s, bk := openBench(b, key)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			var next atomic.Uint64
			var wg sync.WaitGroup
			b.ResetTimer()
			cpu := cpuNow(b)
			for range workers {
				wg.Go(func() {
					for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
						o := meta.Object{Key: fmt.Sprintf("%016x", rand.Uint64()), Version: numbered(n), Size: int64(len(payload)), Owner: "alice",
							ETag: "0123456789abcdef0123456789abcdef", Blob: layout.Blob{ID: numbered(n), Size: int64(len(payload))}}
						if err := s.Mutate(context.Background(), 1, &meta.PutObject{Bucket: bk, Object: o, Inline: payload}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			reportCPU(b, cpu)
			b.ReportMetric(float64(b.N)/float64(max(s.Applied(), 1)), "commands/batch")
		})
	}
}

// cpuNow is the CPU time of the process so far, which other load disturbs less
// than the clock.
func cpuNow(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, since time.Duration) {
	b.Helper()
	b.ReportMetric(float64((cpuNow(b)-since).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func benchWays(b *testing.B, name string, fn func(b *testing.B, key *[32]byte)) {
	b.Run(name+"/plain", func(b *testing.B) { fn(b, nil) })
	b.Run(name+"/encrypted", func(b *testing.B) { fn(b, &testKey) })
}

// BenchmarkGetObject reads one record.
func BenchmarkGetObject(b *testing.B) { benchWays(b, "get", getObject) }

func getObject(b *testing.B, key *[32]byte) {
	s, bk := openBench(b, key)
	metatest.Fill(b, s, bk, 100_000, func(i int) string { return fmt.Sprintf("key%07d", i) })
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	cpu := cpuNow(b)
	defer func() { reportCPU(b, cpu) }()
	for b.Loop() {
		if _, err := meta.GetObject(s, &bk, fmt.Sprintf("key%07d", rand.IntN(100_000))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList reads pages of 1,000 keys from buckets of two sizes.
func BenchmarkList(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, bk := openBench(b, nil)
			metatest.Fill(b, s, bk, n, func(i int) string { return fmt.Sprintf("dir%03d/key%07d", i/1000, i) })
			b.Run("page", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					after := fmt.Sprintf("dir%03d/", rand.IntN(max(n/1000-1, 1)))
					page, err := meta.ListObjects(s, &bk, meta.ListObjectsRequest{Max: 1000, After: after})
					if err != nil || len(page.Items) != 1000 {
						b.Fatal(len(page.Items), err)
					}
				}
			})
			b.Run("prefixes", func(b *testing.B) {
				for b.Loop() {
					page, err := meta.ListObjects(s, &bk, meta.ListObjectsRequest{Max: 1000, Delimiter: "/"})
					if err != nil || len(page.Prefixes) != n/1000 {
						b.Fatal(len(page.Prefixes), err)
					}
				}
			})
		})
	}
}

// BenchmarkCrypt is the cipher alone: a block of a table, read from anywhere.
func BenchmarkCrypt(b *testing.B) {
	block := newStoreKey(&testKey).file(make([]byte, 32))
	for _, size := range []int{4 << 10, 16 << 10, 128 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for off := int64(0); b.Loop(); off += 4099 {
				streamAt(block, off).XORKeyStream(p, p)
			}
		})
	}
}

// BenchmarkCopies stores new objects of 4 KiB with the metadata in one copy and more,
// and reads them with nothing cached. All copies are on one drive here: each one more
// costs its writes.
func BenchmarkCopies(b *testing.B) {
	payload := []byte(strings.Repeat("0123456789abcdef", 256))
	for _, copies := range []int{1, 2, 3} {
		open := func(b *testing.B) (*Store, meta.Bucket) {
			o := Options{CacheSize: 1 << 20}
			for range copies - 1 {
				o.Copies = append(o.Copies, Copy{Dir: b.TempDir()})
			}
			s, err := Open(b.TempDir(), o)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			return s, createBucket(b, s)
		}
		for _, workers := range []int{1, 64} {
			b.Run(fmt.Sprintf("put/%d/%d", copies, workers), func(b *testing.B) {
				s, bk := open(b)
				var next atomic.Uint64
				var wg sync.WaitGroup
				b.ResetTimer()
				cpu := cpuNow(b)
				for range workers {
					wg.Go(func() {
						for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
							o := meta.Object{Key: fmt.Sprintf("%016x", rand.Uint64()), Version: numbered(n), Size: int64(len(payload)), Blob: layout.Blob{ID: numbered(n), Size: int64(len(payload))}}
							if err := s.Mutate(context.Background(), 1, &meta.PutObject{Bucket: bk, Object: o, Inline: payload}); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				reportCPU(b, cpu)
			})
		}
		b.Run(fmt.Sprintf("get/%d", copies), func(b *testing.B) {
			s, bk := open(b)
			metatest.Fill(b, s, bk, 100_000, func(i int) string { return fmt.Sprintf("key%07d", i) })
			if err := s.db.Flush(); err != nil {
				b.Fatal(err)
			}
			for _, direct := range []bool{true, false} {
				b.Run(fmt.Sprintf("direct=%v", direct), func(b *testing.B) {
					s.mirror.ReadDirectly(direct)
					cpu := cpuNow(b)
					for b.Loop() {
						if _, err := meta.GetObject(s, &bk, fmt.Sprintf("key%07d", rand.IntN(100_000))); err != nil {
							b.Fatal(err)
						}
					}
					reportCPU(b, cpu)
				})
			}
		})
	}
}

// BenchmarkDelete removes objects of 4 KiB that are kept with the metadata.
func BenchmarkDelete(b *testing.B) {
	payload := make([]byte, 4096)
	for _, workers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			s, bk := openBench(b, nil)
			each := func(fn func(n uint64) meta.Command, workers int) {
				var next atomic.Uint64
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() {
						for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
							if err := s.Mutate(context.Background(), 1, fn(n)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			}
			name := func(n uint64) string { return fmt.Sprintf("%016x", n*0x9e3779b97f4a7c15) }
			each(func(n uint64) meta.Command {
				o := meta.Object{Key: name(n), Version: numbered(n), Size: 4096, Blob: layout.Blob{ID: numbered(n), Size: 4096}}
				return &meta.PutObject{Bucket: bk, Object: o, Inline: payload}
			}, 256)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuNow(b)
			each(func(n uint64) meta.Command {
				return &meta.DeleteObject{Bucket: bk, Key: name(n), IfSize: -1, Due: int64(n)}
			}, workers)
			b.StopTimer()
			reportCPU(b, cpu)
		})
	}
}
