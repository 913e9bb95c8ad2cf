package drive

import (
	"github.com/sluicehq/sluice/ioring"
)

// transfer is one buffer and the operations on it. Transfers are pooled, so
// that a request allocates no operations of its own.
type transfer struct {
	buf    *ioring.Buffer
	ops    []*ioring.Op // ops[:n] are in use, the others spare
	n      int
	flying bool
}

// spareOps is the most operations that a pooled transfer keeps.
const spareOps = 16

// newTransfer returns a transfer from the pool that owns buf, which may be nil.
func (d *Drive) newTransfer(buf *ioring.Buffer) *transfer {
	t, _ := d.transfers.Get().(*transfer)
	if t == nil {
		t = &transfer{}
	}
	t.buf = buf
	return t
}

// release gives the buffer back to the arena and t to the pool. Nothing may be
// in flight.
func (d *Drive) release(t *transfer) {
	t.drop()
	t.n = 0
	if len(t.ops) > spareOps {
		clear(t.ops[spareOps:])
		t.ops = t.ops[:spareOps]
	}
	d.transfers.Put(t)
}

// drop gives the buffer back to the arena.
func (t *transfer) drop() {
	if t.buf != nil {
		for _, op := range t.ops {
			op.Buf = nil
		}
		t.buf.Release()
		t.buf = nil
	}
}

// reset forgets the operations.
func (t *transfer) reset() { t.n = 0 }

// add appends an operation.
func (t *transfer) add(code ioring.Code, lo, hi int, off int64) {
	if t.n == len(t.ops) {
		t.ops = append(t.ops, &ioring.Op{})
	}
	op := t.ops[t.n]
	op.Code, op.Buf, op.Lo, op.Hi, op.Off = code, t.buf, lo, hi, off
	if code == ioring.OpSync {
		op.Buf = nil
	}
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

// submit starts the operations.
func (t *transfer) submit(dev ioring.Device) {
	dev.Submit(t.ops[:t.n]...)
	t.flying = true
}

// wait waits for all operations and returns the first error.
func (t *transfer) wait() (err error) {
	if !t.flying {
		return nil
	}
	for _, op := range t.ops[:t.n] {
		if e := op.Wait(); err == nil {
			err = e
		}
	}
	t.flying = false
	return err
}

// run is submit and wait.
func (t *transfer) run(dev ioring.Device) error {
	t.submit(dev)
	return t.wait()
}

// offset returns the drive offset of the first operation, for messages.
func (t *transfer) offset() int64 {
	if t.n == 0 {
		return 0
	}
	return t.ops[0].Off
}
