package engine

import "context"

// Waiting returns how many bodies wait for memory at the moment: the sign for
// whoever feeds the engine from slow clients to be less patient with them.
func (e *Engine) Waiting() int {
	return int(e.waiting.Load() + e.payloads.waiting.Load())
}

// acquireWriter waits for a writer's share of the arena.
func (e *Engine) acquireWriter(ctx context.Context, weight int64) error {
	if e.writers.TryAcquire(weight) {
		return nil
	}
	e.waiting.Add(1)
	defer e.waiting.Add(-1)
	return e.writers.Acquire(ctx, weight)
}
