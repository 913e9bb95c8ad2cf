package engine

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/ioring"
)

// writers shares the writers' part of the arena out, in bytes. A quarter of it
// is for bodies that take one small buffer each: large ones hold their buffers as
// long as their clients dawdle, and small ones need not wait for that.
type writers struct {
	large, small *semaphore.Weighted
	most         int64 // that one writer may acquire
	waiting      atomic.Int64
}

func newWriters(size int64) *writers {
	small := max(size/4, ioring.SmallBuffer)
	large := max(size-small, ioring.SmallBuffer+1)
	return &writers{large: semaphore.NewWeighted(large), small: semaphore.NewWeighted(small), most: large}
}

func (w *writers) gate(weight int64) *semaphore.Weighted {
	if weight <= ioring.SmallBuffer {
		return w.small
	}
	return w.large
}

// acquire waits for a writer's share, which release gives back.
func (w *writers) acquire(ctx context.Context, weight int64) error {
	gate := w.gate(weight)
	if gate.TryAcquire(weight) {
		return nil
	}
	w.waiting.Add(1)
	defer w.waiting.Add(-1)
	return gate.Acquire(ctx, weight)
}

func (w *writers) release(weight int64) { w.gate(weight).Release(weight) }

// Waiting returns how many bodies wait for memory at the moment: the sign for
// whoever feeds the engine from slow clients to be less patient with them.
func (e *Engine) Waiting() int {
	return int(e.writers.waiting.Load() + e.payloads.waiting.Load())
}
