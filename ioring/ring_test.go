package ioring

import (
	"path/filepath"
	"testing"
)

// chain submits its second operation when the first is complete.
type chain struct {
	r      *ring
	ops    [2]Op
	asleep bool // the loop was taken to sleep while it ran OpDone
	done   chan error
}

func (c *chain) OpDone(op *Op, err error) {
	c.r.mu.Lock()
	c.asleep = c.asleep || c.r.sleeping
	c.r.mu.Unlock()
	if op == &c.ops[0] && err == nil {
		c.r.Submit(&c.ops[1])
		return
	}
	c.done <- err
}

// TestLoopWakesNotItself: what is submitted by the ring's own goroutine, as the sync
// after a write is, costs no system call to wake it, and no enter that returns for that.
func TestLoopWakesNotItself(t *testing.T) {
	a := newTestArena(t, 8<<20)
	dev, err := Open(filepath.Join(t.TempDir(), "drive"), a, Options{Mode: ModeRing, CPU: -1})
	if err != nil {
		t.Skipf("no io_uring: %v", err)
	}
	defer func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := dev.Grow(t.Context(), 1<<20); err != nil {
		t.Fatal(err)
	}
	b := mustTryGet(t, a, 4096)
	defer b.Release()
	before := dev.Stats().Enters
	const rounds = 50
	for range rounds {
		c := &chain{r: dev.(*ring), done: make(chan error, 1)}
		c.ops[0] = Op{Code: OpWrite, Buf: b, Hi: 4096, Owner: c}
		c.ops[1] = Op{Code: OpSync, Owner: c}
		dev.Submit(&c.ops[0])
		if err := <-c.done; err != nil {
			t.Fatal(err)
		}
		if c.asleep {
			t.Error("the loop wakes itself")
		}
	}
	t.Logf("%d enters for %d writes and syncs", dev.Stats().Enters-before, rounds)
}
