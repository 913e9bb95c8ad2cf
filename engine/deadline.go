package engine

import (
	"context"
	"sync/atomic"
	"time"
)

// deadlineStep is how exact a shared deadline is.
const deadlineStep = time.Second

// deadline is a context that the waits begun within one step share. A context of
// its own would cost each of them a timer and half a dozen objects, to be thrown
// away within a millisecond. Nothing cancels a shared one before its time, so it
// is for waits that do not end with their client. The zero value is ready to use.
type deadline struct{ now atomic.Pointer[sharedContext] }

type sharedContext struct {
	ctx    context.Context
	cancel context.CancelFunc // called by nobody: it ends by time
	until  time.Time          // for waits begun before
}

// after returns a context that ends between timeout and timeout plus a step from
// now.
func (d *deadline) after(timeout time.Duration) context.Context {
	now := time.Now()
	if s := d.now.Load(); s != nil && now.Before(s.until) {
		return s.ctx
	}
	s := &sharedContext{until: now.Add(deadlineStep)}
	s.ctx, s.cancel = context.WithTimeout(context.Background(), timeout+deadlineStep)
	d.now.Store(s) // of two that meet here, one is used once
	return s.ctx
}
