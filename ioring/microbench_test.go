package ioring_test

import (
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/ioring"
)

// BenchmarkArenaShared takes and gives back buffers of each size in as many
// goroutines as there are processors: what the arena's lock costs under load.
func BenchmarkArenaShared(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			arena, err := ioring.NewArena(256 << 20)
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := arena.Close(); err != nil {
					b.Error(err)
				}
			}()
			ctx := b.Context()
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					buf, err := arena.Get(ctx, size)
					if err != nil {
						b.Error(err)
						return
					}
					buf.Release()
				}
			})
		})
	}
}
