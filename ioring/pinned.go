package ioring

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the pinned loop. One goroutine, locked to its thread, owns the ring;
// submitters wake it through an eventfd that the ring itself reads, so that the loop
// sleeps in a single io_uring_enter for completions and new work alike.
//
// A read that finds nothing else in flight does not go this way, but by a pread on a
// goroutine of its own: see alone.

// pin starts the loop.
func (r *ring) pin(arena *Arena, opts Options) error {
	r.readAt = unix.Pread
	return r.launch(func() error { return r.setUpPinned(arena, opts) }, func() {
		r.serve()
		r.disarmWake()
	})
}

// launch starts a loop's goroutine. It never unlocks its thread, so that the thread,
// with its CPU mask and its claim to the ring, ends with it.
func (r *ring) launch(setUp func() error, serve func()) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := setUp(); err != nil {
			r.tearDown()
			started <- err
			return
		}
		started <- nil
		serve()
		r.tearDown()
		close(r.stopped)
	}()
	return <-started
}

// pinTo pins the calling thread to a CPU; -1: to none.
func (r *ring) pinTo(cpu int) {
	if cpu < 0 {
		return
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		r.log.Warn("cannot pin the drive's loop", "path", r.path, "cpu", cpu, "err", err)
	}
}

func (r *ring) setUpPinned(arena *Arena, opts Options) error {
	r.pinTo(opts.CPU)
	if err := r.setUp(arena, opts); err != nil {
		return err
	}
	var err error
	if r.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("ioring: %w", os.NewSyscallError("eventfd", err))
	}
	if r.loop.wakeMem, err = unix.Mmap(-1, 0, unix.Getpagesize(),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS); err != nil {
		return fmt.Errorf("ioring: %w", os.NewSyscallError("mmap", err))
	}
	return nil
}

// serve runs until the device is closed and nothing is in flight.
func (r *ring) serve() {
	l := &r.loop
	for {
		r.mu.Lock()
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
		r.woken()
		r.reap()
	}
}

// woken spares whoever submits from now on a signal: the loop looks at the queue again
// before it sleeps. That is the loop itself where reap's completions have successors.
func (r *ring) woken() {
	r.mu.Lock()
	r.sleeping = false
	r.mu.Unlock()
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
