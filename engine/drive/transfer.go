package drive

import (
	"sync"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// transfer is one buffer and the operations on it. Transfers are pooled, so
// that a request allocates no operations of its own.
//
// It has an owner, who starts it, waits and releases it, and from start to the
// last answer it is the device's as well. Whoever is the last to be done with it
// returns it to the pool: so nobody needs to wait for a device that hangs, and
// the buffer is lent to nobody else before the device has answered.
type transfer struct {
	d    *Drive
	buf  *ioring.Buffer
	ops  []*ioring.Op // ops[:n] are in use, the others spare
	n    int
	code ioring.Code // what the operations do

	flying bool          // started, and the owner has not learnt the outcome; the owner's
	done   chan struct{} // capacity 1: the outcome is known

	mu       sync.Mutex // guards what follows
	left     int        // operations without an answer
	answer   error      // the first error of the device
	err      error      // the outcome: of the device, or ErrTimeout, or why the drive was abandoned
	landed   bool       // every operation is answered
	given    bool       // the owner was told an outcome before the last answer
	released bool       // the owner is done with it
	hung     bool       // given up for its age: counted in Drive.hung
	notify   chan<- struct{}

	// The flight's; see there.
	prev, next *transfer
	began      int64     // nanoseconds by Drive.clock: when the device got it, or, before that, the owner started it
	ahead      int64     // operations that the device had in hand then
	slow       bool      // counted as a stall
	then       *transfer // see chain
	waiting    bool      // the device has not got it yet
}

// spareOps is the most operations that a pooled transfer keeps.
const spareOps = 16

// newTransfer returns a transfer from the pool that owns buf, which may be nil.
func (d *Drive) newTransfer(buf *ioring.Buffer) *transfer {
	t, _ := d.transfers.Get().(*transfer)
	if t == nil {
		t = &transfer{d: d, done: make(chan struct{}, 1)}
	}
	t.buf = buf
	return t
}

// release ends the owner's hold on t: the buffer goes back to the arena and t to
// the pool, now or when the device has answered.
func (d *Drive) release(t *transfer) {
	t.mu.Lock()
	t.notify = nil
	if t.flying && !t.landed || t.given && !t.landed {
		t.released = true
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	d.recycle(t)
}

// recycle is release once nobody else has t.
func (d *Drive) recycle(t *transfer) {
	t.drop()
	t.n = 0
	select {
	case <-t.done: // nobody waited
	default:
	}
	t.flying, t.landed, t.given, t.released, t.hung, t.slow = false, false, false, false, false, false
	t.err, t.answer = nil, nil
	if len(t.ops) > spareOps {
		clear(t.ops[spareOps:])
		t.ops = t.ops[:spareOps]
	}
	d.transfers.Put(t)
}

// drop gives the buffer back to the arena.
func (t *transfer) drop() {
	if buf := t.take(); buf != nil {
		buf.Release()
	}
}

// take returns the buffer, which t forgets.
func (t *transfer) take() *ioring.Buffer {
	buf := t.buf
	if buf != nil {
		for _, op := range t.ops {
			op.Buf = nil
		}
		t.buf = nil
	}
	return buf
}

// reset forgets the operations.
func (t *transfer) reset() { t.n = 0 }

// add appends an operation.
func (t *transfer) add(code ioring.Code, lo, hi int, off int64) {
	if t.n == len(t.ops) {
		t.ops = append(t.ops, &ioring.Op{Owner: t})
	}
	op := t.ops[t.n]
	op.Code, op.Buf, op.Lo, op.Hi, op.Off = code, t.buf, lo, hi, off
	if code == ioring.OpSync {
		op.Buf = nil
	}
	t.code = code
	t.n++
}

// addRange appends the operations that move fragment bytes [off, off+n) to or
// from the buffer at lo: one for each extent they lie in.
func (t *transfer) addRange(c *extentCursor, code ioring.Code, lo int, off, n int64) {
	c.each(off, n, func(devOff, k int64) {
		t.add(code, lo, lo+int(k), devOff)
		lo += int(k)
	})
}

// submit starts the operations. It never blocks.
func (t *transfer) submit() {
	t.begin()
	t.d.launch(t, 0)
}

// begin makes t one that the device has not answered.
func (t *transfer) begin() {
	t.flying = true
	t.mu.Lock()
	t.left, t.landed, t.given, t.err, t.answer, t.slow = t.n, false, false, nil, nil, false
	t.mu.Unlock()
}

// OpDone implements ioring.Owner.
func (t *transfer) OpDone(_ *ioring.Op, err error) {
	t.mu.Lock()
	if err != nil && t.answer == nil {
		t.answer = err
	}
	t.left--
	last := t.left == 0
	t.mu.Unlock()
	t.d.queued.Add(-1)
	if last {
		t.d.land(t)
	}
}

// settle ends the flight of t, which is in no list any more: the owner learns
// the outcome, unless it was told one before. What is chained to it follows.
func (t *transfer) settle() {
	if next, err := t.land(); next != nil {
		next.follow(err)
	}
}

// land is settle without what follows, which it returns.
func (t *transfer) land() (next *transfer, err error) {
	t.mu.Lock()
	t.landed = true
	next, err = t.then, t.answer
	t.then = nil
	if t.given {
		err = t.err
	}
	if t.hung {
		t.hung = false
		if t.d.hung.Add(-1) == 0 {
			t.d.log.Info("the drive answers again", "drive", t.d.id)
		}
	}
	if t.released {
		t.mu.Unlock()
		t.d.recycle(t)
		return next, err
	}
	if !t.given {
		t.err = t.answer
		t.tell()
	}
	t.mu.Unlock()
	return next, err
}

// chain has next submitted as soon as all of t, which is to be submitted after, has
// landed without an error: by whoever brings the last answer, so that nobody has to
// wake up for it. If t fails or is given up, so does next. next's outcome comes after
// t's.
func (t *transfer) chain(next *transfer) {
	next.begin()
	t.then = next
}

// follow starts t, which was chained to a transfer that has landed with err.
func (t *transfer) follow(err error) {
	if err != nil {
		t.refuse(err)
		return
	}
	t.d.launch(t, 1)
}

// giveUp tells the owner err before the device has answered. Holds t.mu.
func (t *transfer) giveUp(err error) {
	if t.landed || t.given {
		return
	}
	t.given, t.err = true, err
	t.tell()
	if then := t.then; then != nil {
		then.mu.Lock()
		then.giveUp(err)
		then.mu.Unlock()
	}
}

// tell wakes the owner. Holds t.mu.
func (t *transfer) tell() {
	t.done <- struct{}{} // never blocks: once for each submit, and submit follows wait
	if t.notify != nil {
		select {
		case t.notify <- struct{}{}:
		default:
		}
	}
}

// wait waits for all operations and returns the first error: in the end
// ErrTimeout, for the drive's watch gives up what is not answered in time.
func (t *transfer) wait() error {
	if !t.flying {
		return nil
	}
	<-t.done
	t.flying = false
	return t.err
}

// lost reports whether the device may still use the buffer, though the owner
// has waited.
func (t *transfer) lost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.given && !t.landed
}

// run is submit and wait.
func (t *transfer) run() error {
	t.submit()
	return t.wait()
}

// offset returns the drive offset of the first operation, for messages.
func (t *transfer) offset() int64 {
	if t.n == 0 {
		return 0
	}
	return t.ops[0].Off
}

// overlaps reports whether t moves bytes of one of exts.
func (t *transfer) overlaps(exts []layout.Extent) bool {
	for _, op := range t.ops[:t.n] {
		for _, e := range exts {
			if op.Off < e.Off+e.Len && e.Off < op.Off+int64(op.Len()) {
				return true
			}
		}
	}
	return false
}
