package ioring

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// ring is the io_uring Device. Submitters hand it operations through a queue; the
// loop moves them into the ring and completes what comes out:
//
//	Submit ─ token ─▶ queue ─▶ loop: SQEs ─ enter ─ CQEs ─▶ Op.Complete, token back
//
// A token is held from Submit until completion and there are Depth of them, so
// neither the submission nor the completion queue can overflow.
//
// There are three loops: one with a thread of its own on a CPU of its own (pinned.go),
// one that waits for completions together with all the sockets (shared.go), and one that
// polls the drive for them (polled.go).
type ring struct {
	*file
	tokens chan struct{}                                  // capacity depth
	lone   sync.WaitGroup                                 // reads past the ring; see alone
	readAt func(fd int, p []byte, off int64) (int, error) // of those: pread(2); nil: there are none

	mu       sync.Mutex // guards queue, sleeping, closed, and writes to wakeFD
	queue    []*Op
	sleeping bool // nobody is going to look at the queue: the loop is to be woken
	closed   bool
	wakeFD   int         // an eventfd; a polled loop has none
	shared   *sharedLoop // nil: the loop has its own thread
	polled   *polledLoop // nil: the drive interrupts

	// work tells a shared or a polled loop that there is something in the queue, or, the
	// latter, that a sync has ended. Capacity 1.
	work chan struct{}

	fixed   int // entries of the registered buffer table, fixed at start
	stopped chan struct{}

	loop loopState
}

// loopState belongs to the loop: to its goroutine, or to who holds sharedLoop.turn.
type loopState struct {
	u     *giouring.Ring
	slots []slot
	free  []uint32 // numbers of unused slots
	used  int      // slots in use, plus queued and running syncs
	batch []*Op    // the queue's other buffer

	transfers int // prepared since the last enter

	syncing []*Op // covered by the fdatasync in flight
	waiting []*Op // for the next one
	retries int   // of the fdatasync in flight

	wakeMem []byte // mmap'd: the eventfd's counter is read into it; not of a shared loop
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
// inside our own enter, COOP_TASKRUN (5.19) spares interrupts for them; where any
// thread may enter, and none waits inside, neither will do.
func (r *ring) setupFlags() []uint32 {
	switch {
	case r.shared != nil:
		return []uint32{0}
	case r.polled != nil:
		return []uint32{giouring.SetupIOPoll | giouring.SetupSingleIssuer, giouring.SetupIOPoll}
	}
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
	switch {
	case opts.Mode == ModePolled:
		return r, r.poll(arena, opts)
	case opts.CPU < 0:
		err := r.share(arena, opts)
		if !errors.Is(err, os.ErrNoDeadline) {
			return r, err
		}
		r.log.Warn("cannot wait for the drive together with the sockets (is the system's limit of epoll reached?): the drive's loop has its own thread",
			"path", r.path)
	}
	return r, r.pin(arena, opts)
}

// setUp makes the ring and what belongs to it.
func (r *ring) setUp(arena *Arena, opts Options) error {
	l := &r.loop
	// Two more than the transfers: the eventfd's read and the fdatasync.
	entries := uint32(1) << bits.Len32(uint32(opts.Depth+2-1))
	u, err := createRing(entries, r.setupFlags())
	if err != nil {
		return err
	}
	l.u = u
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
func createRing(entries uint32, preferred []uint32) (*giouring.Ring, error) {
	var u *giouring.Ring
	var err error
	for _, flags := range preferred {
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

// tearDown gives back what the loop had.
func (r *ring) tearDown() {
	l := &r.loop
	if l.u != nil {
		l.u.QueueExit() // cancels the read of the eventfd
		l.u = nil
	}
	if l.wakeMem != nil && !l.wakeUp {
		_ = unix.Munmap(l.wakeMem)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.wakeFD < 0:
	case r.shared != nil:
		_ = r.shared.event.Close()
	default:
		_ = unix.Close(r.wakeFD)
	}
	r.wakeFD = -1
}

// enter submits what is prepared and waits for min completions; a shared loop does not
// wait.
func (r *ring) enter(min uint32) {
	r.count.enters.Add(1)
	var err error
	switch {
	case r.shared != nil:
		_, err = r.loop.u.Submit()
	case min > 0:
		_, err = r.loop.u.SubmitAndWait(min)
	default:
		_, err = r.loop.u.SubmitAndGetEvents()
	}
	switch err {
	case nil:
		r.loop.transfers = 0
	case unix.EINTR:
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
	if r.polled != nil && op.Len() > r.polled.most {
		r.transferAside(op)
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
	r.loop.transfers++
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
	if r.polled != nil {
		r.syncAside()
		return
	}
	e := r.sqe()
	e.PrepareFsync(r.fd, giouring.FsyncDatasync)
	e.UserData = syncTag
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
	case r.again(unix.Errno(-res)) && s.tries < maxTries:
		s.tries++
		whole = false
	case r.polled != nil && res == -int32(unix.EOPNOTSUPP):
		op := s.op
		r.free(n)
		r.refused(op)
		return
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
	r.free(n)
	r.end(op, err)
}

// free gives slot n back.
func (r *ring) free(n uint32) {
	r.loop.slots[n] = slot{}
	r.loop.free = append(r.loop.free, n)
}

func (r *ring) completeSync(res int32) {
	var err error
	if res < 0 {
		errno := unix.Errno(-res)
		if r.again(errno) && r.loop.retries < maxTries {
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
	r.finishOp(op, err)
	<-r.tokens
}

// Stats implements Device.
func (r *ring) Stats() Stats {
	backend := string(ModeRing)
	if r.polled != nil {
		backend = string(ModePolled)
	}
	s := r.stats(backend)
	s.Registered = r.fixed > 0
	return s
}

// Depth implements Device.
func (r *ring) Depth() int { return cap(r.tokens) }

// Close implements Device.
func (r *ring) Close() error {
	r.mu.Lock()
	r.closed = true
	r.wake()
	r.mu.Unlock()
	return r.finish(func() error {
		<-r.stopped
		r.lone.Wait()
		return r.file.close()
	})
}
