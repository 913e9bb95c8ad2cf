package ioring

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var discard = slog.New(slog.DiscardHandler)

func TestOpenOptions(t *testing.T) {
	a := newTestArena(t, 8<<20)
	dir := t.TempDir()
	for _, opts := range []Options{
		{Mode: "floppy"}, {Depth: -1}, {Depth: MaxDepth + 1},
	} {
		if _, err := Open(filepath.Join(dir, "x"), a, opts); !errors.Is(err, ErrInvalid) {
			t.Errorf("Open with %+v: %v", opts, err)
		}
	}
	if _, err := Open(filepath.Join(dir, "x"), nil, Options{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("Open without an arena: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "x")); !os.IsNotExist(err) {
		t.Error("a refused Open left a file behind")
	}
	dev, err := Open(filepath.Join(dir, "x"), a, Options{CPU: 1 << 20, Depth: MaxDepth}) // no such CPU: a warning
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenPaths(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, "/dev/null", filepath.Join(dir, "no", "drive"), ""} {
		f, err := openFile(path, discard, unix.Open)
		if err == nil {
			t.Errorf("%q was opened", path)
			_ = f.close()
		}
	}
	path := filepath.Join(dir, "drive")
	f, err := openFile(path, discard, unix.Open)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != 0 {
		t.Errorf("created %v, %v", info, err)
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}

// TestLock: a second opener gets ErrInUse until the first is gone.
func TestLock(t *testing.T) {
	a := newTestArena(t, 8<<20)
	path := filepath.Join(t.TempDir(), "drive")
	for _, mode := range []Mode{ModePread, ModeAuto} {
		dev, err := Open(path, a, Options{Mode: mode, CPU: -1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, a, Options{CPU: -1}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), path) {
			t.Errorf("second Open: %v", err)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestLockWaits: a hold that ends soon, as that of a killed process does, is waited
// for.
func TestLockWaits(t *testing.T) {
	a := newTestArena(t, 8<<20)
	path := filepath.Join(t.TempDir(), "drive")
	first, err := Open(path, a, Options{CPU: -1})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	time.AfterFunc(150*time.Millisecond, func() { ended <- first.Close() })
	second, err := Open(path, a, Options{CPU: -1})
	if err == nil {
		err = second.Close()
	}
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
}

// withoutDirect stands for a file system that refuses O_DIRECT. As Linux does,
// it creates the file first.
func withoutDirect(path string, flags int, perm uint32) (int, error) {
	fd, err := unix.Open(path, flags&^unix.O_DIRECT, perm)
	if err == nil && flags&unix.O_DIRECT != 0 {
		return -1, errors.Join(unix.Close(fd), unix.EINVAL)
	}
	return fd, err
}

func TestBufferedFallback(t *testing.T) {
	var log strings.Builder
	path := filepath.Join(t.TempDir(), "drive")
	for range 2 { // creating, and opening again
		log.Reset()
		f, err := openFile(path, slog.New(slog.NewTextHandler(&log, nil)), withoutDirect)
		if err != nil {
			t.Fatal(err)
		}
		if f.direct || f.align != defaultAlign || !strings.Contains(log.String(), "O_DIRECT") {
			t.Errorf("direct %v, align %d, log %q", f.direct, f.align, log.String())
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSetAlign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drive")
	for _, c := range []struct {
		mask     uint32
		off, mem uint32
		align    int
		direct   bool
	}{
		{0, 0, 0, 4096, true},
		{unix.STATX_DIOALIGN, 512, 4, 512, true},
		{unix.STATX_DIOALIGN, 512, 512, 512, true},
		{unix.STATX_DIOALIGN, 4096, 512, 4096, true},
		{unix.STATX_DIOALIGN, 64 << 10, 4, 64 << 10, true},
		{unix.STATX_DIOALIGN, 1, 1, 512, true},
		{unix.STATX_DIOALIGN, 0, 0, 4096, false},
		{unix.STATX_DIOALIGN, 128 << 10, 4, 4096, false},
		{unix.STATX_DIOALIGN, 3000, 4, 4096, false},
		{unix.STATX_DIOALIGN, 512, 64 << 10, 4096, false},
	} {
		f, err := openFile(path, discard, unix.Open)
		if err != nil {
			t.Fatal(err)
		}
		if !f.direct {
			t.Skip("no O_DIRECT here")
		}
		f.setAlign(&unix.Statx_t{Mask: c.mask, Dio_offset_align: c.off, Dio_mem_align: c.mem})
		flags, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0)
		if err != nil {
			t.Fatal(err)
		}
		if f.align != c.align || f.direct != c.direct || (flags&unix.O_DIRECT != 0) != c.direct {
			t.Errorf("%+v: align %d, direct %v, flags %#x", c, f.align, f.direct, flags)
		}
		if err := f.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOddSize: the tail of a file that is no whole block is not addressable.
func TestOddSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drive")
	if err := os.WriteFile(path, make([]byte, 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(path, discard, unix.Open)
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(10_000) &^ int64(f.align-1); f.Size() != want {
		t.Errorf("Size() = %d, want %d", f.Size(), want)
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
}

func TestGrowAllocates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drive")
	f, err := openFile(path, discard, unix.Open)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.Grow(t.Context(), 3<<20); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Size != 3<<20 || st.Blocks*512 < 3<<20 {
		t.Errorf("size %d, %d blocks, %v", st.Size, st.Blocks, err)
	}
	limit, err := f.Limit()
	if err != nil || limit <= 3<<20 {
		t.Fatalf("Limit() = %d, %v", limit, err)
	}
	if err := f.Grow(t.Context(), limit+1<<45); !errors.Is(err, ErrNoSpace) {
		t.Errorf("Grow beyond the file system: %v", err)
	}
	if err := unix.Stat(path, &st); err != nil || st.Size != 3<<20 || st.Blocks*512 > 4<<20 {
		t.Errorf("a failed Grow left size %d, %d blocks, %v", st.Size, st.Blocks, err)
	}
}

// TestAllocateRefused: what the file system itself refuses is want of space too.
func TestAllocateRefused(t *testing.T) {
	f, err := openFile(filepath.Join(t.TempDir(), "drive"), discard, unix.Open)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	if err := f.allocate(t.Context(), 1<<61, 1<<61+4096); !errors.Is(err, ErrNoSpace) {
		t.Errorf("allocate at 2 EiB: %v", err)
	}
}

func TestAdvance(t *testing.T) {
	for _, c := range []struct {
		done, n, next int
		whole         bool
		fails         bool
	}{
		{0, 16384, 16384, true, false},
		{0, 4096, 4096, false, false},
		{4096, 12288, 16384, true, false},
		{4096, 5000, 8192, false, false}, // the odd rest is repeated
		{4096, 4095, 4096, true, true},   // no block more: the end
		{0, 0, 0, true, true},
		{8192, 0, 8192, true, true},
	} {
		for code, want := range map[Code]error{OpRead: io.ErrUnexpectedEOF, OpWrite: io.ErrShortWrite} {
			next, whole, err := advance(&Op{Code: code, Lo: 4096, Hi: 4096 + 16384}, c.done, c.n, 4096)
			if next != c.next || whole != c.whole || c.fails != errors.Is(err, want) || !c.fails && err != nil {
				t.Errorf("code %d, %+v: %d, %v, %v", code, c, next, whole, err)
			}
		}
	}
}

func TestWrap(t *testing.T) {
	f := &file{path: "/x"}
	for err, want := range map[error]error{unix.ENOSPC: ErrNoSpace, unix.EDQUOT: ErrNoSpace, unix.EIO: unix.EIO} {
		if got := f.wrap("write", err); !errors.Is(got, want) || !errors.Is(got, err) || errors.Is(got, ErrNoSpace) != (want == ErrNoSpace) {
			t.Errorf("wrap(%v) = %v", err, got)
		}
	}
	if f.wrap("write", nil) != nil {
		t.Error("wrap(nil) is an error")
	}
}

// eachMode runs a test over the ring, where there is one, and the fallback.
func eachMode(t *testing.T, test func(t *testing.T, dev Device, f *file, path string, b *Buffer)) {
	for _, mode := range []Mode{ModeRing, ModePread} {
		t.Run(string(mode), func(t *testing.T) {
			a := newTestArena(t, 8<<20)
			path := filepath.Join(t.TempDir(), "drive")
			dev, err := Open(path, a, Options{Mode: mode, CPU: -1})
			if err != nil {
				t.Skipf("NOT TESTED: %v", err)
			}
			if err := dev.Grow(t.Context(), 1<<20); err != nil {
				t.Fatal(err)
			}
			f := &file{}
			switch d := dev.(type) {
			case *ring:
				f = d.file
			case *pread:
				f = d.file
			}
			b := mustTryGet(t, a, SmallBuffer)
			test(t, dev, f, path, b)
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
			b.Release()
		})
	}
}

func submit(dev Device, op *Op) error {
	dev.Submit(op)
	return op.Wait()
}

// TestFailedSyncIsFinal makes the kernel refuse fdatasync by putting a pipe
// under the descriptor, then takes the pipe away again: the device must stay
// failed although a sync would succeed now.
func TestFailedSyncIsFinal(t *testing.T) {
	eachMode(t, func(t *testing.T, dev Device, f *file, _ string, b *Buffer) {
		saved, err := unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(saved)
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pipe[0])
		defer unix.Close(pipe[1])
		if err := unix.Dup3(pipe[1], f.fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		syncs := []*Op{{Code: OpSync}, {Code: OpSync}, {Code: OpSync}}
		dev.Submit(syncs...)
		for _, op := range syncs {
			if err := op.Wait(); !errors.Is(err, ErrFailed) || !errors.Is(err, unix.EINVAL) {
				t.Errorf("sync of a pipe: %v", err)
			}
		}
		if err := unix.Dup3(saved, f.fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		flushes := dev.Stats().Flushes
		for _, op := range []*Op{{Code: OpSync}, {Code: OpWrite, Buf: b, Hi: 4096}} {
			if err := submit(dev, op); !errors.Is(err, ErrFailed) || !errors.Is(err, unix.EINVAL) {
				t.Errorf("operation %d afterwards: %v", op.Code, err)
			}
		}
		if err := dev.Grow(t.Context(), 2<<20); !errors.Is(err, ErrFailed) {
			t.Errorf("Grow afterwards: %v", err)
		}
		if err := submit(dev, &Op{Code: OpRead, Buf: b, Hi: 4096}); err != nil {
			t.Errorf("read afterwards: %v", err)
		}
		if after := dev.Stats().Flushes; after != flushes {
			t.Errorf("%d more fdatasyncs after the failure", after-flushes)
		}
	})
}

// TestTruncatedBehindOurBack: the kernel's short reads end in an error, also
// where the file ends inside a block.
func TestTruncatedBehindOurBack(t *testing.T) {
	eachMode(t, func(t *testing.T, dev Device, _ *file, path string, b *Buffer) {
		for _, size := range []int64{64<<10 + 5000, 64<<10 + 8192, 64 << 10, 0} {
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			err := submit(dev, &Op{Code: OpRead, Buf: b, Hi: 64 << 10, Off: 64 << 10})
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("read across the end at %d: %v", size, err)
			}
		}
	})
}

// TestKernelError: an error of the kernel reaches the operation, and only it.
func TestKernelError(t *testing.T) {
	eachMode(t, func(t *testing.T, dev Device, f *file, path string, b *Buffer) {
		readOnly, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(readOnly)
		saved, err := unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(saved)
		if err := unix.Dup3(readOnly, f.fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		err = submit(dev, &Op{Code: OpWrite, Buf: b, Hi: 4096, Off: 8192})
		if !errors.Is(err, unix.EBADF) || errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "8192") {
			t.Errorf("write to a read-only descriptor: %v", err)
		}
		if err := unix.Dup3(saved, f.fd, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		if err := submit(dev, &Op{Code: OpWrite, Buf: b, Hi: 4096, Off: 8192}); err != nil {
			t.Errorf("write afterwards: %v", err)
		}
	})
}

func TestCompleteTwicePanics(t *testing.T) {
	op := &Op{Code: OpSync}
	op.Prepare()
	op.Complete(nil)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	op.Complete(nil)
}
