package md5lanes

import (
	"os"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestYieldToNews: on one processor, who waits for a descriptor gets to run when it has
// news, though the yielding goroutine never stops.
func TestYieldToNews(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	in, out := os.NewFile(uintptr(fds[0]), "in"), os.NewFile(uintptr(fds[1]), "out")
	defer out.Close()
	var got atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer in.Close()
		for buf := make([]byte, 1); ; {
			if n, err := in.Read(buf); n == 0 || err != nil {
				return
			}
			got.Add(1)
		}
	}()
	p := newPool(generic)
	const rounds, soon = 100, 10
	late := 0
	for i := range int64(rounds) {
		for range 3 { // so that it waits
			p.yield()
		}
		if _, err := unix.Write(fds[1], []byte{1}); err != nil {
			t.Fatal(err)
		}
		for tries := 0; got.Load() == i; tries++ {
			if tries == soon {
				late++
			}
			p.yield()
		}
	}
	// Go's monitor looks for news, too, every 10 ms, and may be interrupted with them.
	if late > rounds/10 {
		t.Errorf("it did not run for %d yields in %d of %d rounds", soon, late, rounds)
	}
	if n := p.yieldersMade.Load(); n != 1 {
		t.Errorf("%d yielders for one", n)
	}
	_ = out.Close()
	<-done
}

// TestYieldersBounded: more leaders than there are yielders get on as well.
func TestYieldersBounded(t *testing.T) {
	p := newPool(generic)
	done := make(chan struct{})
	const n = 4 * yieldersMax
	for range n {
		go func() {
			for range 200 {
				p.yield()
			}
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
	if made := p.yieldersMade.Load(); made > yieldersMax || len(p.yielders) != int(made) {
		t.Errorf("%d made, %d kept", made, len(p.yielders))
	}
}
