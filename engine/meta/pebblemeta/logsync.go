package pebblemeta

import (
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// An fdatasync holds a thread for as long as the drive takes. To let other goroutines
// run meanwhile, Go's monitor wakes every 20 µs, takes the processor from that thread and
// starts another: at 16 callers this cost a seventh of a PUT's CPU. So the logs of the
// operating system's file system are synced by its asynchronous interface (io_submit(2),
// IOCB_CMD_FDSYNC, Linux 4.18): the kernel does the same fdatasync in a thread of its own
// and signals an eventfd, for which only a goroutine waits. A lone caller, who has
// nobody to make room for, is served sooner by fdatasync itself, unless there is but
// one processor, which even then is taken away (4 KiB PUT, one at a time: 334 against
// 235 µs of CPU); so is everybody where the kernel or the file system refuses.

// logSyncers is how many syncs may be under way at a time that hold no thread: one for
// each copy, and as many again while the log changes.
const logSyncers = 8

// logFS is the operating system's file system with logs that are synced that way.
type logFS struct {
	vfs.FS
	pool *syncPool
}

// newLogFS returns inner's. busy tells whether anybody but the one who waits for a
// sync has use for a processor.
func newLogFS(inner vfs.FS, busy func() bool) logFS { return logFS{inner, &syncPool{busy: busy}} }

// Create implements vfs.FS.
func (g logFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, category)
	return g.wrap(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (g logFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(oldname, newname, category)
	return g.wrap(newname, f, err)
}

func (g logFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || !isLog(name) || f.Fd() == vfs.InvalidFd {
		return f, err
	}
	return &asyncLog{f, g.pool}, nil
}

// Unwrap implements vfs.FS.
func (g logFS) Unwrap() vfs.FS { return g.FS }

// asyncLog is a log whose syncs hold no thread.
type asyncLog struct {
	vfs.File
	pool *syncPool
}

// SyncData implements vfs.File.
func (f *asyncLog) SyncData() error { return f.pool.syncData(f.File) }

// syncPool keeps the syncers that nobody uses.
type syncPool struct {
	busy    func() bool
	free    [logSyncers]atomic.Pointer[syncer]
	made    atomic.Int32
	refused atomic.Bool // by the kernel or the file system, for good
}

// take returns nil where there is none to be had.
func (p *syncPool) take() *syncer {
	for i := range p.free {
		if s := p.free[i].Swap(nil); s != nil {
			return s
		}
	}
	if p.made.Add(1) > logSyncers {
		p.made.Add(-1)
		return nil
	}
	s, err := newSyncer()
	if err != nil {
		p.refused.Store(true)
		return nil
	}
	return s
}

func (p *syncPool) put(s *syncer) {
	for i := range p.free {
		if p.free[i].CompareAndSwap(nil, s) {
			return
		}
	}
}

// syncData makes what was written to f durable, as fdatasync(2) does.
func (p *syncPool) syncData(f vfs.File) error {
	if p.refused.Load() || !p.busy() {
		return f.SyncData()
	}
	s := p.take()
	if s == nil {
		return f.SyncData()
	}
	begun, err := s.sync(f.Fd())
	switch {
	case !begun:
		p.refused.Store(true)
		p.put(s)
		return f.SyncData()
	case err == nil:
		p.put(s)
	}
	return err // s stays out of use: an answer may still be due
}

// close is to be called when nothing is synced any more.
func (p *syncPool) close() {
	for i := range p.free {
		if s := p.free[i].Swap(nil); s != nil {
			s.close()
		}
	}
}

// syncer syncs one file at a time.
type syncer struct {
	ctx   uintptr  // aio_context_t
	event *os.File // an eventfd: readable when the sync is done
	fd    uint32   // of event
	order iocb
	list  *iocb // &order: what io_submit takes
	done  ioEvent
	buf   [8]byte
}

// iocb is struct iocb of linux/aio_abi.h. A sync leaves the fields without a name zero.
type iocb struct {
	_       uint64    // data
	_       [2]uint32 // key and rw_flags
	opcode  uint16
	_       int16 // reqprio
	file    uint32
	_       [2]uint64 // buf and nbytes
	_       int64     // offset
	_       uint64    // reserved2
	flags   uint32
	eventFd uint32
}

// ioEvent is struct io_event.
type ioEvent struct {
	data, order uint64
	res, res2   int64
}

const (
	iocbFDSync  = 3 // IOCB_CMD_FDSYNC
	iocbEventFd = 1 // IOCB_FLAG_RESFD
)

func newSyncer() (*syncer, error) {
	s := new(syncer)
	s.list = &s.order
	if _, _, e := unix.Syscall(unix.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&s.ctx)), 0); e != 0 {
		return nil, e
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		s.close()
		return nil, err
	}
	s.fd, s.event = uint32(fd), os.NewFile(uintptr(fd), "eventfd")
	return s, nil
}

func (s *syncer) close() {
	_, _, _ = unix.Syscall(unix.SYS_IO_DESTROY, s.ctx, 0, 0)
	if s.event != nil {
		_ = s.event.Close()
	}
}

// sync is fdatasync(fd). begun is false if the kernel did not take the order.
func (s *syncer) sync(fd uintptr) (begun bool, err error) {
	s.order = iocb{opcode: iocbFDSync, file: uint32(fd), flags: iocbEventFd, eventFd: s.fd}
	n, _, e := unix.RawSyscall(unix.SYS_IO_SUBMIT, s.ctx, 1, uintptr(unsafe.Pointer(&s.list)))
	if e != 0 || n != 1 {
		return false, nil
	}
	// Where nobody can wait for the eventfd (the system's epoll may be full), this thread
	// waits for the sync itself.
	_, _ = s.event.Read(s.buf[:])
	for {
		_, _, e = unix.Syscall6(unix.SYS_IO_GETEVENTS, s.ctx, 1, 1, uintptr(unsafe.Pointer(&s.done)), 0, 0)
		if e != unix.EINTR {
			break
		}
	}
	switch {
	case e != 0:
		return true, e
	case s.done.res < 0:
		return true, unix.Errno(-s.done.res)
	}
	return true, nil
}
