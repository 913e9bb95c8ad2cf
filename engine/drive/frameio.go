package drive

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// FrameIO is one frame, or one sync, on its way to or from the device. It owns its
// buffer from the start to Take or Release, and is for one goroutine at a time.
// Release ends it, after Take as well; it must not be used after that.
type FrameIO struct {
	d     *Drive
	t     *transfer
	frag  Fragment
	plan  framePlan // of a read
	again bool      // read for the second time
	ended bool      // payload and err are the outcome
	out   []byte
	err   error
}

// frame returns a FrameIO over buf, which may be nil.
func (d *Drive) frame(f *Fragment, buf *ioring.Buffer) *FrameIO {
	p, _ := d.frames.Get().(*FrameIO)
	if p == nil {
		p = &FrameIO{d: d}
	}
	p.t = d.newTransfer(buf)
	if f != nil {
		p.frag = *f
	}
	return p
}

// refuse ends p before it has begun.
func (p *FrameIO) refuse(err error) *FrameIO {
	p.ended, p.err = true, err
	return p
}

// StartWrite seals the frame of row, whose n bytes of payload lie at
// buf[HeaderSize:], and begins to write it. Durable after a StartSync that begins
// once Wait has returned. It never waits for the device. Mistakes of the caller,
// ErrRange or ErrCorrupt as of Write, come from Wait.
func (d *Drive) StartWrite(f *Fragment, row int64, buf *ioring.Buffer, n int) *FrameIO {
	p := d.frame(f, buf)
	if err := d.Err(); err != nil {
		return p.refuse(err)
	}
	want, err := d.checkFrame(f, row)
	if err == nil && n != want {
		err = fmt.Errorf("%w: frame %d of blob %s holds %d bytes, not %d", ErrRange, row, f.Blob, want, n)
	}
	if err == nil && len(buf.Bytes()) < HeaderSize+padded(n) {
		err = fmt.Errorf("%w: a buffer of %d bytes for a frame of %d", ErrRange, len(buf.Bytes()), n)
	}
	if err == nil {
		err = d.checkReserved(f.Extents)
	}
	if err != nil {
		return p.refuse(err)
	}
	h := frameHeader{drive: d.id, index: uint32(row), payload: n}
	h.of(f)
	sealFrame(buf.Bytes(), &h)
	c := extentCursor{exts: f.Extents}
	p.t.reset()
	p.t.addRange(&c, ioring.OpWrite, 0, row*(HeaderSize+f.Unit), int64(HeaderSize+padded(n)))
	p.t.submit()
	return p
}

// StartRead begins to read payload bytes [lo, hi) of the frame of row into buf,
// which must hold HeaderSize and as many blocks as those bytes lie in; where they
// begin within the first 80 KiB of the frame, as many as those from the frame's
// begin. ReadSize tells. It never waits for the device.
func (d *Drive) StartRead(f *Fragment, row int64, lo, hi int, buf *ioring.Buffer) *FrameIO {
	p := d.frame(f, buf)
	n, err := d.checkFrame(f, row)
	if err == nil && (lo < 0 || lo >= hi || hi > n) {
		err = fmt.Errorf("%w: bytes [%d,%d) of a frame of %d", ErrRange, lo, hi, n)
	}
	if err != nil {
		return p.refuse(err)
	}
	p.plan = planFrame(f.Size, f.Unit, row*f.Unit+int64(lo), row*f.Unit+int64(hi))
	if len(buf.Bytes()) < p.plan.end {
		return p.refuse(fmt.Errorf("%w: a buffer of %d bytes for a read of %d", ErrRange, len(buf.Bytes()), p.plan.end))
	}
	c := extentCursor{exts: f.Extents}
	p.plan.fetch(p.t, &c)
	p.t.submit()
	return p
}

// ReadSize returns the bytes of buffer that StartRead needs for payload bytes
// [lo, hi) of the frame of row.
func (f *Fragment) ReadSize(row int64, lo, hi int) int {
	p := planFrame(f.Size, f.Unit, row*f.Unit+int64(lo), row*f.Unit+int64(hi))
	return p.end
}

// StartSync begins to make durable what was written before. An error but
// ErrTimeout takes the drive out of service for writes.
func (d *Drive) StartSync() *FrameIO {
	p := d.frame(nil, nil)
	if err := d.Err(); err != nil {
		return p.refuse(err)
	}
	p.t.reset()
	p.t.add(ioring.OpSync, 0, 0, 0)
	p.t.submit()
	return p
}

// Wait waits for the end, at most for the drive's deadline. Of a read it returns
// the verified payload, within the buffer; a frame that does not verify is read
// once more, with a deadline of its own, before it is ErrCorrupt. ErrTimeout: see
// there. Later calls return the same.
func (p *FrameIO) Wait() ([]byte, error) {
	for !p.ended {
		p.end(p.t.wait())
	}
	return p.out, p.err
}

// end takes the outcome of the transfer, which may be to read again.
func (p *FrameIO) end(err error) {
	switch {
	case p.t.code == ioring.OpRead:
		var again bool
		if p.out, again, p.err = p.d.judge(p.t, &p.plan, &p.frag, p.again, err); again {
			p.again = true
			p.t.submit()
			return
		}
	case err == nil:
	case p.t.code == ioring.OpSync:
		p.err = p.d.syncFailed(err)
	default:
		p.err = p.d.writeFailed(p.frag.Blob, err)
	}
	p.ended = true
}

// Poll waits for the end for no longer than patience and reports whether it has
// come; Wait then returns at once. With patience 0 it does not wait.
func (p *FrameIO) Poll(patience time.Duration) bool {
	var timer *time.Timer
	for !p.ended {
		select {
		case <-p.t.done:
			p.t.flying = false
			p.end(p.t.err)
			continue
		default:
		}
		if patience <= 0 {
			return false
		}
		if timer == nil {
			timer = p.d.timer(patience)
			defer p.d.timers.Put(timer)
			defer timer.Stop()
		}
		select {
		case <-p.t.done:
			p.t.flying = false
			p.end(p.t.err)
		case <-timer.C:
			patience = 0
		}
	}
	return true
}

// timer returns a timer from the pool.
func (d *Drive) timer(patience time.Duration) *time.Timer {
	if t, _ := d.timers.Get().(*time.Timer); t != nil {
		t.Reset(patience)
		return t
	}
	return time.NewTimer(patience)
}

// Notify has ch receive a value (without blocking) when the device has answered,
// or was given up; Poll(0) then tells whether that is the end. It is to be called
// before the first Wait or Poll.
func (p *FrameIO) Notify(ch chan<- struct{}) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if p.ended || len(p.t.done) > 0 {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	p.t.notify = ch
}

// Take returns the buffer after Wait, or nil where the device still has it: before
// the end, and after ErrTimeout.
func (p *FrameIO) Take() *ioring.Buffer {
	if !p.ended || p.t.lost() {
		return nil
	}
	return p.t.take()
}

// Release gives everything back, now or once the device has answered. A write
// that is released before its end may still reach the device: its extents are
// not lent again before it has been answered.
func (p *FrameIO) Release() {
	t, d := p.t, p.d
	if t == nil {
		panic("drive: FrameIO released twice")
	}
	*p = FrameIO{d: d}
	d.frames.Put(p)
	d.release(t)
}

// checkFrame checks f and returns the payload bytes of its frame of row.
func (d *Drive) checkFrame(f *Fragment, row int64) (int, error) {
	if err := f.check(); err != nil {
		return 0, err
	}
	if row < 0 || row > (f.Size-1)/f.Unit {
		return 0, fmt.Errorf("%w: frame %d of a fragment of %d bytes", ErrRange, row, f.Size)
	}
	return framePayload(f.Size, f.Unit, row), d.checkExtents(f.Extents, f.DiskSize())
}

// check tells whether f is one that a drive can hold.
func (f *Fragment) check() error {
	if f.Unit < layout.UnitStep || f.Unit > FramePayload || f.Unit%layout.UnitStep != 0 ||
		f.Size < 1 || f.Size > f.Unit<<31 || f.Number < 0 || f.Number > maxNumber || f.Blob.IsZero() {
		return fmt.Errorf("%w: fragment %d of blob %s: %d bytes in units of %d", ErrRange, f.Number, f.Blob, f.Size, f.Unit)
	}
	return nil
}
