package ioring

import (
	"errors"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSharedCancelled: what the kernel cancels, because a thread ended that had it queued,
// is done again.
func TestSharedCancelled(t *testing.T) {
	a := newTestArena(t, 8<<20)
	dev, err := Open(filepath.Join(t.TempDir(), "drive"), a, Options{Mode: ModeRing, CPU: -1})
	if err != nil {
		t.Skipf("no io_uring: %v", err)
	}
	r := dev.(*ring)
	if r.shared == nil {
		t.Skip("the loop has its own thread")
	}
	if err := dev.Grow(t.Context(), 1<<20); err != nil {
		t.Fatal(err)
	}
	b := mustTryGet(t, a, 4096)
	defer b.Release()
	r.shared.turn.Lock()
	ops := []*Op{{Code: OpWrite, Buf: b, Hi: 4096}, {Code: OpSync}}
	dev.Submit(ops...)
	r.mu.Lock()
	queue := r.queue
	r.queue = nil
	r.mu.Unlock()
	l := &r.loop
	l.used += len(queue)
	last := len(l.free) - 1
	n := l.free[last]
	l.free, l.slots[n] = l.free[:last], slot{op: queue[0]}
	l.syncing = append(l.syncing, queue[1])
	r.complete(uint64(n), -int32(unix.ECANCELED))
	r.complete(syncTag, -int32(unix.ECANCELED))
	if l.u.SQReady() != 2 {
		t.Errorf("%d operations are submitted again", l.u.SQReady())
	}
	r.shared.turn.Unlock()
	r.notify()
	for _, op := range ops {
		if err := op.Wait(); err != nil {
			t.Error(err)
		}
	}
	if s := dev.Stats(); s.Writes != 1 || s.Syncs != 1 || s.Errors != 0 {
		t.Errorf("%+v", s)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

// TestSharedThreadEnds: operations outlive the thread that submitted them.
func TestSharedThreadEnds(t *testing.T) {
	a := newTestArena(t, 8<<20)
	dev, err := Open(filepath.Join(t.TempDir(), "drive"), a, Options{Mode: ModeRing, CPU: -1})
	if err != nil {
		t.Skipf("no io_uring: %v", err)
	}
	r := dev.(*ring)
	if r.shared == nil {
		t.Skip("the loop has its own thread")
	}
	const rounds, size = 20, 4096
	n := dev.Depth()
	if err := dev.Grow(t.Context(), rounds*int64(n)*size); err != nil {
		t.Fatal(err)
	}
	b := mustTryGet(t, a, size)
	defer b.Release()
	for round := range rounds {
		ops := make([]*Op, n)
		for i := range ops {
			ops[i] = &Op{Code: OpWrite, Buf: b, Hi: size, Off: (int64(round)*int64(n) + int64(i)) * size}
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			r.shared.turn.Lock()   // nobody else enters meanwhile
			dev.Submit(ops...)
			r.takeQueue()
			r.enter(0)
			r.shared.turn.Unlock()
		}()
		<-ended
		for _, op := range ops {
			if err := op.Wait(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

// TestSharedCloses while operations are under way, again and again.
func TestSharedCloses(t *testing.T) {
	a := newTestArena(t, 8<<20)
	path := filepath.Join(t.TempDir(), "drive")
	for i := range 100 {
		opts := Options{Mode: ModeRing, CPU: -1, Alone: new(atomic.Bool)}
		opts.Alone.Store(i%2 == 0)
		dev, err := Open(path, a, opts)
		if err != nil {
			t.Skipf("no io_uring: %v", err)
		}
		if err := dev.Grow(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
		b := mustTryGet(t, a, 4096)
		ops := []*Op{{Code: OpWrite, Buf: b, Hi: 4096}, {Code: OpSync}}
		dev.Submit(ops...)
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
		for _, op := range ops {
			if err := op.Wait(); err != nil {
				t.Error(err)
			}
		}
		b.Release()
	}
}

// TestNeighbourHangs: a drive answers while other goroutines are stuck in another one,
// on whatever threads they run, and whether or not it was alone before.
func TestNeighbourHangs(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would wait for those that are stuck
	a := newTestArena(t, 64<<20)
	var devs []Device
	var ops []*Op
	var alone atomic.Bool
	alone.Store(true)
	for i := range 8 {
		opts := Options{Mode: ModeRing, CPU: -1}
		if i%4 < 2 {
			opts.Alone = &alone
		}
		dev, err := Open(filepath.Join(t.TempDir(), "drive"), a, opts)
		if err != nil {
			t.Skipf("no io_uring: %v", err)
		}
		defer func() {
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := dev.Grow(t.Context(), 1<<20); err != nil {
			t.Fatal(err)
		}
		b := mustTryGet(t, a, 1<<20)
		defer b.Release()
		devs, ops = append(devs, dev), append(ops, &Op{Code: Code(1 + i%2), Buf: b, Hi: 1 << 20})
		first := &Op{Code: OpWrite, Buf: b, Hi: 1 << 20}
		dev.Submit(first)
		if err := first.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	alone.Store(false)
	var end [2]int
	if err := unix.Pipe2(end[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	var free sync.WaitGroup
	for range 3 { // each keeps a processor
		free.Go(func() {
			if err := stuck(end[0]); err != nil {
				t.Error(err)
			}
		})
	}
	began := time.Now()
	for i, dev := range devs {
		dev.Submit(ops[i])
	}
	for i, op := range ops {
		if err := op.Wait(); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > stuckMost/2 {
			t.Errorf("%d: answered after %v", i, d)
		}
	}
	if _, err := unix.Write(end[1], []byte{0}); err != nil {
		t.Error(err)
	}
	free.Wait()
	if err := errors.Join(unix.Close(end[0]), unix.Close(end[1])); err != nil {
		t.Error(err)
	}
}

// stuckMost is the longest that a thread is blocked.
const stuckMost = 40 * time.Second

// stuck blocks the thread until end can be read, as a drive that hangs does: where only
// the end of the process wakes it. So waits a parent for its vfork(2).
func stuck(end int) error {
	ts := unix.NsecToTimespec(int64(stuckMost))
	fd := unix.PollFd{Fd: int32(end), Events: unix.POLLIN}
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return ignoringEINTR(func() error { _, err := unix.Wait4(int(pid), nil, 0, nil); return err })
}
