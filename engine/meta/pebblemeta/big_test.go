package pebblemeta

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
)

// bigKeys is the number of keys of BenchmarkBig: SLUICE_BIG_KEYS, or 10,000. Ten
// million take about 1 GB below the directory for temporary files.
func bigKeys(b *testing.B) int {
	b.Helper()
	n, err := strconv.Atoi(os.Getenv("SLUICE_BIG_KEYS"))
	if err != nil {
		return 10_000
	}
	return max(n, 10_000)
}

// BenchmarkBig lists a bucket of many keys: from anywhere in it, below a prefix, by
// common prefixes, and after most of it was deleted; and opens the store again.
func BenchmarkBig(b *testing.B) {
	n := bigKeys(b)
	key := func(i int) string { return fmt.Sprintf("dir%05d/key%08d", i/1000, i) }
	dir := b.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	bk := createBucket(b, s)
	metatest.Fill(b, s, bk, n, key)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			begun := time.Now()
			if s, err = Open(dir, Options{}); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(begun).Seconds()*1000, "open-ms")
		}
	})
	dirs := n / 1000
	list := func(name string, want int, req func() meta.ListObjectsRequest) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			cpu := cpuNow(b)
			for b.Loop() {
				page, err := meta.ListObjects(s, &bk, req())
				if err != nil || len(page.Items)+len(page.Prefixes) != want {
					b.Fatal(len(page.Items), len(page.Prefixes), err)
				}
			}
			reportCPU(b, cpu)
		})
	}
	list("page", 1000, func() meta.ListObjectsRequest {
		return meta.ListObjectsRequest{Max: 1000, After: key(rand.IntN(n - 1001))}
	})
	list("prefix", 1000, func() meta.ListObjectsRequest {
		return meta.ListObjectsRequest{Max: 1000, Prefix: fmt.Sprintf("dir%05d/", rand.IntN(dirs))}
	})
	list("one", 1, func() meta.ListObjectsRequest {
		return meta.ListObjectsRequest{Max: 1, Prefix: key(rand.IntN(n))}
	})
	list("prefixes", min(dirs, 1000), func() meta.ListObjectsRequest {
		return meta.ListObjectsRequest{Max: 1000, Delimiter: "/"}
	})
	deleteMost(b, s, bk, n-1000, key)
	rest := func() meta.ListObjectsRequest { return meta.ListObjectsRequest{Max: 1000} }
	list("deleted", 1000, rest)
	wait := time.Now()
	for m := s.db.Metrics(); m.Compact.NumInProgress > 0 || m.Flush.NumInProgress > 0; m = s.db.Metrics() {
		time.Sleep(10 * time.Millisecond)
	}
	b.Logf("compactions ended %v later", time.Since(wait))
	list("compacted", 1000, rest)
}

// deleteMost deletes the first n keys.
func deleteMost(b *testing.B, s *Store, bk meta.Bucket, n int, key func(int) string) {
	b.Helper()
	for at := 0; at < n; at += 1000 {
		err := s.Mutate(context.Background(), bk.Slot, step(func(tx meta.Tx) error {
			for i := at; i < min(at+1000, n); i++ {
				if err := (&meta.DeleteObject{Bucket: bk, Key: key(i), IfSize: -1}).Apply(tx); err != nil {
					return err
				}
			}
			return nil
		}))
		if err != nil {
			b.Fatal(err)
		}
	}
}
