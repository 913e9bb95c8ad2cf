package pebblemeta

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// BenchmarkCommit commits records of new objects whose content is on a drive,
// durably: what remains of a large PUT once its data is written. Writers at once
// share commits.
func BenchmarkCommit(b *testing.B) {
	for _, workers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			s, bk := openBench(b, nil)
			var next atomic.Uint64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuNow(b)
			for range workers {
				wg.Go(func() {
					for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
						id := numbered(n)
						o := meta.Object{Key: fmt.Sprintf("dir%03d/key%012d", n%1000, n), Version: id, Size: 1 << 20, Owner: "alice",
							ETag: "0123456789abcdef0123456789abcdef", Blob: layout.Blob{ID: id, Size: 1 << 20, Kind: layout.KindSingle,
								Fragments: []layout.Fragment{{Drive: layout.DriveID{1}, Extents: []layout.Extent{{Off: int64(n) << 20, Len: 1 << 20}}}}}}
						if err := s.Mutate(b.Context(), 1, &meta.PutObject{Bucket: bk, Object: o}); err != nil {
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
