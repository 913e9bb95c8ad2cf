package engine

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// shut is the bit of gate.state that refuses new work.
const shut = 1 << 62

// gate counts the work in flight and can be shut.
type gate struct {
	state   atomic.Int64  // count, plus shut
	entered atomic.Uint64 // pieces of work so far
	idle    chan struct{}
	once    sync.Once
}

func newGate() *gate { return &gate{idle: make(chan struct{})} }

// enter admits one piece of work; leave must follow. Once the gate is shut it
// returns an error of kind Unavailable.
func (g *gate) enter() error {
	g.entered.Add(1)
	return g.look()
}

// look is enter for what is no client's work.
func (g *gate) look() error {
	if g.state.Add(1)&shut != 0 {
		g.leave()
		return fail(Unavailable, errClosing)
	}
	return nil
}

func (g *gate) leave() {
	if g.state.Add(-1) == shut {
		g.once.Do(func() { close(g.idle) })
	}
}

// shut reports whether the gate refuses new work.
func (g *gate) shut() bool { return g.state.Load()&shut != 0 }

// close shuts the gate and waits until nothing is in flight.
func (g *gate) close(ctx context.Context) error {
	if g.state.Or(shut) == 0 {
		g.once.Do(func() { close(g.idle) })
	}
	select {
	case <-g.idle:
		return nil
	default:
	}
	select {
	case <-g.idle:
		return nil
	case <-ctx.Done():
		return fail(Unavailable, fmt.Errorf("%d operations in flight: %w", g.state.Load()&^shut, ctx.Err()))
	}
}
