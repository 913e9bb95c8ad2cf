//go:build unix

package md5lanes

import (
	"crypto/md5"
	"fmt"
	"hash"
	"io"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cpu returns the CPU time of this process so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure runs f, which hashes b.N times size bytes, and reports the CPU time it
// takes, which says more than the rate on a machine that others use.
func measure(b *testing.B, size int, f func()) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	f()
	used := cpu(b) - before
	b.ReportMetric(used.Seconds()*(1<<30)/float64(size)/float64(b.N), "cpu-s/GiB")
}

// BenchmarkKernel advances the streams of each kernel, without the pool.
func BenchmarkKernel(b *testing.B) {
	const size = quantum * blockSize
	data := noise(maxLanes * size)
	b.Run("crypto-md5", func(b *testing.B) {
		h := md5.New()
		measure(b, size, func() {
			for range b.N {
				_, _ = h.Write(data[:size])
			}
		})
	})
	for _, k := range kernels() {
		b.Run(fmt.Sprintf("%s-one", k), func(b *testing.B) {
			state := initial()
			measure(b, size, func() {
				for range b.N {
					k.one(&state, data[:size])
				}
			})
		})
		for count := 8; count <= maxLanes && k.width() > 1; count += 8 {
			b.Run(fmt.Sprintf("%s-%d", k, count), func(b *testing.B) {
				var state [4][maxLanes]uint32
				var from [maxLanes]*byte
				for i := range from {
					from[i] = &data[i*size]
				}
				measure(b, count*size, func() {
					for range b.N {
						k.wide(count, &state, &from, quantum)
					}
				})
			})
		}
	}
}

// BenchmarkStreams has goroutines that each hash piece after piece: with Write,
// and with Start of a piece before the Wait for the one before. Run it with
// -cpu 1 to see one core.
func BenchmarkStreams(b *testing.B) {
	for _, size := range []int{1 << 20, 64 << 10} {
		for _, streams := range []int{1, 2, 4, 8, 16, 64} {
			name := fmt.Sprintf("%dKiB/%d", size>>10, streams)
			b.Run("crypto-md5/"+name, func(b *testing.B) {
				each(b, streams, size, func() io.Writer { return md5.New() })
			})
			for _, k := range []kernel{avx2, avx512} {
				if k > detect() {
					continue
				}
				p := newPool(k)
				b.Run(k.String()+"/"+name, func(b *testing.B) {
					each(b, streams, size, func() io.Writer { return newDigest(p) })
				})
				b.Run(k.String()+"-ahead/"+name, func(b *testing.B) {
					each(b, streams, size, func() io.Writer { return &ahead{digest: newDigest(p)} })
				})
			}
		}
	}
}

// ahead waits for a piece when the next is there.
type ahead struct {
	digest *Digest
	size   int64
}

func (a *ahead) Write(p []byte) (int, error) {
	a.digest.Start(p)
	a.digest.Wait(a.size)
	a.size += int64(len(p))
	return len(p), nil
}

func each(b *testing.B, streams, size int, open func() io.Writer) {
	pieces, writers := make([][]byte, streams), make([]io.Writer, streams)
	for i := range pieces {
		pieces[i], writers[i] = noise(size), open()
	}
	measure(b, size, func() {
		var wg sync.WaitGroup
		for i, w := range writers {
			wg.Go(func() {
				for n := i; n < b.N; n += streams {
					_, _ = w.Write(pieces[i])
				}
				switch w := w.(type) {
				case *Digest:
					_ = w.Sum()
				case *ahead:
					_ = w.digest.Sum()
				case hash.Hash:
					_ = w.Sum(nil)
				}
			})
		}
		wg.Wait()
	})
}
