package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// idleEvery is how often the daemon looks whether it has become idle.
	idleEvery = 10 * time.Second
	// idleAllocs are the bytes allocated in idleEvery below which it is: health
	// checks and scrapes of the metrics take less.
	idleAllocs = 2 << 20
)

// idleTrimmer gives memory back to the operating system once after each load.
// The collector by itself runs every two minutes in an idle process and keeps
// what the last load needed: measured after a load of 48 clients, 142 MiB
// resident for minutes, against 112 MiB trimmed, most of it metadata cache.
type idleTrimmer struct {
	allocs func() uint64 // bytes allocated so far
	free   func()
	last   uint64
	busy   bool
}

func newIdleTrimmer() *idleTrimmer {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	return &idleTrimmer{
		busy: true, // starting was work
		allocs: func() uint64 {
			metrics.Read(sample)
			return sample[0].Value.Uint64()
		},
		free: func() {
			// sync.Pool lets go of what was not used between two collections.
			debug.FreeOSMemory()
			debug.FreeOSMemory()
		},
	}
}

// run looks every interval until ctx is done.
func (t *idleTrimmer) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			t.look()
		}
	}
}

// look frees memory at the first idle interval after a busy one.
func (t *idleTrimmer) look() {
	now := t.allocs()
	grown := now - t.last
	t.last = now
	switch {
	case grown > idleAllocs:
		t.busy = true
	case t.busy:
		t.busy = false
		t.free()
	}
}
