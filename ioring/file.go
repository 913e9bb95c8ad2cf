package ioring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	minAlign     = 512
	maxAlign     = 64 << 10
	defaultAlign = 4096 // where the kernel does not tell
)

// file is what the ring and the fallback share: the descriptor, its geometry,
// the counters and the fatal error.
type file struct {
	path   string
	fd     int
	block  bool // a block device: Grow cannot make it larger
	direct bool
	align  int
	log    *slog.Logger

	size   atomic.Int64
	growMu sync.Mutex   // one Grow at a time
	fdMu   sync.RWMutex // read-held while a caller's goroutine uses fd; operations in flight need no lock, close comes after them
	fatal  atomic.Pointer[error]
	count  counters
	ending
}

// counters are the atomic side of Stats.
type counters struct {
	reads, writes, syncs  atomic.Uint64
	readBytes, writeBytes atomic.Uint64
	errors, enters        atomic.Uint64
	flushes               atomic.Uint64
	inFlight              atomic.Int64
}

// openFunc is unix.Open, replaceable in tests.
type openFunc func(path string, flags int, perm uint32) (int, error)

// openFile opens the block device, or opens or creates the regular file, at
// path, and locks it against other processes and other Devices of this one.
func openFile(path string, log *slog.Logger, open openFunc) (*file, error) {
	f := &file{path: path, fd: -1, log: log, ending: newEnding()}
	flags := unix.O_RDWR | unix.O_CLOEXEC | unix.O_NOCTTY
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		flags |= unix.O_CREAT | unix.O_EXCL
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeType == fs.ModeDevice:
		// O_EXCL on a block device: not while it is mounted or in an array.
		flags |= unix.O_EXCL
		f.block = true
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("ioring: %s is neither a regular file nor a block device", path)
	}
	if err := f.open(flags, open); err != nil {
		return nil, err
	}
	if err := f.setUp(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *file) open(flags int, open openFunc) error {
	fd, err := open(f.path, flags|unix.O_DIRECT, 0o600)
	f.direct = err == nil
	if errors.Is(err, unix.EINVAL) {
		f.log.Warn("the file system does not support O_DIRECT: using the page cache", "path", f.path)
		// The refused open may have created the file (Linux does so).
		fd, err = open(f.path, flags&^unix.O_EXCL, 0o600)
		if f.block && err == nil {
			err = errors.Join(fmt.Errorf("block device without O_DIRECT: %w", unix.EINVAL), unix.Close(fd))
		}
	}
	if err == nil {
		f.fd = fd
		return nil
	}
	if f.block && errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %s is mounted or held by another process", ErrInUse, f.path)
	}
	return &fs.PathError{Op: "open", Path: f.path, Err: err}
}

// setUp locks the open file, learns its geometry, and makes a regular file's
// name and size durable.
func (f *file) setUp() error {
	if err := f.lock(); err != nil {
		return err
	}
	var st unix.Statx_t
	err := unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS|unix.STATX_DIOALIGN, &st)
	if err != nil {
		return f.wrap("statx", err)
	}
	// The path may have changed hands between stat and open.
	want := uint16(unix.S_IFREG)
	if f.block {
		want = unix.S_IFBLK
	}
	if st.Mode&unix.S_IFMT != want {
		return fmt.Errorf("ioring: %s is neither a regular file nor a block device", f.path)
	}
	size := int64(st.Size)
	if f.block {
		if size, err = deviceSize(f.fd); err != nil {
			return f.wrap("size of", err)
		}
	}
	f.setAlign(&st)
	f.size.Store(size &^ int64(f.align-1))
	if f.block {
		return nil
	}
	return f.syncFound()
}

// setAlign takes the alignment of direct I/O from STATX_DIOALIGN, else from
// the block size, and gives O_DIRECT up where the kernel says it would not
// work on this file.
func (f *file) setAlign(st *unix.Statx_t) {
	f.align = defaultAlign
	switch {
	case !f.direct:
	case st.Mask&unix.STATX_DIOALIGN != 0:
		off, mem := int(st.Dio_offset_align), int(st.Dio_mem_align)
		if align := max(off, mem, minAlign); off > 0 && align <= maxAlign &&
			align&(align-1) == 0 && mem <= unix.Getpagesize() {
			f.align = align
			return
		}
		f.log.Warn("direct I/O is not possible on this file: using the page cache",
			"path", f.path, "offset_align", off, "memory_align", mem)
		if flags, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0); err == nil {
			_, err = unix.FcntlInt(uintptr(f.fd), unix.F_SETFL, flags&^unix.O_DIRECT)
			f.direct = err != nil
		}
	case f.block:
		if n, err := unix.IoctlGetInt(f.fd, unix.BLKSSZGET); err == nil && n >= minAlign && n <= maxAlign {
			f.align = n
		}
	}
}

// lock takes an exclusive flock. It tries for a second: udev holds a shared one of
// a block device while it probes, and the kernel ends the io_uring of a process that
// was killed, with its operations and their hold on the file, only after it is gone.
func (f *file) lock() error {
	for tries := 20; ; {
		err := unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == unix.EINTR {
			continue
		}
		if err != unix.EWOULDBLOCK {
			return f.wrap("lock", err)
		}
		if tries--; tries == 0 {
			return fmt.Errorf("%w: another process has %s open", ErrInUse, f.path)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// syncFound makes the file's name and size durable. Not only when it is new: a
// process that was killed may have created it, or made it larger, and not have
// come to sync that.
func (f *file) syncFound() error {
	if err := ignoringEINTR(func() error { return unix.Fsync(f.fd) }); err != nil {
		return f.wrap("fsync", err)
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func (f *file) close() error {
	f.fdMu.Lock()
	defer f.fdMu.Unlock()
	if f.fd < 0 {
		return nil
	}
	err := unix.Close(f.fd) // releases the lock
	f.fd = -1
	return f.wrap("close", err)
}

// Align implements Device.
func (f *file) Align() int { return f.align }

// Size implements Device.
func (f *file) Size() int64 { return f.size.Load() }

// growStep bounds how much one fallocate takes on, in bytes, so that a
// cancelled Grow ends soon.
const growStep = 1 << 30

// Grow implements Device. A Grow that fails leaves the size as it was.
func (f *file) Grow(ctx context.Context, size int64) error {
	if size < 0 || size > 1<<62 {
		return fmt.Errorf("%w: a size of %d bytes", ErrInvalid, size)
	}
	size = (size + int64(f.align) - 1) &^ int64(f.align-1)
	f.growMu.Lock()
	defer f.growMu.Unlock()
	old := f.size.Load()
	if size <= old {
		return nil
	}
	f.fdMu.RLock()
	defer f.fdMu.RUnlock()
	if f.fd < 0 {
		return ErrClosed
	}
	if err := errors.Join(f.abortion(), f.failure()); err != nil {
		return err
	}
	if f.block {
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrNoSpace, f.path, old, size)
	}
	// Ask first: an attempt would take all the space there is, for a moment,
	// and on tmpfs all the memory.
	if limit, err := f.limit(); err != nil {
		return err
	} else if size > limit {
		return fmt.Errorf("%w: %s can reach %d bytes, not %d", ErrNoSpace, f.path, limit, size)
	}
	if err := f.allocate(ctx, old, size); err != nil {
		// Nothing above the old size was ever handed out.
		if undo := unix.Ftruncate(f.fd, old); undo != nil {
			err = errors.Join(err, f.wrap("ftruncate", undo))
		}
		return err
	}
	// fsync, not fdatasync: it must cover the new size, and the cost is rare.
	if err := ignoringEINTR(func() error { return unix.Fsync(f.fd) }); err != nil {
		return f.fail(f.wrap("fsync", err))
	}
	f.size.Store(size)
	return nil
}

func (f *file) allocate(ctx context.Context, from, to int64) error {
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(to-from, growStep)
		err := ignoringEINTR(func() error { return unix.Fallocate(f.fd, 0, from, n) })
		if err == unix.EFBIG {
			err = unix.ENOSPC // beyond what the file system can address
		}
		if err != nil {
			return f.wrap("fallocate", err)
		}
		from += n
	}
	return nil
}

// Limit implements Device: for a file its size and what the file system still
// has for unprivileged use.
func (f *file) Limit() (int64, error) {
	f.fdMu.RLock()
	defer f.fdMu.RUnlock()
	if f.fd < 0 {
		return 0, ErrClosed
	}
	return f.limit()
}

// limit is Limit. Holds f.fdMu for reading.
func (f *file) limit() (int64, error) {
	size := f.size.Load()
	if f.block {
		return size, nil
	}
	var st unix.Statfs_t
	if err := ignoringEINTR(func() error { return unix.Fstatfs(f.fd, &st) }); err != nil {
		return 0, f.wrap("statfs", err)
	}
	free := int64(min(st.Bavail, uint64(1<<61)/uint64(max(st.Bsize, 1)))) * st.Bsize
	return (size + free) &^ int64(f.align-1), nil
}

// fail records the device's fatal error, unless it has one, and returns it.
func (f *file) fail(cause error) error {
	err := fmt.Errorf("%w: %w", ErrFailed, cause)
	if f.fatal.CompareAndSwap(nil, &err) {
		f.log.Error("drive failed: it takes no more writes", "path", f.path, "err", cause)
	}
	return f.failure()
}

// failure returns the fatal error, or nil.
func (f *file) failure() error {
	if p := f.fatal.Load(); p != nil {
		return *p
	}
	return nil
}

// refusal returns why op must not start, or nil.
func (f *file) refusal(op *Op) error {
	if op.Code == OpRead {
		return nil
	}
	return f.failure()
}

// finishOp counts op's outcome and delivers it.
func (f *file) finishOp(op *Op, err error) {
	c := &f.count
	switch {
	case err != nil:
		c.errors.Add(1)
	case op.Code == OpRead:
		c.reads.Add(1)
		c.readBytes.Add(uint64(op.Len()))
	case op.Code == OpWrite:
		c.writes.Add(1)
		c.writeBytes.Add(uint64(op.Len()))
	case op.Code == OpSync:
		c.syncs.Add(1)
	}
	op.Complete(err)
}

func (f *file) stats(backend string) Stats {
	c := &f.count
	return Stats{
		Backend: backend, Direct: f.direct,
		Reads: c.reads.Load(), Writes: c.writes.Load(), Syncs: c.syncs.Load(),
		ReadBytes: c.readBytes.Load(), WriteBytes: c.writeBytes.Load(),
		Flushes: c.flushes.Load(), Errors: c.errors.Load(), Enters: c.enters.Load(), InFlight: c.inFlight.Load(),
	}
}

// wrap names the file in err, and turns the want of space into ErrNoSpace.
func (f *file) wrap(verb string, err error) error {
	switch err {
	case nil:
		return nil
	case unix.ENOSPC, unix.EDQUOT:
		return fmt.Errorf("%w: %s %s: %w", ErrNoSpace, verb, f.path, err)
	}
	return fmt.Errorf("ioring: %s %s: %w", verb, f.path, err)
}

// transfer runs a read or a write to its end by system calls that block: pread(2) or
// pwrite(2).
func (f *file) transfer(op *Op, call func(fd int, p []byte, off int64) (int, error)) error {
	verb := "read"
	if op.Code == OpWrite {
		verb = "write"
	}
	for done, tries := 0, 0; ; {
		n, err := call(f.fd, op.Buf.mem[op.Lo+done:op.Hi], op.Off+int64(done))
		if transient(err) && tries < maxTries {
			tries++
			continue
		}
		if err != nil {
			return f.wrap(fmt.Sprintf("%s %d bytes at %d of", verb, op.Len()-done, op.Off+int64(done)), err)
		}
		var whole bool
		if done, whole, err = advance(op, done, n, f.align); whole {
			return err
		}
	}
}

// advance accounts a transfer of n bytes to op, of which done bytes were
// transferred before. It returns the new count and whether op is complete. A
// remainder that is not a multiple of align is repeated: direct I/O could not
// go on from there. No progress is the end of the device.
func advance(op *Op, done, n, align int) (int, bool, error) {
	if done+n >= op.Len() {
		return op.Len(), true, nil
	}
	next := (done + n) &^ (align - 1)
	if next == done {
		return done, true, fmt.Errorf("%w: %d of %d bytes at offset %d", op.short(), done+n, op.Len(), op.Off)
	}
	return next, false, nil
}

// transient tells whether a system call's error asks only for a repetition.
func transient(err error) bool { return err == unix.EINTR || err == unix.EAGAIN }

// maxTries bounds the repetitions of one transfer that makes no progress.
const maxTries = 1000

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// deviceSize returns the bytes of the block device that fd is open on.
func deviceSize(fd int) (int64, error) {
	var size uint64 // BLKGETSIZE64 stores 64 bits whatever the word size
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, errno
	}
	return int64(min(size, 1<<62)), nil
}
