package ioring

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// ring is the io_uring Device. One goroutine, locked to its thread, owns the
// ring; submitters hand it operations through a queue and wake it through an
// eventfd that the ring itself reads, so that the loop sleeps in a single
// io_uring_enter for completions and new work alike.
//
//	Submit ─ token ─▶ queue ─▶ loop: SQEs ─ enter ─ CQEs ─▶ Op.Complete, token back
//
// A token is held from Submit until completion and there are Depth of them, so
// neither the submission nor the completion queue can overflow.
type ring struct {
	*file
	tokens chan struct{} // capacity depth

	mu       sync.Mutex // guards queue, sleeping, closed, and writes to wakeFD
	queue    []*Op
	sleeping bool // the loop is, or is about to be, blocked in enter
	closed   bool
	wakeFD   int

	fixed   int // entries of the registered buffer table, fixed at start
	stopped chan struct{}

	closeOnce sync.Once
	closeErr  error

	loop loopState
}

// loopState belongs to the loop's goroutine.
type loopState struct {
	u     *giouring.Ring
	slots []slot
	free  []uint32 // numbers of unused slots
	used  int      // slots in use, plus queued and running syncs
	batch []*Op    // the queue's other buffer

	syncing []*Op // covered by the fdatasync in flight
	waiting []*Op // for the next one
	retries int   // of the fdatasync in flight

	wakeMem []byte // mmap'd: the eventfd's counter is read into it
	wakeUp  bool   // a read of the eventfd is in the ring
}

// slot is one transfer in flight. Its number is the SQE's user_data.
type slot struct {
	op    *Op
	done  int // bytes transferred by earlier, short completions
	tries int
}

// user_data of what is not a slot.
const (
	wakeTag = 1<<32 + iota
	syncTag
)

// setupFlags in order of preference. DEFER_TASKRUN (6.1) runs completions
// inside our own enter, COOP_TASKRUN (5.19) spares interrupts for them.
func setupFlags() []uint32 {
	return []uint32{
		giouring.SetupSingleIssuer | giouring.SetupDeferTaskrun | giouring.SetupCoopTaskrun,
		giouring.SetupSingleIssuer | giouring.SetupCoopTaskrun,
		giouring.SetupCoopTaskrun,
		0,
	}
}

// newRing starts the loop on f. On an error f stays open.
func newRing(f *file, arena *Arena, opts Options) (*ring, error) {
	r := &ring{file: f, tokens: make(chan struct{}, opts.Depth), stopped: make(chan struct{}), wakeFD: -1}
	started := make(chan error)
	go r.run(arena, opts, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return r, nil
}

// run is the loop's goroutine. It never unlocks its thread, so that the thread,
// with its CPU mask and its claim to the ring, ends with it.
func (r *ring) run(arena *Arena, opts Options, started chan<- error) {
	runtime.LockOSThread()
	err := r.setUp(arena, opts)
	if err != nil {
		r.tearDown()
		started <- err
		return
	}
	started <- nil
	r.serve()
	r.disarmWake()
	r.tearDown()
	close(r.stopped)
}

func (r *ring) setUp(arena *Arena, opts Options) error {
	l := &r.loop
	if opts.CPU >= 0 {
		var set unix.CPUSet
		set.Set(opts.CPU)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			r.log.Warn("cannot pin the drive's loop", "path", r.path, "cpu", opts.CPU, "err", err)
		}
	}
	// Two more than the transfers: the eventfd's read and the fdatasync.
	entries := uint32(1) << bits.Len32(uint32(opts.Depth+2-1))
	u, err := createRing(entries)
	if err != nil {
		return err
	}
	l.u = u
	if r.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("ioring: eventfd: %w", err)
	}
	if l.wakeMem, err = unix.Mmap(-1, 0, unix.Getpagesize(),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return fmt.Errorf("ioring: mmap: %w", err)
	}
	l.slots = make([]slot, opts.Depth)
	l.free = make([]uint32, opts.Depth)
	for i := range l.free {
		l.free[i] = uint32(opts.Depth - 1 - i)
	}
	r.register(arena)
	return nil
}

// createRing sets a ring up with the best flags the kernel takes, and makes
// sure that it knows the operations we need (5.6 and later).
func createRing(entries uint32) (*giouring.Ring, error) {
	var u *giouring.Ring
	var err error
	for _, flags := range setupFlags() {
		u = giouring.NewRing()
		if err = u.QueueInit(entries, flags); err == nil || !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ioring: io_uring_setup: %w", err)
	}
	probe, err := u.GetProbeRing()
	if err != nil {
		u.QueueExit()
		return nil, fmt.Errorf("ioring: io_uring probe: %w", err)
	}
	for _, op := range []uint8{giouring.OpRead, giouring.OpWrite, giouring.OpFsync,
		giouring.OpReadFixed, giouring.OpWriteFixed} {
		if !probe.IsSupported(op) {
			u.QueueExit()
			return nil, fmt.Errorf("ioring: the kernel's io_uring lacks operation %d", op)
		}
	}
	return u, nil
}

// register makes the arena's fixed chunks known to the ring. A memlock limit
// may refuse some or all of them; the ring works without.
func (r *ring) register(arena *Arena) {
	table, err := arena.table()
	for n := len(table); n > 0; n-- {
		vecs := make([]syscall.Iovec, n)
		for i := range vecs {
			vecs[i].Base = &table[i][0]
			vecs[i].SetLen(len(table[i]))
		}
		if _, err = r.loop.u.RegisterBuffers(vecs); err == nil {
			r.fixed = n
			return
		}
	}
	if err != nil {
		r.log.Info("buffers are not registered with io_uring (memlock limit?): transfers cost a little more",
			"path", r.path, "err", err)
	}
}

func (r *ring) tearDown() {
	if r.loop.u != nil {
		r.loop.u.QueueExit() // cancels the read of the eventfd
	}
	if r.loop.wakeMem != nil && !r.loop.wakeUp {
		_ = unix.Munmap(r.loop.wakeMem)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wakeFD >= 0 {
		_ = unix.Close(r.wakeFD)
		r.wakeFD = -1
	}
}

// serve runs until the device is closed and nothing is in flight.
func (r *ring) serve() {
	l := &r.loop
	for {
		r.mu.Lock()
		r.sleeping = false
		l.batch, r.queue = r.queue, l.batch[:0]
		closed := r.closed
		r.mu.Unlock()

		for _, op := range l.batch {
			r.begin(op)
		}
		clear(l.batch)
		r.beginSync()
		if closed && l.used == 0 {
			return // closed was read before the queue was taken: nothing follows
		}
		r.armWake()
		r.enter(r.mayBlock())
		r.reap()
	}
}

// mayBlock tells, as the number of completions to wait for, whether the loop
// may sleep. From then on a submitter wakes it.
func (r *ring) mayBlock() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) > 0 || r.closed && r.loop.used == 0 {
		return 0
	}
	r.sleeping = true
	return 1
}

// enter submits what is prepared and waits for min completions.
func (r *ring) enter(min uint32) {
	r.count.enters.Add(1)
	var err error
	if min > 0 {
		_, err = r.loop.u.SubmitAndWait(min)
	} else {
		_, err = r.loop.u.SubmitAndGetEvents()
	}
	switch err {
	case nil, unix.EINTR:
	case unix.EAGAIN, unix.EBUSY, unix.ENOMEM:
		// The kernel is short of memory; the SQEs stay for the next enter.
		time.Sleep(time.Millisecond)
	default:
		// Not known to happen. What is in flight belongs to the kernel still,
		// so it must not be completed; take no new writes and keep reaping.
		r.fail(r.wrap("io_uring_enter on", err))
		time.Sleep(10 * time.Millisecond)
	}
}

// sqe returns a zeroed entry.
func (r *ring) sqe() *giouring.SubmissionQueueEntry {
	for {
		if e := r.loop.u.GetSQE(); e != nil {
			// giouring's Prepare calls leave this word as it was: the flags of
			// an earlier fsync would become a read's RWF_HIPRI.
			e.OpcodeFlags = 0
			return e
		}
		r.enter(0) // the kernel left entries unconsumed
	}
}

// begin puts op into the ring, or in line for the next fdatasync.
func (r *ring) begin(op *Op) {
	l := &r.loop
	l.used++
	if op.Code == OpSync {
		l.waiting = append(l.waiting, op)
		return
	}
	if err := r.refusal(op); err != nil {
		r.end(op, err)
		return
	}
	n := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	l.slots[n] = slot{op: op}
	r.issue(n)
}

// issue submits the rest of slot n's transfer.
func (r *ring) issue(n uint32) {
	s := &r.loop.slots[n]
	mem := s.op.Buf.mem[s.op.Lo+s.done : s.op.Hi]
	addr, size, off := uintptr(unsafe.Pointer(&mem[0])), uint32(len(mem)), uint64(s.op.Off)+uint64(s.done)
	index := int(s.op.Buf.index)
	fixed := index >= 0 && index < r.fixed
	e := r.sqe()
	switch {
	case s.op.Code == OpRead && fixed:
		e.PrepareReadFixed(r.fd, addr, size, off, index)
	case s.op.Code == OpRead:
		e.PrepareRead(r.fd, addr, size, off)
	case fixed:
		e.PrepareWriteFixed(r.fd, addr, size, off, index)
	default:
		e.PrepareWrite(r.fd, addr, size, off)
	}
	e.UserData = uint64(n)
}

// beginSync starts one fdatasync for all syncs in line, unless one runs. Every
// write they cover was complete before they were submitted.
func (r *ring) beginSync() {
	l := &r.loop
	if len(l.syncing) > 0 || len(l.waiting) == 0 {
		return
	}
	l.syncing, l.waiting = l.waiting, l.syncing
	l.retries = 0
	if err := r.failure(); err != nil {
		r.endSync(err)
		return
	}
	r.issueSync()
}

func (r *ring) issueSync() {
	r.count.flushes.Add(1)
	e := r.sqe()
	e.PrepareFsync(r.fd, giouring.FsyncDatasync)
	e.UserData = syncTag
}

// armWake keeps a read of the eventfd in the ring.
func (r *ring) armWake() {
	l := &r.loop
	if l.wakeUp {
		return
	}
	l.wakeUp = true
	e := r.sqe()
	e.PrepareRead(r.wakeFD, uintptr(unsafe.Pointer(&l.wakeMem[0])), 8, 0)
	e.UserData = wakeTag
}

// disarmWake completes the read of the eventfd, so that its memory is ours.
func (r *ring) disarmWake() {
	for tries := 0; r.loop.wakeUp && tries < 10; tries++ {
		if err := r.signal(); err != nil {
			return
		}
		r.enter(1)
		r.reap()
	}
}

// reap handles the completions that are there.
func (r *ring) reap() {
	u := r.loop.u
	var cqes [64]*giouring.CompletionQueueEvent
	for {
		// PeekBatchCQE fills the slice beyond what is ready: bound it.
		ready := min(u.CQReady(), uint32(len(cqes)))
		if ready == 0 {
			return
		}
		n := u.PeekBatchCQE(cqes[:ready])
		for _, c := range cqes[:n] {
			r.complete(c.UserData, c.Res)
		}
		u.CQAdvance(n)
	}
}

func (r *ring) complete(tag uint64, res int32) {
	switch tag {
	case wakeTag:
		r.loop.wakeUp = false // the loop arms it again
	case syncTag:
		r.completeSync(res)
	default:
		r.completeTransfer(uint32(tag), res)
	}
}

func (r *ring) completeTransfer(n uint32, res int32) {
	s := &r.loop.slots[n]
	var err error
	whole := true
	switch {
	case res >= 0:
		s.done, whole, err = advance(s.op, s.done, int(res), r.align)
	case transient(unix.Errno(-res)) && s.tries < maxTries:
		s.tries++
		whole = false
	default:
		verb := "read"
		if s.op.Code == OpWrite {
			verb = "write"
		}
		err = r.wrap(fmt.Sprintf("%s %d bytes at %d of", verb, s.op.Len()-s.done, s.op.Off+int64(s.done)), unix.Errno(-res))
	}
	if !whole {
		r.issue(n)
		return
	}
	op := s.op
	*s = slot{}
	r.loop.free = append(r.loop.free, n)
	r.end(op, err)
}

func (r *ring) completeSync(res int32) {
	var err error
	if res < 0 {
		errno := unix.Errno(-res)
		if transient(errno) && r.loop.retries < maxTries {
			r.loop.retries++
			r.issueSync() // interrupted before it did anything
			return
		}
		err = r.fail(r.wrap("fdatasync", errno))
	}
	r.endSync(err)
}

func (r *ring) endSync(err error) {
	for _, op := range r.loop.syncing {
		r.end(op, err)
	}
	clear(r.loop.syncing)
	r.loop.syncing = r.loop.syncing[:0]
}

// end completes op and frees its place in the queue.
func (r *ring) end(op *Op, err error) {
	r.loop.used--
	r.count.inFlight.Add(-1)
	r.finish(op, err)
	<-r.tokens
}

// Stats implements Device.
func (r *ring) Stats() Stats {
	s := r.stats("io_uring")
	s.Registered = r.fixed > 0
	return s
}

// Close implements Device.
func (r *ring) Close() error {
	r.closeOnce.Do(func() {
		r.mu.Lock()
		r.closed = true
		r.wake()
		r.mu.Unlock()
		<-r.stopped
		r.closeErr = r.file.close()
	})
	return r.closeErr
}
