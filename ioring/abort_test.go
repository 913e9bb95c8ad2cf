package ioring

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hungRing returns a ring over a pipe, whose reads are not answered before
// somebody writes into it, whether they go past the ring where they may, or not.
func hungRing(t *testing.T, a *Arena, depth int, lone bool) (r *ring, answer func()) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	f := &file{path: "pipe", fd: fds[0], align: minAlign, log: discard, ending: newEnding()}
	f.size.Store(1 << 20)
	r, err := newRing(f, a, Options{Depth: depth, CPU: -1})
	if err != nil {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
		t.Skipf("no io_uring: %v", err)
	}
	r.readAt = nil
	if lone {
		r.readAt = func(fd int, p []byte, _ int64) (int, error) { return unix.Read(fd, p) }
	}
	return r, func() {
		if _, err := unix.Write(fds[1], make([]byte, 4096)); err != nil {
			t.Error(err)
		}
		_ = unix.Close(fds[1])
	}
}

// TestAbortOfHungRing: submits that wait for room are turned away, Close comes
// back, and what was in flight is answered when the device answers.
func TestAbortOfHungRing(t *testing.T) {
	for _, lone := range []bool{false, true} {
		t.Run(fmt.Sprint("lone ", lone), func(t *testing.T) { testAbortOfHungRing(t, lone) })
	}
}

func testAbortOfHungRing(t *testing.T, lone bool) {
	a := newTestArena(t, 8<<20)
	r, answer := hungRing(t, a, 1, lone)
	b := mustTryGet(t, a, 4096)
	defer b.Release()
	read := func() *Op { return &Op{Code: OpRead, Buf: b, Hi: 4096} }
	hung, waiting, later := read(), read(), read()
	r.Submit(hung)
	done := make(chan error, 1)
	go func() {
		r.Submit(waiting)
		done <- waiting.Wait()
	}()
	select {
	case err := <-done:
		t.Fatalf("not in line: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	cause := errors.New("given up")
	r.Abort(cause)
	if err := <-done; err != cause {
		t.Errorf("the one in line: %v", err)
	}
	r.Submit(later)
	if err := later.Wait(); err != cause {
		t.Errorf("a later one: %v", err)
	}
	began := time.Now()
	if err := r.Close(); !errors.Is(err, ErrHung) || !errors.Is(err, cause) {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(began); took < closePatience {
		t.Errorf("Close waited %v", took)
	}
	if n := r.Stats().InFlight; n != 1 {
		t.Errorf("%d in flight", n)
	}
	answer()
	if err := hung.Wait(); err != nil {
		t.Errorf("the one in flight: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("Close after the answer: %v", err)
	}
}

// TestAbortEndsClose: an Abort also frees a Close that waits already.
func TestAbortEndsClose(t *testing.T) {
	for _, lone := range []bool{false, true} {
		t.Run(fmt.Sprint("lone ", lone), func(t *testing.T) { testAbortEndsClose(t, lone) })
	}
}

func testAbortEndsClose(t *testing.T, lone bool) {
	a := newTestArena(t, 8<<20)
	r, answer := hungRing(t, a, 4, lone)
	b := mustTryGet(t, a, 4096)
	defer b.Release()
	op := &Op{Code: OpRead, Buf: b, Hi: 4096}
	r.Submit(op)
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("closed under an operation: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	r.Abort(errors.New("given up"))
	if err := <-closed; !errors.Is(err, ErrHung) {
		t.Errorf("Close: %v", err)
	}
	answer()
	if err := errors.Join(op.Wait(), r.Close()); err != nil {
		t.Error(err)
	}
}
