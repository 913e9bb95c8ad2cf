package ioring

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// This file is the shared loop: that of a drive for which there is no CPU to spare.
//
// There a thread that sleeps in io_uring_enter is dear: while it sleeps it holds one of
// Go's processors, which Go's monitor takes away again and wakes every 20 µs to do so. So
// this loop never sleeps in the kernel. It is two goroutines that take turns at the ring:
// one waits for new work, the other for completions, by an eventfd that the ring signals
// and that Go's poller watches together with all the sockets.
//
// The kernel has the thread that submitted a read or a write deliver its completion (a
// sync's comes from a worker of its own). Where that thread is asleep by then, it is woken,
// but not out of a system call that waits for a drive (state D): what it submitted stays
// unanswered until that returns, and one drive that hangs would have others seem to. So
// the goroutine that submits has a thread to itself, which calls nothing else, unless the
// process waits for no other drive: then it has none, which spares two changes of thread.
//
// Measured on one core, CPU per operation and rate, a thread that sleeps in the ring /
// one that submits / none: GET of 64 KiB, 16 at once, 86 / 85 / 71 µs, 8,000 / 9,800 /
// 10,800 per second; over eight drives 141 / 93 µs, PUT of 64 KiB there 352 / 227 µs.

// sharedLoop is what only a shared loop has.
type sharedLoop struct {
	turn  sync.Mutex   // held to use ring.loop
	event *os.File     // ring.wakeFD
	alone *atomic.Bool // any thread submits
}

// share starts the loop. The error is os.ErrNoDeadline where Go cannot poll.
func (r *ring) share(arena *Arena, opts Options) error {
	r.shared = &sharedLoop{alone: opts.Alone}
	r.work = make(chan struct{}, 1)
	if r.shared.alone == nil {
		r.shared.alone = new(atomic.Bool)
	}
	raw, err := r.setUpShared(arena, opts)
	if err != nil {
		r.tearDown()
		r.shared, r.work, r.loop = nil, nil, loopState{}
		return err
	}
	r.sleeping = true
	go r.submitting()
	go r.reaping(raw)
	return nil
}

func (r *ring) setUpShared(arena *Arena, opts Options) (syscall.RawConn, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("ioring: %w", os.NewSyscallError("eventfd", err))
	}
	r.wakeFD, r.shared.event = fd, os.NewFile(uintptr(fd), "eventfd")
	if err := r.shared.event.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	raw, err := r.shared.event.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := r.setUp(arena, opts); err != nil {
		return nil, err
	}
	if _, err := r.loop.u.RegisterEventFd(fd); err != nil {
		return nil, fmt.Errorf("ioring: %w", err)
	}
	return raw, nil
}

// submitting is the goroutine that waits for work.
func (r *ring) submitting() {
	for locked := false; ; {
		select {
		case <-r.work:
		case <-r.stopped:
			return
		}
		if !locked && !r.shared.alone.Load() {
			runtime.LockOSThread()
			locked = true
		}
		if r.takeTurn(true) {
			r.notify() // the other one ends the loop
		}
	}
}

// reaping is the goroutine that waits for completions, and in the end the one that
// tears down.
func (r *ring) reaping(raw syscall.RawConn) {
	// The eventfd is never read: whatever is added to it is an event to the poller.
	err := raw.Read(func(uintptr) bool { return r.takeTurn(false) })
	for err != nil && !r.takeTurn(true) { // not known to happen
		time.Sleep(time.Millisecond)
	}
	r.shared.turn.Lock()
	r.tearDown()
	r.shared.turn.Unlock()
	close(r.stopped)
}

// notify wakes reaping.
func (r *ring) notify() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wakeFD >= 0 {
		_ = r.signal()
	}
}

// takeTurn does all there is to do, and reports whether nothing will ever follow. Only a
// submitter submits reads and writes.
func (r *ring) takeTurn(submitter bool) (end bool) {
	l := &r.loop
	submitter = submitter || r.shared.alone.Load()
	r.shared.turn.Lock()
	defer r.shared.turn.Unlock()
	if l.u == nil {
		return true // torn down
	}
	for {
		if submitter || r.onlySyncs() {
			r.takeQueue()
		}
		r.reap()
		r.beginSync()
		mine := submitter || l.transfers == 0
		if mine && l.u.SQReady() > 0 {
			r.enter(0)
			continue
		}
		if l.u.CQReady() > 0 {
			continue
		}
		r.mu.Lock()
		left := len(r.queue) > 0 || !mine
		r.sleeping = !left
		if left && !submitter {
			r.call()
		}
		end := r.closed && !left && l.used == 0
		r.mu.Unlock()
		if !left || !submitter {
			return end
		}
	}
}

// onlySyncs tells whether nothing else is in the queue.
func (r *ring) onlySyncs() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range r.queue {
		if op.Code != OpSync {
			return false
		}
	}
	return true
}

// takeQueue prepares what is in the queue. A shared loop holds turn.
func (r *ring) takeQueue() {
	l := &r.loop
	r.mu.Lock()
	r.sleeping = false
	l.batch, r.queue = r.queue, l.batch[:0]
	r.mu.Unlock()
	for _, op := range l.batch {
		r.begin(op)
	}
	clear(l.batch)
	r.beginSync()
}

// again tells whether a completion's error asks only for another submission. The
// kernel cancels what is queued of a thread that ends, which then was not begun.
func (r *ring) again(errno unix.Errno) bool {
	return transient(errno) || r.shared != nil && errno == unix.ECANCELED
}
