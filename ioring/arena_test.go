package ioring

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

func newTestArena(t *testing.T, maxBytes int64) *Arena {
	t.Helper()
	a, err := NewArena(maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func mustTryGet(t *testing.T, a *Arena, size int) *Buffer {
	t.Helper()
	b, err := a.TryGet(size)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestArenaClasses(t *testing.T) {
	a := newTestArena(t, 8<<20)
	for _, c := range []struct{ ask, want int }{
		{0, SmallBuffer}, {1, SmallBuffer}, {SmallBuffer, SmallBuffer},
		{SmallBuffer + 1, MediumBuffer}, {MediumBuffer, MediumBuffer},
		{MediumBuffer + 1, LargeBuffer}, {LargeBuffer, LargeBuffer},
	} {
		b := mustTryGet(t, a, c.ask)
		if len(b.Bytes()) != c.want || cap(b.Bytes()) != c.want {
			t.Errorf("asked for %d: len %d, cap %d", c.ask, len(b.Bytes()), cap(b.Bytes()))
		}
		if uintptr(unsafe.Pointer(&b.Bytes()[0]))%4096 != 0 {
			t.Errorf("asked for %d: memory at %p", c.ask, &b.Bytes()[0])
		}
		b.Release()
		if b.Bytes() != nil {
			t.Error("Bytes after Release is not nil")
		}
	}
	for _, size := range []int{-1, LargeBuffer + 1} {
		if _, err := a.TryGet(size); !errors.Is(err, ErrInvalid) {
			t.Errorf("TryGet(%d): %v", size, err)
		}
		if _, err := a.Get(t.Context(), size); !errors.Is(err, ErrInvalid) {
			t.Errorf("Get(%d): %v", size, err)
		}
	}
	if _, err := NewArena(LargeBuffer - 1); err == nil {
		t.Error("NewArena too small for one buffer succeeded")
	}
}

func TestArenaChunksAreAligned(t *testing.T) {
	for _, c := range []class{small, medium, large} {
		ch, err := newChunk(c, 3, unregistered)
		if err != nil {
			t.Fatal(err)
		}
		if at := uintptr(unsafe.Pointer(&ch.mem[0])); at%hugePage != 0 {
			t.Errorf("chunk at %#x", at)
		}
		ch.mem[0], ch.mem[len(ch.mem)-1] = 1, 1
		if err := ch.unmap(); err != nil {
			t.Error(err)
		}
	}
}

func TestArenaBound(t *testing.T) {
	a := newTestArena(t, 3*LargeBuffer)
	var held []*Buffer
	for range 3 {
		held = append(held, mustTryGet(t, a, LargeBuffer))
	}
	if _, err := a.TryGet(1); !errors.Is(err, ErrExhausted) {
		t.Errorf("TryGet above the bound: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := a.Get(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get above the bound: %v", err)
	}
	if a.InUse() != 3*LargeBuffer {
		t.Errorf("InUse() = %d", a.InUse())
	}
	for _, b := range held {
		b.Release()
	}
	if a.InUse() != 0 {
		t.Errorf("InUse() = %d", a.InUse())
	}
	mustTryGet(t, a, 1).Release()
}

// waitFor polls until cond holds.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

func (a *Arena) waiters() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting.l.Len()
}

// TestArenaIsFair: a large request at the head is not overtaken by small ones
// that would fit, and those who wait are served in order.
func TestArenaIsFair(t *testing.T) {
	a := newTestArena(t, LargeBuffer)
	first := mustTryGet(t, a, SmallBuffer) // leaves room for small ones only
	order := make(chan int, 4)
	var wg sync.WaitGroup
	for i, size := range []int{LargeBuffer, SmallBuffer, LargeBuffer, SmallBuffer} {
		wg.Go(func() {
			b, err := a.Get(t.Context(), size)
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			time.Sleep(5 * time.Millisecond) // lets a later one overtake if it can
			b.Release()
		})
		waitFor(t, "the wait", func() bool { return a.waiters() == i+1 })
	}
	if _, err := a.TryGet(1); !errors.Is(err, ErrExhausted) {
		t.Errorf("TryGet overtook: %v", err)
	}
	first.Release()
	wg.Wait()
	for want := range 4 {
		if got := <-order; got != want {
			t.Errorf("served %d when it was the turn of %d", got, want)
		}
	}
}

// TestArenaCancelledHead: when the head of the line gives up, those behind it
// that fit are served at once.
func TestArenaCancelledHead(t *testing.T) {
	a := newTestArena(t, LargeBuffer)
	held := mustTryGet(t, a, SmallBuffer)
	ctx, cancel := context.WithCancel(t.Context())
	headErr := make(chan error)
	go func() {
		_, err := a.Get(ctx, LargeBuffer)
		headErr <- err
	}()
	waitFor(t, "the head's wait", func() bool { return a.waiters() == 1 })
	second := make(chan error)
	go func() {
		b, err := a.Get(t.Context(), SmallBuffer)
		if err == nil {
			b.Release()
		}
		second <- err
	}()
	waitFor(t, "the second's wait", func() bool { return a.waiters() == 2 })
	cancel()
	if err := <-headErr; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-second; err != nil {
		t.Error(err)
	}
	held.Release()
}

// TestArenaStress checks the bound and that no memory is lent twice.
func TestArenaStress(t *testing.T) {
	const limit = 6 * LargeBuffer
	a := newTestArena(t, limit)
	a.idle = time.Millisecond // trim all the time
	var lent atomic.Int64
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			for range 300 {
				size := 1 + rng.IntN(LargeBuffer)
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rng.IntN(2000))*time.Microsecond)
				b, err := a.Get(ctx, size)
				cancel()
				if err != nil {
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					continue
				}
				n := int64(len(b.Bytes()))
				if now := lent.Add(n); now > limit {
					t.Errorf("%d bytes on loan", now)
				}
				b.Bytes()[0], b.Bytes()[n-1] = byte(g), byte(g)
				time.Sleep(time.Duration(rng.IntN(100)) * time.Microsecond)
				if b.Bytes()[0] != byte(g) || b.Bytes()[n-1] != byte(g) {
					t.Error("two borrowers share memory")
				}
				lent.Add(-n)
				b.Release()
			}
		})
	}
	wg.Wait()
	if a.InUse() != 0 || a.waiters() != 0 {
		t.Errorf("InUse() = %d, %d wait", a.InUse(), a.waiters())
	}
	waitFor(t, "the return of idle memory", func() bool { return a.Mapped() == 0 })
}

func TestArenaGivesIdleMemoryBack(t *testing.T) {
	a := newTestArena(t, 64<<20)
	a.idle = 20 * time.Millisecond
	table, err := a.table()
	if err != nil {
		t.Fatal(err)
	}
	var fixed int64
	for _, mem := range table {
		fixed += int64(len(mem))
	}
	if fixed == 0 || fixed > 4<<20 || a.Mapped() != fixed {
		t.Fatalf("%d bytes fixed, %d mapped", fixed, a.Mapped())
	}
	var held []*Buffer
	for range 30 {
		held = append(held, mustTryGet(t, a, LargeBuffer))
	}
	if held[0].index < 0 || held[29].index != unregistered {
		t.Errorf("buffer indices %d … %d: registered memory must go first", held[0].index, held[29].index)
	}
	peak := a.Mapped()
	for _, b := range held[1:] {
		b.Release()
	}
	waitFor(t, "the return of idle memory", func() bool { return a.Mapped() == fixed })
	if peak <= fixed {
		t.Errorf("peak %d", peak)
	}
	held[0].Release()
	again, err := a.table()
	if err != nil || &again[0][0] != &table[0][0] {
		t.Errorf("the registered table changed (%v)", err)
	}
}

func TestArenaDoubleRelease(t *testing.T) {
	a := newTestArena(t, 8<<20)
	b := mustTryGet(t, a, 1)
	b.Release()
	other := mustTryGet(t, a, 1) // the same memory, another loan
	defer other.Release()
	defer func() {
		if msg, _ := recover().(string); !strings.Contains(msg, "twice") {
			t.Errorf("second Release: %q", msg)
		}
	}()
	b.Release()
}

func TestArenaClose(t *testing.T) {
	a, err := NewArena(8 << 20)
	if err != nil {
		t.Fatal(err)
	}
	leaked, kept := mustTryGet(t, a, 1), make(chan error)
	var fill []*Buffer
	for {
		b, err := a.TryGet(LargeBuffer)
		if err != nil {
			break
		}
		fill = append(fill, b)
	}
	go func() {
		_, err := a.Get(context.Background(), LargeBuffer)
		kept <- err
	}()
	waitFor(t, "the wait", func() bool { return a.waiters() == 1 })
	err = a.Close()
	if err == nil || !strings.Contains(err.Error(), "8 buffers") {
		t.Errorf("Close with buffers on loan: %v", err)
	}
	if err := <-kept; !errors.Is(err, ErrClosed) {
		t.Errorf("Get during Close: %v", err)
	}
	if _, err := a.TryGet(1); !errors.Is(err, ErrClosed) {
		t.Errorf("TryGet after Close: %v", err)
	}
	if _, err := a.table(); !errors.Is(err, ErrClosed) {
		t.Errorf("table after Close: %v", err)
	}
	leaked.Bytes()[0] = 1 // must still be mapped
	leaked.Release()
	for _, b := range fill {
		b.Release()
	}
	if a.Mapped() != 0 || a.InUse() != 0 {
		t.Errorf("%d bytes mapped, %d in use", a.Mapped(), a.InUse())
	}
	if err := a.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

func BenchmarkArena(b *testing.B) {
	a, err := NewArena(64 << 20)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	b.ReportAllocs()
	for b.Loop() {
		buf, err := a.Get(context.Background(), LargeBuffer)
		if err != nil {
			b.Fatal(err)
		}
		buf.Release()
	}
}
