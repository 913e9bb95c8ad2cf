package faultio

import (
	"context"
	"fmt"
	"syscall"

	"github.com/sluicehq/sluice/ioring"
)

// Outage is a way in which a whole device fails.
type Outage uint8

const (
	// Gone is a device that was unplugged: everything fails with ErrGone.
	Gone Outage = iota + 1
	// ReadOnly refuses writes, syncs and Grow with ErrReadOnly.
	ReadOnly
	// Full refuses writes and Grow with ioring.ErrNoSpace.
	Full
	// Hung answers nothing, Grow included, until Heal or Crash.
	Hung
)

// What a broken device answers, as the kernel would.
var (
	ErrGone     = fmt.Errorf("faultio: the device is gone: %w", syscall.ENXIO)
	ErrReadOnly = fmt.Errorf("faultio: the device is read-only: %w", syscall.EROFS)
)

// Break has the device fail in the way of o, from now on until Heal or another
// Break. Rules have no effect in the meantime.
func (d *Device) Break(o Outage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endOutage()
	d.outage = o
	if o == Hung {
		d.hang = make(chan struct{})
	}
}

// endOutage makes the device whole. Holds d.mu.
func (d *Device) endOutage() {
	d.outage = 0
	if d.hang != nil {
		close(d.hang)
		d.hang = nil
	}
}

// outageFault returns what the outage does to an operation. Holds d.mu.
func (d *Device) outageFault(code ioring.Code) Rule {
	write := code == ioring.OpWrite
	switch {
	case d.outage == Gone:
		return Rule{Err: ErrGone}
	case d.outage == ReadOnly && code != ioring.OpRead:
		return Rule{Err: ErrReadOnly}
	case d.outage == Full && write:
		return Rule{Err: fmt.Errorf("%w: the device is full", ioring.ErrNoSpace)}
	case d.outage == Hung:
		return Rule{Hang: d.hang}
	}
	return Rule{}
}

// growFault returns what the outage makes of a Grow to size, after it has hung
// for as long as the device does.
func (d *Device) growFault(ctx context.Context, size int64) error {
	d.mu.Lock()
	o, hang, now := d.outage, d.hang, d.size
	d.mu.Unlock()
	switch {
	case size <= now:
		return nil
	case o == Gone:
		return ErrGone
	case o == ReadOnly:
		return ErrReadOnly
	case o == Full:
		return fmt.Errorf("%w: the device is full", ioring.ErrNoSpace)
	case o == Hung:
		select {
		case <-hang:
		case <-d.off:
		}
	}
	return ctx.Err()
}
