package ioring

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// This file is the polled loop: that of a drive which raises no interrupts. The kernel
// looks for completions itself, as long as anything is in flight, within the loop's
// io_uring_enter (IORING_SETUP_IOPOLL). That spares an interrupt and a change of thread
// per completion, and takes a CPU while the drive works.
//
// Such a ring does reads and writes of direct I/O only. So the loop sleeps on a channel
// when nothing is in flight, and an fdatasync has a goroutine of its own; while
// transfers are in flight, new work is seen after the next completion.
//
// What the drive takes only in pieces is not polled either, but a system call on a
// goroutine of its own: it would gain little, and Linux 6.1, which neither splits a
// polled transfer nor refuses it for good, tries such a one again for ever.

// polledLoop is what only a polled loop has.
type polledLoop struct {
	most   int        // bytes of a transfer that is polled
	synced chan int32 // capacity 1: the outcome of the fdatasync in flight, as in a CQE
	warned bool       // that the drive does not poll after all
}

// pollable returns how many bytes a transfer whose completion is polled may have. The
// error says why none can be: the file is not on, and is not, a block device with queues
// for that.
func (f *file) pollable() (most int, err error) {
	if !f.direct {
		return 0, errors.New("no direct I/O")
	}
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	dev := st.Dev
	if f.block {
		dev = st.Rdev
	}
	disk := fmt.Sprintf("/sys/dev/block/%d:%d/", unix.Major(dev), unix.Minor(dev))
	if _, err := os.Stat(disk + "partition"); err == nil {
		disk += "../"
	}
	return pollLimit(disk + "queue/")
}

// pollLimit is pollable of the disk whose limits are in dir.
func pollLimit(dir string) (int, error) {
	limit := func(name string) (n int64) {
		text, readErr := os.ReadFile(dir + name)
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err = errors.Join(readErr, err); err != nil {
			return -1
		}
		return n
	}
	switch poll := limit("io_poll"); {
	case poll < 0:
		return 0, errors.New("the file system is not that of one block device")
	case poll == 0:
		return 0, errors.New("the block device has no queues for polling (nvme.poll_queues=N on the kernel's command line makes some)")
	}
	if limit("chunk_sectors") > 0 {
		return 0, errors.New("the drive splits transfers at boundaries of its own (chunk_sectors)")
	}
	// A page may be a segment, and the memory may begin within one.
	most := min(limit("max_sectors_kb")<<10, (limit("max_segments")-1)*int64(unix.Getpagesize()))
	if most <= 0 {
		return 0, errors.New("the block device does not tell how much it takes at once")
	}
	return int(min(most, 1<<30)), nil
}

// poll starts the loop.
func (r *ring) poll(arena *Arena, opts Options) error {
	r.readAt = preadPolled
	r.work = make(chan struct{}, 1)
	r.polled = &polledLoop{most: opts.pollMost, synced: make(chan int32, 1)}
	return r.launch(func() error {
		r.pinTo(opts.CPU)
		return r.setUp(arena, opts)
	}, r.servePolled)
}

// servePolled runs until the device is closed and nothing is in flight.
func (r *ring) servePolled() {
	l := &r.loop
	for {
		select {
		case res := <-r.polled.synced:
			r.completeSync(res)
		default:
		}
		r.takeQueue()
		if len(l.free) < len(l.slots) {
			r.enter(1)
			r.reap()
			continue
		}
		r.mu.Lock()
		idle := len(r.queue) == 0 && len(r.polled.synced) == 0
		end := idle && r.closed && l.used == 0
		r.sleeping = idle
		r.mu.Unlock()
		switch {
		case end:
			return
		case idle:
			<-r.work
		}
	}
}

// syncAside runs the fdatasync of the syncs in l.syncing.
func (r *ring) syncAside() {
	go func() {
		err := unix.Fdatasync(r.fd)
		errno, _ := err.(unix.Errno)
		r.polled.synced <- -int32(errno)
		r.call()
	}()
}

// refused runs the transfer of op aside, for the kernel would not poll it.
func (r *ring) refused(op *Op) {
	if !r.polled.warned {
		r.polled.warned = true
		r.log.Warn("the drive's completions cannot be polled: every transfer is a system call of its own", "path", r.path)
	}
	r.transferAside(op)
}

// transferAside runs the transfer of op by system calls that block. It is the loop's no
// longer.
func (r *ring) transferAside(op *Op) {
	r.loop.used--
	r.lone.Add(1)
	call := unix.Pread
	if op.Code == OpWrite {
		call = unix.Pwrite
	}
	go r.runAlone(op, call)
}

// preadPolled is pread(2) whose completion is polled where the drive does that.
func preadPolled(fd int, p []byte, off int64) (int, error) {
	n, err := unix.Preadv2(fd, [][]byte{p}, off, unix.RWF_HIPRI)
	if err == unix.EOPNOTSUPP {
		return unix.Pread(fd, p, off)
	}
	return n, err
}
