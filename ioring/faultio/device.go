package faultio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluicehq/sluice/ioring"
)

// SectorSize is the unit, in bytes, that a crash keeps or loses whole.
const SectorSize = 512

// ErrIO is a ready-made error for rules: the drive's EIO.
var ErrIO = errors.New("faultio: input/output error")

// Options of New. The zero value is a blank device with 1 PiB of capacity.
type Options struct {
	Align    int           // power of two, 512…65,536; default 4096
	Size     int64         // bytes addressable at first
	Capacity int64         // bytes that Grow can reach; default 1 PiB
	Depth    int           // operations in flight; default 128
	Seed     uint64        // of every random choice
	Latency  time.Duration // longest delay of an operation; drawn evenly
}

// Device is a faulty in-memory ioring.Device. Its methods are safe for
// concurrent use.
type Device struct {
	opts   Options
	tokens chan struct{}
	off    chan struct{} // closed by the first Crash

	abortOnce sync.Once
	aborted   chan struct{} // closed by the first Abort
	cause     error         // of the Abort

	mu      sync.Mutex
	rng     *rand.Rand
	rules   []*rule
	outage  Outage
	hang    chan struct{} // closed when a Hung device is healed
	size    int64
	live    sparse   // what reads see
	durable sparse   // what a crash cannot take
	cached  []*write // not durable yet, in order of submission
	clock   uint64   // counts completed writes
	fatal   error
	closed  bool
	crashed bool
	syncing bool
	waiting []*flush
	stats   ioring.Stats

	running sync.WaitGroup
}

// write is a write that is in flight or in the volatile cache.
type write struct {
	op        *ioring.Op // nil once complete
	off       int64
	data      []byte // set when performed
	completed uint64 // clock at completion; 0: in flight
}

// flush is a sync waiting its turn.
type flush struct {
	op     *ioring.Op
	fault  Rule
	cutoff uint64 // clock at submission
}

// New returns a device. It panics on options out of range: they are a test's.
func New(opts Options) *Device {
	if opts.Align == 0 {
		opts.Align = 4096
	}
	if opts.Capacity == 0 {
		opts.Capacity = 1 << 50
	}
	if opts.Depth == 0 {
		opts.Depth = ioring.DefaultDepth
	}
	if opts.Align < 512 || opts.Align > 64<<10 || opts.Align&(opts.Align-1) != 0 ||
		opts.Size < 0 || opts.Size > opts.Capacity || opts.Size%int64(opts.Align) != 0 || opts.Depth < 1 {
		panic(fmt.Sprintf("faultio: bad options %+v", opts))
	}
	return &Device{
		opts: opts, tokens: make(chan struct{}, opts.Depth), off: make(chan struct{}), aborted: make(chan struct{}),
		rng: newRand(opts.Seed), size: opts.Size,
		live: sparse{}, durable: sparse{},
		stats: ioring.Stats{Backend: "fault"},
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5b1ce)) }

// Inject adds a rule behind those there are.
func (d *Device) Inject(r Rule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = append(d.rules, &rule{Rule: r})
}

// Heal removes every rule and ends an outage. What they did stays, a failed sync
// included. Operations that a Rule's Hang holds are held on.
func (d *Device) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rules = nil
	d.endOutage()
}

// Corrupt inverts one bit, chosen by the device's seed, of the byte at off, in
// the cache and on the medium.
func (d *Device) Corrupt(off int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	mask := byte(1) << (newRand(d.opts.Seed^uint64(off)).Uint64() % 8)
	d.live.flip(off, mask)
	d.durable.flip(off, mask)
	for _, w := range d.cached {
		if i := off - w.off; i >= 0 && i < int64(len(w.data)) {
			w.data[i] ^= mask
		}
	}
}

// Submit implements ioring.Device.
func (d *Device) Submit(ops ...*ioring.Op) {
	for _, op := range ops {
		op.Prepare()
		select {
		case d.tokens <- struct{}{}:
		case <-d.aborted:
			d.finish(op, d.cause)
			continue
		}
		d.mu.Lock()
		err := d.admit(op)
		d.mu.Unlock()
		if err != nil {
			d.finish(op, err)
			<-d.tokens
		}
	}
}

// admit starts op or tells why not. Holds d.mu.
func (d *Device) admit(op *ioring.Op) error {
	if err := d.gone(); err != nil {
		return err
	}
	if err := op.Check(d.opts.Align, d.size); err != nil {
		return err
	}
	if d.fatal != nil && op.Code != ioring.OpRead {
		return d.fatal
	}
	fault := d.outageFault(op.Code)
	for _, r := range d.rules {
		if d.outage != 0 {
			break
		}
		if r.strikes(op, d.rng) {
			fault = r.Rule
			break
		}
	}
	if d.opts.Latency > 0 {
		fault.Delay += time.Duration(d.rng.Int64N(int64(d.opts.Latency) + 1))
	}
	d.running.Add(1)
	d.stats.InFlight++
	if op.Code == ioring.OpSync {
		d.waiting = append(d.waiting, &flush{op, fault, d.clock})
		if !d.syncing {
			d.syncing = true
			go d.runSyncs()
		}
		return nil
	}
	var w *write
	if op.Code == ioring.OpWrite {
		w = &write{op: op, off: op.Off}
		d.cached = append(d.cached, w)
	}
	bit := d.rng.Uint64()
	go func() {
		d.pause(fault)
		d.leave(op, d.transfer(op, w, fault, bit))
	}()
	return nil
}

// gone returns why the device takes no operations, or nil. Holds d.mu.
func (d *Device) gone() error {
	if d.crashed {
		return fmt.Errorf("%w: the power is off", ioring.ErrClosed)
	}
	if d.closed {
		return ioring.ErrClosed
	}
	select {
	case <-d.aborted:
		return d.cause
	default:
		return nil
	}
}

func (d *Device) pause(fault Rule) {
	if fault.Delay > 0 {
		t := time.NewTimer(fault.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-d.off:
		}
	}
	if fault.Hang != nil {
		select {
		case <-fault.Hang:
		case <-d.off:
		}
	}
}

// transfer performs a read, or the write w.
func (d *Device) transfer(op *ioring.Op, w *write, fault Rule, bit uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed { // before drop: the write may still have reached the medium
		if w != nil && w.data == nil {
			w.data = append([]byte(nil), op.Buf.Bytes()[op.Lo:op.Hi]...)
			w.op = nil
		}
		return d.gone()
	}
	n, err := op.Len(), fault.Err
	switch {
	case fault.Short > 0 && fault.Short < n:
		n = fault.Short
		if err == nil {
			err = shortError(op.Code)
		}
	case err != nil:
		n = 0
	}
	mem := op.Buf.Bytes()[op.Lo : op.Lo+n]
	if op.Code == ioring.OpRead {
		d.live.read(mem, op.Off)
		if fault.Flip && n > 0 {
			mem[bit/8%uint64(n)] ^= 1 << (bit % 8)
		}
		return err
	}
	w.op = nil
	w.data = append([]byte{}, mem...)
	if fault.Lose {
		w.data = w.data[:0]
	}
	if fault.Flip && len(w.data) > 0 {
		w.data[bit/8%uint64(n)] ^= 1 << (bit % 8)
	}
	d.live.write(w.data, w.off)
	d.clock++
	w.completed = d.clock
	return err
}

func shortError(code ioring.Code) error {
	if code == ioring.OpRead {
		return io.ErrUnexpectedEOF
	}
	return io.ErrShortWrite
}

// runSyncs performs syncs, all that wait as one, until none waits.
func (d *Device) runSyncs() {
	for {
		d.mu.Lock()
		batch := d.waiting
		d.waiting = nil
		d.syncing = len(batch) > 0
		if d.syncing {
			d.stats.Flushes++
		}
		d.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		var cutoff uint64
		var cause error
		for _, f := range batch {
			d.pause(f.fault)
			cutoff = max(cutoff, f.cutoff)
			if cause == nil {
				cause = f.fault.Err
			}
		}
		err := d.sync(cutoff, cause)
		for _, f := range batch {
			d.leave(f.op, err)
		}
	}
}

// sync makes the writes completed up to cutoff durable, or fails the device.
func (d *Device) sync(cutoff uint64, cause error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return d.gone()
	}
	if d.fatal == nil && cause != nil {
		d.fatal = fmt.Errorf("%w: %w", ioring.ErrFailed, cause)
	}
	if d.fatal != nil {
		return d.fatal
	}
	kept := d.cached[:0]
	for _, w := range d.cached {
		if w.completed == 0 || w.completed > cutoff {
			kept = append(kept, w)
		} else {
			d.durable.write(w.data, w.off)
		}
	}
	clear(d.cached[len(kept):])
	d.cached = kept
	return nil
}

// leave completes an operation that admit started.
func (d *Device) leave(op *ioring.Op, err error) {
	d.mu.Lock()
	d.stats.InFlight--
	d.mu.Unlock()
	d.finish(op, err)
	<-d.tokens
	d.running.Done()
}

func (d *Device) finish(op *ioring.Op, err error) {
	d.mu.Lock()
	s := &d.stats
	switch {
	case err != nil:
		s.Errors++
	case op.Code == ioring.OpRead:
		s.Reads++
		s.ReadBytes += uint64(op.Len())
	case op.Code == ioring.OpWrite:
		s.Writes++
		s.WriteBytes += uint64(op.Len())
	case op.Code == ioring.OpSync:
		s.Syncs++
	}
	d.mu.Unlock()
	op.Complete(err)
}

// Align implements ioring.Device.
func (d *Device) Align() int { return d.opts.Align }

// Size implements ioring.Device.
func (d *Device) Size() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}

// Grow implements ioring.Device.
func (d *Device) Grow(ctx context.Context, size int64) error {
	if size < 0 || size > 1<<62 {
		return fmt.Errorf("%w: a size of %d bytes", ioring.ErrInvalid, size)
	}
	mask := int64(d.opts.Align - 1)
	size = (size + mask) &^ mask
	if err := d.growFault(ctx, size); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if size <= d.size {
		return nil
	}
	if err := errors.Join(d.gone(), d.fatal, ctx.Err()); err != nil {
		return err
	}
	if size > d.opts.Capacity {
		return fmt.Errorf("%w: %d bytes of %d", ioring.ErrNoSpace, size, d.opts.Capacity)
	}
	d.size = size
	return nil
}

// Limit implements ioring.Device.
func (d *Device) Limit() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.gone(); err != nil {
		return 0, err
	}
	switch d.outage {
	case Gone:
		return 0, ErrGone
	case Full:
		return d.size, nil
	}
	return d.opts.Capacity &^ int64(d.opts.Align-1), nil
}

// Stats implements ioring.Device.
func (d *Device) Stats() ioring.Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Depth implements ioring.Device.
func (d *Device) Depth() int { return d.opts.Depth }

// Abort implements ioring.Device.
func (d *Device) Abort(err error) {
	d.abortOnce.Do(func() {
		d.cause = err
		close(d.aborted)
	})
}

// closePatience is how long Close of an aborted device waits for what is in flight.
const closePatience = 20 * time.Millisecond

// Close implements ioring.Device. The contents stay for Reopen and Crash.
func (d *Device) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		d.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-d.aborted:
	}
	select {
	case <-idle:
		return nil
	case <-time.After(closePatience):
	}
	if d.Stats().InFlight > 0 {
		return fmt.Errorf("%w: %w", ioring.ErrHung, d.cause)
	}
	<-idle // answered: only goroutines have to end
	return nil
}
