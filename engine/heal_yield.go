package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxRest bounds one rest of background work.
	maxRest = time.Second
	// leastPace is how long background work rests where it is in nobody's way, as a
	// multiple of the time that it worked.
	leastPace = 0.25
	// crowdedSleep is how much longer than asked for a sleep takes on a machine whose
	// processors are wanted by others.
	crowdedSleep = time.Millisecond
	// crowdedDepth is how many operations are in flight on a drive, on average, when
	// more of them would be felt.
	crowdedDepth = 4
)

// yielder keeps background work out of the clients' way. While clients are active, one
// works at a time and rests afterwards: the longer the more the processors and the
// drives are wanted by others. That it finds out as it goes along, since what is a lot
// for one machine is nothing for another.
type yielder struct {
	e     *Engine
	solo  sync.Mutex // held by the one who works while clients are active
	pace  float64    // under solo: rest, as a multiple of the work; 0: not known yet
	seen  atomic.Uint64
	since atomic.Int64 // when seen last changed
}

// clients reports whether clients have begun anything of late, and whether anything
// of theirs is in flight.
func (y *yielder) clients() (fresh, some bool) {
	now := time.Now().UnixNano()
	n := y.e.gate.entered.Load()
	if y.seen.Swap(n) != n {
		y.since.Store(now)
	}
	return now-y.since.Load() < int64(y.e.cfg.Timing.Quiet), y.e.gate.state.Load()&^shut > 0
}

// work calls fn, which does a little background work. While clients are active,
// nobody else does any in the meantime, and a rest follows.
func (y *yielder) work(ctx context.Context, fn func() error) error {
	fresh, some := y.clients()
	if y.e.cfg.Timing.Yield < 0 || !fresh && !some {
		return fn()
	}
	y.solo.Lock()
	defer y.solo.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	begun := time.Now()
	err := fn()
	if !fresh {
		return err
	}
	most := float64(y.e.cfg.Timing.Yield)
	if y.pace == 0 {
		y.pace = most
	}
	asked := min(time.Duration(y.pace*float64(time.Since(begun))), maxRest)
	begun = time.Now()
	rest(ctx, asked)
	y.pace = nextPace(y.pace, most, time.Since(begun)-asked > crowdedSleep || y.deep())
	return err
}

// nextPace slows down at once and speeds up by and by.
func nextPace(pace, most float64, crowded bool) float64 {
	if crowded {
		return min(most, 2*pace)
	}
	return max(min(leastPace, most), 0.9*pace)
}

// deep reports whether the drives have much to do.
func (y *yielder) deep() bool {
	var drives, flying int64
	for _, m := range y.e.drives.now().all {
		if m.d != nil && m.readable() {
			drives++
			flying += m.d.Stats().InFlight
		}
	}
	return flying > crowdedDepth*drives
}

// rest sleeps until ctx is done.
func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
