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
			r.finishOp(op, err)
			continue
		}
		select {
		case r.tokens <- struct{}{}:
		default:
			// What we hold must run before anyone can give us more.
			r.enqueue(ops[from:i])
			from = i
			select {
			case r.tokens <- struct{}{}:
			case <-r.aborted:
				from = i + 1
				r.finishOp(op, r.cause)
			}
		}
	}
	r.enqueue(ops[from:])
}

func (r *ring) enqueue(ops []*Op) {
	if len(ops) == 0 {
		return
	}
	if len(ops) == 1 && ops[0].Code == OpRead && r.alone(ops[0]) {
		return
	}
	r.mu.Lock()
	err := r.abortion()
	if r.closed {
		err = ErrClosed
	}
	if err != nil {
		r.mu.Unlock()
		for _, op := range ops {
			r.finishOp(op, err)
			<-r.tokens
		}
		return
	}
	r.count.inFlight.Add(int64(len(ops)))
	r.queue = append(r.queue, ops...)
	r.wake()
	r.mu.Unlock()
}

// alone runs a read of a drive that has nothing else to do past the ring, whose two
// changes of thread cost more than they save where there is nothing to batch. It reports
// whether it did. The submitter does not block: the read has a goroutine of its own,
// which may hang with the drive, as the ring's reads may.
func (r *ring) alone(op *Op) bool {
	if r.readAt == nil || !r.count.inFlight.CompareAndSwap(0, 1) {
		return false
	}
	r.mu.Lock()
	ok := !r.closed && r.abortion() == nil
	if ok {
		r.lone.Add(1)
	}
	r.mu.Unlock()
	if !ok {
		r.count.inFlight.Add(-1) // enqueue tells why
		return false
	}
	go r.runAlone(op, r.readAt)
	return true
}

// runAlone runs a transfer past the ring.
func (r *ring) runAlone(op *Op, call func(fd int, p []byte, off int64) (int, error)) {
	err := r.transfer(op, call)
	r.count.inFlight.Add(-1)
	r.finishOp(op, err)
	<-r.tokens
	r.lone.Done()
}

// wake has the loop look at the queue. Holds r.mu, which also keeps wakeFD open.
func (r *ring) wake() {
	if !r.sleeping {
		return
	}
	r.sleeping = false
	if r.work != nil {
		r.call()
		return
	}
	if err := r.signal(); err != nil {
		r.log.Error("cannot wake the drive's loop", "path", r.path, "err", err)
	}
}

// call has a shared or a polled loop look at the queue.
func (r *ring) call() {
	select {
	case r.work <- struct{}{}:
	default:
	}
}

// signal adds one to the eventfd's counter.
func (r *ring) signal() error {
	one := binary.NativeEndian.AppendUint64(make([]byte, 0, 8), 1)
	return ignoringEINTR(func() error { _, err := unix.Write(r.wakeFD, one); return err })
}
