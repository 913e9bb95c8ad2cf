package engine

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// smallWeight is the most bytes of a body that counts as small: one that is held in
// one small buffer for each of its copies.
const smallWeight = (1 + layout.MaxParity) * ioring.SmallBuffer

// writers shares the writers' part of the arena out, in bytes. A quarter of it
// is for bodies that take one small buffer for each drive: large ones hold their
// buffers as long as their clients dawdle, and small ones need not wait for that.
type writers struct {
	large, small *semaphore.Weighted
	most         int64 // that one writer may acquire
	waiting      atomic.Int64
}

func newWriters(size int64) *writers {
	small := max(size/4, smallWeight)
	large := max(size-small, smallWeight+1)
	return &writers{large: semaphore.NewWeighted(large), small: semaphore.NewWeighted(small), most: large}
}

// gate returns the share that a body of so much weight has to be admitted to.
func (w *writers) gate(weight int64) *semaphore.Weighted {
	if weight <= smallWeight {
		return w.small
	}
	return w.large
}

// acquire waits for a writer's share, which release gives back.
func (w *writers) acquire(ctx context.Context, weight int64) error {
	return w.enter(ctx, w.gate(weight), weight)
}

func (w *writers) release(weight int64) { w.gate(weight).Release(weight) }

// enter is acquire at a gate.
func (w *writers) enter(ctx context.Context, gate *semaphore.Weighted, weight int64) error {
	if gate.TryAcquire(weight) {
		return nil
	}
	w.waiting.Add(1)
	defer w.waiting.Add(-1)
	return gate.Acquire(ctx, weight)
}

// Waiting returns how many bodies wait for memory at the moment: the sign for
// whoever feeds the engine from slow clients to be less patient with them.
func (e *Engine) Waiting() int {
	return int(e.writers.waiting.Load() + e.payloads.waiting.Load())
}
