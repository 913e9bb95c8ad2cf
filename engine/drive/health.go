package drive

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sluicehq/sluice/ioring"
)

// Thresholds say when a drive is Failing. All numbers are of about the last
// minute. A field that is 0 stands for its default.
type Thresholds struct {
	Errors     uint64  // operations refused, and
	ErrorShare float64 // their share of all operations; defaults 10 and 0.2
	Timeouts   uint64  // operations that outlived the deadline; default 1
	Stalls     uint64  // operations slower than Options.Stall; default 5
	Corrupt    uint64  // frames that did not verify, and
	// CorruptShare is their share of the reads; defaults 20 and 0.2.
	CorruptShare float64
}

func (t Thresholds) withDefaults() Thresholds {
	or := func(p *uint64, n uint64) {
		if *p == 0 {
			*p = n
		}
	}
	or(&t.Errors, 10)
	or(&t.Timeouts, 1)
	or(&t.Stalls, 5)
	or(&t.Corrupt, 20)
	if t.ErrorShare == 0 {
		t.ErrorShare = 0.2
	}
	if t.CorruptShare == 0 {
		t.CorruptShare = 0.2
	}
	return t
}

// Health tells how the device has been doing. The counters are since the drive
// was opened; Failing judges by the last minute.
type Health struct {
	Reads, Writes Latency // over the last minute or so; syncs count as neither
	Errors        uint64  // operations refused by the device, other than for want of space
	Timeouts      uint64  // operations that outlived the deadline
	Stalls        uint64  // operations slower than Options.Stall, see there
	Corrupt       uint64  // frames that did not verify, even when read again
	Hung          int     // operations without an answer beyond the deadline, now
	Gone          bool    // the device says that it is no more, or fails everything, a read of the superblock included
	Failing       error   // why the drive should be taken out of service, or nil
	// Slow: Failing is for answers that come late or not at all, as they do on every
	// drive when the machine or a controller stands still for a while.
	Slow bool
}

// Latency sums up the latencies of one kind of operation over the last minute or so.
type Latency struct {
	Count         uint64
	P50, P99, Max time.Duration
}

// totals count events since the drive was opened.
type totals struct {
	errors, timeouts, stalls atomic.Uint64
	streak                   atomic.Uint64 // errors in a row
	gone                     atomic.Bool   // the device said so
	probing, lost            atomic.Bool   // see probe
}

// Health returns the present state. It is cheap enough to be asked every second.
func (d *Drive) Health() Health {
	now := d.now()
	streak := d.totals.streak.Load() >= d.thresholds.Errors
	if streak {
		d.probe()
	}
	h := Health{
		Reads:    d.window.latency(now, ioring.OpRead),
		Writes:   d.window.latency(now, ioring.OpWrite),
		Errors:   d.totals.errors.Load(),
		Timeouts: d.totals.timeouts.Load(),
		Stalls:   d.totals.stalls.Load(),
		Corrupt:  d.corrupt.Load(),
		Hung:     int(d.hung.Load()),
		Gone:     d.totals.gone.Load() || streak && d.totals.lost.Load(),
	}
	h.Failing = d.failing(now, &h)
	h.Slow = errors.Is(h.Failing, ErrTimeout) || errors.Is(h.Failing, errStalls)
	return h
}

// probe reads the superblock in the background, unless it does so already. Errors in
// a row alone would not tell a device that is gone from one with a bad region that
// somebody reads through.
func (d *Drive) probe() {
	if !d.totals.probing.CompareAndSwap(false, true) {
		return
	}
	buf, err := d.arena.TryGet(superSize)
	d.mu.Lock()
	closed := d.closed
	if err == nil && !closed {
		d.background.Add(1)
	}
	d.mu.Unlock()
	if err != nil || closed {
		if buf != nil {
			buf.Release()
		}
		d.totals.probing.Store(false)
		return
	}
	t := d.newTransfer(buf)
	go func() {
		defer d.background.Done()
		t.reset()
		t.add(ioring.OpRead, 0, superSize, superFirst)
		d.totals.lost.Store(t.run() != nil)
		if d.totals.streak.Load() == 0 {
			d.totals.lost.Store(false) // another read succeeded meanwhile
		}
		d.release(t)
		d.totals.probing.Store(false)
	}()
}

var errStalls = errors.New("answers are late")

// failing judges the last minute.
func (d *Drive) failing(now int64, h *Health) error {
	c, t := d.window.counts(now), d.thresholds
	share := func(n, of uint64) float64 { return float64(n) / float64(max(1, of)) }
	switch {
	case h.Hung > 0:
		return fmt.Errorf("%w: %d operations hang", ErrTimeout, h.Hung)
	case c.timeouts >= t.Timeouts:
		return fmt.Errorf("%w: %d operations were not answered within %v in the last minute", ErrTimeout, c.timeouts, d.deadline)
	case c.errors >= t.Errors && share(c.errors, c.ops) >= t.ErrorShare:
		return fmt.Errorf("%d of %d operations failed in the last minute", c.errors, c.ops)
	case h.Gone:
		return errors.New("the device is gone")
	case c.stalls >= t.Stalls:
		return fmt.Errorf("%w: %d operations took longer than %v in the last minute", errStalls, c.stalls, d.stall)
	case c.corrupt >= t.Corrupt && share(c.corrupt, c.reads) >= t.CorruptShare:
		return fmt.Errorf("%d of %d reads did not verify in the last minute", c.corrupt, c.reads)
	}
	return nil
}

// RecentP99Read returns the 99th percentile of the latency of reads in the last
// minute, not older than about half a second, or 0 where there were none. It
// costs one atomic load.
func (d *Drive) RecentP99Read() time.Duration { return time.Duration(d.p99Read.Load()) }

// InFlightSince returns the age of the oldest read that the device has not
// answered, or 0.
func (d *Drive) InFlightSince() time.Duration {
	f := &d.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.reads.first; t != nil {
		return time.Duration(d.clock(d.now()) - t.began)
	}
	return 0
}

// p99Age is how old RecentP99Read may be.
const p99Age = int64(500 * time.Millisecond)

// observe counts a transfer that has landed at the given age.
func (d *Drive) observe(t *transfer, age, now int64) {
	d.observeAge(t, age, now)
	s := d.window.at(now)
	s.ops.Add(1)
	switch t.code {
	case ioring.OpRead:
		s.reads.Add(1)
		s.read.add(age)
		if at := d.p99At.Load(); now-at > p99Age && d.p99At.CompareAndSwap(at, now) {
			d.p99Read.Store(int64(d.window.latency(now, ioring.OpRead).P99))
		}
	case ioring.OpWrite:
		s.write.add(age)
	}
	if err := t.answer; err == nil {
		if d.totals.streak.Load() != 0 {
			d.totals.streak.Store(0)
			d.totals.lost.Store(false)
		}
	} else if d.blames(t.code, err) {
		s.errors.Add(1)
		d.totals.errors.Add(1)
		d.totals.streak.Add(1)
		if errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.ENODEV) {
			d.totals.gone.Store(true)
		}
	}
}

// excuse is how much longer a transfer may take for each operation that the
// device had in hand before it: a queue is no fault of the drive.
const excuse = int64(20 * time.Millisecond)

// observeAge counts a transfer of the given age if it is a stall.
func (d *Drive) observeAge(t *transfer, age, now int64) {
	if t.slow || age <= int64(d.stall)+t.ahead*excuse {
		return
	}
	t.slow = true
	d.window.at(now).stalls.Add(1)
	d.totals.stalls.Add(1)
}

// blames tells whether an answer speaks against the device: not the want of
// space, nor our own mistakes, nor what follows from an earlier failure.
func (d *Drive) blames(code ioring.Code, err error) bool {
	switch {
	case errors.Is(err, ioring.ErrNoSpace), errors.Is(err, ioring.ErrClosed), errors.Is(err, ioring.ErrInvalid):
		return false
	case errors.Is(err, ioring.ErrFailed):
		return code == ioring.OpSync
	case errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return d.abandoned.Load() == nil
}
