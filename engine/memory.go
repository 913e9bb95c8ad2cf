package engine

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Heap buffers come in powers of two from 4 KiB to 1 MiB.
const (
	minHeap  = 12
	maxHeap  = 20
	heapBuf  = 1 << maxHeap
	heapSize = 64 << 20 // most bytes on loan of one heap
)

// heap lends pooled buffers out of a bounded amount of memory: payloads on
// their way to the metadata, and frames of objects that are being copied.
type heap struct {
	loans   *semaphore.Weighted
	waiting atomic.Int64 // in get
	pools   [maxHeap - minHeap + 1]sync.Pool
}

func newHeap() *heap { return &heap{loans: semaphore.NewWeighted(heapSize)} }

// loan is one buffer. A loan that is never returned keeps its share of the
// bound, so give it back or forfeit it.
type loan struct {
	mem  []byte
	full *[]byte
	heap *heap
}

func heapClass(n int64) int {
	if n <= 1<<minHeap {
		return 0
	}
	return bits.Len64(uint64(n-1)) - minHeap
}

// get lends n bytes, n ≤ heapBuf, waiting while the bound is reached.
func (h *heap) get(ctx context.Context, n int64) (loan, error) {
	c := heapClass(n)
	h.waiting.Add(1)
	err := h.loans.Acquire(ctx, 1<<(c+minHeap))
	h.waiting.Add(-1)
	if err != nil {
		return loan{}, err
	}
	return h.take(c, n), nil
}

// tryGet is get without waiting.
func (h *heap) tryGet(n int64) (loan, bool) {
	c := heapClass(n)
	if !h.loans.TryAcquire(1 << (c + minHeap)) {
		return loan{}, false
	}
	return h.take(c, n), true
}

func (h *heap) take(c int, n int64) loan {
	full, _ := h.pools[c].Get().(*[]byte)
	if full == nil {
		b := make([]byte, 1<<(c+minHeap))
		full = &b
	}
	return loan{mem: (*full)[:n], full: full, heap: h}
}

// release gives the buffer back. The zero loan may be released.
func (l *loan) release() {
	if l.full == nil {
		return
	}
	c := heapClass(int64(len(*l.full)))
	l.heap.pools[c].Put(l.full)
	l.forfeit()
}

// forfeit gives back the share of the bound but not the buffer, which somebody
// may still be reading.
func (l *loan) forfeit() {
	if l.full == nil {
		return
	}
	l.heap.loans.Release(int64(len(*l.full)))
	*l = loan{}
}
