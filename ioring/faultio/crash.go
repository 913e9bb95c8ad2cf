package faultio

import "github.com/sluicehq/sluice/ioring"

// Crash cuts the power and returns the device as it is found afterwards: what
// was durable, and of every other write the sectors that seed chooses. All
// operations in flight, and later ones, fail with ioring.ErrClosed. Crash may
// be called again, with other seeds, for other outcomes of the same moment.
func (d *Device) Crash(seed uint64) *Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.crash(seed)
}

// CrashAll cuts the power of several devices, and of what else of the same
// machine, at one moment: nothing happens on any of the devices while it runs.
// Every device crashes with the next seed.
func CrashAll(devs []*Device, seed func() uint64, what func()) []*Device {
	for _, d := range devs {
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	what()
	after := make([]*Device, len(devs))
	for i, d := range devs {
		after[i] = d.crash(seed())
	}
	return after
}

// crash is Crash. Holds d.mu.
func (d *Device) crash(seed uint64) *Device {
	if !d.crashed {
		d.crashed = true
		close(d.off)
	}
	after := d.successor(seed)
	after.durable = d.durable.clone()
	rng := newRand(seed)
	keep := []float64{0, 0.1, 0.5, 0.9, 1}[rng.IntN(5)]
	for _, w := range d.cached {
		data := w.data
		if w.op != nil && data == nil {
			data = w.op.Buf.Bytes()[w.op.Lo:w.op.Hi]
		}
		for i := 0; i < len(data); i += SectorSize {
			if rng.Float64() < keep {
				after.durable.write(data[i:min(i+SectorSize, len(data))], w.off+int64(i))
			}
		}
	}
	after.live = after.durable.clone()
	return after
}

// Reopen returns the device as a restarted process finds it: the power stayed
// on, so that nothing written is lost, but nothing more is durable. It is for
// a device that was closed, and panics otherwise.
func (d *Device) Reopen() *Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed || d.crashed {
		panic("faultio: Reopen of a device that is not closed, or has crashed")
	}
	after := d.successor(d.opts.Seed)
	after.live, after.durable = d.live.clone(), d.durable.clone()
	after.clock = d.clock
	for _, w := range d.cached {
		dup := *w
		dup.data = append([]byte(nil), w.data...)
		if w.completed == 0 {
			after.settle(&dup, w.op)
		}
		if dup.completed > 0 {
			after.cached = append(after.cached, &dup)
		}
	}
	return after
}

// settle decides whether a write that hung when the process ended was performed
// after all. Nothing of the old process can reach the device any more.
func (d *Device) settle(w *write, op *ioring.Op) {
	w.op = nil
	if op == nil || d.rng.Uint64()%2 == 0 {
		return
	}
	w.data = append([]byte(nil), op.Buf.Bytes()[op.Lo:op.Hi]...)
	d.live.write(w.data, w.off)
	d.clock++
	w.completed = d.clock
}

func (d *Device) successor(seed uint64) *Device {
	opts := d.opts
	opts.Seed, opts.Size = seed, d.size
	return New(opts)
}
