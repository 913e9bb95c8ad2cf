package ioring

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// This file is the submitters' side of the ring: it runs on their goroutines.

// Submit implements Device.
func (r *ring) Submit(ops ...*Op) {
	from := 0 // ops[from:i] hold tokens and are not queued yet
	for i, op := range ops {
		op.Prepare()
		if err := op.Check(r.align, r.size.Load()); err != nil {
			r.enqueue(ops[from:i])
			from = i + 1
			r.finish(op, err)
			continue
		}
		select {
		case r.tokens <- struct{}{}:
		default:
			// What we hold must run before anyone can give us more.
			r.enqueue(ops[from:i])
			from = i
			r.tokens <- struct{}{}
		}
	}
	r.enqueue(ops[from:])
}

func (r *ring) enqueue(ops []*Op) {
	if len(ops) == 0 {
		return
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		for _, op := range ops {
			r.finish(op, ErrClosed)
			<-r.tokens
		}
		return
	}
	r.count.inFlight.Add(int64(len(ops)))
	r.queue = append(r.queue, ops...)
	r.wake()
	r.mu.Unlock()
}

// wake gets the loop out of enter. Holds r.mu, which also keeps wakeFD open.
func (r *ring) wake() {
	if !r.sleeping {
		return
	}
	r.sleeping = false
	if err := r.signal(); err != nil {
		r.log.Error("cannot wake the drive's loop", "path", r.path, "err", err)
	}
}

// signal adds one to the eventfd's counter.
func (r *ring) signal() error {
	one := binary.NativeEndian.AppendUint64(make([]byte, 0, 8), 1)
	return ignoringEINTR(func() error { _, err := unix.Write(r.wakeFD, one); return err })
}
